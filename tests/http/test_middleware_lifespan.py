"""What the server's start and stop mean to the middleware, and that nothing depends on either."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send
from support.app import Recorder, exchange, http_scope
from support.issuers import IssuerServer
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET, ec_key, jwk_of, token_by

from asgi_jwt import Auth, ConfigurationError, JWTMiddleware, RequireMiddleware, Settings
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.urls import open_store
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

UP: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
DOWN: list[Message] = [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "1"))
        yield server


def remote_auth(server: IssuerServer) -> Auth:
    return Auth(Settings(issuer=ISSUER, audience=AUDIENCE, jwks_url=server.jwks_url), clock=Clock(NOW))


def stored_auth(store: str) -> Auth:
    return Auth(Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, store=store), clock=Clock(NOW))


def asking(token: bytes) -> Scope:
    return http_scope(headers=[("authorization", b"Bearer " + token)])


class Lifespan:
    """An app that starts up and shuts down as its server says."""

    def __init__(self, last: Message = DOWN[1]) -> None:
        self.received: list[Message] = []
        self._last = last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.received.append(await receive())
        await send(DOWN[0])
        self.received.append(await receive())
        await send(self._last)


async def live(app: Any, sent: list[Message] | None = None) -> list[Message]:
    """The server's side of a lifespan: what the app sent."""
    waiting, sent = list(UP), [] if sent is None else sent

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return sent


async def test_the_start_is_not_held_up_by_an_issuer_that_hangs(server: IssuerServer) -> None:
    """`startup` sets off the fetch and passes on at once, as does all else; the first token then waits for it alone."""
    recorder, lifespan = Recorder(), Lifespan()
    auth = remote_auth(server)
    with server.holding():
        assert await live(JWTMiddleware(lifespan, auth)) == DOWN
        assert lifespan.received == UP
        await server.request()
    answer = await exchange(JWTMiddleware(recorder, auth), asking(token_by(ec_key(), "1")))
    assert (answer.status, recorder.subject, server.count()) == (200, "alice", 1)


async def test_nothing_depends_on_a_lifespan(server: IssuerServer) -> None:
    """Daphne sends none: the first request that bears a token has the keys fetched, and waits for them."""
    app = JWTMiddleware(Recorder(), remote_auth(server), public=["/health"])
    assert (await exchange(app, http_scope())).status == 401
    assert (await exchange(app, http_scope("/health"))).status == 200
    assert server.count() == 0
    assert (await exchange(app, asking(token_by(ec_key(), "1")))).status == 200
    assert server.count() == 1


async def test_an_issuer_that_is_down_at_the_start(server: IssuerServer) -> None:
    """Requests are answered 503 and told to come again, never 401, until the issuer is back."""
    auth = remote_auth(server)
    server.fail()
    assert await live(JWTMiddleware(Lifespan(), auth)) == DOWN
    app, token = JWTMiddleware(Recorder(), auth), token_by(ec_key(), "1")
    await server.request()
    answer = await exchange(app, asking(token))
    assert (answer.status, answer.challenge, answer.headers["retry-after"]) == (503, None, "1")
    assert answer.json()["error"] == "temporarily_unavailable"
    server.publish(jwk_of(ec_key(), "1"))
    assert isinstance(auth.clock, Clock)
    auth.clock.turn(1)
    assert (await exchange(app, asking(token))).status == 200


async def test_an_app_that_knows_no_lifespan(server: IssuerServer) -> None:
    """Django raises: so does the middleware, and the keys are fetched ahead all the same."""

    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("Django can only handle ASGI/HTTP connections, not lifespan.")

    with pytest.raises(ValueError, match="not lifespan"):
        await live(JWTMiddleware(raises, remote_auth(server)))
    await server.request()


@pytest.mark.parametrize("last", [DOWN[1], {"type": "lifespan.shutdown.failed", "message": "no"}])
async def test_the_end_closes_the_store_that_was_opened(last: Message) -> None:
    """When the app has shut down, well or not, the store is closed; whoever goes on gets a new one."""
    auth = stored_auth("memory://")
    store = auth.store
    assert await live(JWTMiddleware(Lifespan(last), auth)) == [DOWN[0], last]
    assert auth.store is not store


async def test_the_end_leaves_the_hosts_store_open() -> None:
    """A store that was handed in is its owner's to close."""
    store = open_store("memory://")
    auth = Auth(stored_auth("memory://").settings, store=store, clock=Clock(NOW))
    assert await live(JWTMiddleware(Lifespan(), auth)) == DOWN
    assert auth.store is store
    assert list(await store.list("alice", Millis(0))) == []


async def test_a_store_that_does_not_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server hears that the app has shut down even when closing fails, which shows in its log."""
    auth, sent = stored_auth("memory://"), list[Message]()

    async def fail() -> None:
        raise LookupError("the store is gone")

    monkeypatch.setattr(auth.store, "aclose", fail)
    with pytest.raises(LookupError):
        await live(JWTMiddleware(Lifespan(), auth), sent)
    assert sent == DOWN


FAULTS: list[tuple[Any, dict[str, Any], type[Exception]]] = [
    (JWTMiddleware, {"public": ["health"]}, ConfigurationError),
    (JWTMiddleware, {"auth": None}, ConfigurationError),
    (RequireMiddleware, {"scopes": " "}, ValueError),
]


@pytest.mark.parametrize(("middleware", "built", "fault"), FAULTS)
async def test_a_fault_that_shows_at_the_start_ends_it(
    middleware: Any, built: dict[str, Any], fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starlette builds its middleware at the first event: the server hears that the start failed, and why."""
    monkeypatch.delenv("ASGI_JWT_ISSUER", raising=False)
    recorder, sent = Recorder(), list[Message]()
    app = Starlette(routes=[Mount("/", recorder)])
    given = {"auth": stored_auth("memory://")} if middleware is JWTMiddleware else {}
    app.add_middleware(middleware, **{**given, **built})
    with pytest.raises(fault) as raised:
        await live(app, sent)
    assert sent == [{"type": "lifespan.startup.failed", "message": str(raised.value)}]
    for _ in range(2):
        with pytest.raises(fault):
            await exchange(app, http_scope("/health"))
    assert recorder.calls == []


MISCONFIGURED = """
from starlette.applications import Starlette
from asgi_jwt import Auth, ConfigurationError, JWTMiddleware, Settings
auth = Auth(Settings(issuer="i", audience="a", secret="Jq0wZ3v8Lr5Nd2Xk7Tb9Ys4Hm1Gc6Pf0"))
app = Starlette()
app.add_middleware(JWTMiddleware, auth=auth, public=["health"])
"""


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_a_server_does_not_start_with_a_fault(server: str, tmp_path: Path) -> None:
    """A `public=` that is no path ends the server's start with the sentence that names it."""
    (tmp_path / "faulty.py").write_text(MISCONFIGURED)
    address = ["--port", "0"] if server == "uvicorn" else ["--bind", "127.0.0.1:0"]
    command = [sys.executable, "-m", server, "faulty:app", *address]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    # It has ended; hypercorn's exit status is 0 all the same.
    assert "public: may hold paths as /health, and as /auth/* for all below /auth, and not 'health'" in ran.stderr
