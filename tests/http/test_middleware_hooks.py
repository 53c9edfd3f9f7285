"""What the host may put in: its own check of a token, its own answers, its own ears."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope
from support.app import AUDIENCE, ISSUER, NO_TOKEN, SECRET, Guarded, authorization, make_auth, make_token

from asgi_jwt import Auth, AuthError, Claims, Settings
from asgi_jwt.errors import ExpiredToken, InsufficientScope, MissingToken, RefusedToken, StoreUnavailable
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

Validate = Callable[[Claims, Scope], Awaitable[bool | None] | bool | None]


def both(answer: Any) -> list[Validate]:
    """A `validate` with this answer, sync and async."""

    def sync(claims: Claims, scope: Scope) -> bool | None:
        if isinstance(answer, Exception):
            raise answer
        verdict: bool | None = answer
        return verdict

    async def asynchronous(claims: Claims, scope: Scope) -> bool | None:
        return sync(claims, scope)

    return [sync, asynchronous]


@pytest.mark.parametrize("validate", [*both(True), *both(None)])
async def test_validate_agrees(validate: Validate) -> None:
    """True, and nothing said, let the token in, sync or async."""
    guarded = Guarded(validate=validate)
    assert (await guarded.request(headers=authorization(guarded.auth))).status == 200


@pytest.mark.parametrize("validate", [*both(False), *both(0)])
async def test_validate_refuses(validate: Validate) -> None:
    """False refuses, sync or async, as does the 0 that a database says for it."""
    guarded = Guarded(validate=validate)
    answer = await guarded.request(headers=authorization(guarded.auth))
    assert (answer.status, answer.json()) == (
        401,
        {"error": "invalid_token", "error_description": "The access token was refused"},
    )
    assert guarded.app.calls == []


@pytest.mark.parametrize("answer", ["banned", "", {"active": False}, [], Response(status_code=403), 1.5])
async def test_validate_answers_something_else(answer: Any) -> None:
    """An answer that is neither True, False nor None lets nobody in; the error names its type and what to answer."""
    for validate in both(answer):
        guarded = Guarded(validate=validate)
        told = f"validate returns True, False or None, not {type(answer).__name__}: False refuses"
        with pytest.raises(TypeError, match=told):
            await guarded.request(headers=authorization(guarded.auth))
        assert guarded.app.calls == []


async def test_on_error_answers_something_else() -> None:
    """The error names the type of an answer that is no Response."""
    answers: Any = lambda error, scope: {"error": "no"}  # noqa: E731
    with pytest.raises(TypeError, match="on_error returns a Response, or None for the standard one: not dict"):
        await Guarded(on_error=answers).request()


class Suspended(AuthError):
    """An application's own refusal."""

    status = 403
    error = "suspended"
    reason = "account_suspended"
    description = "This account is suspended"


@pytest.mark.parametrize(
    ("error", "status", "code", "challenged"),
    [
        (Suspended("alice"), 403, "suspended", True),
        (RefusedToken(), 401, "invalid_token", True),
        (InsufficientScope(scope="mfa"), 403, "insufficient_scope", True),
        (StoreUnavailable(), 503, "temporarily_unavailable", False),
    ],
)
async def test_validate_raises_an_auth_error(error: AuthError, status: int, code: str, challenged: bool) -> None:
    """An `AuthError` refuses in its own words, and an outage is a 503, never a 401."""
    for validate in both(error):
        guarded = Guarded(validate=validate)
        answer = await guarded.request(headers=authorization(guarded.auth))
        assert (answer.status, answer.json()["error"]) == (status, code)
        assert (answer.challenge is not None) is challenged
        assert answer.headers.get("retry-after") == ("1" if status == 503 else None)
        assert guarded.app.calls == []
        closed = await guarded.connect(headers=authorization(guarded.auth), denial=False)
        assert closed.messages[0]["code"] == {401: 3000, 403: 3003, 503: 1013}[status]


@pytest.mark.parametrize("validate", both(KeyError("alice")))
async def test_validate_fails(validate: Validate) -> None:
    """Its own exception is an error of the app, and the request does not get through."""
    guarded = Guarded(validate=validate)
    for send in (guarded.request, guarded.connect):
        with pytest.raises(KeyError, match="alice"):
            await send(headers=authorization(guarded.auth))
    assert guarded.app.calls == []


async def test_validate_is_asked_for_every_request() -> None:
    """It hears the verified claims and the scope, each time anew though the token is remembered."""
    asked: list[tuple[str, str]] = []

    def validate(claims: Claims, scope: Scope) -> bool:
        asked.append((claims.subject, scope["path"]))
        return len(asked) < 3

    guarded = Guarded(validate=validate)
    headers = authorization(guarded.auth)
    answers = [(await guarded.request(path, headers=headers)).status for path in ("/a", "/b", "/c")]
    assert answers == [200, 200, 401]
    assert asked == [("alice", "/a"), ("alice", "/b"), ("alice", "/c")]
    assert guarded.auth.verifier.signature_checks == 1


async def test_validate_never_sees_a_bad_token() -> None:
    """It is the last of the checks: no token, a bad one and a public path never reach it."""

    def validate(claims: Claims, scope: Scope) -> bool:
        raise AssertionError

    guarded = Guarded(validate=validate, optional=True, public=["/health"])
    assert (await guarded.request(headers={"authorization": "Bearer a.b.c"})).status == 401
    assert (await guarded.request("/health", headers=authorization(guarded.auth))).status == 200
    assert (await guarded.request()).status == 200


class EmptyResponse(Response):
    """A response that is false to Python."""

    def __len__(self) -> int:
        return 0


def answering(
    response: Response | None,
) -> list[Callable[[AuthError, Scope], Awaitable[Response | None] | Response | None]]:
    """An `on_error` with this answer, sync and async."""

    def sync(error: AuthError, scope: Scope) -> Response | None:
        return response

    async def asynchronous(error: AuthError, scope: Scope) -> Response | None:
        return response

    return [sync, asynchronous]


async def test_on_error() -> None:
    """Its response is the answer, sync or async, to requests and to sockets not yet accepted."""
    for response in (PlainTextResponse("come in by the door", 418), EmptyResponse(status_code=418)):
        for on_error in answering(response):
            guarded = Guarded(on_error=on_error)
            assert ((await guarded.request()).status, (await guarded.connect()).status) == (418, 418)
            closed = await guarded.connect(denial=False)
            assert closed.messages == [{"type": "websocket.close", "code": 3000, "reason": ""}]
            assert guarded.app.calls == []


@pytest.mark.parametrize("on_error", answering(None))
async def test_on_error_says_nothing(on_error: Callable[[AuthError, Scope], None]) -> None:
    """None is for the standard answer."""
    guarded = Guarded(on_error=on_error)
    answer = await guarded.request()
    assert (answer.status, answer.challenge, answer.json()) == (401, 'Bearer realm="api"', NO_TOKEN)


async def test_on_error_hears_why() -> None:
    """It hears the error itself and the scope."""
    heard: list[tuple[type[AuthError], str]] = []

    def on_error(error: AuthError, scope: Scope) -> None:
        heard.append((type(error), scope["type"]))

    guarded = Guarded(on_error=on_error)
    expired = make_token(guarded.auth)
    assert isinstance(guarded.auth.clock, Clock)
    guarded.auth.clock.turn(3600)
    await guarded.request()
    await guarded.connect(headers={"authorization": f"Bearer {expired}"})
    assert heard == [(MissingToken, "http"), (ExpiredToken, "websocket")]


async def test_on_error_fails() -> None:
    """Its own exception is an error of the app, and nothing gets through."""

    def on_error(error: AuthError, scope: Scope) -> Response:
        raise RuntimeError("no template")

    guarded = Guarded(on_error=on_error)
    with pytest.raises(RuntimeError, match="no template"):
        await guarded.request()
    assert guarded.app.calls == []


def listening(on_event: Callable[[Event], Awaitable[None] | None]) -> Auth:
    """An Auth whose events are heard."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, token_sources="header,cookie:token")
    return Auth(settings, on_event=on_event, clock=Clock())


async def test_on_event() -> None:
    """Every refusal is told with its reason, status and transport; what is let in is not."""
    events: list[Event] = []
    guarded = Guarded(listening(events.append))
    await guarded.request(headers=authorization(guarded.auth))
    await guarded.request()
    await guarded.connect(headers=[("authorization", "Bearer x y")])
    cookie = f"token={make_token(guarded.auth)}"
    await guarded.request(method="POST", headers={"cookie": cookie, "sec-fetch-site": "cross-site"})
    assert events == [
        TokenRefused("token_missing", 401, "http"),
        TokenRefused("credentials_malformed", 400, "websocket"),
        TokenRefused("cross_site", 403, "http"),
    ]


async def test_on_event_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that fails, sync or async, is logged and changes no answer."""

    def sync(event: Event) -> None:
        raise OSError("the metrics are down")

    async def asynchronous(event: Event) -> None:
        raise OSError("the metrics are down")

    for on_event in (sync, asynchronous):
        caplog.clear()
        guarded = Guarded(listening(on_event))
        answer = await guarded.request()
        assert (answer.status, answer.challenge) == (401, 'Bearer realm="api"')
        assert (await guarded.connect()).status == 401
        failures = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.getMessage() for record in failures] == ["on_event failed for token_refused"] * 2


async def test_nothing_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """No token, cookie or secret shows in a log record or an event, at any level, however the request goes."""
    events: list[Event] = []
    guarded = Guarded(listening(events.append))
    good = make_token(guarded.auth, "alice-the-subject")
    header, payload, signature = good.split(".")
    forged = f"{header}.{payload}.{signature[:-2]}AA"
    requests: list[list[tuple[str, str]]] = [
        [("authorization", f"Bearer {good}")],
        [("authorization", f"Bearer {forged}")],
        [("authorization", f"Bearer {good} {good}")],
        [("authorization", f"Bearer {good}"), ("authorization", f"Bearer {good}")],
        [("cookie", f"token={forged}")],
        [("cookie", f"token={good}; token={good}")],
        [("cookie", f"token={good}"), ("sec-fetch-site", "cross-site")],
        [("authorization", "Basic YWxpY2U6c2VjcmV0")],
    ]
    with caplog.at_level(logging.DEBUG):
        for headers in requests:
            await guarded.request(method="POST", headers=headers)
            await guarded.connect(headers=headers)
    assert len(events) == 2 * (len(requests) - 1)
    told = "".join(map(str, events)) + "".join(str(vars(record)) for record in caplog.records)
    for secret in (header, payload, signature, signature[:-2], SECRET, "YWxpY2U6c2VjcmV0", "alice"):
        assert secret not in told


async def test_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is one record of the logger `asgi_jwt`, whose fields are attributes for whoever ships logs."""
    with caplog.at_level(logging.INFO, logger="asgi_jwt"):
        await Guarded(make_auth()).request()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asgi_jwt", logging.INFO)
    assert record.getMessage() == "token_refused reason=token_missing status=401 transport=http"
    assert {"event": "token_refused", "event_reason": "token_missing", "event_status": 401}.items() <= vars(
        record
    ).items()
