"""For users' tests: a fake issuer of tokens, a clock that the test moves, and the conformance suite for stores."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgi_jwt.testing.clock import Clock
from asgi_jwt.testing.issuer import FakeIssuer, fake_issuer

if TYPE_CHECKING:
    from asgi_jwt.testing.conformance import StoreConformance

__all__ = ["Clock", "FakeIssuer", "StoreConformance", "fake_issuer"]


_SUITE = "asgi_jwt.testing.conformance"
_SUITES = (_SUITE, "asgi_jwt.testing.log_conformance")


def __getattr__(name: str) -> Any:
    # The suite imports pytest, which may not be installed, so it is imported only when it is used.
    if name != "StoreConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _SUITE not in sys.modules:
        import_module("pytest").register_assert_rewrite(*_SUITES)
    return import_module(_SUITE).StoreConformance
