"""What a verified token says, and the rules it has to meet."""

import copy
import pickle
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from support.tokens import AUDIENCE, ISSUER, LOGOUT_EVENT, NOW, claims, without

from asgi_jwt.errors import (
    ExpiredToken,
    ImmatureToken,
    InvalidToken,
    IssuedInFuture,
    MalformedClaims,
    MissingClaim,
    WrongAudience,
    WrongClaim,
    WrongIssuer,
    WrongType,
)
from asgi_jwt.tokens.claims import AuthCredentials, Claims, TokenPolicy, check_claims

ZITADEL = "urn:zitadel:iam:org:project:roles"
POLICY = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE, "other"), algorithms=frozenset({"ES256"}))


def test_properties_read_the_registered_claims() -> None:
    """A `Claims` names what every token says, and is a mapping of all of it."""
    user = Claims(claims(sid="s1", roles=["admin"], scope="a b"))
    assert (user.subject, user.session_id, user.issuer, user.expires_at) == ("alice", "s1", ISSUER, NOW + 600)
    assert user.scopes == {"a", "b"}
    assert user.credentials.scopes == ("a", "b")
    assert user.roles == {"admin"}
    assert dict(user) == {**claims(sid="s1", scope="a b"), "roles": ("admin",)}
    assert len(user) == 10
    assert Claims(claims()).session_id is None


def test_claims_are_the_user_that_starlette_asks_for() -> None:
    """A `Claims` has the shape of Starlette's `BaseUser`."""
    user = Claims(claims())
    assert user.is_authenticated is True
    assert user.identity == user.display_name == "alice"


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


def test_repr_shows_the_subject_alone() -> None:
    """A log line with a `Claims` in it tells who, and no other claim."""
    assert repr(Claims(claims(email="a@example"))) == "<Claims of 'alice'>"


@pytest.mark.parametrize(
    ("scope", "scopes"),
    [
        ("a b", ("a", "b")),
        (" a  b ", ("a", "b")),
        ("", ()),
        (["a", "b c"], ("a", "b c")),
        (["a", 1, None], ("a",)),
        (None, ()),
        (1, ()),
        ({"a": True}, ()),
    ],
)
def test_scopes_are_text_or_a_list(scope: object, scopes: tuple[str, ...]) -> None:
    """Scopes are a space-separated string or a list of strings, and nothing else grants any."""
    assert Claims(claims(scp=scope), scope_claim="scp").credentials.scopes == scopes


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
    with pytest.raises(InvalidToken):
        check_claims(claims(), policy, NOW)


def test_scopes_are_found_by_path() -> None:
    """`SCOPE_CLAIM` may be a path."""
    given = claims(**{"com.acme": {"scp": "a b"}})
    assert Claims(given, scope_claim='"com.acme".scp').credentials.scopes == ("a", "b")


def test_to_dict_is_a_fresh_plain_copy() -> None:
    """What a handler does to the copy changes nothing in the claims."""
    user = Claims(claims(groups=[{"names": ["staff"]}]))
    plain = user.to_dict()
    assert plain == claims(groups=[{"names": ["staff"]}])
    plain["groups"][0]["names"].append("admin")
    assert user.to_dict() == claims(groups=[{"names": ["staff"]}])


def test_claims_are_a_copy_of_what_they_are_made_of() -> None:
    """The mapping that a `Claims` was made of can change without it."""
    groups = ["staff"]
    user = Claims(claims(groups=groups))
    groups.append("admin")
    assert user["groups"] == ("staff",)


def test_claims_too_deep_raise() -> None:
    """Claims that nest past the limit are a `ValueError`."""
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueError, match="deep"):
        Claims({"x": deep})


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
    "inner item assignment": lambda user: user["tenant"].__setitem__("plan", "gold"),
    "inner list append": lambda user: user["tenant"]["owners"].append("alice"),
    "inner update": lambda user: user["tenant"].update(plan="gold"),
    "members": lambda user: user._members.__setitem__("roles", ("admin",)),
    "new attribute": lambda user: setattr(user, "admin", True),
    "attribute": lambda user: setattr(user, "_members", {"sub": "admin"}),
    "property": lambda user: setattr(user, "scopes", frozenset({"admin"})),
    "roles claim": lambda user: setattr(user, "_roles_claim", "groups"),
    "credentials": lambda user: setattr(user, "credentials", None),
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
    """`dict.__setitem__` and `obj.__dict__ = member` write past a dict's own methods, and don't reach the claims."""
    user = Claims(claims(realm={"roles": ["r"], "inner": [{"a": 1}]}), roles_claim="realm.roles")
    dict.__setitem__(user["realm"], "roles", ("admin",))
    dict.clear(user["realm"]["inner"][0])
    dict.clear(dict(user)["realm"])
    for member in user.values():
        if isinstance(member, dict):
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


@pytest.mark.parametrize("initialize", ["__init__", "_replace"])
def test_claims_made_once_stay(initialize: str) -> None:
    """Calling `__init__` again, or asking the credentials for another version, changes nothing that is shared."""
    user: Any = Claims(claims(scope="a"))
    if initialize == "__init__":
        user.__init__({"sub": "admin"})
        user.credentials.__init__(("admin",))
    else:
        user.credentials._replace(scopes=("admin",))
    assert user.subject == "alice"
    assert user.credentials.scopes == ("a",)


def test_unions_and_copies_of_what_is_inside_are_separate() -> None:
    """What `|` and `copy` make of a claim belongs to the handler, and leaves the claim as it was."""
    user = Claims(claims(tenant={"plan": "free"}))
    (user["tenant"] | {})["plan"] = "gold"
    copy.copy(user["tenant"].copy())["plan"] = "gold"
    assert user["tenant"]["plan"] == "free"


@pytest.mark.parametrize("leeway", [0, 30, 2.5])
def test_times_hold_to_the_second_with_the_leeway(leeway: float) -> None:
    """`exp + leeway > now`, `nbf - leeway <= now` and `iat - leeway <= now`, each to the edge."""
    policy = replace(POLICY, leeway=leeway)

    def check(now: float, **times: Any) -> tuple[float, float]:
        return check_claims({**claims(), "iat": NOW, **times}, policy, now)

    assert check(NOW, exp=NOW + 600) == (NOW - leeway, NOW + 600 + leeway)
    check(NOW + 599.5 + leeway)
    with pytest.raises(ExpiredToken):
        check(NOW + 600 + leeway)
    assert check(NOW + 10 - leeway, nbf=NOW + 10) == (NOW + 10 - leeway, NOW + 600 + leeway)
    with pytest.raises(ImmatureToken):
        check(NOW + 9.5 - leeway, nbf=NOW + 10)
    check(NOW - leeway)
    with pytest.raises(IssuedInFuture):
        check(NOW - 0.5 - leeway)


def test_times_may_have_fractions() -> None:
    """A NumericDate may hold fractions of a second (RFC 7519 section 2)."""
    assert check_claims(claims(exp=NOW + 0.5, iat=NOW - 0.5), POLICY, NOW) == (NOW - 30.5, NOW + 30.5)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "time", [True, False, "1", None, [], {}, float("nan"), float("inf"), -float("inf"), 1e300, 2**63, -(10**400)]
)
def test_times_are_finite_numbers(name: str, time: object) -> None:
    """A time that is a boolean, a string or out of all reach is refused as malformed."""
    with pytest.raises(MalformedClaims):
        check_claims(claims(**{name: time}), POLICY, NOW)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"iss": "https://issuer.example.thief"}, WrongIssuer),
        ({"iss": [ISSUER]}, WrongIssuer),
        ({"aud": "third"}, WrongAudience),
        ({"aud": ["third", "fourth"]}, WrongAudience),
        ({"aud": []}, MalformedClaims),
        ({"aud": [AUDIENCE, 1]}, MalformedClaims),
        ({"aud": [1, AUDIENCE]}, MalformedClaims),
        ({"aud": 1}, MalformedClaims),
        ({"sub": ""}, MalformedClaims),
        ({"sub": ["alice"]}, MalformedClaims),
        ({"type": "refresh"}, WrongType),
    ],
)
def test_each_claim_that_is_wrong_has_its_refusal(changes: dict[str, Any], refusal: type[InvalidToken]) -> None:
    """A claim that does not meet the policy is refused by the error that names it."""
    with pytest.raises(refusal):
        check_claims(claims(**changes), POLICY, NOW)


@pytest.mark.parametrize("name", ["exp", "iss", "aud", "sub"])
def test_required_claims_have_to_be_there(name: str) -> None:
    """Without expiry, issuer, audience or subject a token is no access token, and the log is told which it lacks."""
    with pytest.raises(MissingClaim) as refused:
        check_claims(without(name), POLICY, NOW)
    assert refused.value.detail == name


@pytest.mark.parametrize("name", ["jti", "sid"])
def test_a_token_and_its_session_are_named_by_strings(name: str) -> None:
    """`jti` and `sid` are absent or strings: any other could not be revoked (RFC 7519 section 4.1.7)."""
    check_claims(without(name), POLICY, NOW)
    for named in ("1", ""):
        check_claims(claims(**{name: named}), POLICY, NOW)
    others: tuple[object, ...] = (1, 1.5, True, None, ["1"], ("1",), {})
    for other in others:
        with pytest.raises(MalformedClaims):
            check_claims(claims(**{name: other}), POLICY, NOW)


@pytest.mark.parametrize("type_claim", [("type", "access"), None])
def test_a_logout_token_is_no_access_token(type_claim: tuple[str, str] | None) -> None:
    """The logout event in `events` refuses a token, whatever the policy asks (Back-Channel Logout 1.0 section 2.4)."""
    policy = replace(POLICY, type=type_claim)
    with pytest.raises(WrongType):
        check_claims(claims(events={LOGOUT_EVENT: {}}), policy, NOW)
    others: tuple[object, ...] = ({}, {"https://event.example": {}}, None, LOGOUT_EVENT, 1)
    for events in others:
        check_claims(claims(events=events), policy, NOW)


@pytest.mark.parametrize("confirmation", [{"jkt": "x"}, {"x5t#S256": "x"}, {"jwk": {}}, {}, None, "jkt"])
def test_a_token_bound_to_a_key_is_refused(confirmation: object) -> None:
    """A token with `cnf` needs a proof that is not checked here (RFC 7800 section 3.1), whoever issued it."""
    for policy in (POLICY, replace(POLICY, type=None)):
        with pytest.raises(WrongClaim):
            check_claims(claims(cnf=confirmation), policy, NOW)


@pytest.mark.parametrize("audience", [AUDIENCE, "other", [AUDIENCE], ["third", "other"], (AUDIENCE,)])
def test_one_common_audience_is_enough(audience: object) -> None:
    """`aud` meets the policy when any of its members is among the expected ones."""
    check_claims(claims(aud=audience), POLICY, NOW)


def test_checks_can_be_switched_off_by_name_alone() -> None:
    """No audience is checked where the policy has None, and no type claim where it has None."""
    check_claims(without("aud"), replace(POLICY, audience=None), NOW)
    check_claims(without("type"), replace(POLICY, type=None), NOW)


def test_audience_and_type_may_be_other_claims() -> None:
    """The policy names the claims in which other issuers put the audience and the kind of token."""
    policy = replace(POLICY, audience_claim="client_id", type=("token_use", "access"))
    check_claims({**without("aud"), "client_id": AUDIENCE, "token_use": "access"}, policy, NOW)
    with pytest.raises(MissingClaim):
        check_claims(claims(token_use="access"), policy, NOW)
    with pytest.raises(WrongType):
        check_claims(claims(client_id=AUDIENCE, token_use="id"), policy, NOW)


@pytest.mark.parametrize(
    ("required", "given"),
    [
        (("tenant", None), {"tenant": None}),
        (("tenant", "a"), {"tenant": "a"}),
        (("email_verified", "true"), {"email_verified": True}),
        (("level", "3"), {"level": 3}),
        (("level", "0.5"), {"level": 0.5}),
    ],
)
def test_further_claims_that_are_required_and_there(required: tuple[str, str | None], given: dict[str, Any]) -> None:
    """A required claim is met by being there, or by the value asked for: text, or a boolean's or number's JSON."""
    check_claims(claims(**given), replace(POLICY, required_claims=(required,)), NOW)


@pytest.mark.parametrize(
    ("required", "given", "refusal"),
    [
        (("tenant", None), {}, MissingClaim),
        (("tenant", "a"), {}, MissingClaim),
        (("tenant", "a"), {"tenant": "b"}, WrongClaim),
        (("tenant", "a"), {"tenant": ["a"]}, WrongClaim),
        (("email_verified", "true"), {"email_verified": False}, WrongClaim),
        (("email_verified", "true"), {"email_verified": 1}, WrongClaim),
        (("level", "1"), {"level": True}, WrongClaim),
        (("tenant", "null"), {"tenant": None}, WrongClaim),
    ],
)
def test_further_claims_that_are_required_and_not_met(
    required: tuple[str, str | None], given: dict[str, Any], refusal: type[InvalidToken]
) -> None:
    """A required claim that is absent or has another value is refused, `1` being no `true`."""
    with pytest.raises(refusal):
        check_claims(claims(**given), replace(POLICY, required_claims=(required,)), NOW)
