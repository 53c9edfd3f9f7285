"""A store's URL says where the servers are, and tells of its faults without its secrets."""

from pathlib import Path
from typing import Any

import pytest

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.redis.url import RedisURL, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", {"topology": "standalone", "hosts": (("cache", 6379),), "database": 0, "tls": None}),
        ("redis://cache/", {"hosts": (("cache", 6379),), "database": 0}),
        ("redis://cache:7000/3", {"hosts": (("cache", 7000),), "database": 3}),
        ("rediss://cache", {"topology": "standalone", "tls": {}}),
        ("rediss://cache?ssl_check_hostname=false", {"tls": {"ssl_check_hostname": False}}),
        ("redis://[::1]:7000", {"hosts": (("::1", 7000),)}),
        ("redis://user:p%40ss%2F@cache", {"username": "user", "password": "p@ss/"}),
        ("redis://:p:q@cache", {"username": None, "password": "p:q"}),
        ("redis://cache?timeout=0.5&prefix=a:&protocol=2", {"timeout": 0.5, "prefix": "a:", "protocol": 2}),
        (
            "redis+sentinel://u:p@one,two:5000/sessions/2?sentinel_username=s&sentinel_password=t",
            {
                "topology": "sentinel",
                "hosts": (("one", 26379), ("two", 5000)),
                "service": "sessions",
                "database": 2,
                "username": "u",
                "password": "p",
                "sentinel_username": "s",
                "sentinel_password": "t",
            },
        ),
        ("rediss+sentinel://one/sessions", {"topology": "sentinel", "service": "sessions", "tls": {}}),
        ("redis+cluster://one:1,[::1],three:3", {"hosts": (("one", 1), ("::1", 6379), ("three", 3))}),
        ("rediss+cluster://one/0", {"topology": "cluster", "database": 0, "tls": {}}),
    ],
)
def test_url_is_taken_apart(url: str, expected: dict[str, Any]) -> None:
    """Each form gives its topology, hosts, database, credentials and parameters, and defaults for the rest."""
    parsed = parse_redis_url(url)
    assert {name: getattr(parsed, name) for name in expected} == expected


def test_certificates_are_named_by_files(tmp_path: Path) -> None:
    """The files of a TLS connection are passed on as redis-py knows them."""
    paths = {name: tmp_path / name for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    for path in paths.values():
        path.touch()
    query = "&".join(f"{name}={path}" for name, path in paths.items())
    assert parse_redis_url(f"rediss://cache?{query}").tls == {name: str(path) for name, path in paths.items()}


@pytest.mark.parametrize(
    ("url", "faults"),
    [
        ("http://cache", ["begins with"]),
        ("cache:6379", ["begins with"]),
        ("redis://[::1", ["no host"]),
        ("redis://", ["no host"]),
        ("redis://:6379", ["no host"]),
        ("redis://cache:secret", ["no host"]),
        ("redis://cache:99999", ["no host"]),
        ("redis+cluster://one,,three", ["no host"]),
        ("redis://one,two", ["several hosts"]),
        ("redis://cache/secret", ["database's number"]),
        ("redis://cache/1/2", ["database's number"]),
        ("redis://cache/²", ["database's number"]),
        ("redis+cluster://one/1", ["a cluster has 0 alone"]),
        ("redis+sentinel://one", ["lacks the Sentinel service"]),
        ("redis://cache#secret", ["fragment"]),
        ("redis://cache?secret=1", ["a parameter it can't have here: it takes prefix, timeout, protocol"]),
        ("redis://cache?ssl_check_hostname=false", ["a parameter it can't have here"]),
        ("redis://cache?sentinel_password=secret", ["a parameter it can't have here"]),
        ("redis://cache?timeout=1&timeout=2", ["timeout twice"]),
        ("redis://cache?timeout=secret", ["timeout must be a positive"]),
        ("redis://cache?timeout=0", ["timeout must be a positive"]),
        ("redis://cache?timeout=inf", ["timeout must be a positive"]),
        ("redis://cache?timeout=", ["timeout must be a positive"]),
        ("redis://cache?prefix={a}", ["prefix must not contain braces"]),
        ("redis://cache?protocol=4", ["protocol must be 2 or 3"]),
        ("rediss://cache?ssl_check_hostname=no", ["ssl_check_hostname must be true or false"]),
        ("rediss://cache?ssl_ca_certs=/no/secret.pem", ["ssl_ca_certs must name a file"]),
        ("redis+cluster://one,/3?protocol=4", ["no host", "a cluster has 0 alone", "protocol must be 2 or 3"]),
    ],
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
