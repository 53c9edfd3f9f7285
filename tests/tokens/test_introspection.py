"""Opaque tokens of an authorization server, which is a real one on this machine: RFC 7662."""

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.app import AUDIENCE, SECRET, Guarded, WatchedStore, make_token
from support.issuers import IssuerServer
from support.tokens import NOW, reason
from support.waiting import until

from asgi_jwt import Auth, AuthApp, ConfigurationError, Settings
from asgi_jwt.events import Event, VerifierFailed
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens import introspection

pytestmark = pytest.mark.anyio

PATH = "/introspect"
TOKEN = "opaque-token-of-alice"
CLIENT_SECRET = "s3cr&t: of the client"
A, B = "https://a.example", "https://b.example"
ALICE = {"active": True, "sub": "alice", "aud": AUDIENCE, "scope": "orders:read", "exp": NOW + 600}


@pytest.fixture
def asked() -> Iterator[IssuerServer]:
    with IssuerServer() as server:
        yield server


def says(server: IssuerServer, content: object = None, content_type: str = "application/json", **more: Any) -> None:
    server.answer(PATH, ALICE if content is None else content, content_type=content_type, **more)


def environ(server: IssuerServer, **variables: str) -> dict[str, str]:
    given = {
        "ISSUER": A,
        "AUDIENCE": AUDIENCE,
        "INTROSPECTION_URL": server.issuer + PATH,
        "INTROSPECTION_CLIENT_ID": "orders service",
        "INTROSPECTION_CLIENT_SECRET": CLIENT_SECRET,
        **variables,
    }
    return {f"ASGI_JWT_{name}": value for name, value in given.items()}


def auth_of(server: IssuerServer, *, store: Any = None, on_event: Any = None, **variables: str) -> Auth:
    return Auth.from_env(environ(server, **variables), store=store, on_event=on_event, clock=Clock(NOW))


def turn(auth: Auth, seconds: float) -> None:
    assert isinstance(auth.clock, Clock)
    auth.clock.turn(seconds)


BEARER = {"authorization": f"Bearer {TOKEN}"}


async def test_an_active_token(asked: IssuerServer) -> None:
    """The server is asked once for `INTROSPECTION_TTL`, with the credentials of this service, and its answer is the
    user's claims. No other key setting is needed."""
    says(asked)
    guarded = Guarded(auth_of(asked))
    for _ in range(2):
        assert (await guarded.request(headers=BEARER)).status == 200
    claims = guarded.app.calls[0][0]["user"]
    assert (claims.subject, claims.issuer, claims.scopes) == ("alice", A, {"orders:read"})
    assert asked.forms == [{"token": TOKEN, "token_type_hint": "access_token"}]
    scheme, _, credentials = asked.headers[0]["authorization"].partition(" ")
    told = base64.b64decode(credentials).decode()
    assert (scheme, told) == ("Basic", "orders+service:s3cr%26t%3A+of+the+client")
    turn(guarded.auth, 59)
    assert guarded.auth.verify_cached(TOKEN) is claims
    turn(guarded.auth, 1)
    await guarded.auth.verify(TOKEN)
    assert len(asked.forms) == 2


async def test_no_answer_counts_past_exp(asked: IssuerServer) -> None:
    """Not even by the leeway: the server is asked again, and says when the token has ended."""
    says(asked, {**ALICE, "exp": NOW + 10})
    auth = auth_of(asked)
    await auth.verify(TOKEN)
    turn(auth, 9)
    assert auth.verify_cached(TOKEN) is not None
    turn(auth, 1)
    says(asked, {"active": False})
    assert await reason(auth, TOKEN) == "token_inactive"


ACCEPTED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "its issuer": ({"iss": A}, {}),
    "another trusted issuer": ({"iss": B}, {"ISSUER": f"{A},{B}", "DISCOVERY": "true"}),
    "several audiences": ({"aud": ["x", AUDIENCE]}, {}),
    "no audience where none is asked": ({"aud": None}, {"AUDIENCE": "*"}),
    "no end": ({"exp": None}, {}),
    "a required claim": ({"email": "a@example"}, {"REQUIRED_CLAIMS": "email=a@example"}),
    "another type": ({"type": "Bearer", "token_type": "Bearer", "typ": "Bearer"}, {"TYPE": "type=access"}),
}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, str], str]] = {
    "not active": ({"active": False}, {}, "token_inactive"),
    "active as a text": ({"active": "true"}, {}, "token_inactive"),
    "active as a number": ({"active": 1}, {}, "token_inactive"),
    "active nowhere": ({"active": None}, {}, "token_inactive"),
    "another issuer": ({"iss": B}, {}, "issuer_invalid"),
    "an issuer that is no text": ({"iss": [A]}, {}, "issuer_invalid"),
    "another audience": ({"aud": "other"}, {}, "audience_invalid"),
    "no audience": ({"aud": None}, {}, "claim_missing"),
    "no user": ({"sub": None}, {}, "claim_missing"),
    "an empty user": ({"sub": ""}, {}, "claims_malformed"),
    "ended": ({"exp": NOW - 30}, {}, "token_expired"),
    "an end that is a text": ({"exp": str(NOW + 60)}, {}, "claims_malformed"),
    "not yet": ({"nbf": NOW + 60}, {}, "token_not_yet_valid"),
    "a claim is missing": ({}, {"REQUIRED_CLAIMS": "email"}, "claim_missing"),
    "a claim is another": ({"email": "b"}, {"REQUIRED_CLAIMS": "email=a"}, "claim_invalid"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, {}, "proof_invalid"),
    "bound to a certificate": ({"cnf": {"x5t#S256": "x"}}, {}, "claim_invalid"),
    "bound to nothing": ({"cnf": {}}, {}, "claim_invalid"),
    "a refresh token": ({"token_type": "refresh_token"}, {}, "type_invalid"),
    "a refresh token by its use": ({"token_use": "refresh"}, {}, "type_invalid"),
    "Keycloak's refresh token": ({"typ": "Refresh"}, {}, "type_invalid"),
    "Keycloak's offline token": ({"typ": "Offline"}, {}, "type_invalid"),
    "a logout token": ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, {}, "type_invalid"),
}


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**ALICE, **changes}.items() if value is not None}


@pytest.mark.parametrize(("changes", "variables"), ACCEPTED.values(), ids=ACCEPTED)
async def test_answers_that_are_accepted(asked: IssuerServer, changes: dict[str, Any], variables: Any) -> None:
    """An answer is judged by the rules for JWTs, but for the type."""
    says(asked, changed(changes))
    assert (await auth_of(asked, **variables).verify(TOKEN)).subject == "alice"


@pytest.mark.parametrize(("changes", "variables", "told"), REFUSED.values(), ids=REFUSED)
async def test_answers_that_are_refused(
    asked: IssuerServer, changes: dict[str, Any], variables: Any, told: str
) -> None:
    """Each is a 401 with its reason, and nothing of it is cached as good."""
    says(asked, changed(changes))
    auth = auth_of(asked, **variables)
    assert (await reason(auth, TOKEN), auth.verify_cached(TOKEN)) == (told, None)


async def test_an_inactive_token_is_remembered(asked: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """For 10 s, if the clock is not set back, and in a map of its own: made-up tokens push no good one out."""
    monkeypatch.setattr(introspection, "MAX_INACTIVE", 2)
    says(asked)
    auth = auth_of(asked)
    await auth.verify(TOKEN)
    says(asked, {"active": False})
    for token in ("a", "a", "b", "c", "c", "b"):
        assert await reason(auth, token) == "token_inactive"
    assert [form["token"] for form in asked.forms] == [TOKEN, "a", "b", "c"]
    assert auth.verify_cached(TOKEN) is not None
    says(asked)
    turn(auth, -1)
    assert (await auth.verify("b")).subject == "alice"
    turn(auth, 10.9)
    assert await reason(auth, "c") == "token_inactive"
    turn(auth, 0.1)
    assert (await auth.verify("c")).subject == "alice"


BROKEN: dict[str, dict[str, Any]] = {
    "an error": {"status": 500},
    "wrong credentials": {"status": 401},
    "no content": {"status": 204, "content": b""},
    "an empty answer": {"content": b""},
    "a page": {"content": b"<html>active: true</html>", "content_type": "text/html"},
    "JSON as a page": {"content_type": "text/html"},
    "JSON without a type": {"content_type": ""},
    "a signed answer": {"content": b"e30.e30.x", "content_type": "application/token-introspection+jwt"},
    "no JSON": {"content": b'{"active": true, '},
    "a list": {"content": [ALICE]},
    "true": {"content": b"true"},
    "a repeated name": {"content": b'{"active": false, "active": true}'},
    "depth": {"content": b'{"active":' * 1000 + b"true" + b"}" * 1000},
    "a huge answer": {"content": {**ALICE, "x": "x" * 256 * 1024}},
    "an endless answer": {"content": b" " * 1024, "endless": True},
    "a packed answer": {"content_encoding": "gzip"},
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_a_server_that_answers_garbage(
    asked: IssuerServer, answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is a 503 with Retry-After, told to the operator, and never a pass. No log of any library has a secret."""
    caplog.set_level(logging.DEBUG)
    heard: list[Event] = []
    says(asked, **answer)
    guarded = Guarded(auth_of(asked, on_event=heard.append))
    refused = await guarded.request(headers=BEARER)
    assert (refused.error, refused.headers["retry-after"]) == ((503, "temporarily_unavailable"), "1")
    assert isinstance(heard[0], VerifierFailed)
    assert heard[0].why.startswith(f"{asked.issuer}{PATH}: ")
    says(asked)
    assert (await guarded.request(headers=BEARER)).status == 200
    basic = asked.headers[0]["authorization"].partition(" ")[2]
    told = f"{caplog.text} {heard} {guarded.auth.settings!r} {vars(guarded.auth)}"
    assert not [secret for secret in (TOKEN, CLIENT_SECRET, basic) if secret in told]


async def test_a_redirect_is_not_followed(asked: IssuerServer) -> None:
    """Token and credentials go to the configured server alone."""
    auth = auth_of(asked)
    with IssuerServer() as other:
        says(other)
        for status in (301, 302, 303, 307, 308):
            says(asked, status=status, location=other.issuer + PATH)
            assert await reason(auth, TOKEN) == "verifier_unavailable"
        assert other.requests == []


async def test_a_server_that_is_slow_or_away(asked: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled answer is a 503 after 5 s, and so is a server that listens no more, at once."""
    auth = auth_of(asked)
    says(asked, stalls=True)
    with monkeypatch.context() as soon:
        soon.setattr("asgi_jwt.tokens.discovery.FETCH_TIMEOUT", 0.2)
        assert await reason(auth, TOKEN) == "verifier_unavailable"
    with IssuerServer() as gone:
        pass
    assert await reason(auth_of(gone), TOKEN) == "verifier_unavailable"


async def test_a_stampede_is_one_introspection(asked: IssuerServer) -> None:
    """A hundred requests with one token wait for one answer."""
    says(asked)
    guarded = Guarded(auth_of(asked))
    statuses: list[int] = []

    async def request() -> None:
        statuses.append((await guarded.request(headers=BEARER)).status)

    with asked.holding():
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(request)
            await asked.request()
            asked._open.set()
    assert (statuses, len(asked.forms)) == ([200] * 100, 1)


async def test_fifty_at_a_time(asked: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is a 503 at once, and is not sent; those under way are answered, and then there is room again."""
    assert introspection.MAX_IN_FLIGHT == 50
    monkeypatch.setattr(introspection, "MAX_IN_FLIGHT", 3)
    says(asked)
    auth = auth_of(asked)
    with asked.holding():
        async with anyio.create_task_group() as group:
            for token in "abc":
                group.start_soon(auth.verify, token)
            await until(lambda: len(asked.forms) == 3)
            assert await reason(auth, "d") == "verifier_unavailable"
            asked._open.set()
    assert sorted(form["token"] for form in asked.forms) == ["a", "b", "c"]
    assert (await auth.verify("d")).subject == "alice"


@pytest.mark.parametrize("token", ["a b", "a\xe9", "a|b", 'a"', "a\x00", "a=b", "=", "", "x" * 8193, "a,b", "a\n"])
async def test_tokens_that_are_never_sent(asked: IssuerServer, token: str) -> None:
    """Other characters than those of RFC 6750 section 2.1, and a token past the size limit, are refused unasked."""
    assert str(await reason(auth_of(asked), token))[:6] == "token_"
    assert asked.requests == []


async def test_a_jwt_is_not_introspected(asked: IssuerServer) -> None:
    """Without keys every JWT is a 401. With keys beside it a JWT is verified by its signature, and the others asked."""
    says(asked)
    auth = auth_of(asked, SECRET=SECRET)
    token = make_token(auth)
    assert (await auth.verify(token)).subject == "alice"
    assert await reason(auth_of(asked), token) == "algorithm_not_allowed"
    assert asked.requests == []
    assert (await auth.verify(TOKEN)).subject == "alice"


async def test_own_verifiers_are_asked_first(asked: IssuerServer) -> None:
    """A token that one of them knows is not sent to the server."""
    settings = Settings.from_env(environ(asked))

    class Keys:
        async def verify(self, token: str) -> None:
            assert asked.requests == []
            seen.append(token)

    seen: list[str] = []
    says(asked)
    assert (await Auth(settings, verifiers=[Keys()], clock=Clock(NOW)).verify(TOKEN)).subject == "alice"
    assert (seen, len(asked.forms)) == ([TOKEN], 1)


async def test_revocation(asked: IssuerServer) -> None:
    """By `jti`, by `sid` and by subject they are revoked here as JWTs are."""
    says(asked, {**ALICE, "jti": "1", "sid": "2", "iat": NOW})
    auth = auth_of(asked, store=WatchedStore())
    await auth.verify(TOKEN)
    await auth.revoke_token(TOKEN)
    assert (auth.verify_cached(TOKEN), await reason(auth, TOKEN)) == (None, "token_revoked")
    says(asked, {**ALICE, "iat": NOW})
    await auth.verify("another")
    await auth.revoke_subject("alice")
    assert await reason(auth, "another") == "token_revoked"


def test_settings(asked: IssuerServer, tmp_path: Path) -> None:
    """The secret may come from a file. Its neighbours are needed, the URL is https, and two servers are ambiguous."""
    file = tmp_path / "secret"
    file.write_text(CLIENT_SECRET)
    given = environ(asked, INTROSPECTION_CLIENT_SECRET="", INTROSPECTION_CLIENT_SECRET_FILE=str(file))
    settings = Settings.from_env(given)
    assert (settings.introspection_client_secret, settings.introspection_ttl) == (CLIENT_SECRET, 60)
    for variables, told in (
        ({"INTROSPECTION_CLIENT_SECRET": ""}, "INTROSPECTION_CLIENT_SECRET is missing"),
        ({"INTROSPECTION_CLIENT_ID": ""}, "INTROSPECTION_CLIENT_ID is missing"),
        ({"INTROSPECTION_URL": "", "SECRET": SECRET}, "INTROSPECTION_URL is missing"),
        ({"INTROSPECTION_URL": "http://login.example/introspect"}, "INTROSPECTION_URL has to be an https URL"),
        ({"INTROSPECTION_CLIENT_SECRET": f"{CLIENT_SECRET} "}, "INTROSPECTION_CLIENT_SECRET begins or ends with"),
        ({"ISSUER": f"{A}/{{tenant}}", "TENANTS": "a", "DISCOVERY": "true"}, "INTROSPECTION_URL asks one server"),
        ({"INTROSPECTION_TTL": "2h"}, "INTROSPECTION_TTL has to be"),
    ):
        with pytest.raises(ConfigurationError, match=told) as refused:
            Settings.from_env(environ(asked, **variables))
        assert (len(refused.value.faults), CLIENT_SECRET in str(refused.value)) == (1, False)
    with pytest.raises(ConfigurationError, match="has to be a text"):
        Settings(issuer=A, audience="a", introspection_client_secret=b"x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="INTROSPECTION_URL is set for two issuers"):
        Auth(settings, issuers=[Settings.from_env(environ(asked, ISSUER=B))])
    with pytest.raises(ConfigurationError, match="tokens can't be issued"):
        AuthApp(Auth.from_env(environ(asked, REFRESH_SECRET=SECRET, STORE="memory://")), lambda given, request: None)


async def test_fake_tokens_for_users_tests(asked: IssuerServer) -> None:
    """`fake_issuer` issues tokens that need no server, also where there are no keys."""
    auth = auth_of(asked)
    with fake_issuer(auth) as issue:
        assert (await auth.verify(issue.token("bob"))).subject == "bob"
    assert asked.requests == []
