"""For users' tests: tokens without their issuer, and a clock to turn."""

from asgi_jwt.testing.clock import Clock
from asgi_jwt.testing.issuer import FakeIssuer, fake_issuer

__all__ = ["Clock", "FakeIssuer", "fake_issuer"]
