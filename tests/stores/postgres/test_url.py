"""A store's URL says where the servers are, and tells of its faults without its secrets."""

import pytest

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.postgres.url import parse_postgres_url
from asgi_jwt.stores.urls import open_store


@pytest.mark.parametrize(
    ("url", "shown", "dsn", "size"),
    [
        ("postgresql://db/app", "postgresql://db/app", "db/app?target_session_attrs=read-write", None),
        ("postgres://db", "postgresql://db", "db?target_session_attrs=read-write", None),
        (
            "postgresql://u:p%40ss@one:1,[::1]:2/app?sslmode=verify-full&target_session_attrs=any",
            "postgresql://one:1,[::1]:2/app",
            "u:p%40ss@one:1,[::1]:2/app?sslmode=verify-full&target_session_attrs=any",
            None,
        ),
        (
            "postgresql:///app?host=/run/postgresql&statement_cache_size=0",
            "postgresql:///app",
            "/app?host=%2Frun%2Fpostgresql&target_session_attrs=read-write",
            0,
        ),
    ],
)
def test_url_is_taken_apart(url: str, shown: str, dsn: str, size: int | None) -> None:
    """A URL gives asyncpg's DSN and the size of its cache, and is shown without credentials and parameters."""
    parsed = parse_postgres_url(url)
    assert (str(parsed), parsed.dsn, parsed.statement_cache_size) == (shown, f"postgresql://{dsn}", size)
    assert "p%40ss" not in repr(parsed)
    assert repr(open_store(url)) == repr(PostgresStore(parsed)) == f"<PostgresStore {shown}>"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:secret/word@db/app", "percent-encode"),
        ("postgresql://u:secret#word@db/app", "can't be read|fragment"),
        ("postgresql://u:secret@db/app#part", "fragment"),
        ("postgresql://u:secret@db:port/app", "percent-encode"),
        ("postgresql://u:secret@db:65536/app", "percent-encode"),
        ("postgresql://u:secret@[zz]/app", "percent-encode"),
        ("postgresql://u:secret%00@db/app", "percent-encode"),
        ("postgresql://u:secret@db/app?connect_timeout=3", "no parameter connect_timeout"),
        ("postgresql://u:secret@db/app?keepalives_idle=3", "no parameter keepalives_idle"),
        ("postgresql://u:secret@db/app?statement_cache_size=none", "is a number"),
    ],
)
def test_url_that_is_refused(url: str, says: str) -> None:
    """A URL that can't be right is refused when it is read, and its password is shown nowhere."""
    with pytest.raises(ConfigurationError, match=says) as raised:
        parse_postgres_url(url)
    assert "secret" not in str(raised.value)
