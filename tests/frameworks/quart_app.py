"""A Quart app, written as Quart's documentation writes one."""

from quart import Quart, websocket

from asgi_jwt import Auth, JWTMiddleware
from asgi_jwt.quart import current_claims, requires


def create_app(auth: Auth) -> Quart:
    app = Quart(__name__)
    app.asgi_app = JWTMiddleware(app.asgi_app, auth)  # type: ignore[method-assign]

    @app.get("/hello")
    async def hello() -> dict[str, bool]:
        return {"known": bool(current_claims)}

    @app.get("/orders/<int:number>")
    @requires("orders:read")
    async def order(number: int) -> dict[str, object]:
        return {"of": current_claims.subject, "number": number}

    @app.get("/admin")
    @requires(roles="admin")
    def admin() -> str:
        return current_claims.subject

    @app.post("/transfers")
    @requires(acr="phr", max_age=60)
    async def transfer() -> str:
        return "sent"

    @app.websocket("/feed")
    @requires("orders:read")
    async def feed() -> None:
        await websocket.send(current_claims.subject)

    return app
