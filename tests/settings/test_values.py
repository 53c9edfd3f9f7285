"""How the value of a setting is read."""

from collections.abc import Callable
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from asgi_jwt.settings import values

READ: list[tuple[Callable[[Any], Any], Any, Any]] = [
    (values.text, " a b ", "a b"),
    (values.quotable, "my api!", "my api!"),
    (values.texts, "a, b ,,a", ("a", "b")),
    (values.texts, "", ()),
    (values.texts, ["a,b", "c", "c", ""], ("a,b", "c")),
    (values.texts, iter("ab"), ("a", "b")),
    (values.flag, True, True),
    (values.flag, False, False),
    (values.flag, " TRUE ", True),
    (values.flag, "on", True),
    (values.flag, "yes", True),
    (values.flag, "1", True),
    (values.flag, "No", False),
    (values.flag, "off", False),
    (values.flag, "0", False),
    (values.duration(), 30, 30),
    (values.duration(), 0.5, 0.5),
    (values.duration(), "30", 30),
    (values.duration(), " 1.5 ", 1.5),
    (values.duration(), "30s", 30),
    (values.duration(), "15m", 900),
    (values.duration(), "15 m", 900),
    (values.duration(), "24h", 86400),
    (values.duration(), "7d", 604800),
    (values.duration(), "2w", 1209600),
    (values.duration(), "0", 0),
    (values.duration(), timedelta(minutes=5), 300),
    (values.duration(least=1, most=3600), "1h", 3600),
    (values.count(least=0), "0", 0),
    (values.count(least=1), " 12 ", 12),
    (values.count(least=1), 12, 12),
    (values.claim, "tenant", ("tenant", None)),
    (values.claim, "tenant=a=b", ("tenant", "a=b")),
    (values.claims, "tenant, email_verified=true", (("tenant", None), ("email_verified", "true"))),
    (values.type_claim, "token_use=access", ("token_use", "access")),
    (values.type_claim, "*", None),
    (values.token_sources, "header", ("header",)),
    (values.token_sources, "cookie:__Host-access_token, subprotocol", ("cookie:__Host-access_token", "subprotocol")),
    (values.public_path, "/health", "/health"),
    (values.public_path, "/", "/"),
    (values.public_path, "/auth/*", "/auth/*"),
    (values.public_paths, "/health,/auth/*", ("/health", "/auth/*")),
    (values.root_path, "/api/v1/", "/api/v1"),
    (values.root_path, "/", ""),
    (values.resource, "https://host/mcp", "https://host/mcp"),
    (values.resource, "https://host:8443", "https://host:8443"),
    (values.resource, "http://localhost:8000/mcp", "http://localhost:8000/mcp"),
    (values.resource, "http://127.0.0.1/", "http://127.0.0.1/"),
    (values.resource, "http://[::1]:8000/", "http://[::1]:8000/"),
]

REFUSED: list[tuple[Callable[[Any], Any], Any]] = [
    (values.text, ""),
    (values.text, "  "),
    (values.text, None),
    (values.text, b"a"),
    (values.quotable, 'a"b'),
    (values.quotable, "a\\b"),
    (values.quotable, "a\nb"),
    (values.quotable, "é"),
    (values.texts, 1),
    (values.texts, ["a", 1]),
    (values.texts, b"ab"),
    (values.flag, "maybe"),
    (values.flag, ""),
    (values.flag, 2),
    (values.flag, None),
    (values.duration(), "-1"),
    (values.duration(), -1),
    (values.duration(), timedelta(seconds=-1)),
    (values.duration(), True),
    (values.duration(), None),
    (values.duration(), ""),
    (values.duration(), "soon"),
    (values.duration(), "1y"),
    (values.duration(), "1e3"),
    (values.duration(), "1m30s"),
    (values.duration(), "inf"),
    (values.duration(), inf),
    (values.duration(), nan),
    (values.duration(), "٣"),
    (values.duration(most=300), 10**400),
    (values.duration(least=1), "0"),
    (values.duration(most=300), "301"),
    (values.duration(most=300), "6m"),
    (values.count(least=1), "0"),
    (values.count(least=1), 0),
    (values.count(least=0), -1),
    (values.count(least=0), "-1"),
    (values.count(least=0), "1.5"),
    (values.count(least=0), 1.5),
    (values.count(least=0), True),
    (values.count(least=0), "٣"),
    (values.count(least=0), "1" * 13),
    (values.claim, "=a"),
    (values.claim, "tenant="),
    (values.claim, ""),
    (values.type_claim, "access"),
    (values.type_claim, ""),
    (values.token_sources, ""),
    (values.token_sources, "query"),
    (values.token_sources, "cookie"),
    (values.token_sources, "cookie:"),
    (values.token_sources, "cookie:a b"),
    (values.token_sources, "header:x"),
    (values.public_path, "health"),
    (values.public_path, ""),
    (values.public_path, "/a*"),
    (values.public_path, "/*/b"),
    (values.public_path, "/**"),
    (values.public_path, "/a//b"),
    (values.public_path, "/a?b"),
    (values.resource, "http://host/mcp"),
    (values.resource, "https://"),
    (values.resource, "host/mcp"),
    (values.resource, "https://host/mcp?x=1"),
    (values.resource, "https://host/mcp#x"),
    (values.resource, "https://host/mcp#"),
    (values.resource, "https://user:pw@host/mcp"),
    (values.resource, "https://host/m cp"),
    (values.resource, "https://host:0/"),
    (values.resource, "https://host:99999/"),
    (values.resource, "https://[::1/"),
    (values.resource, 'https://host/"'),
]


def name(value: object) -> str:
    return getattr(value, "__qualname__", repr(value)).split(".")[0][:30]


@pytest.mark.parametrize(("read", "value", "expected"), READ, ids=name)
def test_values_are_read(read: Callable[[Any], Any], value: object, expected: object) -> None:
    """A value in any of its forms is read as what it stands for."""
    assert read(value) == expected


@pytest.mark.parametrize(("read", "value"), REFUSED, ids=name)
def test_values_that_cant_be_read_are_refused(read: Callable[[Any], Any], value: object) -> None:
    """Any other value is refused with what it has to be."""
    with pytest.raises(ValueError, match=r"^(has|may) "):
        read(value)


@pytest.mark.parametrize(
    ("most", "told"), [(None, "has to be 1 second at least"), (60, "has to be 1 second at least and 60 at most")]
)
def test_bounds_of_a_duration_are_told(most: float | None, told: str) -> None:
    """A duration out of bounds is refused with both of them."""
    with pytest.raises(ValueError, match=f"^{told}$"):
        values.duration(least=1, most=most)(0)
