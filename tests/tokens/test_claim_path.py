"""Paths to claims, whose names may hold dots."""

from typing import Any

import pytest

from asgi_jwt.tokens.claim_path import find_claim, place_claim, split_path

KEYCLOAK = {"resource_access": {"com.acme.web": {"roles": ["admin"]}}, "kubernetes.io": {"pod": {"name": "p"}}}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("scope", ("scope",)),
        ("realm_access.roles", ("realm_access", "roles")),
        ('resource_access."com.acme.web".roles', ("resource_access", "com.acme.web", "roles")),
        ("resource_access.'com.acme.web'.roles", ("resource_access", "com.acme.web", "roles")),
        ('"kubernetes.io".pod.name', ("kubernetes.io", "pod", "name")),
        ('"kubernetes.io"', ("kubernetes.io",)),
        ("https://acme.example/roles", ("https://acme.example/roles",)),
        ('"https://acme.example/app".roles', ("https://acme.example/app", "roles")),
        ("a..b", ("a..b",)),
        ('a."b', ('a."b',)),
        ("", ("",)),
    ],
)
def test_paths_are_split_at_dots_outside_of_quotes(path: str, names: tuple[str, ...]) -> None:
    """A name in quotation marks keeps its dots; a URL, and text that is no path, is one name."""
    assert split_path(path) == names


@pytest.mark.parametrize(
    ("claims", "path", "found"),
    [
        (KEYCLOAK, 'resource_access."com.acme.web".roles', ["admin"]),
        (KEYCLOAK, "resource_access.com.acme.web.roles", "absent"),
        (KEYCLOAK, '"kubernetes.io".pod.name', "p"),
        (KEYCLOAK, "kubernetes.io", {"pod": {"name": "p"}}),
        ({"a.b": 1, "a": {"b": 2}}, "a.b", 1),
        ({"a": {"b": None}}, "a.b", None),
        *((each, "a.b", "absent") for each in list[dict[str, Any]]([{"a": ["b"]}, {"a": 1}, {"a": {}}, {}])),
    ],
)
def test_claims_are_found(claims: dict[str, Any], path: str, found: object) -> None:
    """A claim of the very name counts before the one that the path leads to; null is told from one that is absent."""
    assert find_claim(claims, path, "absent") == found
    assert find_claim(claims, path) == (None if found == "absent" else found)


@pytest.mark.parametrize("path", ["a", "a.b", '"a.b".c', 'a."b.c".d', "https://acme.example/roles"])
def test_claims_are_found_where_they_were_placed(path: str) -> None:
    """Issuing and verifying agree on each path, and objects on the way are copied."""
    shared = {"x": 1}
    payload: dict[str, Any] = {"a": shared}
    place_claim(payload, path, ["admin"])
    assert find_claim(payload, path) == ["admin"]
    assert shared == {"x": 1}
