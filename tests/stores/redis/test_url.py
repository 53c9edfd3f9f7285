"""A store's URL says where the servers are, and tells of its faults without its secrets."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.tables import tables_of

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.redis.url import RedisURL, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    tables_of(__file__)["url_is_taken_apart"],
)
def test_url_is_taken_apart(url: str, expected: dict[str, Any]) -> None:
    """Each form gives its topology, its hosts and the parameters of this store; the rest is left to redis-py."""
    parsed = parse_redis_url(url)
    found = {name: getattr(parsed, name) for name in expected}
    assert json.loads(json.dumps(found)) == expected


@pytest.mark.parametrize(
    "query",
    tables_of(__file__)["parameters_of_redis_py"],
)
@pytest.mark.parametrize("form", ["rediss://cache", "rediss+sentinel://one/sessions", "rediss+cluster://one"])
def test_parameters_of_redis_py(form: str, query: str) -> None:
    """What redis-py takes in a URL is taken in every form."""
    assert parse_redis_url(f"{form}?{query}").url.endswith(f"?{query}")


def test_certificates_are_named_by_files(tmp_path: Path) -> None:
    """Files of a TLS connection are passed on when they are there."""
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"):
        path = tmp_path / name
        with pytest.raises(ConfigurationError, match=f"{name} must name a file"):
            parse_redis_url(f"rediss://cache?{name}={path}")
        path.touch()
        assert name in parse_redis_url(f"rediss://cache?{name}={path}").url


@pytest.mark.parametrize(
    ("url", "faults"),
    tables_of(__file__)["faults_are_told_together_and_without_secrets"],
)
def test_faults_are_told_together_and_without_secrets(url: str, faults: list[str]) -> None:
    """Every fault is told, in one error that repeats nothing of what stood in the URL."""
    with pytest.raises(ConfigurationError) as raised:
        parse_redis_url(url)
    assert len(raised.value.faults) == len(faults)
    for fault in faults:
        assert fault in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@cache/1", "redis://cache:6379/1"),
        ("redis://user:secret@cache/1?db=2", "redis://cache:6379/2"),
        ("unix://user:secret@/run/redis.sock?db=2", "unix:///run/redis.sock"),
        ("rediss+cluster://:secret@[::1],two", "rediss+cluster://[::1]:6379,two:6379/0"),
        ("redis+sentinel://one/s/2?sentinel_password=secret", "redis+sentinel://one:26379/s/2"),
    ],
)
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    """A parsed URL shows where the store is, and no user and password."""
    parsed: RedisURL = parse_redis_url(url)
    assert str(parsed) == shown
    assert "secret" not in repr(parsed)
    assert "user" not in str(parsed)
