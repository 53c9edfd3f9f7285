"""A store's URL says where the servers are, and tells of its faults without its secrets."""

import pytest
from support.tables import tables_of

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.postgres import PostgresStore
from asgi_jwt.stores.postgres.url import parse_postgres_url
from asgi_jwt.stores.urls import open_store


@pytest.mark.parametrize(
    ("url", "shown", "dsn", "size"),
    tables_of(__file__)["url_is_taken_apart"],
)
def test_url_is_taken_apart(url: str, shown: str, dsn: str, size: int | None) -> None:
    """A URL gives asyncpg's DSN and the size of its cache, and is shown without credentials and parameters."""
    parsed = parse_postgres_url(url)
    assert (str(parsed), parsed.dsn, parsed.statement_cache_size) == (shown, f"postgresql://{dsn}", size)
    assert "p%40ss" not in repr(parsed)
    assert repr(open_store(url)) == repr(PostgresStore(parsed)) == f"<PostgresStore {shown}>"


@pytest.mark.parametrize(
    ("url", "says"),
    tables_of(__file__)["url_that_is_refused"],
)
def test_url_that_is_refused(url: str, says: str) -> None:
    """A URL that can't be right is refused when it is read, and its password is shown nowhere."""
    with pytest.raises(ConfigurationError, match=says) as raised:
        parse_postgres_url(url)
    assert "secret" not in str(raised.value)
