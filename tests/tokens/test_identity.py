"""Whom a token is issued for."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

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


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    born: date


GIVEN: list[tuple[dict[str, Any], str]] = [
    ({"subject": UUID(int=1)}, "subject is a string, not UUID: str(user.id)"),
    ({"subject": 7}, "subject is a string, not int: str(user.id)"),
    ({"subject": None}, "subject is a string, not None"),
    ({"subject": b"alice"}, "subject is a string, not bytes"),
    ({"remember": "no"}, "remember is True or False, not str"),
    ({"remember": None}, "remember is True or False, not None"),
    ({"subject": ""}, "subject"),
    ({"client_id": 1}, "client_id is a string, not int"),
    ({"client_id": UUID(int=1)}, "client_id is a string, not UUID"),
    ({"scopes": [1]}, "scopes are a string or a list of strings, and one in the list is int"),
    ({"scopes": ["a b"]}, "scope"),
    ({"roles": [None]}, "roles are a string or a list of strings, and one in the list is None"),
    ({"scopes": None}, "scopes are a string or a list of strings, not None"),
    ({"scopes": {"orders:write": False}}, "scopes are a string or a list of strings, not dict"),
    ({"scopes": b"a"}, "scopes are a string or a list of strings, not bytes"),
    ({"scopes": [Colour.RED]}, "scopes are a string or a list of strings, and one in the list is Colour"),
    ({"roles": 1}, "roles are a string or a list of strings, not int"),
    ({"roles": {"admin": False}}, "roles are a string or a list of strings, not dict"),
    ({"claims": "x"}, "claims are a mapping of names to JSON values, not str"),
    ({"claims": None}, "claims are a mapping of names to JSON values, not None"),
    ({"claims": [("x", 1)]}, "claims are a mapping of names to JSON values, not list"),
    ({"claims": {1: "x"}}, "names are strings"),
    ({"claims": {"m": {1: "x", "1": "y"}}}, "names are strings"),
    ({"claims": {"m": [{None: 1}]}}, "names are strings"),
    ({"claims": {"x": object()}}, "the claim x is JSON, not object"),
    ({"claims": {"x": float("inf")}}, "the claim x is inf"),
    ({"claims": {"id": UUID(int=1)}}, "the claim id is JSON, not UUID: give str(value)"),
    ({"claims": {"a": {"b": [datetime.now(UTC)]}}}, "the claim a.b is JSON, not datetime: give value.isoformat()"),
    ({"claims": {"a": date(2000, 1, 1)}}, "the claim a is JSON, not date: give value.isoformat()"),
    ({"claims": {"a": {1, 2}}}, "the claim a is JSON, not set: give sorted(value)"),
    ({"claims": {"a": b"b"}}, "the claim a is JSON, not bytes: give value.decode()"),
    ({"claims": {"a": Decimal(1)}}, "the claim a is JSON, not Decimal: give str(value)"),
    ({"claims": {"a": Colour.RED}}, "the claim a is JSON, not Colour: give text"),
    ({"claims": {"a": Model(born=date(2000, 1, 1))}}, "the claim a is JSON, not Model: give text"),
    ({"claims": {"a": float("nan")}}, "the claim a is nan"),
    ({"claims": {"a": [{7: 1}]}}, "one of the claims within a has a name of int"),
    ({"claims": {"a": ["x\ud83d"]}}, "a lone surrogate in an Identity's claims"),
    ({"claims": {"a": {"\udc00": {}}}}, "a lone surrogate in an Identity's claims"),
    *(({name: "\ud83d"}, "a lone surrogate") for name in ("subject", "client_id", "scopes", "roles", "acr", "amr")),
]


@pytest.mark.parametrize(("arguments", "told"), GIVEN)
def test_the_error_names_the_argument_and_the_mend(arguments: dict[str, Any], told: str) -> None:
    """The error says which argument or claim is wrong, of which type it is, and what to give; no value is in it."""
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        Identity(**{"subject": "alice", **arguments})


def test_subject_and_client_are_kept_as_they_are() -> None:
    """The subject and the client stay as the host gave them."""
    identity = Identity("  Alice ", client_id="app")
    assert (identity.subject, identity.client_id) == ("  Alice ", "app")
