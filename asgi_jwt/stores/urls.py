"""How a store is named by a URL."""

import re

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.base import SessionStore

_FILE = re.compile(r"[\w./-]+\.(?:db|sqlite3?)")
REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")


def open_store(url: str) -> SessionStore:
    """The store that `url` names. Nothing is opened before its first use.

    `memory://` · `sqlite:///relative/path` · `sqlite:////absolute/path`, taken as it is written · `redis://`,
    `rediss://` and their `+sentinel` and `+cluster` forms, as `RedisStore.from_url` reads them. Raises
    ConfigurationError when there is no such store; it shows no more of a URL than its scheme, for the rest may hold a
    password.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower() if separator else ""
    if scheme == "memory" and not rest:
        from asgi_jwt.stores.memory import MemoryStore

        return MemoryStore()
    if scheme == "sqlite" and rest.startswith("/") and rest not in ("/", "/:memory:"):
        from asgi_jwt.stores.sqlite import SQLiteStore

        return SQLiteStore(rest[1:])
    if scheme in REDIS_SCHEMES:
        from asgi_jwt.stores.redis import RedisStore

        return RedisStore.from_url(url)
    raise ConfigurationError(_no_such_store(scheme) if scheme else _no_scheme(url))


def _no_scheme(url: str) -> str:
    """A file's name is shown, as it has no password before an `@` nor behind a `:`."""
    mend = f"did you mean sqlite:///{url}?" if _FILE.fullmatch(url) else "as sqlite:///asgi-jwt.db or redis://host"
    return f"the store is named by a URL, with its scheme: {mend}"


def _no_such_store(scheme: str) -> str:
    if scheme == "memory":
        return "the store memory:// takes nothing behind it"
    if scheme == "sqlite":
        return "the store sqlite:// needs a file: sqlite:///relative/path or sqlite:////absolute/path (else memory://)"
    schemes = ", ".join(f"{name}://" for name in ("memory", "sqlite", *REDIS_SCHEMES))
    return f"a store of the scheme {scheme!r} does not exist: use one of {schemes}"
