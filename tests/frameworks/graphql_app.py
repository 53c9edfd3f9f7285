"""GraphQL by Strawberry, as an ASGI app and as FastAPI's router, with the token in a header or in connectionParams."""

import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import anyio
import strawberry
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from strawberry.asgi import GraphQL
from strawberry.fastapi import GraphQLRouter
from strawberry.permission import BasePermission

from asgi_jwt import Auth, Claims, JWTMiddleware, require

PROTOCOL = "graphql-transport-ws"


class ReadsOrders(BasePermission):
    message = "The access token lacks a required scope"

    def has_permission(self, source: Any, info: strawberry.Info[Any, Any], **arguments: Any) -> bool:
        return "orders:read" in info.context["request"].user.scopes


def all_orders() -> list[str]:
    return ["an order"]


@strawberry.type
class Query:
    @strawberry.field
    def me(self, info: strawberry.Info[Any, Any]) -> str:
        user: Claims = info.context["request"].user
        return user.subject

    orders: list[str] = strawberry.field(resolver=all_orders, permission_classes=[ReadsOrders])


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def names(self, info: strawberry.Info[Any, Any]) -> AsyncGenerator[str, None]:
        user: Claims = info.context["request"].user
        yield user.subject
        await anyio.sleep_forever()


schema = strawberry.Schema(Query, subscription=Subscription)


async def context(user: Annotated[Claims, Depends(require())]) -> dict[str, Claims]:
    return {"user": user}


def create_app(auth: Auth) -> Starlette:
    graphql = GraphQL[Any, Any](schema)
    app = Starlette(routes=[Route("/graphql", graphql), WebSocketRoute("/graphql", graphql)])
    app.add_middleware(JWTMiddleware, auth=auth)
    return app


def create_fastapi_app(auth: Auth) -> FastAPI:
    app = FastAPI()
    app.include_router(GraphQLRouter[Any, Any](schema, context_getter=context), prefix="/graphql")
    app.add_middleware(JWTMiddleware, auth=auth)
    return app


class ConnectionParams:
    """Around `JWTMiddleware`: a WebSocket's token may come in `connectionParams`, as `{"Authorization": "Bearer …"}`.

    The socket is accepted to read its first message, and `JWTMiddleware` decides with the token of that. So the socket
    ends with its token, too.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        names = {name for name, _ in scope.get("headers", ())}
        if scope["type"] != "websocket" or b"authorization" in names or PROTOCOL not in scope["subprotocols"]:
            await self.app(scope, receive, send)
            return
        connect = await receive()
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        messages = [connect]
        with anyio.move_on_after(10):
            messages.append(await receive())
        if messages[-1]["type"] == "websocket.disconnect":
            return
        authorization = authorization_of(messages[-1].get("text") or "")
        headers = [*scope["headers"], (b"authorization", authorization)] if authorization else scope["headers"]

        async def replay() -> Any:
            return messages.pop(0) if messages else await receive()

        async def send_accepted(message: Any) -> None:
            if message["type"] != "websocket.accept":
                await send(message)

        # Without the extension a denial is a close, which an accepted socket can have.
        await self.app({**scope, "headers": headers, "extensions": {}}, replay, send_accepted)


def authorization_of(first: str) -> bytes | None:
    """The header that `connection_init` names; None where the message is too long, or another one."""
    try:
        value = json.loads(first[:16_384])["payload"]["Authorization"]
        return value.encode("ascii") if isinstance(value, str) else None
    except (ValueError, LookupError, TypeError):
        return None
