"""What all tests share."""

import os

import hypothesis
import pytest

# A busy machine makes no test fail, and the same examples run everywhere.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """With `-n auto` one more than there are processors: a third of the time tests wait for servers of theirs."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both of the event loops that users run."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def _no_settings_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `ASGI_JWT_*` of the machine's leaks into a test."""
    for variable in [name for name in os.environ if name.startswith("ASGI_JWT_")]:
        monkeypatch.delenv(variable)
