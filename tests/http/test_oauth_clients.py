"""Unmodified OAuth clients refresh against `/token` of a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from anyio.to_thread import run_sync
from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError
from httpx_oauth.oauth2 import BaseOAuth2, RefreshTokenError
from oauthlib.oauth2 import InvalidGrantError
from requests_oauthlib import OAuth2Session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from support.app import Service, payload
from support.serving import uvicorn_serving

from asgi_jwt import Identity, JWTMiddleware

pytestmark = pytest.mark.anyio

CLIENT = ("a client", "its secret")


class Server:
    """The service on loopback, and the content type and the Authorization header of each request to `/token`."""

    def __init__(self) -> None:
        self.url = ""
        self.service = Service()
        self.seen: list[tuple[str, str]] = []

        async def me(request: Request) -> JSONResponse:
            return JSONResponse({"sub": request.user.identity})

        self._app = Starlette(routes=[Mount("/auth", self.service.app), Route("/me", me)])
        self._app.add_middleware(JWTMiddleware, auth=self.service.auth, public=["/auth/*"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/auth/token":
            headers = dict(scope["headers"])
            self.seen.append((headers[b"content-type"].decode(), headers.get(b"authorization", b"").decode()))
        await self._app(scope, receive, send)

    async def log_in(self) -> dict[str, Any]:
        """The token that an OAuth client would have kept, its access token expired."""
        pair = await self.service.auth.sessions.open(Identity("alice", scopes="read write"))
        self.service.clock.turn(1000)
        tokens = {"access_token": pair.access_token, "refresh_token": pair.refresh_token}
        return {**tokens, "token_type": "Bearer", "expires_in": -100, "expires_at": 1}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    server = Server()
    with uvicorn_serving(server) as address:
        server.url = f"http://{address}"
        yield server


def assert_refreshed(token: Any, before: dict[str, Any]) -> None:
    assert payload(token["refresh_token"])["gen"] == payload(before["refresh_token"])["gen"] + 1
    assert token["access_token"] != before["access_token"]
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 900)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_authlib(server: Server, method: str) -> None:
    """Authlib's client refreshes by itself when its token has expired, goes on with the new one, and revokes it."""
    before = await server.log_in()
    kept: list[Any] = []

    async def keep(token: Any, refresh_token: str | None = None, access_token: str | None = None) -> None:
        kept.append(dict(token))

    untyped: Any = AsyncOAuth2Client
    async with untyped(
        *CLIENT,
        token_endpoint=f"{server.url}/auth/token",
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        token=before,
        update_token=keep,
    ) as client:
        answer = await client.get(f"{server.url}/me")
        assert (answer.status_code, answer.json()) == (200, {"sub": "alice"})
        assert_refreshed(kept[0], before)
        assert server.seen[0][0].startswith("application/x-www-form-urlencoded")
        assert server.seen[0][1].startswith("Basic ") == (method == "client_secret_basic")
        again = await client.refresh_token(f"{server.url}/auth/token")
        assert again["refresh_token"] == kept[0]["refresh_token"]
        revoked = await client.revoke_token(f"{server.url}/auth/revoke", again["refresh_token"], "refresh_token")
        assert revoked.status_code == 200
        with pytest.raises(OAuthError) as refused:
            await client.refresh_token(f"{server.url}/auth/token", again["refresh_token"])
        assert refused.value.error == "invalid_grant"


@pytest.mark.parametrize(
    "extra", [{}, {"client_id": CLIENT[0], "client_secret": CLIENT[1]}, {"auth": CLIENT}, {"resource": "https://x"}]
)
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_requests_oauthlib(server: Server, extra: dict[str, Any]) -> None:
    """requests-oauthlib refreshes when its token has expired, with the client's id in the body, in Basic, or without,
    and knows the error of a session that is over.
    """
    before = await server.log_in()
    kept: list[Any] = []
    url = f"{server.url}/auth/token"

    def use() -> None:
        with OAuth2Session(
            CLIENT[0], token=before, auto_refresh_url=url, auto_refresh_kwargs=extra, token_updater=kept.append
        ) as session:
            assert session.get(f"{server.url}/me").json() == {"sub": "alice"}
            assert_refreshed(kept[0], before)
            assert "application/x-www-form-urlencoded" in server.seen[0][0]
            again = session.refresh_token(url, **extra)
            assert again["refresh_token"] == kept[0]["refresh_token"]
            session.post(f"{server.url}/auth/revoke", data={"token": again["refresh_token"]}).raise_for_status()
            with pytest.raises(InvalidGrantError):
                session.refresh_token(url, **extra)

    await run_sync(use)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_httpx_oauth(server: Server, method: Any) -> None:
    """httpx-oauth refreshes, gets a refresh token every time, and sees the error of a session that is over."""
    before = await server.log_in()
    client: BaseOAuth2[Any] = BaseOAuth2(
        *CLIENT,
        authorize_endpoint="",
        access_token_endpoint="",
        refresh_token_endpoint=f"{server.url}/auth/token",
        revoke_token_endpoint=f"{server.url}/auth/revoke",
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
    )
    after = await client.refresh_token(before["refresh_token"])
    assert_refreshed(after, before)
    assert server.seen[0][1].startswith("Basic ") == (method == "client_secret_basic")
    again = await client.refresh_token(after["refresh_token"])
    assert again["refresh_token"] == after["refresh_token"]
    await client.revoke_token(again["refresh_token"], "refresh_token")
    with pytest.raises(RefreshTokenError) as refused:
        await client.refresh_token(again["refresh_token"])
    assert refused.value.response is not None
    assert (refused.value.response.status_code, refused.value.response.json()["error"]) == (400, "invalid_grant")
