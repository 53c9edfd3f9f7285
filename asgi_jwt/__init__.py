"""Verified Bearer tokens for any ASGI app, and refresh tokens that rotate."""
