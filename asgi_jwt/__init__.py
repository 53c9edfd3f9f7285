"""Verified Bearer tokens for any ASGI app, and refresh tokens that rotate."""

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError, TooManyAttempts
from asgi_jwt.http.app import AuthApp
from asgi_jwt.http.bodies import Credentials
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.http.require import RequireMiddleware, require
from asgi_jwt.sessions.sessions import Sessions, TokenPair
from asgi_jwt.settings import Settings
from asgi_jwt.stores.base import open_store
from asgi_jwt.stores.records import Client
from asgi_jwt.tokens.claims import Claims, TokenPolicy
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.verifier import TokenVerifier

__all__ = [
    "Auth",
    "AuthApp",
    "AuthError",
    "Claims",
    "Client",
    "ConfigurationError",
    "Credentials",
    "Identity",
    "JWTMiddleware",
    "KeySet",
    "RequireMiddleware",
    "Sessions",
    "Settings",
    "TokenIssuer",
    "TokenPair",
    "TokenPolicy",
    "TokenVerifier",
    "TooManyAttempts",
    "open_store",
    "require",
]
