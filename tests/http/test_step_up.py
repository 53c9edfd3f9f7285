"""A route may ask for a login that is recent, or of a certain kind: RFC 9470."""

from typing import Any

import pytest
from support.app import COOKIE, Recorder, Service, exchange, http_scope, make_auth, payload, websocket_scope
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET, genuine_token, jwks, keys_auth

from asgi_jwt import Auth, Claims, Credentials, Identity, JWTMiddleware, RequireMiddleware, Settings, require
from asgi_jwt.errors import InsufficientAuthentication
from asgi_jwt.http.require import Require
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

STRONG = require(acr=["phr", "phrh"])
RECENT = require(max_age=300)
CHALLENGE = (
    'Bearer realm="api", error="insufficient_user_authentication", '
    'error_description="A more recent or a stronger login is required"'
)


LOGINS: list[tuple[Require, dict[str, Any], bool]] = [
    (STRONG, {"acr": "phr"}, True),
    (STRONG, {"acr": "phrh"}, True),
    *((STRONG, {"acr": acr}, False) for acr in ("", "ph", "phr phrh", ["phr"], {"phr": 1}, 1, None)),
    (STRONG, {}, False),
    (require(acr="phr"), {"acr": "phr"}, True),
    (require(acr=None, max_age=None), {}, True),
    (RECENT, {"auth_time": NOW - 330}, True),
    (RECENT, {"auth_time": NOW + 30.0}, True),
    (RECENT, {"auth_time": NOW - 330.5}, False),
    *((RECENT, {"auth_time": time}, False) for time in (NOW + 31, str(NOW), True, None, [NOW], 10**400)),
    (RECENT, {}, False),
    (require(max_age=2**40), {"auth_time": True}, False),
    (require(max_age=0), {"auth_time": NOW - 30}, True),
    (require(acr="phr", max_age=300), {"acr": "phr", "auth_time": NOW - 331}, False),
    (require(acr="phr", max_age=300), {"acr": "pwd", "auth_time": NOW}, False),
    (require(acr="phr", max_age=300), {"acr": "phr", "auth_time": NOW}, True),
]


@pytest.mark.parametrize(("required", "login", "suffices"), LOGINS)
async def test_logins(required: Require, login: dict[str, Any], suffices: bool) -> None:
    """Any one of the kinds suffices, exactly as it is spelled; a login is recent for `max_age` and the leeway, and one
    without a time, or from the future, is not."""
    scope = http_scope(headers={"authorization": f"Bearer {genuine_token(**login)}"})
    await exchange(JWTMiddleware(Recorder(), keys_auth()), scope)
    if suffices:
        assert required.check(scope) is scope["claims"]
    else:
        with pytest.raises(InsufficientAuthentication):
            required.check(scope)


@pytest.mark.parametrize(
    ("asked", "parameters"),
    [
        ({"acr": "phr"}, ', acr_values="phr"'),
        ({"acr": ["phr", 'q"'], "max_age": 300}, ', acr_values="phr q?", max_age="300"'),
        ({"max_age": 0}, ', max_age="0"'),
    ],
)
async def test_challenge(asked: dict[str, Any], parameters: str) -> None:
    """The challenge names what would suffice, of requests and of WebSockets (RFC 9470 section 3)."""
    auth = keys_auth()
    app = JWTMiddleware(RequireMiddleware(Recorder(), **asked), auth)
    headers = {"authorization": f"Bearer {genuine_token()}"}
    for scope in (http_scope(headers=headers), websocket_scope(headers=headers)):
        answer = await exchange(app, scope)
        assert (answer.error, answer.challenge) == (
            (401, "insufficient_user_authentication"),
            CHALLENGE + parameters,
        )


MISTAKES: list[tuple[dict[str, Any], type[Exception]]] = [
    *(({"max_age": age}, TypeError) for age in ("300", 1.5, True)),
    ({"max_age": -1}, ValueError),
    *(({"acr": acr}, ValueError) for acr in ("", [], [""], "a b")),
    *(({"acr": acr}, TypeError) for acr in (1, [1], {"phr": 1})),
]


@pytest.mark.parametrize(("asked", "mistake"), MISTAKES)
def test_mistakes(asked: dict[str, Any], mistake: type[Exception]) -> None:
    """What would ask for nothing, or for what no login has, is refused where it is written."""
    with pytest.raises(mistake, match=next(iter(asked))):
        require(**asked)


async def test_end_to_end() -> None:
    """Refused, logged in anew with another `acr`, let in, let in after refreshes, and too old after `max_age`."""

    def authenticate(credentials: Credentials, request: Any) -> Identity:
        code = credentials.get("code")
        return Identity("alice", acr="phr", amr=["pwd", "otp"]) if code else Identity("alice", amr="pwd")

    def load_identity(subject: str, session: Any) -> Identity:
        return Identity(subject, roles=["now"], acr="of no login")

    service = Service(authenticate=authenticate, load_identity=load_identity, settings={"access_ttl": "5m"})
    transfer = JWTMiddleware(RequireMiddleware(Recorder(), acr="phr", max_age=3600), service.auth)

    async def status(token: str) -> int:
        return (await exchange(transfer, http_scope(headers={"authorization": f"Bearer {token}"}))).status

    weak = (await service.login()).json()["access_token"]
    assert "acr" not in payload(weak)
    assert (payload(weak)["amr"], payload(weak)["auth_time"], await status(weak)) == (["pwd"], NOW, 401)
    login = await service.login(code="123456")
    token, cookie = login.json()["access_token"], login.cookie(COOKIE)
    assert await status(token) == 200
    for hours, allowed in ((0.9, 200), (0.1, 200), (0.1, 401)):
        service.clock.turn(hours * 3600)
        refreshed = await service.refresh(cookie)
        cookie = refreshed.cookie(COOKIE)
        claims = payload(refreshed.json()["access_token"])
        assert (claims["acr"], claims["amr"], claims["roles"]) == ("phr", ["pwd", "otp"], ["now"])
        assert (claims["auth_time"], await status(refreshed.json()["access_token"])) == (NOW, allowed)


class Keys:
    """A verifier of API keys, which have no end."""

    async def verify(self, token: str) -> Claims:
        return Claims({"iss": "keys", "sub": "robot", "auth_time": NOW - int(token)})


@pytest.mark.parametrize(("age", "status"), [("330", 200), ("331", 401), ("-30", 200), ("-31", 401)])
async def test_tokens_without_an_end(age: str, status: int) -> None:
    """The age of a login counts for an opaque token without `exp`, too, with `LEEWAY`."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET)
    auth = Auth(settings, verifiers=[Keys()], clock=Clock(NOW))
    app = JWTMiddleware(RequireMiddleware(Recorder(), max_age=300), auth)
    assert (await exchange(app, http_scope(headers={"authorization": f"Bearer {age}"}))).status == status


async def test_leeway_of_the_issuer() -> None:
    """The leeway of `max_age` is that of the token's issuer."""
    other = Settings(issuer="https://op.example", audience=AUDIENCE, keys=jwks(), leeway=100)
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET), issuers=[other], clock=Clock(NOW))
    app = JWTMiddleware(RequireMiddleware(Recorder(), max_age=300), auth)
    token = genuine_token(iss="https://op.example", auth_time=NOW - 400)
    assert (await exchange(app, http_scope(headers={"authorization": f"Bearer {token}"}))).status == 200


async def test_tokens_without_a_session() -> None:
    """A token that is issued outside a session has the `acr` and `amr` of its identity, and no time of a login."""
    claims = await make_auth().verify(make_auth().issuer.access_token(Identity("alice", acr="phr", amr=["hwk"])))
    assert (claims["acr"], list(claims["amr"]), claims.get("auth_time")) == ("phr", ["hwk"], None)
