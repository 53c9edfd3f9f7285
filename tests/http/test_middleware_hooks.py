"""What the host may put in: its own check of a token, its own answers, its own ears."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope
from support.app import NO_TOKEN, Guarded, authorization, make_auth, make_token

from asgi_jwt import Auth, AuthError, Claims
from asgi_jwt.errors import ExpiredToken, InsufficientScope, MissingToken, RefusedToken, StoreUnavailable
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


def both(answer: Any) -> list[Callable[..., Any]]:
    """A function of the host's with this answer, sync and async."""

    def sync(*_: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def asynchronous(*_: object) -> Any:
        return sync()

    return [sync, asynchronous]


class Suspended(AuthError):
    """An application's own refusal."""

    status = 403
    error = "suspended"
    reason = "account_suspended"
    description = "This account is suspended"


VALIDATES: list[tuple[Any, int, str | None]] = [
    (True, 200, None),
    (None, 200, None),
    (False, 401, "invalid_token"),
    (0, 401, "invalid_token"),
    (RefusedToken(), 401, "invalid_token"),
    (Suspended("alice"), 403, "suspended"),
    (InsufficientScope(scope="mfa"), 403, "insufficient_scope"),
    (StoreUnavailable(), 503, "temporarily_unavailable"),
]


@pytest.mark.parametrize(("said", "status", "error"), VALIDATES)
async def test_validate(said: Any, status: int, error: str | None) -> None:
    """True, and nothing said, let the token in, sync or async; False refuses, as does the 0 that a database says for
    it. An `AuthError` refuses in its own words, and an outage is a 503 without a challenge, never a 401."""
    for validate in both(said):
        guarded = Guarded(validate=validate)
        headers = authorization(guarded.auth)
        answer = await guarded.request(headers=headers)
        assert answer.status == status
        if status == 200:
            continue
        description = said.description if isinstance(said, AuthError) else "The access token was refused"
        assert answer.json() == {"error": error, "error_description": description}
        is_outage = status == 503
        assert (answer.challenge is None, answer.headers.get("retry-after")) == (is_outage, "1" if is_outage else None)
        closed = await guarded.connect(headers=headers, denial=False)
        assert closed.messages[0]["code"] == {401: 3000, 403: 3003, 503: 1013}[status]
        assert guarded.app.calls == []


@pytest.mark.parametrize(
    "answer", ["banned", "", {"active": False}, [], Response(status_code=403), 1.5, KeyError("alice")]
)
async def test_validate_fails(answer: Any) -> None:
    """An answer that is neither True, False nor None lets nobody in; the error names its type and what to answer. Its
    own exception is an error of the app."""
    told = f"alice|validate returns True, False or None, not {type(answer).__name__}: False refuses"
    for validate in both(answer):
        guarded = Guarded(validate=validate)
        for send in (guarded.request, guarded.connect):
            with pytest.raises(KeyError if isinstance(answer, KeyError) else TypeError, match=told):
                await send(headers=authorization(guarded.auth))
        assert guarded.app.calls == []


async def test_validate_is_asked_last_and_for_every_request() -> None:
    """It hears the verified claims and the scope, each time anew though the token is remembered; no token, a bad one
    and a public path never reach it."""
    asked: list[tuple[str, str]] = []

    def validate(claims: Claims, scope: Scope) -> bool:
        asked.append((claims.subject, scope["path"]))
        return len(asked) < 3

    guarded = Guarded(validate=validate, optional=True, public=["/health"])
    headers = authorization(guarded.auth)
    assert (await guarded.request(headers={"authorization": "Bearer a.b.c"})).status == 401
    assert (await guarded.request("/health", headers=headers)).status == (await guarded.request()).status == 200
    answers = [(await guarded.request(path, headers=headers)).status for path in ("/a", "/b", "/c")]
    assert answers == [200, 200, 401]
    assert asked == [("alice", "/a"), ("alice", "/b"), ("alice", "/c")]
    assert guarded.auth.verifier.signature_checks == 1


class EmptyResponse(Response):
    """A response that is false to Python."""

    def __len__(self) -> int:
        return 0


async def test_on_error() -> None:
    """Its response is the answer, sync or async, to requests and to sockets not yet accepted; None is for the standard
    answer."""
    for response in (PlainTextResponse("come in by the door", 418), EmptyResponse(status_code=418), None):
        for on_error in both(response):
            guarded = Guarded(on_error=on_error)
            answer = await guarded.request()
            if response is None:
                assert (answer.status, answer.challenge, answer.json()) == (401, 'Bearer realm="api"', NO_TOKEN)
            else:
                assert (answer.status, (await guarded.connect()).status) == (418, 418)
            closed = await guarded.connect(denial=False)
            assert closed.messages == [{"type": "websocket.close", "code": 3000, "reason": ""}]
            assert guarded.app.calls == []


@pytest.mark.parametrize("answer", [{"error": "no"}, RuntimeError("no template")])
async def test_on_error_fails(answer: Any) -> None:
    """Its own exception is an error of the app, nothing gets through, and the error names the type of an answer that is
    no Response."""
    told = "no template|on_error returns a Response, or None for the standard one: not dict"
    for on_error in both(answer):
        guarded = Guarded(on_error=on_error)
        with pytest.raises(RuntimeError if isinstance(answer, RuntimeError) else TypeError, match=told):
            await guarded.request()
        assert guarded.app.calls == []


async def test_on_error_hears_why() -> None:
    """It hears the error itself and the scope."""
    heard: list[tuple[type[AuthError], str]] = []

    def on_error(error: AuthError, scope: Scope) -> None:
        heard.append((type(error), scope["type"]))

    guarded = Guarded(on_error=on_error)
    expired = authorization(guarded.auth)
    assert isinstance(guarded.auth.clock, Clock)
    guarded.auth.clock.turn(3600)
    await guarded.request()
    await guarded.connect(headers=expired)
    assert heard == [(MissingToken, "http"), (ExpiredToken, "websocket")]


def listening(on_event: Callable[[Event], Awaitable[None] | None]) -> Auth:
    return make_auth(on_event=on_event, token_sources="header,cookie:token")


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
    for on_event in both(OSError("the metrics are down")):
        caplog.clear()
        guarded = Guarded(listening(on_event))
        answer = await guarded.request()
        assert (answer.status, answer.challenge) == (401, 'Bearer realm="api"')
        assert (await guarded.connect()).status == 401
        failures = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert failures == ["on_event failed for token_refused"] * 2


async def test_log_record(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal is one record of the logger `asgi_jwt`, whose fields are attributes for whoever ships logs."""
    with caplog.at_level(logging.INFO, logger="asgi_jwt"):
        await Guarded().request()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asgi_jwt", logging.INFO)
    assert record.getMessage() == "token_refused reason=token_missing status=401 transport=http"
    said = {"event": "token_refused", "event_reason": "token_missing", "event_status": 401}
    assert said.items() <= vars(record).items()
