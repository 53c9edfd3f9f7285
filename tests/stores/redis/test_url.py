"""A store's URL says where the servers are, and tells of its faults without its secrets."""

from pathlib import Path
from typing import Any

import pytest

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.stores.redis.url import RedisURL, parse_redis_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", {"topology": "standalone", "hosts": (("cache", 6379),), "url": "redis://cache?"}),
        ("redis://cache:7000/3", {"hosts": (("cache", 7000),), "url": "redis://cache:7000/3?"}),
        ("rediss://cache?ssl_check_hostname=false", {"url": "rediss://cache?ssl_check_hostname=false"}),
        ("redis://[::1]:7000", {"hosts": (("::1", 7000),)}),
        ("redis://user:p%40ss%2F@cache", {"url": "redis://user:p%40ss%2F@cache?"}),
        ("redis://cache?timeout=0.5&prefix=a:&protocol=2", {"timeout": 0.5, "prefix": "a:"}),
        ("redis://cache?timeout=0.5&prefix=a:&protocol=2&db=1", {"url": "redis://cache?protocol=2&db=1"}),
        ("unix://u:p@/run/redis.sock?db=1", {"topology": "standalone", "url": "unix://u:p@/run/redis.sock?db=1"}),
        (
            "redis+sentinel://u:p@one,two:5000/sessions/2?sentinel_username=s&sentinel_password=t",
            {
                "topology": "sentinel",
                "hosts": (("one", 26379), ("two", 5000)),
                "service": "sessions",
                "url": "redis://u:p@one/2?",
                "sentinel_username": "s",
                "sentinel_password": "t",
            },
        ),
        ("rediss+sentinel://one/sessions", {"topology": "sentinel", "service": "sessions", "url": "rediss://one?"}),
        ("redis+cluster://one:1,[::1],three:3", {"hosts": (("one", 1), ("::1", 6379), ("three", 3))}),
        ("rediss+cluster://one/0", {"topology": "cluster", "url": "rediss://one/0?"}),
    ],
)
def test_url_is_taken_apart(url: str, expected: dict[str, Any]) -> None:
    """Each form gives its topology, its hosts and the parameters of this store; the rest is left to redis-py."""
    parsed = parse_redis_url(url)
    assert {name: getattr(parsed, name) for name in expected} == expected


@pytest.mark.parametrize(
    "query",
    [
        "db=0",
        "protocol=2",
        "ssl_cert_reqs=none",
        "health_check_interval=10",
        "max_connections=4",
        "client_name=app",
        "decode_responses=True",
    ],
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
        ("redis://cache?secret=1", ["does not take here; besides redis-py's own it takes prefix, timeout"]),
        ("redis://cache?ssl_check_hostname=false", ["a parameter that redis-py does not take here"]),
        ("redis://cache?sentinel_password=secret", ["a parameter that redis-py does not take here"]),
        ("redis://cache?timeout=1&timeout=2", ["timeout twice"]),
        ("redis://cache?timeout=secret", ["timeout must be a positive"]),
        ("redis://cache?timeout=0", ["timeout must be a positive"]),
        ("redis://cache?timeout=inf", ["timeout must be a positive"]),
        ("redis://cache?timeout=", ["timeout must be a positive"]),
        ("redis://cache?prefix={a}", ["prefix must not contain braces"]),
        ("redis://cache?protocol=4", ["protocol has a value"]),
        ("rediss://cache?ssl_cert_reqs=secret", ["ssl_cert_reqs has a value that redis-py does not take"]),
        ("redis://cache?db=secret", ["db has a value that redis-py does not take"]),
        ("redis://cache?secret=1&secret=1", ["a parameter that redis-py", "a parameter twice"]),
        ("redis+cluster://one?retry_on_timeout=yes", ["a parameter that redis-py does not take here"]),
        ("redis+cluster://one?db=1", ["db has a value that redis-py does not take"]),
        ("unix://", ["path of a socket"]),
        ("unix://secret/redis.sock", ["path of a socket"]),
        ("rediss://cache?ssl_ca_certs=/no/secret.pem", ["ssl_ca_certs must name a file"]),
        ("redis+cluster://one,/3?protocol=4", ["no host", "a cluster has 0 alone", "protocol has a value"]),
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
