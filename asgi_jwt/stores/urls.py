"""How a store is named by a URL."""

import re
from collections.abc import Callable

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.base import SessionStore

Opener = Callable[[str], SessionStore]
"""Takes a store's URL, as it was given, and returns the store. Raises ConfigurationError without a password in it."""

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
    **dict.fromkeys(("postgresql", "postgres"), _open_postgres),
}
"""The opener of each URL scheme, by the scheme in lower case. A package of a store of its own adds an entry:
`SCHEMES["mystore"] = MyStore.from_url`; then `ASGI_JWT_STORE=mystore://host` opens it. A built-in opener imports its
driver when it is called."""


def open_store(url: str) -> SessionStore:
    """The store that `url` names. Nothing is opened before its first use.

    `memory://` · `sqlite:///relative/path` · `sqlite:////absolute/path`, taken as it is written · `redis://`,
    `rediss://`, their `+sentinel` and `+cluster` forms and `unix://`, as `RedisStore.from_url` reads them · whatever
    else `SCHEMES` has. Raises ConfigurationError when there is no such store; it shows no more of a URL than its
    scheme, for the rest may hold a password.
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
    """A file's name is shown, as it has no password before an `@` nor behind a `:`."""
    mend = f"did you mean sqlite:///{url}?" if _FILE.fullmatch(url) else "as sqlite:///asgi-jwt.db or redis://host"
    return f"the store is named by a URL, with its scheme: {mend}"
