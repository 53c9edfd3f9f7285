"""Verified Bearer tokens for any ASGI app, and refresh tokens that rotate."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError, InvalidProof, TooManyAttempts
from asgi_jwt.http.app import AuthApp
from asgi_jwt.http.backchannel_logout import BackchannelLogout
from asgi_jwt.http.bodies import Credentials
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.http.require import RequireMiddleware, answer, require
from asgi_jwt.http.resource_metadata import ResourceMetadata
from asgi_jwt.sessions.pairs import TokenPair
from asgi_jwt.sessions.sessions import Sessions
from asgi_jwt.settings import Settings
from asgi_jwt.stores.records import Client, Session
from asgi_jwt.stores.urls import open_store
from asgi_jwt.tokens.claims import Claims, TokenPolicy
from asgi_jwt.tokens.discovery import discover
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.proof import Proof
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.trusted import Trust
from asgi_jwt.tokens.verifier import TokenVerifier

if TYPE_CHECKING:
    __version__: str
    from asgi_jwt.stores.memory import MemoryStore
    from asgi_jwt.stores.postgres import PostgresStore
    from asgi_jwt.stores.redis import RedisStore
    from asgi_jwt.stores.sqlite import SQLiteStore

__all__ = [
    "Auth",
    "AuthApp",
    "AuthError",
    "BackchannelLogout",
    "Claims",
    "Client",
    "ConfigurationError",
    "Credentials",
    "Identity",
    "InvalidProof",
    "JWTMiddleware",
    "KeySet",
    "MemoryStore",
    "PostgresStore",
    "Proof",
    "RedisStore",
    "RemoteKeySet",
    "RequireMiddleware",
    "ResourceMetadata",
    "SQLiteStore",
    "Session",
    "Sessions",
    "Settings",
    "TokenIssuer",
    "TokenPair",
    "TokenPolicy",
    "TokenVerifier",
    "TooManyAttempts",
    "Trust",
    "__version__",
    "answer",
    "discover",
    "open_store",
    "require",
]

_STORES = {"MemoryStore": "memory", "PostgresStore": "postgres", "RedisStore": "redis", "SQLiteStore": "sqlite"}


def __getattr__(name: str) -> Any:
    if name == "__version__":  # reads a file
        return metadata.version("asgi-jwt")
    # The module of a store imports its driver, so it is imported only when the store is used.
    if name not in _STORES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"asgi_jwt.stores.{_STORES[name]}"), name)
