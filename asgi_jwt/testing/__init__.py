"""For users' tests: a fake issuer of tokens, a clock that the test moves, and the conformance suite for stores."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from asgi_jwt.testing.clock import Clock
from asgi_jwt.testing.issuer import FakeIssuer, fake_issuer

if TYPE_CHECKING:
    from asgi_jwt.testing.conformance import StoreConformance
    from asgi_jwt.testing.proof_conformance import ProofConformance

__all__ = ["Clock", "FakeIssuer", "ProofConformance", "StoreConformance", "fake_issuer"]


_SUITES = {
    "StoreConformance": "asgi_jwt.testing.conformance",
    "ProofConformance": "asgi_jwt.testing.proof_conformance",
}
_MODULES = (*_SUITES.values(), "asgi_jwt.testing.log_conformance")


def __getattr__(name: str) -> Any:
    # The suites import pytest, which may not be installed, so they are imported only when they are used.
    if name not in _SUITES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if sys.modules.keys().isdisjoint(_MODULES):
        import_module("pytest").register_assert_rewrite(*_MODULES)
    return getattr(import_module(_SUITES[name]), name)
