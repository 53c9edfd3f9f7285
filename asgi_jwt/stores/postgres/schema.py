"""The tables of the PostgreSQL store, and how they are made."""

from typing import Any

from asgi_jwt.errors import StoreUnavailable

VERSION = 1
"""The comment on the table of sessions has this number."""

_MARK = "asgi_jwt schema "
_LOCK = 7_310_579_617_202_201_953
"""The key of the advisory lock that one process at a time holds while it makes the tables."""

STATEMENTS = (
    """CREATE TABLE IF NOT EXISTS asgi_jwt_sessions (
    subject bytea NOT NULL,
    sid bytea NOT NULL,
    version bigint NOT NULL,
    ended boolean NOT NULL,
    kept_day integer NOT NULL,
    kept_until bigint NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (subject, sid)
) WITH (fillfactor = 70)""",
    "CREATE INDEX IF NOT EXISTS asgi_jwt_sessions_kept_day ON asgi_jwt_sessions (kept_day)",
    """CREATE TABLE IF NOT EXISTS asgi_jwt_revocations (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    appended timestamptz NOT NULL DEFAULT clock_timestamp(),
    until timestamptz NOT NULL,
    record bytea NOT NULL,
    PRIMARY KEY (xid, id)
)""",
    "CREATE INDEX IF NOT EXISTS asgi_jwt_revocations_until ON asgi_jwt_revocations (until)",
    f"COMMENT ON TABLE asgi_jwt_sessions IS '{_MARK}{VERSION}'",
)
"""Safe to run again. A rotation changes no indexed column (`kept_day` once a day), and a page has room for the new
version of a row beside the old one, so PostgreSQL updates the row within its page and no index grows."""

PROOFS = (
    "CREATE TABLE IF NOT EXISTS asgi_jwt_proofs (digest bytea PRIMARY KEY, until timestamptz NOT NULL)",
    "CREATE INDEX IF NOT EXISTS asgi_jwt_proofs_until ON asgi_jwt_proofs (until)",
)
"""For `DPOP_REPLAY=store`. The table is made when the first proof is claimed."""

SQL = "".join(f"{statement};\n" for statement in (*STATEMENTS, *PROOFS))
"""For a role that may not create tables: its owner runs this, and grants the role SELECT, INSERT, UPDATE and DELETE."""

_FOUND = "SELECT obj_description(to_regclass('asgi_jwt_sessions'), 'pg_class')"


_MAKE = f"SELECT pg_advisory_xact_lock({_LOCK});\n{''.join(f'{each};' for each in STATEMENTS)}"
_MAKE_PROOFS = f"SELECT pg_advisory_xact_lock({_LOCK});\n{''.join(f'{each};' for each in PROOFS)}"
"""Sent as one message, which the server runs as one transaction: no process can leave it open."""


async def make_proofs_table(connection: Any) -> None:
    """Make the table of proofs if it is missing."""
    if await connection.fetchval("SELECT to_regclass('asgi_jwt_proofs')") is None:
        await connection.execute(_MAKE_PROOFS)


async def make_tables(connection: Any) -> None:
    """Make the tables that are missing. Raises StoreUnavailable if a newer release made them."""
    comment = await connection.fetchval(_FOUND)
    if comment is None:
        await connection.execute(_MAKE)
    elif comment != f"{_MARK}{VERSION}":
        raise StoreUnavailable(
            f"the table asgi_jwt_sessions is marked {comment!r}: this release needs '{_MARK}{VERSION}'"
        )
