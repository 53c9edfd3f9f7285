"""For the tests of those who use the package."""

from asgi_jwt.testing.conformance import StoreConformance

__all__ = ["StoreConformance"]
