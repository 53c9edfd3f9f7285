"""For users' tests: tokens without their issuer, a clock to turn, and the conformance suite for stores."""

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
    # It brings pytest, which those who test otherwise may not have.
    if name != "StoreConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _SUITE not in sys.modules:
        import_module("pytest").register_assert_rewrite(*_SUITES)
    return import_module(_SUITE).StoreConformance
