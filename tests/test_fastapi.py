"""FastAPI's own idioms: what `Security` asks for is asked for, wherever it stands."""

import re
import subprocess
import sys
import threading
from collections.abc import Callable
from inspect import signature
from typing import Annotated, Any, ClassVar

import pytest
from fastapi import APIRouter, Depends, FastAPI, Security
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from pydantic import BaseModel
from starlette.testclient import WebSocketDenialResponse
from starlette.types import Scope
from starlette.websockets import WebSocket
from support.app import authorization, bearer_challenge, make_auth
from support.waiting import PATIENCE

from asgi_jwt import Claims, JWTMiddleware, require
from asgi_jwt.http.require import Require, SecurityScopes

WRITE = "orders:write"
DESCRIBED = 'error_description="The access token lacks a required scope"'


class Watching(Require):
    threads: ClassVar[list[int]] = []

    def check(self, scope: Scope, *more: str) -> Claims:
        self.threads.append(threading.get_ident())
        return super().check(scope, *more)


async def needs_nothing(user: Annotated[Claims, Depends(require())]) -> Claims:
    return user


async def needs_reading(user: Annotated[Claims, Security(require(), scopes=["orders:read"])]) -> Claims:
    return user


def in_the_route(app: FastAPI) -> None:
    @app.get("/orders")
    async def orders(user: Annotated[Claims, Security(require(), scopes=[WRITE])]) -> str:
        return user.subject


def as_a_default(app: FastAPI) -> None:
    asked = Security(require(), scopes=[WRITE])

    @app.get("/orders")
    async def orders(user: Claims = asked) -> str:
        return user.subject


def beside_the_route(app: FastAPI) -> None:
    @app.get("/orders", dependencies=[Security(require(), scopes=[WRITE])])
    async def orders(user: Annotated[Claims, Depends(require())]) -> str:
        return user.subject


def around_a_dependency(app: FastAPI) -> None:
    @app.get("/orders")
    async def orders(user: Annotated[Claims, Security(needs_nothing, scopes=[WRITE])]) -> str:
        return user.subject


def around_dependencies(app: FastAPI) -> None:
    async def needs_more(user: Annotated[Claims, Depends(needs_nothing)]) -> Claims:
        return user

    @app.get("/orders")
    async def orders(user: Annotated[Claims, Security(needs_more, scopes=[WRITE])]) -> str:
        return user.subject


def of_the_router(app: FastAPI) -> None:
    router = APIRouter(dependencies=[Security(require(), scopes=[WRITE])])

    @router.get("/orders")
    async def orders(user: Annotated[Claims, Depends(require())]) -> str:
        return user.subject

    app.include_router(router)


def of_the_inclusion(app: FastAPI) -> None:
    router = APIRouter()

    @router.get("/orders")
    async def orders(user: Annotated[Claims, Depends(require())]) -> str:
        return user.subject

    app.include_router(router, dependencies=[Security(needs_nothing, scopes=[WRITE])])


def shared_with_one_that_asks_less(app: FastAPI) -> None:
    both = require()

    @app.get("/orders", dependencies=[Depends(both)])
    async def orders(user: Annotated[Claims, Security(both, scopes=[WRITE])]) -> str:
        return user.subject


PLACES: list[Callable[[FastAPI], None]] = [
    in_the_route,
    as_a_default,
    beside_the_route,
    around_a_dependency,
    around_dependencies,
    of_the_router,
    of_the_inclusion,
    shared_with_one_that_asks_less,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_security_asks_for_its_scopes(place: Callable[[FastAPI], None]) -> None:
    """A token without the scopes that `Security` names is refused with 403, one with them passes."""
    auth, app = make_auth(), FastAPI()
    place(app)
    client = TestClient(JWTMiddleware(app, auth))
    refused = client.get("/orders", headers=authorization(auth, scopes="orders:read"))
    assert (refused.status_code, refused.headers["cache-control"]) == (403, "no-store")
    challenge = bearer_challenge(refused.headers["www-authenticate"])
    assert challenge.endswith(f'error="insufficient_scope", {DESCRIBED}, scope="{WRITE}"')
    passed = client.get("/orders", headers=authorization(auth, scopes=f"x {WRITE}"))
    assert (passed.status_code, passed.json()) == (200, "alice")


def test_security_of_the_app() -> None:
    """Scopes that the whole app asks for are asked for at each of its routes, and nobody passes."""
    auth, app = make_auth(), FastAPI(dependencies=[Security(require(), scopes=[WRITE])])

    @app.get("/orders")
    async def orders() -> None: ...

    client = TestClient(JWTMiddleware(app, auth, optional=True))
    assert client.get("/orders", headers=authorization(auth)).status_code == 403
    assert client.get("/orders", headers=authorization(auth, scopes=WRITE)).status_code == 200
    assert client.get("/orders").status_code == 401


@pytest.mark.parametrize(
    ("dependency", "wanted"),
    [
        (Security(require("a"), scopes=["b"]), "a b"),
        (Security(require("a b"), scopes=["b", "c d"]), "a b c d"),
        (Security(needs_reading, scopes=["c"]), "c orders:read"),
        (Security(require("a"), scopes=[]), "a"),
    ],
)
def test_security_adds_to_what_require_asks_for(dependency: Any, wanted: str) -> None:
    """The scopes of `require` and of every `Security` around it are all needed, and the challenge names each once."""
    auth, app = make_auth(), FastAPI()

    @app.get("/orders", dependencies=[dependency])
    async def orders() -> None: ...

    client = TestClient(JWTMiddleware(app, auth))
    names = wanted.split()
    assert client.get("/orders", headers=authorization(auth, scopes=names)).status_code == 200
    for missing in names:
        refused = client.get("/orders", headers=authorization(auth, scopes=[name for name in names if name != missing]))
        assert refused.status_code == 403
        assert bearer_challenge(refused.headers["www-authenticate"]).endswith(f', scope="{wanted}"')


@pytest.mark.parametrize("asks", [require(), require(WRITE)])
@pytest.mark.parametrize("scopes", [[""], [" "], "orders:write"])
def test_security_with_scopes_that_name_nothing(scopes: Any, asks: Require) -> None:
    """Empty scopes, and a string in the place of a list, open no route."""
    auth, app = make_auth(), FastAPI()

    @app.get("/orders", dependencies=[Security(asks, scopes=scopes)])
    async def orders() -> None:
        raise AssertionError

    client = TestClient(JWTMiddleware(app, auth), raise_server_exceptions=False)
    assert client.get("/orders", headers=authorization(auth, scopes=WRITE)).status_code in (403, 500)


@pytest.mark.parametrize("place", ["parameter", "nested", "route", "router"])
def test_security_of_a_websocket(place: str) -> None:
    """A WebSocket whose token lacks a scope that `Security` names is denied."""
    auth, app = make_auth(), FastAPI()
    asks = Security(require(), scopes=[WRITE])
    router = APIRouter(dependencies=[asks] if place == "router" else [])
    dependencies = {"parameter": asks, "nested": Security(needs_nothing, scopes=[WRITE])}
    needed = dependencies.get(place, Depends(require()))

    @router.websocket("/feed", dependencies=[asks] if place == "route" else [])
    async def feed(websocket: WebSocket, user: Claims = needed) -> None:
        await websocket.accept()
        await websocket.send_text(user.subject)
        await websocket.close()

    app.include_router(router)
    client = TestClient(JWTMiddleware(app, auth))
    with pytest.raises(WebSocketDenialResponse) as denied:
        client.websocket_connect("/feed", headers=authorization(auth, scopes="orders:read")).__enter__()
    assert denied.value.status_code == 403
    with client.websocket_connect("/feed", headers=authorization(auth, scopes=WRITE)) as session:
        assert session.receive_text() == "alice"


@pytest.mark.parametrize("forgotten", [Depends(require), Security(require, scopes=[WRITE])])
def test_a_forgotten_call_is_named(forgotten: Any) -> None:
    """`Depends(require)` instead of `Depends(require())` raises where the route is made, and says so."""
    app = FastAPI()
    with pytest.raises(TypeError, match=re.escape("write Depends(require())")):

        @app.get("/orders", dependencies=[forgotten])
        async def orders() -> None:
            raise AssertionError

    assert TestClient(app).get("/orders").status_code == 404


def test_a_dependency_can_be_overridden() -> None:
    """`dependency_overrides` takes any `require(...)` of the same scopes and roles as a route's, as users' tests do."""
    app = FastAPI()

    @app.get("/orders")
    async def orders(user: Annotated[Any, Security(require("a", "b", roles=["x", "y"]), scopes=[WRITE])]) -> str:
        return str(user)

    app.dependency_overrides[require("b a", roles=["y", "x"])] = lambda: "someone"
    assert TestClient(app).get("/orders").json() == "someone"


def test_what_asks_for_something_else_is_not_equal() -> None:
    """Only checks of the same class, scopes and roles are equal: FastAPI makes one of equal dependencies."""
    different = [
        require(),
        require("a"),
        require("a", "b"),
        require("a", roles="a"),
        require(roles="a"),
        Watching((), ()),
    ]
    assert len(set(different)) == len(different)
    assert require("a") != "a"


def test_security_around_the_bound_call() -> None:
    """`require(...).__call__` in the place of `require(...)` asks for all that `Security` names, too."""
    auth, app = make_auth(), FastAPI()

    @app.get("/orders", dependencies=[Security(require("a").__call__, scopes=["b"])])
    async def orders() -> None: ...

    client = TestClient(JWTMiddleware(app, auth))
    for scopes, status in (("a", 403), ("b", 403), ("a b", 200)):
        assert client.get("/orders", headers=authorization(auth, scopes=scopes)).status_code == status


def test_security_runs_in_no_thread() -> None:
    """With scopes of `Security` too, the check runs in the event loop's own thread."""
    auth, app = make_auth(), FastAPI()

    @app.get("/orders", dependencies=[Security(Watching((), ()), scopes=[WRITE])])
    async def orders() -> None:
        Watching.threads.append(threading.get_ident())

    with TestClient(JWTMiddleware(app, auth)) as client:
        assert client.get("/orders", headers=authorization(auth, scopes=WRITE)).status_code == 200
    assert len(Watching.threads) == 2
    assert len(set(Watching.threads)) == 1


class Answer(BaseModel):
    user: Claims
    more: Any


ANSWERS: dict[str, tuple[Any, Callable[[Claims], object], Callable[[Any], Any]]] = {
    "claims": (None, lambda user: user, lambda body: body),
    "claims as the return type": (Claims, lambda user: user, lambda body: body),
    "a dict": (None, dict, lambda body: body),
    "a dict as the return type": (dict[str, Any], dict, lambda body: body),
    "claims within": (None, lambda user: {"users": [user]}, lambda body: body["users"][0]),
    "claims within a dict": (dict[str, Any], lambda user: {"users": [user]}, lambda body: body["users"][0]),
    "a model": (Answer, lambda user: Answer(user=user, more=None), lambda body: body["user"]),
    "a model's any": (Answer, lambda user: Answer(user=user, more=user), lambda body: body["more"]),
    "a response": (None, lambda user: JSONResponse(dict(user)), lambda body: body),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_claims_are_returned_as_json(kind: str) -> None:
    """A route may return the claims, or `dict(user)`, however deep their members are, with or without a type."""
    auth, app = make_auth(), FastAPI()
    model, answer, found = ANSWERS[kind]

    @app.get("/me", response_model=model)
    async def me(user: Annotated[Claims, Depends(require())]) -> Any:
        return answer(user)

    headers = authorization(auth, claims={"tenant": {"plans": [{"name": "gold"}]}})
    client = TestClient(JWTMiddleware(app, auth))
    told = found(client.get("/me", headers=headers).json())
    assert (told["sub"], told["tenant"]) == ("alice", {"plans": [{"name": "gold"}]})
    app.openapi()


def test_no_body_becomes_claims() -> None:
    """Claims that a route takes without `require` come from nowhere: what a client sends is never taken for them."""
    app = FastAPI()

    @app.post("/me")
    async def me(user: Claims) -> None:
        raise AssertionError

    assert TestClient(app).post("/me", json={"sub": "admin", "scope": "all"}).status_code == 422


def test_fastapi_is_not_imported_by_require(monkeypatch: pytest.MonkeyPatch) -> None:
    """`require` imports no FastAPI; loaded later, FastAPI finds what it injects."""
    code = (
        "import inspect, sys; from asgi_jwt import require; asks = require('a')\n"
        "print(*inspect.signature(asks).parameters, 'fastapi' in sys.modules, 'asgi_jwt.fastapi' in sys.modules)\n"
        "import fastapi; print(*inspect.signature(asks).parameters)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.splitlines() == [
        "connection security_scopes False False",
        "connection security_scopes shown",
    ]
    assert list(signature(require()).parameters) == ["connection", "security_scopes", "shown"]
    monkeypatch.delitem(sys.modules, "fastapi")
    assert list(signature(require()).parameters) == ["connection", "security_scopes"]
    assert signature(require().__call__, eval_str=True).parameters["security_scopes"].annotation is SecurityScopes
