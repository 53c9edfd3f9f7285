"""What went wrong with a PostgreSQL server, as StoreUnavailable: the SQLSTATE and the mend, and nothing it quotes."""

import asyncpg

from asgi_jwt.errors import StoreUnavailable

_RIGHTS = (
    "grant its role SELECT, INSERT, UPDATE and DELETE on asgi_jwt_sessions and asgi_jwt_revocations;"
    " `asgi-jwt check --sql` prints the statements that make these tables"
)
_CREDENTIALS = "put the right user and password into the store's URL"
_POOLER = "behind PgBouncer in transaction mode add ?statement_cache_size=0 to the store's URL"
_PRIMARY = "name the primary in the store's URL, for this server takes no writes"
_WAIT = "the server starts or stops: wait, and see its log"
_CANCELLED = "the server cancelled the statement: see what holds a lock on the tables, and the role's statement_timeout"

_MENDS = {
    "25006": _PRIMARY,
    "26000": _POOLER,
    "28000": _CREDENTIALS,
    "28P01": _CREDENTIALS,
    "3D000": "name a database that the server has in the store's URL",
    "3F000": "create the schema that the role's search_path names",
    "42501": _RIGHTS,
    "42703": "a table lacks a column: another program has changed it; compare it with `asgi-jwt check --sql`",
    "42P01": "a table was dropped: the store makes it again, if its role may",
    "42P05": _POOLER,
    "53100": "make room on the server's disk",
    "53200": "give the server more memory",
    "53300": "raise the server's max_connections, or use fewer processes",
    "55P03": _CANCELLED,
    "57014": _CANCELLED,
    "57P01": _WAIT,
    "57P02": _WAIT,
    "57P03": _WAIT,
}

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, UnicodeError)
"""What asyncpg raises for a server that refuses, is away or breaks off, and for a host that no DNS name can be."""

CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""What a server raises when another transaction came first: nothing was written."""


def explained(error: Exception) -> StoreUnavailable:
    """`error` as a store raises it, safe to log: a server's own text may quote keys and records."""
    name = type(error).__name__
    state = getattr(error, "sqlstate", None)
    if state is not None:
        name += f" ({state})"
    mend = _mend(error, state)
    return StoreUnavailable(f"{name}: {mend}" if mend else name)


def _mend(error: Exception, state: str | None) -> str:
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return _PRIMARY
    # An OSError names an address. Other errors without a SQLSTATE may quote what was sent.
    if isinstance(error, (OSError, asyncpg.ClientConfigurationError)):
        return str(error)
    return _MENDS.get(state or "", "")
