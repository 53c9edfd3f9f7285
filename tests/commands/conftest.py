"""What the tests of commands share."""

import pytest
from support.command_line import CommandLine


@pytest.fixture
def asgi_jwt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """The command, set up with a secret."""
    return CommandLine(monkeypatch, capsys)
