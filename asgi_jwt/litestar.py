"""Litestar's own idioms: a plugin with the middleware, AuthApp and the OpenAPI document, and guards."""

from collections.abc import Iterable
from copy import copy
from typing import Any

from litestar import Request, Response, asgi
from litestar.config.app import AppConfig
from litestar.middleware import DefineMiddleware
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, OAuthFlow, OAuthFlows, SecurityScheme
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import Guard
from litestar.utils.sync import AsyncCallable

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError
from asgi_jwt.http.app import AuthApp
from asgi_jwt.http.asgi import checked_auth
from asgi_jwt.http.login import Authenticate
from asgi_jwt.http.middleware import JWTMiddleware
from asgi_jwt.http.openapi import SCHEME
from asgi_jwt.http.require import SOCKET_REFUSAL, Require, answer, denying_sockets, refusal
from asgi_jwt.tokens.claims import Claims

_LOGS_IN = "asgi_jwt.logs_in"  # marks AuthApp's mount, where a `require` of the whole app is not asked


class JWTPlugin(InitPlugin, ReceiveRoutePlugin):
    """`Litestar(plugins=[JWTPlugin(auth, authenticate)])`: each route needs a valid Bearer token.

    With `authenticate`, an `AuthApp` is mounted at `path`; without, nothing is mounted. `public` and `optional` are
    those of `JWTMiddleware`. `guards=[require("orders:read")]` of an app, a router, a controller or a route ask for
    scopes. The OpenAPI document shows the scheme, and the scopes of each route. A path without a route is a 404.

    Raises `ConfigurationError` where `auth` is no `Auth`, and for arguments that `AuthApp` refuses.
    """

    def __init__(
        self,
        auth: Auth,
        authenticate: Authenticate | None = None,
        *,
        path: str = "/auth",
        public: str | Iterable[str] = (),
        optional: bool = False,
    ) -> None:
        self._auth = checked_auth(auth, "JWTPlugin(auth)")
        self._auth_app = None if authenticate is None else AuthApp(auth, authenticate)
        self._path = path.strip("/")
        self._public = public.split(",") if isinstance(public, str) else public
        self._optional = optional
        self._scopes: dict[str, str] = {}

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Litestar calls it with the configuration of the app, to have it completed."""
        mount = f"/{app_config.path}/{self._path}".replace("//", "/").rstrip("/")
        public = [*filter(None, self._public), *([] if self._auth_app is None else [f"{mount}/*"])]
        guarding = DefineMiddleware(JWTMiddleware, auth=self._auth, public=public, optional=self._optional)
        app_config.middleware[:0] = [guarding, denying_sockets]
        app_config.after_exception.append(_remember)
        app_config.exception_handlers = {AuthError: _answer, **app_config.exception_handlers}
        app_config.type_encoders = {Claims: Claims.to_dict, **(app_config.type_encoders or {})}
        app_config.on_startup.append(self._auth.warm_up)  # the middleware sees no lifespan
        app_config.on_shutdown.append(self._auth.aclose)
        if self._auth_app is not None:
            mount_it = asgi(f"/{self._path}", is_mount=True, copy_scope=True, opt={_LOGS_IN: True})
            app_config.route_handlers.append(mount_it(self._auth_app.__call__))
        if app_config.openapi_config is not None:
            app_config.openapi_config = self._documented(app_config.openapi_config, mount)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Litestar calls it with each route: its guards run in the event loop, and the document shows their scopes."""
        either: Any = route
        for handler in either.route_handlers if isinstance(route, HTTPRoute) else [either.route_handler]:
            guards = handler.resolve_guards()
            scopes = sorted({name for guard in guards if _is_require(guard) for name in guard.func.scopes})
            if handler.opt.get(_LOGS_IN):
                guards[:] = [guard for guard in guards if not _is_require(guard)]
            # Litestar would run `require` in a thread, which costs ten times the check and waits for a free one.
            guards[:] = [_awaited(guard.func) if _is_require(guard) else guard for guard in guards]
            if scopes and isinstance(route, HTTPRoute):
                self._scopes.update(dict.fromkeys(scopes, ""))
                handler.security = [*(handler.security or ()), {SCHEME: scopes}]

    def _documented(self, config: OpenAPIConfig, mount: str) -> OpenAPIConfig:
        scheme = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
        if self._auth_app is not None:
            login = OAuthFlow(token_url=f"{config.servers[0].url.rstrip('/')}{mount}/login", scopes=self._scopes)
            scheme = SecurityScheme(type="oauth2", flows=OAuthFlows(password=login))
        given = config.components if isinstance(config.components, list) else [config.components]
        documented = copy(config)
        documented.components = [*given, Components(security_schemes={SCHEME: scheme})]
        documented.security = [*(config.security or ()), {SCHEME: []}]
        return documented


def _is_require(guard: object) -> bool:
    return isinstance(guard, AsyncCallable) and isinstance(guard.func, Require)


def _awaited(require: Require) -> Guard:
    async def check(connection: Any, handler: Any) -> None:
        require(connection, handler)

    return check


def _answer(request: Request[Any, Any, Any], error: Any) -> Response[bytes]:
    answered = answer(error, request.scope)
    return Response(bytes(answered.body), status_code=answered.status_code, headers=dict(answered.headers))


async def _remember(error: Exception, scope: Any) -> None:
    if isinstance(error, AuthError):
        await refusal(error, scope)  # emits the event
        scope[SOCKET_REFUSAL] = error  # Litestar closes a WebSocket with 4500 for any error
