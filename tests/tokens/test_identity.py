"""Whom a token is issued for."""

from typing import Any

import pytest

from asgi_jwt.tokens.identity import RESERVED, Identity


def test_scopes_come_as_text_or_as_a_list() -> None:
    """Scopes in a string are split at its spaces, an iterable's are taken one by one, and each stays once."""
    assert Identity("alice", scopes="a  b a").scopes == ("a", "b")
    assert Identity("alice", scopes=iter(["a", "b", "a", ""])).scopes == ("a", "b")
    assert Identity("alice").scopes == ()


def test_a_single_role_may_be_a_text_with_spaces() -> None:
    """A string is one role, whatever it holds: roles are no space-separated list."""
    assert Identity("alice", roles="on call").roles == ("on call",)
    assert Identity("alice", roles=["a", "b", "a"]).roles == ("a", "b")


def test_claims_are_a_frozen_copy() -> None:
    """What the host does to its own objects later changes no identity, and the identity's can't be changed."""
    groups = ["staff"]
    identity = Identity("alice", claims={"groups": groups})
    groups.append("admin")
    assert identity.claims == {"groups": ("staff",)}
    with pytest.raises(TypeError):
        identity.claims["groups"] = ()  # type: ignore[index]
    with pytest.raises(AttributeError):
        identity.subject = "bob"  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_claims_raise_at_once(name: str) -> None:
    """A claim that the issuer sets can't come from the host, which would let it forge `sub` or `type`."""
    with pytest.raises(ValueError, match=name):
        Identity("alice", claims={name: "x"})


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"subject": 1}, TypeError),
        ({"subject": None}, TypeError),
        ({"subject": b"alice"}, TypeError),
        ({"subject": ""}, ValueError),
        ({"client_id": 1}, TypeError),
        ({"scopes": [1]}, TypeError),
        ({"scopes": ["a b"]}, ValueError),
        ({"roles": [None]}, TypeError),
        ({"claims": {1: "x"}}, TypeError),
        ({"claims": {"x": object()}}, TypeError),
        ({"claims": {"x": {1, 2}}}, TypeError),
        ({"claims": {"x": float("nan")}}, ValueError),
        ({"claims": {"x": float("inf")}}, ValueError),
    ],
)
def test_what_can_be_no_token_raises_at_once(arguments: dict[str, Any], fault: type[Exception]) -> None:
    """A subject, scope or role that is no string, a scope with a space, and claims that are no JSON are refused."""
    with pytest.raises(fault):
        Identity(**{"subject": "alice", **arguments})


def test_subject_and_client_are_kept_as_they_are() -> None:
    """The subject and the client stay as the host gave them."""
    identity = Identity("  Alice ", client_id="app")
    assert (identity.subject, identity.client_id) == ("  Alice ", "app")


@pytest.mark.parametrize("claims", [{1: "x"}, {"m": {1: "x", "1": "y"}}, {"m": [{None: 1}]}])
def test_names_of_claims_are_strings_at_every_depth(claims: Any) -> None:
    """What JSON would rename, and so perhaps double, is no claim."""
    with pytest.raises(TypeError, match="names are strings"):
        Identity("alice", claims=claims)
