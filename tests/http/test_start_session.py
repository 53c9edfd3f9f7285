"""A host that logs its users in by other means than `/login` opens their sessions by `start_session`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import falcon.asgi
import httpx2
import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.test import RequestFactory, override_settings
from django.urls import path
from fastapi import FastAPI
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from litestar.response import Redirect
from litestar.response import Response as LitestarResponse
from quart import Response as QuartResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from support.app import COOKIE, Service, WatchedStore, cookie, http_scope, payload, websocket_scope
from support.django_project import set_up
from support.serving import uvicorn_serving

from asgi_jwt import ConfigurationError, Identity, JWTMiddleware
from asgi_jwt.errors import CookieTooLarge, StoreUnavailable
from asgi_jwt.events import SessionEnded, SessionOpened

set_up()
pytestmark = pytest.mark.anyio

ALICE = Identity("alice", scopes="read", acr="phr")


def a_service(**settings: Any) -> Service:
    return Service(settings={"cookie_path": "/auth", **settings})


@contextmanager
def provider() -> Iterator[str]:
    """An authorization server that lets everyone in as alice."""

    async def authorize(request: Request) -> Response:
        asked = request.query_params
        return RedirectResponse(f"{asked['redirect_uri']}?code=good&state={asked['state']}")

    async def token(request: Request) -> Response:
        async with request.form() as form:
            assert form["code"] == "good"
        return JSONResponse({"access_token": "an opaque one", "token_type": "Bearer"})

    async def userinfo(request: Request) -> Response:
        return JSONResponse({"sub": "alice"})

    routes = [Route("/authorize", authorize), Route("/token", token, methods=["POST"]), Route("/userinfo", userinfo)]
    with uvicorn_serving(Starlette(routes=routes)) as address:
        yield f"http://{address}"


class SignIn:
    """Authlib's client, as a host has it."""

    def __init__(self, provider: str, service: Service) -> None:
        self.url = provider
        self.service = service
        self.state = ""

    def client(self, **more: Any) -> Any:
        untyped: Any = AsyncOAuth2Client
        return untyped("shop", "its secret", redirect_uri="https://api.example/callback", **more)

    def begin(self) -> str:
        url, self.state = self.client().create_authorization_url(f"{self.url}/authorize")
        return str(url)

    async def end(self, request: Any, response: Any, callback: str) -> Any:
        async with self.client(state=self.state) as client:
            await client.fetch_token(f"{self.url}/token", authorization_response=callback)
            user = (await client.get(f"{self.url}/userinfo")).json()
        await self.service.app.start_session(request, response, Identity(user["sub"], amr="fed"))
        return response


def in_fastapi(sign_in: SignIn) -> ASGIApp:
    app = FastAPI()

    @app.get("/callback")
    async def callback(request: Request) -> RedirectResponse:
        response: RedirectResponse = await sign_in.end(request, RedirectResponse("/"), str(request.url))
        return response

    return app


def in_litestar(sign_in: SignIn) -> ASGIApp:
    @get("/callback")
    async def callback(request: LitestarRequest[Any, Any, Any]) -> Redirect:
        response: Redirect = await sign_in.end(request, Redirect("/"), str(request.url))
        return response

    return Litestar([callback])  # type: ignore[return-value]


def in_django(sign_in: SignIn) -> ASGIApp:
    async def callback(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = await sign_in.end(request, HttpResponseRedirect("/"), request.build_absolute_uri())
        return response

    urls = type("urls", (), {"urlpatterns": [path("callback", callback)]})
    project = get_asgi_application()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with override_settings(ROOT_URLCONF=urls):
            await project(scope, receive, send)

    return app


@pytest.mark.parametrize("framework", [in_fastapi, in_litestar, in_django])
def test_after_a_callback(framework: Callable[[SignIn], ASGIApp], monkeypatch: pytest.MonkeyPatch) -> None:
    """After the callback of an OAuth login made with Authlib the browser has a session, and refreshes by cookie."""
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    service = a_service(access_cookie="access")
    with provider() as url:
        sign_in = SignIn(url, service)
        app = Starlette(routes=[Mount("/auth", service.app), Mount("", framework(sign_in))])
        with TestClient(app, base_url="https://api.example", follow_redirects=False) as browser:
            there = httpx2.get(sign_in.begin(), trust_env=False)
            back = browser.get(
                there.headers["location"], headers={"user-agent": "Firefox", "sec-fetch-site": "cross-site"}
            )
            assert (back.status_code // 100, back.headers["location"]) == (3, "/")
            assert {(each.name, each.path) for each in browser.cookies.jar} == {(COOKIE, "/auth"), ("access", "/")}
            assert all(each.secure and each.has_nonstandard_attr("HttpOnly") for each in browser.cookies.jar)
            tokens = browser.post("/auth/refresh").json()
            headers = {"authorization": f"Bearer {tokens['access_token']}"}
            (device,) = browser.get("/auth/sessions", headers=headers).json()["sessions"]
    assert (payload(tokens["access_token"])["sub"], payload(tokens["access_token"])["amr"]) == ("alice", ["fed"])
    assert device["client"]["user_agent"] == "Firefox"
    assert service.events[0] == SessionOpened()


RESPONSES: dict[str, tuple[Callable[[], Any], Callable[[Any], list[str]]]] = {
    "Starlette": (lambda: Response(), lambda made: made.headers.getlist("set-cookie")),
    "Quart": (lambda: QuartResponse(""), lambda made: made.headers.getlist("set-cookie")),
    "Falcon": (falcon.asgi.Response, lambda made: [value.decode() for _, value in made._asgi_headers()]),
    "Django": (HttpResponse, lambda made: [made.cookies.output(header="").strip()]),
    "Litestar": (lambda: LitestarResponse(""), lambda made: [each.to_header(header="") for each in made.cookies]),
}


@pytest.mark.parametrize("framework", RESPONSES)
@pytest.mark.parametrize("request_of", ["a scope", "Starlette", "Django under WSGI"])
@pytest.mark.parametrize("remember", [True, False])
async def test_requests_and_responses(framework: str, request_of: str, remember: bool) -> None:
    """The cookie has the same attributes on every framework's response, from every framework's request.

    The cookie of a user who is not remembered has no Max-Age. The host gets the pair of tokens, too."""
    make, cookies_of = RESPONSES[framework]
    service, response, scope = a_service(), make(), http_scope("/callback")
    given = {"a scope": scope, "Starlette": Request(scope), "Django under WSGI": RequestFactory().get("/callback")}
    pair = await service.app.start_session(given[request_of], response, replace(ALICE, remember=remember))
    ((name, morsel),) = SimpleCookie(cookies_of(response)[-1]).items()
    attributes = {key: str(value).lower() for key, value in morsel.items() if value and key != "expires"}
    assert name == COOKIE
    assert attributes == {
        "path": "/auth",
        "samesite": "strict",
        "secure": "true",
        "httponly": "true",
        **({"max-age": "604800"} if remember else {}),
    }
    assert (pair.refresh_token, payload(pair.access_token)["sub"]) == (morsel.value, "alice")
    assert (await service.refresh(morsel.value)).status == 200


async def test_the_session_before_ends() -> None:
    """The session of the cookie that the request bears ends: a thief may have a copy of it."""
    service = a_service()
    device = await service.device()
    await service.app.start_session(http_scope(headers=[cookie(device.refresh)]), Response(), ALICE)
    assert service.events[-1] == SessionEnded("ended")
    assert (await service.refresh(device.refresh)).status == 401


@pytest.mark.parametrize("behind", [False, True])
async def test_behind_the_middleware(behind: bool) -> None:
    """It works inside `JWTMiddleware`, on a public path, and without one."""
    service = a_service()
    sent: list[Any] = []

    async def callback(scope: Any, receive: Any, send: Any) -> None:
        response = RedirectResponse("/")
        await service.app.start_session(scope, response, ALICE)
        await response(scope, receive, send)

    async def send(message: Any) -> None:
        sent.append(message)

    app: ASGIApp = JWTMiddleware(callback, service.auth, public=["/callback"]) if behind else callback
    receive: Any = send
    await app(http_scope("/callback"), receive, send)
    assert [name for name, _ in sent[0]["headers"]].count(b"set-cookie") == 1


MISTAKES: dict[str, tuple[dict[str, Any], Any, type[Exception], str]] = {
    "no path": ({"cookie_path": None}, ALICE, ConfigurationError, "ASGI_JWT_COOKIE_PATH is missing"),
    "no identity": ({}, "alice", TypeError, "takes the user's Identity"),
    "too large": ({"access_cookie": "a"}, Identity("alice", claims={"x": "y" * 4000}), CookieTooLarge, "4,096"),
}


@pytest.mark.parametrize(("settings", "identity", "error", "why"), MISTAKES.values(), ids=MISTAKES)
async def test_mistakes(settings: dict[str, Any], identity: Any, error: type[Exception], why: str) -> None:
    """Nothing is stored and no cookie is set where the session can't be given to the browser."""
    service, response = a_service(**settings), Response()
    with pytest.raises(error, match=why):
        await service.app.start_session(http_scope(), response, identity)
    assert (service.store.writes, response.headers.getlist("set-cookie")) == (0, [])


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        *(("/", Response()), ({}, Response()), ({"type": "http"}, Response()), (websocket_scope(), Response())),
        *((http_scope(), "a text"), (http_scope(), []), (http_scope(), Response)),
    ],
)
async def test_other_objects(request_: Any, response: Any) -> None:
    """What is neither a request nor a response of a framework is refused before a session is opened."""
    service = a_service()
    with pytest.raises(TypeError, match="start_session"):
        await service.app.start_session(request_, response, ALICE)
    assert service.store.writes == 0


async def test_a_store_that_is_down() -> None:
    """The host hears that the store is down, and its response has no cookie."""
    service, response = a_service(), Response()
    assert isinstance(service.store, WatchedStore)
    service.store.down = {"update"}
    with pytest.raises(StoreUnavailable):
        await service.app.start_session(http_scope(), response, ALICE)
    assert response.headers.getlist("set-cookie") == []
