"""Contenders around an app, each set up as its documentation says, with all the checks that it offers of ours.

Middleware is put around a Starlette app, what needs another framework into an app of that.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jwt
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from asgi_jwt import JWTMiddleware, require
from benchmarks.asgi import PATH, bare, protected
from benchmarks.contender import Contender
from benchmarks.fixture import AUDIENCE, ISSUER, PUBLIC_PATHS, Fixture
from benchmarks.verify import REMEMBERED, auth, pyjwt_check

TEXT_KEY = "takes its key as text alone, and prepares it for each request"


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def starlette() -> Starlette:
    return Starlette(routes=[Route(PATH, hello)])


def fastapi(dependency: Any = None) -> Any:
    """An app with one route, which asks for `dependency`."""
    from fastapi import Depends, FastAPI

    app = FastAPI(openapi_url=None)
    if dependency is None:

        async def orders() -> Response:
            return PlainTextResponse("hello")

        app.get(PATH)(orders)
    else:

        async def protected_orders(user: Annotated[Any, Depends(dependency)]) -> Response:
            return PlainTextResponse("hello")

        app.get(PATH)(protected_orders)
    return app


def ours(fixture: Fixture) -> Contender:
    protection = JWTMiddleware(starlette(), auth(fixture), public=PUBLIC_PATHS)
    forgetful = JWTMiddleware(starlette(), auth(fixture, cache_size=REMEMBERED), public=PUBLIC_PATHS)
    return protected(fixture, starlette(), protection, ("asgi_jwt", "starlette"), new=forgetful)


def ours_on_a_bare_app(fixture: Fixture) -> Contender:
    protection = JWTMiddleware(bare, auth(fixture), public=PUBLIC_PATHS)
    return protected(fixture, bare, protection, ("asgi_jwt",))


def ours_on_fastapi(fixture: Fixture) -> Contender:
    protection = JWTMiddleware(fastapi(require("orders:read")), auth(fixture), public=PUBLIC_PATHS)
    return protected(fixture, fastapi(), protection, ("asgi_jwt", "fastapi"), "the route asks for a scope, too")


def ours_on_litestar(fixture: Fixture) -> Contender:
    protection = JWTMiddleware(litestar(), auth(fixture), public=PUBLIC_PATHS)
    return protected(fixture, litestar(), protection, ("asgi_jwt", "litestar"))


def starlette_protection(fixture: Fixture, app: Any) -> AuthenticationMiddleware:
    """`app` behind Starlette's own middleware, with a backend as its documentation shows it."""
    check = pyjwt_check(fixture)

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
            scheme, _, token = conn.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                raise AuthenticationError("no token")
            try:
                claims = check(token)
            except jwt.PyJWTError:
                raise AuthenticationError("refused") from None
            return AuthCredentials(claims["scope"].split()), SimpleUser(claims["sub"])

    return AuthenticationMiddleware(app, backend=Backend())


def starlette_authentication(fixture: Fixture) -> Contender:
    protection = starlette_protection(fixture, starlette())
    return protected(fixture, starlette(), protection, ("starlette", "PyJWT", "cryptography"))


def base_http(fixture: Fixture) -> Contender:
    check = pyjwt_check(fixture)

    class Protection(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                return PlainTextResponse("no token", 401)
            try:
                request.state.claims = check(token)
            except jwt.PyJWTError:
                return PlainTextResponse("refused", 401)
            return await call_next(request)

    return protected(fixture, starlette(), Protection(starlette()), ("starlette", "PyJWT", "cryptography"))


def fastapi_bearer(fixture: Fixture) -> Contender:
    from fastapi import Depends, HTTPException
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

    check = pyjwt_check(fixture)
    bearer = HTTPBearer()

    async def user(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> Any:
        try:
            return check(credentials.credentials)
        except jwt.PyJWTError:
            raise HTTPException(401) from None

    return protected(fixture, fastapi(), fastapi(user), ("fastapi", "PyJWT", "cryptography"))


def authx(fixture: Fixture) -> Contender:
    from authx import AuthX, AuthXConfig

    symmetric = fixture.algorithm.startswith("HS")
    config = AuthXConfig(
        JWT_ALGORITHM=fixture.algorithm,
        JWT_SECRET_KEY=fixture.secret if symmetric else None,
        JWT_PUBLIC_KEY=None if symmetric else fixture.public_pem,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_TOKEN_LOCATION=["headers"],
    )
    protection = AuthX(config=config)
    app = fastapi(protection.access_token_required)
    protection.handle_errors(app)
    return protected(fixture, fastapi(), app, ("authx", "fastapi", "PyJWT", "pydantic"), TEXT_KEY)


def litestar(**options: Any) -> Any:
    from litestar import Litestar, get

    @get(PATH, media_type="text/plain")
    async def orders() -> str:
        return "hello"

    return Litestar(route_handlers=[orders], openapi_config=None, logging_config=None, **options)


def litestar_jwt(fixture: Fixture) -> Contender:
    from litestar.security.jwt import JWTAuth

    async def user(token: Any, connection: Any) -> Any:
        return token.sub

    protection = JWTAuth[Any](
        retrieve_user_handler=user,
        token_secret=fixture.verifying_key,
        algorithm=fixture.algorithm,
        accepted_issuers=[ISSUER],
        accepted_audiences=[AUDIENCE],
        exclude=["^/auth(/|$)", "^/docs$", "^/health$"],
    )
    app = litestar(on_app_init=[protection.on_app_init])
    return protected(fixture, litestar(), app, ("litestar", "PyJWT", "msgspec"), TEXT_KEY)


@dataclass
class User:
    id: uuid.UUID
    email: str = "alice@example.com"
    hashed_password: str = ""
    is_active: bool = True
    is_superuser: bool = False
    is_verified: bool = True


def fastapi_users(fixture: Fixture) -> Contender:
    from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
    from fastapi_users.authentication import AuthenticationBackend, BearerTransport, JWTStrategy
    from fastapi_users.db import BaseUserDatabase

    users = {(subject := uuid.UUID(fixture.subject)): User(subject)}

    class Users(BaseUserDatabase[User, uuid.UUID]):
        async def get(self, id: uuid.UUID) -> User | None:  # noqa: A002
            return users.get(id)

    class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
        pass

    async def user_manager() -> Any:
        return UserManager(Users())

    def strategy() -> Any:
        return JWTStrategy[User, uuid.UUID](
            fixture.verifying_key, 3600, token_audience=[AUDIENCE], algorithm=fixture.algorithm
        )

    backend = AuthenticationBackend[User, uuid.UUID]("jwt", BearerTransport("auth/login"), strategy)
    protection = FastAPIUsers[User, uuid.UUID](user_manager, [backend])
    return protected(
        fixture,
        fastapi(),
        fastapi(protection.current_user(active=True)),
        ("fastapi-users", "fastapi", "PyJWT"),
        TEXT_KEY,
        "looks the user up, here in a dict",
    )


CONTENDERS: dict[str, Callable[[Fixture], Contender]] = {
    "asgi_jwt": ours,
    "asgi_jwt, bare ASGI app": ours_on_a_bare_app,
    "asgi_jwt and require, FastAPI": ours_on_fastapi,
    "asgi_jwt, Litestar": ours_on_litestar,
    "Starlette AuthenticationMiddleware + PyJWT": starlette_authentication,
    "BaseHTTPMiddleware + PyJWT": base_http,
    "FastAPI HTTPBearer + PyJWT": fastapi_bearer,
    "authx": authx,
    "Litestar JWTAuth": litestar_jwt,
    "fastapi-users": fastapi_users,
}
