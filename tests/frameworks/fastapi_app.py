"""A FastAPI app, written as FastAPI's documentation writes one."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Security, WebSocket
from frameworks.accounts import authenticate

from asgi_jwt import Auth, AuthApp, Claims, JWTMiddleware, require
from asgi_jwt.fastapi import document

Reader = Annotated[Claims, Depends(require("orders:read"))]
Writer = Annotated[Claims, Security(require(), scopes=["orders:write"])]


async def current_name(user: Annotated[Claims, Depends(require())]) -> str:
    return user.subject


router = APIRouter(prefix="/reports", dependencies=[Security(require(), scopes=["orders:write"])])


@router.get("/")
async def reports(name: Annotated[str, Depends(current_name)]) -> list[str]:
    return [f"{name}'s report"]


def create_app(auth: Auth) -> FastAPI:
    app = FastAPI()
    app.mount("/auth", AuthApp(auth, authenticate))
    app.add_middleware(JWTMiddleware, auth=auth, public=["/auth/*", "/docs", "/openapi.json", "/health"])
    document(app, auth)

    @app.get("/health")
    async def health() -> str:
        return "ok"

    @app.get("/orders")
    async def orders(user: Reader) -> list[str]:
        return [f"{user.subject}'s order"]

    @app.post("/orders", status_code=201)
    async def order(user: Writer) -> str:
        return user.subject

    @app.get("/orders/{number}")
    async def one_order(
        number: int, name: Annotated[str, Security(current_name, scopes=["orders:read", "orders:write"])]
    ) -> str:
        return f"{name}'s order {number}"

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, user: Reader) -> None:
        await websocket.accept()
        await websocket.send_text(user.subject)
        await websocket.close()

    app.include_router(router)
    return app
