"""The URL of a PostgreSQL store, checked before anything is opened; asyncpg reads what is libpq's."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from asgi_jwt.errors import ConfigurationError

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:,@/?#\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_LIBPQ_ALONE = re.compile(
    r"connect_timeout|keepalives\w*|tcp_user_timeout|channel_binding|gssencmode|sslsni|sslcompression"
    r"|sslcertmode|load_balance_hosts|requirepeer|require_auth|replication|fallback_application_name|options|client_encoding"
)
"""Parameters of libpq that asyncpg hands to the server, which then refuses the connection."""

_UNREADABLE = "the store postgresql:// has a host or port that can't be read: percent-encode @ : / ? # in its password"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresURL:
    """Where a store is and how to get there. Neither `str` nor `repr` shows a credential."""

    shown: str
    dsn: str = field(repr=False)
    """What asyncpg reads, with credentials and parameters."""

    statement_cache_size: int | None = None
    """How many prepared statements a connection keeps; None: asyncpg's own number."""

    def __str__(self) -> str:
        return self.shown


def parse_postgres_url(url: str) -> PostgresURL:
    """The parts of `url`: `postgresql://user:password@host:port,host:port/database?parameters`.

    The parameters are libpq's for TLS, `target_session_attrs` (`read-write` unless it is given), settings of the
    server, and `statement_cache_size`. Raises ConfigurationError, which shows no more of the URL than the name of a
    parameter.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(_UNREADABLE) from None
    _, _, hosts = parts.netloc.rpartition("@")
    if not all(map(_is_host, hosts.split(","))) or "@" in parts.path or "%00" in url:
        raise ConfigurationError(_UNREADABLE)
    if parts.fragment:
        raise ConfigurationError("the store postgresql:// has a fragment: percent-encode # in its password")
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in parameters:
        if _LIBPQ_ALONE.fullmatch(name):
            raise ConfigurationError(f"the store postgresql://: asyncpg has no parameter {name}: leave it out")
    size = parameters.pop("statement_cache_size", None)
    if size is not None and not re.fullmatch(r"\d{1,6}", size, re.ASCII):
        raise ConfigurationError("the store postgresql://: statement_cache_size is a number, 0 behind PgBouncer")
    parameters.setdefault("target_session_attrs", "read-write")
    return PostgresURL(
        shown=f"postgresql://{hosts}{parts.path}",
        dsn=f"postgresql://{parts.netloc}{parts.path}?{urlencode(parameters)}",
        statement_cache_size=None if size is None else int(size),
    )


def _is_host(text: str) -> bool:
    found = _HOST.fullmatch(text)
    return found is not None and int(found["port"] or 0) <= 65535
