"""For users' tests: tokens without their issuer, a clock to turn, and the conformance suite for stores."""

from asgi_jwt.testing.clock import Clock
from asgi_jwt.testing.conformance import StoreConformance
from asgi_jwt.testing.issuer import FakeIssuer, fake_issuer

__all__ = ["Clock", "FakeIssuer", "StoreConformance", "fake_issuer"]
