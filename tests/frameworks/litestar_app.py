"""A Litestar app, written as Litestar's documentation writes one."""

from frameworks.accounts import authenticate
from litestar import Controller, Litestar, Request, WebSocket, get, post, websocket
from litestar.datastructures import State

from asgi_jwt import Auth, Claims, require
from asgi_jwt.litestar import JWTPlugin
from asgi_jwt.tokens.claims import AuthCredentials

UserRequest = Request[Claims, AuthCredentials, State]


@get("/health")
async def health() -> str:
    return "ok"


@get("/me")
async def me(request: UserRequest) -> Claims:
    return request.user


class OrderController(Controller):
    path = "/orders"
    guards = (require("orders:read"),)

    @get()
    async def orders(self, request: UserRequest) -> list[str]:
        return [f"{request.user.subject}'s order"]

    @post(guards=[require("orders:write")])
    async def order(self, request: UserRequest) -> str:
        return request.user.subject


@websocket("/feed", guards=[require("orders:read")])
async def feed(socket: WebSocket[Claims, AuthCredentials, State]) -> None:
    await socket.accept()
    await socket.send_text(socket.user.subject)
    await socket.close()


def create_app(auth: Auth) -> Litestar:
    return Litestar(
        route_handlers=[health, me, OrderController, feed],
        plugins=[JWTPlugin(auth, authenticate, public=["/health"])],
    )
