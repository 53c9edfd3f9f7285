"""Runs a command as the shell would, with an environment of its own and a clock to turn."""

import io
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET

from asgi_jwt import cli
from asgi_jwt.testing import Clock


@dataclass(frozen=True, slots=True)
class Told:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a program reads of it, which is all that it printed."""
        assert self.err == ""
        assert self.out.isascii()
        assert self.out.count("\n") == 1
        return json.loads(self.out)


class CommandLine:
    """Call it with the words behind `asgi-jwt`; `environ` names the variables without their prefix."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.clock = Clock(NOW)
        self.environ: dict[str, str] = {
            "ISSUER": ISSUER,
            "AUDIENCE": AUDIENCE,
            "SECRET": SECRET,
            "DPOP_BASES": AUDIENCE,
        }
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: str, stdin: bytes | None = None) -> Told:
        with self._monkeypatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(f"ASGI_JWT_{name}", value)
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            try:
                status = cli.main(words, clock=self.clock)
            except SystemExit as ended:  # as argparse ends it
                status = int(ended.code or 0)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return Told(status, out, err)
