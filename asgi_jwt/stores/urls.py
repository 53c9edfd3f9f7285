"""open_store: opens the store that a URL names, by a registry of schemes."""

import re
from collections.abc import Callable

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.base import SessionStore

Opener = Callable[[str], SessionStore]
"""Takes the URL as it was given, and returns the store. Raises ConfigurationError, whose text shows no password."""

POSTGRES_SCHEMES = ("postgresql", "postgres")
REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_FILE = re.compile(r"[\w./-]+\.(?:db|sqlite3?)")


def _open_memory(url: str) -> SessionStore:
    from asgi_jwt.stores.memory import MemoryStore

    if url.partition("://")[2]:
        raise ConfigurationError("the store memory:// takes nothing behind it")
    return MemoryStore()


def _open_sqlite(url: str) -> SessionStore:
    from asgi_jwt.stores.sqlite import SQLiteStore

    path = url.partition("://")[2]
    if not path.startswith("/") or path in ("/", "/:memory:"):
        needed = "sqlite:///relative/path or sqlite:////absolute/path (else memory://)"
        raise ConfigurationError(f"the store sqlite:// needs a file: {needed}")
    return SQLiteStore(path[1:])


def _open_redis(url: str) -> SessionStore:
    from asgi_jwt.stores.redis import RedisStore

    return RedisStore.from_url(url)


def _open_postgres(url: str) -> SessionStore:
    from asgi_jwt.stores.postgres import PostgresStore

    return PostgresStore.from_url(url)


SCHEMES: dict[str, Opener] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    **dict.fromkeys(REDIS_SCHEMES, _open_redis),
    **dict.fromkeys(POSTGRES_SCHEMES, _open_postgres),
}
"""The opener for each URL scheme, in lower case.

Another package adds its store with `SCHEMES["mystore"] = MyStore.from_url`. Then `ASGI_JWT_STORE=mystore://host` opens
that store. An opener of this package imports its driver when it is called.
"""


def open_store(url: str) -> SessionStore:
    """The store that `url` names. It connects at its first use.

    The URLs are `memory://`, `sqlite:///relative/path`, `sqlite:////absolute/path` (without percent-encoding),
    `redis://`, `rediss://`, both also with `+sentinel` and `+cluster`, `unix://`, and those of other schemes in
    `SCHEMES`. Raises ConfigurationError for any other URL. Its text shows only the scheme, because the rest of a URL
    may contain a password.
    """
    scheme, separator, _ = url.partition("://")
    if not (scheme and separator):
        raise ConfigurationError(_no_scheme(url))
    opener = SCHEMES.get(scheme.lower())
    if opener is None:
        schemes = ", ".join(f"{name}://" for name in SCHEMES)
        raise ConfigurationError(f"a store of the scheme {scheme.lower()!r} does not exist: use one of {schemes}")
    return opener(url)


def _no_scheme(url: str) -> str:
    """The error text for a URL without a scheme. It shows a file's name, which contains no password."""
    mend = f"did you mean sqlite:///{url}?" if _FILE.fullmatch(url) else "as sqlite:///asgi-jwt.db or redis://host"
    return f"the store is named by a URL, with its scheme: {mend}"
