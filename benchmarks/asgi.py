"""Requests made in the process, without a server: the app with its protection against the same app without."""

import time
from collections.abc import Sequence
from typing import Any

from benchmarks.contender import Case, Contender, Pass
from benchmarks.fixture import Fixture

PATH = "/orders"
BODY = b'{"hello": "world"}'


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An app that costs next to nothing, so that what is around it shows."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


_HEADERS = [
    (b"host", b"api.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"application/json, text/plain, */*"),
    (b"accept-language", b"en-GB,en;q=0.7,de;q=0.3"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"referer", b"https://app.example/orders"),
    (b"origin", b"https://app.example"),
    (b"x-forwarded-for", b"203.0.113.7"),
    (b"x-forwarded-proto", b"https"),
    (b"x-request-id", b"0f8fad5b-d9cb-469f-a165-70867728950e"),
]


def request_scope(*authorization: str) -> dict[str, Any]:
    """The scope of a GET that a browser's script sends through a proxy, with these Authorization headers."""
    headers = [(b"authorization", value.encode()) for value in authorization]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [*_HEADERS[:2], *headers, *_HEADERS[2:]],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


def protected(
    fixture: Fixture, bare: Any, wrapped: Any, distributions: Sequence[str], *notes: str, new: Any = None
) -> Contender:
    """A contender whose cases are `bare` and `wrapped`, and `new`, an app that has seen none of the tokens before."""
    scopes = [request_scope(f"Bearer {token}") for token in fixture.tokens]
    apps = {"bare": bare, "wrapped": wrapped} | ({} if new is None else {"new": new})

    async def accepts(token: str) -> bool:
        return await status(wrapped, request_scope(f"Bearer {token}")) == 200

    async def accepts_request(*authorization: str) -> bool:
        return await status(wrapped, request_scope(*authorization)) == 200

    good, other = fixture.tokens[:2]
    return Contender(
        cases={name: Case(run=_requests(app, scopes), calls=len(scopes)) for name, app in apps.items()},
        accepts=accepts,
        distributions=distributions,
        notes=notes,
        requests={
            "no token": lambda: accepts_request(),
            "a token without a scheme": lambda: accepts_request(good),
            "a token behind another scheme": lambda: accepts_request(f"Basic {good}"),
            "two Authorization headers": lambda: accepts_request(f"Bearer {good}", f"Bearer {other}"),
        },
    )


def _requests(app: Any, scopes: Sequence[dict[str, Any]]) -> Pass:
    async def run() -> None:
        for scope in scopes:
            # Middleware and routers write into the scope: each request has its own.
            await app({**scope, "state": {}}, receive, send)

    return run


class Requests:
    """Requests with each of `tokens` in turn, made to `app`, and their cost."""

    def __init__(self, app: Any, tokens: Sequence[str]) -> None:
        scopes = [request_scope(f"Bearer {token}") for token in tokens]
        self._case = Case(run=_requests(app, scopes), calls=len(scopes))

    async def take(self, seconds: float) -> float:
        """Microseconds of processor time for one, by as many as `seconds` allow."""
        calls, deadline = 0, time.perf_counter() + seconds
        began = time.process_time()
        while not calls or time.perf_counter() < deadline:
            await self._case.run()
            calls += self._case.calls
        return (time.process_time() - began) / calls * 1e6


async def status(app: Any, scope: dict[str, Any]) -> int:
    """The status that `app` answers with."""
    answers: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    await app({**scope, "state": {}}, receive, send)
    return answers[0]


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(message: Any) -> None:
    pass
