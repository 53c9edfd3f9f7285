"""How commands run what they await."""

import asyncio
import logging

import pytest

from asgi_jwt.commands.running import run
from asgi_jwt.events import logger


def test_it_runs_under_asyncio_and_keeps_the_log_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """The work has asyncio, and what it logs is not printed by Python's last resort; afterwards all is as it was."""
    heard: list[logging.LogRecord] = []

    class Host(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record)

    async def work() -> str:
        logger.warning("said")
        return type(asyncio.get_running_loop()).__name__

    host, before = Host(), list(logger.handlers)
    logging.getLogger().addHandler(host)
    try:
        assert "Loop" in run(work)
    finally:
        logging.getLogger().removeHandler(host)
    assert [record.getMessage() for record in heard] == ["said"]
    assert capsys.readouterr() == ("", "")
    assert logger.handlers == before
