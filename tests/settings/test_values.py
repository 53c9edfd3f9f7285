"""How the value of a setting is read."""

from collections.abc import Callable
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from asgi_jwt.settings import values

FORMS: list[tuple[Callable[[Any], Any], dict[Any, Any]]] = [
    (values.text, {" a b ": "a b"}),
    (values.quotable, {"my api!": "my api!"}),
    (values.texts, {"a, b ,,a": ("a", "b"), "": (), ("a,b", "c", "c", ""): ("a,b", "c"), iter("ab"): ("a", "b")}),
    (values.client_ids, {"shop, https://shop.example": ("shop", "https://shop.example")}),
    (values.hosts, {"Jwks.auth.svc, [FD00::1],keycloak": ("jwks.auth.svc", "fd00::1", "keycloak")}),
    (values.flag, {True: True, " TRUE ": True, "on": True, "yes": True, "1": True}),
    (values.flag, {False: False, "No": False, "off": False, "0": False}),
    (values.duration(), {30: 30, 0.5: 0.5, "30": 30, " 1.5 ": 1.5, "0": 0, timedelta(minutes=5): 300}),
    (values.duration(), {"30s": 30, "15m": 900, "15 m": 900, "24h": 86400, "7d": 604800, "2w": 1209600}),
    (values.duration(least=1, most=3600), {"1h": 3600}),
    (values.count(least=0), {"0": 0}),
    (values.count(least=1), {" 12 ": 12, 12: 12}),
    (values.claim, {"tenant": ("tenant", None), "tenant=a=b": ("tenant", "a=b")}),
    (values.claims, {"tenant, email_verified=true": (("tenant", None), ("email_verified", "true"))}),
    (values.type_claim, {"token_use=access": ("token_use", "access"), "*": None}),
    (
        values.token_sources,
        {
            "header": ("header",),
            "cookie:__Host-at, subprotocol": ("cookie:__Host-at", "subprotocol"),
            "header:X-Gateway, header": ("header:X-Gateway", "header"),
        },
    ),
    (values.public_path, {path: path for path in ("/health", "/", "/auth/*")}),
    (values.public_paths, {"/health,/auth/*": ("/health", "/auth/*")}),
    (values.root_path, {"/api/v1/": "/api/v1", "/": ""}),
    (values.resource, {url: url for url in ("https://host/mcp", "https://host:8443", "http://localhost:8000/mcp")}),
    (values.resource, {url: url for url in ("http://127.0.0.1/", "http://[::1]:8000/")}),
]
READ = [(read, value, expected) for read, forms in FORMS for value, expected in forms.items()]

NEITHER: list[tuple[Callable[[Any], Any], list[Any]]] = [
    (values.text, ["", "  ", None, b"a"]),
    (values.quotable, ['a"b', "a\\b", "a\nb", "é", 'x", error="']),
    (values.texts, [1, ["a", 1], b"ab"]),
    (values.client_ids, ["*", "shop,*", 1]),
    (values.hosts, ["http://jwks", "jwks:8080", "*.svc", "a b", "*", "a..b", "jwks/"]),
    (values.flag, ["maybe", "", 2, None]),
    (values.duration(), ["-1", -1, timedelta(seconds=-1), True, None, "", "soon", "1y", "1e3", "1m30s", "inf", inf]),
    (values.duration(), [nan, "٣"]),
    (values.duration(least=1), ["0"]),
    (values.duration(most=300), [10**400, "301", "6m"]),
    (values.count(least=1), ["0", 0]),
    (values.count(least=0), [-1, "-1", "1.5", 1.5, True, "٣", "1" * 13]),
    (values.claim, ["=a", "tenant=", "", " "]),
    (values.claim_name, [1, "", " "]),
    (values.type_claim, ["access", ""]),
    (values.token_sources, ["", "query", "cookie", "cookie:", "cookie:a b", "header:", "header:a b"]),
    (values.token_sources, ["header:Authorization", "header,header:AUTHORIZATION", "Header:x", "subprotocol:x"]),
    (values.public_path, ["health", "", "/a*", "/*/b", "/**", "/a//b", "/a?b"]),
    (values.root_path, ["api", "/api/*"]),
    (values.resource, ["http://host/mcp", "https://", "host/mcp", "https://host/mcp?x=1", "https://host/mcp#x"]),
    (values.resource, ["https://host/mcp#", "https://user:pw@host/mcp", "https://host/m cp", "https://host:0/"]),
    (values.resource, ["https://host:99999/", "https://[::1/", 'https://host/"']),
]
REFUSED = [(read, value) for read, refused in NEITHER for value in refused]


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
