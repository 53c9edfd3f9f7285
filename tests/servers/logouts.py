"""An app of another issuer's users, for servers in processes of their own: `servers.logouts:app`.

The environment has the settings. Below `/oidc` it takes logout tokens; `/orders` and the WebSocket `/socket` need an
access token.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from asgi_jwt import Auth, BackchannelLogout, JWTMiddleware

auth = Auth.from_env()


async def orders(request: Request) -> PlainTextResponse:
    return PlainTextResponse("orders")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive()


guarded = Starlette(routes=[Route("/orders", orders), WebSocketRoute("/socket", socket)])
app = Starlette(routes=[Mount("/oidc", BackchannelLogout(auth)), Mount("", JWTMiddleware(guarded, auth))])
