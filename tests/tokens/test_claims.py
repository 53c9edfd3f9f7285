"""What a verified token says, and the rules it has to meet."""

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import pytest
from support.tables import tables_of
from support.tokens import AUDIENCE, ISSUER, LOGOUT_EVENT, NOW, claims

from asgi_jwt import errors
from asgi_jwt.tokens.claims import AuthCredentials, Claims, TokenPolicy, check_claims

ZITADEL = "urn:zitadel:iam:org:project:roles"
POLICY = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE, "other"), algorithms=frozenset({"ES256"}))


ABSENT = object()


def changed(given: dict[str, Any]) -> dict[str, Any]:
    """The claims of an access token with what is given, without what is `ABSENT`."""
    return {name: value for name, value in claims(**given).items() if value is not ABSENT}


def required(name: str, value: str | None) -> dict[str, Any]:
    return {"required_claims": ((name, value),)}


def test_properties_read_the_registered_claims() -> None:
    """A `Claims` names what every token says, is Starlette's `BaseUser`, and a mapping of all; its repr shows who."""
    user = Claims(claims(sid="s1", roles=["admin"], scope="a b"))
    assert (user.subject, user.session_id, user.issuer, user.expires_at) == ("alice", "s1", ISSUER, NOW + 600)
    assert user.scopes == {"a", "b"}
    assert user.credentials.scopes == ("a", "b")
    assert user.roles == {"admin"}
    assert (user.is_authenticated, user.identity, user.display_name) == (True, "alice", "alice")
    assert (dict(user), len(user)) == ({**claims(sid="s1", scope="a b"), "roles": ("admin",)}, 10)
    assert repr(user) == "<Claims of 'alice'>"
    assert Claims(claims()).session_id is None


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"name": "Alice A.", "email": "a@example"}, "Alice A."),
        ({"preferred_username": "al", "email": "a@example"}, "al"),
        ({"name": "", "email": "a@example"}, "a@example"),
        ({"name": 1}, "alice"),
    ],
)
def test_display_name_is_the_best_there_is(given: dict[str, Any], shown: str) -> None:
    """The name shown is the first of OpenID Connect's names that is text, else the subject."""
    assert Claims(claims(**given)).display_name == shown


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("a b", ("a", "b")),
        (" a  b ", ("a", "b")),
        ("", ()),
        (["a", "b c"], ("a", "b c")),
        (["a", 1, None], ("a",)),
        *((nothing, ()) for nothing in (None, 1, {"a": True})),
    ],
)
def test_scopes_are_text_or_a_list(scope: object, scopes: tuple[str, ...]) -> None:
    """Scopes are a space-separated string or a list of strings, and nothing else; the claim may be found by a path."""
    assert Claims(claims(scp=scope), scope_claim="scp").credentials.scopes == scopes
    assert Claims(claims(**{"com.acme": {"scp": scope}}), scope_claim='"com.acme".scp').credentials.scopes == scopes


@pytest.mark.parametrize(
    ("given", "name", "roles"),
    [
        ({"roles": ["a", "b"]}, "roles", {"a", "b"}),
        ({"roles": "on call"}, "roles", {"on call"}),
        ({"roles": ["a", 1]}, "roles", {"a"}),
        ({"roles": {"a": True}}, "roles", set()),
        ({}, "roles", set()),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"realm_access": ["a"]}, "realm_access.roles", set()),
        ({}, "realm_access.roles", set()),
        ({"https://app.example/roles": ["a"]}, "https://app.example/roles", {"a"}),
        ({"resource_access": {"com.acme.web": {"roles": ["a"]}}}, 'resource_access."com.acme.web".roles', {"a"}),
        ({ZITADEL: {"a": {"7": "acme.example"}, "b": {}}}, ZITADEL, {"a", "b"}),
    ],
)
def test_roles_are_found_by_name_or_by_path(given: dict[str, Any], name: str, roles: set[str]) -> None:
    """The claim of that very name gives the roles, else what its dots lead to."""
    assert Claims(claims(**given), roles_claim=name).roles == roles


NESTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"audience_claim": "for.service"}, {"for": {"service": AUDIENCE}}),
    ({"type": ('"com.acme".use', "access")}, {"com.acme": {"use": "access"}}),
    ({"required_claims": (('"kubernetes.io".pod', "p"),)}, {"kubernetes.io": {"pod": "p"}}),
    ({"required_claims": (("org.id", None),)}, {"org": {"id": None}}),
]


@pytest.mark.parametrize(("changes", "given"), NESTED)
def test_every_claim_setting_takes_a_path(changes: dict[str, Any], given: dict[str, Any]) -> None:
    """Audience, type and required claims may lie within objects, as scopes and roles may."""
    policy = replace(POLICY, **{"type": None, **changes})
    check_claims(claims(**given), policy, NOW)
    with pytest.raises(errors.InvalidToken):
        check_claims(claims(), policy, NOW)


def test_to_dict_is_a_fresh_plain_copy() -> None:
    """A change to what `Claims` were made of, or give out, leaves them; nesting past the depth is a `ValueError`."""
    given: dict[str, Any] = claims(groups=[{"names": ["staff"]}])
    user, plain = Claims(given), Claims(given).to_dict()
    assert plain == given
    for changed in (given, user.to_dict()):
        changed["groups"][0]["names"].append("admin")
    assert user.to_dict() == plain
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(ValueError, match="deep"):
        Claims({"x": deep})


def write(name: str, user: object) -> None:
    setattr(user, name, "groups")


ATTACKS: dict[str, Callable[[Any], object]] = {
    "item assignment": lambda user: user.__setitem__("roles", ["admin"]),
    "item deletion": lambda user: user.__delitem__("exp"),
    "update": lambda user: user.update(roles=["admin"]),
    "setdefault": lambda user: user.setdefault("admin", True),
    "pop": lambda user: user.pop("exp"),
    "clear": lambda user: user.clear(),
    "|=": lambda user: user.__ior__({"roles": ["admin"]}),
    "list append": lambda user: user["groups"].append("admin"),
    "list +=": lambda user: user["groups"].__iadd__(["admin"]),
    "list item": lambda user: user["groups"].__setitem__(0, "admin"),
    "inner list append": lambda user: user["tenant"]["owners"].append("alice"),
    "inner item assignment": lambda user: user["tenant"].__setitem__("plan", "gold"),
    "inner item deletion": lambda user: user["tenant"].__delitem__("plan"),
    "inner |=": lambda user: user["tenant"].__ior__({"plan": "gold"}),
    "inner clear": lambda user: user["tenant"].clear(),
    "inner pop": lambda user: user["tenant"].pop("plan"),
    "inner popitem": lambda user: user["tenant"].popitem(),
    "inner setdefault": lambda user: user["tenant"].setdefault("admin", True),
    "inner update": lambda user: user["tenant"].update(plan="gold"),
    "inner attribute": lambda user: setattr(user["tenant"], "plan", "gold"),
    "members": lambda user: user._members.__setitem__("roles", ("admin",)),
    "property": lambda user: setattr(user, "scopes", frozenset({"admin"})),
    "class": lambda user: setattr(user, "__class__", dict),
    "deletion": lambda user: delattr(user, "_members"),
    "__dict__": lambda user: user.__dict__.update(admin=True),
    "vars": lambda user: vars(user),
    "scopes add": lambda user: user.scopes.add("admin"),
    "roles add": lambda user: user.roles.add("admin"),
    "credentials scopes append": lambda user: user.credentials.scopes.append("admin"),
    "credentials scopes": lambda user: setattr(user.credentials, "scopes", ("admin",)),
    "credentials attribute": lambda user: setattr(user.credentials, "admin", True),
    "credentials item": lambda user: user.credentials.__setitem__(0, ("admin",)),
    "credentials __dict__": lambda user: user.credentials.__dict__.update(admin=True),
    **{name: partial(write, name) for name in ("admin", "_members", "_roles_claim", "credentials")},
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_no_handler_can_change_claims(attack: Callable[[Any], object]) -> None:
    """One instance serves every request with the token: a handler that writes to it fails, and changes nothing."""
    content = claims(groups=["staff"], tenant={"plan": "free", "owners": ["bob"]}, scope="a", roles=["r"])
    user = Claims(content)
    with pytest.raises((AttributeError, TypeError)):
        attack(user)
    assert user.to_dict() == content
    assert (user.credentials.scopes, *user.scopes, *user.roles) == (("a",), "a", "r")


def test_a_member_is_a_copy() -> None:
    """`dict.__setitem__` and `obj.__dict__ = member` write past a dict's own methods, and don't reach the claims.

    What `|` and `copy` make of a claim belongs to the handler.
    """
    user = Claims(claims(realm={"roles": ["r"], "inner": [{"a": 1}]}), roles_claim="realm.roles")
    dict.__setitem__(user["realm"], "roles", ("admin",))
    (user["realm"] | {})["roles"] = ()
    copy.copy(user["realm"].copy())["roles"] = ()
    for member in (user["realm"]["inner"][0], dict(user)["realm"], user["realm"], dict(user.items())["realm"]):
        dict.clear(member)
    for member in filter(lambda member: isinstance(member, dict), user.values()):
        dict.clear(member)
    assert user.roles == {"r"}
    assert user["realm"] == {"roles": ("r",), "inner": ({"a": 1},)}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda user: pickle.loads(pickle.dumps(user))])  # noqa: S301
def test_claims_can_be_copied(copied: Callable[[Claims], Claims]) -> None:
    """A copy, a deep copy and unpickled claims say the same as the first, and are read-only."""
    given = claims(realm={"roles": ["r"]}, scp=["a", "b c"])
    user = Claims(given, roles_claim="realm.roles", scope_claim="scp")
    again = copied(user)
    assert type(again) is Claims
    assert (again.to_dict(), again.roles, again.credentials) == (given, frozenset({"r"}), user.credentials)
    assert type(again.credentials) is AuthCredentials
    with pytest.raises(AttributeError):
        again.credentials = AuthCredentials(("admin",))


def test_pydantic_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pydantic is not loaded, claims have no serializer of it, and who looks at all attributes meets no error."""
    user = Claims(claims())
    monkeypatch.setitem(sys.modules, "pydantic_core", import_module("pydantic_core"))
    assert hasattr(user, "__pydantic_serializer__")
    monkeypatch.delitem(sys.modules, "pydantic_core")
    assert not hasattr(user, "__pydantic_serializer__")


def test_claims_made_once_stay() -> None:
    """Calling `__init__` again, or asking the credentials for another version, changes nothing that is shared."""
    user: Any = Claims(claims(scope="a"))
    user.__init__({"sub": "admin"})
    user.credentials.__init__(("admin",))
    user.credentials._replace(scopes=("admin",))
    assert (user.subject, user.credentials.scopes) == ("alice", ("a",))


@pytest.mark.parametrize("leeway", [0, 30, 2.5])
def test_times_hold_to_the_second_with_the_leeway(leeway: float) -> None:
    """`exp + leeway > now`, `nbf - leeway <= now`, `iat - leeway <= now`, each to the edge, and with fractions."""
    policy = replace(POLICY, leeway=leeway)

    def check(now: float, **times: Any) -> tuple[float, float]:
        return check_claims(claims(**times), policy, now)

    assert check(NOW, exp=NOW + 0.5, iat=NOW - 0.5) == (NOW - 0.5 - leeway, NOW + 0.5 + leeway)
    assert check(NOW + 10 - leeway, nbf=NOW + 10) == (NOW + 10 - leeway, NOW + 600 + leeway)
    check(NOW + 599.5 + leeway)
    check(NOW - leeway)
    for now, times, refusal in (
        (NOW + 600 + leeway, {}, errors.ExpiredToken),
        (NOW + 9.5 - leeway, {"nbf": NOW + 10}, errors.ImmatureToken),
        (NOW - 0.5 - leeway, {}, errors.IssuedInFuture),
    ):
        with pytest.raises(refusal):
            check(now, **times)


ELSEWHERE: dict[str, Any] = {"audience_claim": "client_id", "type": ("token_use", "access")}
UNTYPED: dict[str, Any] = {"type": None}
EVENTS: tuple[object, ...] = ({}, {"https://event.example": {}}, None, LOGOUT_EVENT, 1)
MET: list[tuple[dict[str, Any], dict[str, Any]]] = [
    *(({}, {"aud": audience}) for audience in (AUDIENCE, "other", [AUDIENCE], ["third", "other"], (AUDIENCE,))),
    *(({}, {name: named}) for name in ("jti", "sid") for named in ("1", "", ABSENT)),
    *((policy, {"events": events}) for policy in ({}, UNTYPED) for events in EVENTS),
    ({"audience": None}, {"aud": ABSENT}),
    (UNTYPED, {"type": ABSENT}),
    (ELSEWHERE, {"aud": ABSENT, "client_id": AUDIENCE, "token_use": "access"}),
    (required("tenant", None), {"tenant": None}),
    (required("tenant", "a"), {"tenant": "a"}),
    (required("email_verified", "true"), {"email_verified": True}),
    (required("level", "3"), {"level": 3}),
    (required("level", "0.5"), {"level": 0.5}),
]


@pytest.mark.parametrize(("policy", "given"), MET)
def test_claims_that_meet_the_policy(policy: dict[str, Any], given: dict[str, Any]) -> None:
    """One common audience is enough; `jti` and `sid` may be absent; the policy may name other claims, or check none.

    A required claim is met by being there, or by the value asked for: text, or a boolean's or number's JSON.
    """
    check_claims(changed(given), replace(POLICY, **policy), NOW)


BOUND: tuple[object, ...] = tables_of(__file__)["bound"]
NOT_MET: list[tuple[dict[str, Any], dict[str, Any], type[errors.InvalidToken]]] = [
    (UNTYPED, {"events": {LOGOUT_EVENT: {}}}, errors.WrongType),
    *((UNTYPED, {"cnf": cnf}, errors.WrongClaim) for cnf in BOUND),
    (ELSEWHERE, {"token_use": "access"}, errors.MissingClaim),
    (ELSEWHERE, {"client_id": AUDIENCE, "token_use": "id"}, errors.WrongType),
    (required("tenant", None), {}, errors.MissingClaim),
    (required("tenant", "a"), {}, errors.MissingClaim),
    (required("tenant", "a"), {"tenant": "b"}, errors.WrongClaim),
    (required("tenant", "a"), {"tenant": ["a"]}, errors.WrongClaim),
    (required("email_verified", "true"), {"email_verified": False}, errors.WrongClaim),
    (required("email_verified", "true"), {"email_verified": 1}, errors.WrongClaim),
    (required("level", "1"), {"level": True}, errors.WrongClaim),
    (required("tenant", "null"), {"tenant": None}, errors.WrongClaim),
]


@pytest.mark.parametrize(("policy", "given", "refusal"), NOT_MET)
def test_claims_that_do_not_meet_the_policy(
    policy: dict[str, Any], given: dict[str, Any], refusal: type[errors.InvalidToken]
) -> None:
    """A required claim that is absent or has another value is refused, `1` being no `true`.

    A logout token (Back-Channel Logout 1.0 section 2.4) and one bound to a key (RFC 7800 section 3.1), which needs a
    proof that is not checked here, are refused whatever the policy asks; the forgeries have them with a type.
    """
    with pytest.raises(refusal):
        check_claims(changed(given), replace(POLICY, **policy), NOW)
