"""Verified Bearer tokens for any ASGI app, and refresh tokens that rotate."""

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.http.require import RequireMiddleware, require
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.claims import Claims, TokenPolicy
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.verifier import TokenVerifier

__all__ = [
    "Auth",
    "AuthError",
    "Claims",
    "ConfigurationError",
    "Identity",
    "JWTMiddleware",
    "KeySet",
    "RequireMiddleware",
    "Settings",
    "TokenIssuer",
    "TokenPolicy",
    "TokenVerifier",
    "require",
]
