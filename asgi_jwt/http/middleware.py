"""JWTMiddleware: only requests and WebSockets with a verified token reach the app."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from starlette.authentication import UnauthenticatedUser
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from asgi_jwt.auth import Auth
from asgi_jwt.callbacks import settle
from asgi_jwt.errors import AuthError, ConfigurationError, InvalidRequest, MissingToken, RefusedToken
from asgi_jwt.events import TokenRefused
from asgi_jwt.http.asgi import AnyASGIApp, check_scope_type, checked_auth, in_event_loop, list_headers, refuse_start
from asgi_jwt.http.bearer import (
    Challenge,
    cookie_token,
    deny,
    header_token,
    hide_subprotocol_token,
    subprotocol_token,
)
from asgi_jwt.http.cross_site import check_cross_site
from asgi_jwt.http.dpop import DPoP, of_scheme
from asgi_jwt.http.hints import Hints
from asgi_jwt.http.paths import PublicPaths, RootPath
from asgi_jwt.http.resource_metadata import ResourceMetadata
from asgi_jwt.http.sockets import Sockets
from asgi_jwt.settings.values import public_paths
from asgi_jwt.tokens.claims import AuthCredentials, Claims
from asgi_jwt.tokens.identity import kind
from asgi_jwt.tokens.proof import Proof

Validate = Callable[[Claims, Scope], Awaitable[bool | None] | bool | None]
OnError = Callable[[AuthError, Scope], Awaitable[Response | None] | Response | None]

GUARD = "asgi_jwt.guard"
"""The key of the scope that holds the `Guard`."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_PERCENT = ord("%")
_NO_CREDENTIALS = AuthCredentials(())


class Guard(NamedTuple):
    """The parts of the middleware that `require` and `AuthApp` use inside it, handed over in the scope."""

    challenge: Challenge
    auth: Auth
    hints: Hints
    reads_header: bool


class JWTMiddleware:
    """Wraps any ASGI app: every HTTP request and WebSocket needs a valid access token (RFC 6750, RFC 9068, RFC 9449).

    The app finds the `Claims` in `scope["claims"]` and `scope["user"]`, and the token's scopes in `scope["auth"]`. An
    open WebSocket is closed with 3000 when its token expires or is revoked, and with 1013 when revocations are out of
    reach.

    `auth`: None takes the variables `ASGI_JWT_*`, whose `STORE` may not be `memory://`.
    `public`: paths that need no token, in addition to `PUBLIC_PATHS`. No token is read there.
    `optional`: a request without a token reaches the app, without a user. A bad token is still refused.
    `validate(claims, scope)`: the host's own check of a verified token, sync or async. False or an `AuthError` refuses
    the token.
    `on_error(error, scope)`: returns an answer instead of the standard one, or None for the standard one.

    Raises `ConfigurationError` for unusable settings. Starlette's `add_middleware` builds the middleware while an event
    loop runs: the `ConfigurationError` is then raised at the first call, and ends the server's start. A call raises
    `RuntimeError` for a scope type other than `http`, `websocket` and `lifespan`.
    """

    def __init__(
        self,
        app: AnyASGIApp,
        auth: Auth | None = None,
        *,
        public: str | Iterable[str] = (),
        optional: bool = False,
        validate: Validate | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self.app = app
        self._optional = optional
        self._validate = validate
        self._on_error = on_error
        self._fault: ConfigurationError | None = None
        try:
            self._set_up(_auth_from_env() if auth is None else checked_auth(auth, "JWTMiddleware(app, auth)"), public)
        except ConfigurationError as fault:
            if not in_event_loop():
                raise
            # Starlette builds its middleware at the first lifespan event. A server takes an exception there for an app
            # without lifespan, so it would start, and then fail at each request.
            self._fault = fault

    def _set_up(self, auth: Auth, public: str | Iterable[str]) -> None:
        self._auth = auth
        settings = auth.settings
        if settings.store is not None:
            self._auth.require_store()
        self._root_path = RootPath(settings.root_path)
        try:
            self._public = PublicPaths([*settings.public_paths, *public_paths(public)], self._root_path)
        except ValueError as fault:
            raise ConfigurationError(f"public: {fault}") from None
        self._may_be_public = self._public.may_match
        self._reads_header = "header" in settings.token_sources
        self._other_sources = tuple(source for source in settings.token_sources if source != "header")
        self._reads_subprotocol = "subprotocol" in settings.token_sources
        self._trusted = settings.trusted_origins
        self._metadata = None if settings.resource is None else ResourceMetadata(auth)
        metadata_url = None if self._metadata is None else self._metadata.url
        self._dpop = DPoP(auth)
        self._hints = Hints(auth.clock, expects_auth_app=bool(settings.refresh_secret))
        self._guard, self._dpop_guard = (
            Guard(
                Challenge(settings.realm, metadata_url, settings.scopes, dpop=settings.dpop, scheme=scheme),
                self._auth,
                self._hints,
                self._reads_header,
            )
            for scheme in ("Bearer", "DPoP")
        )
        self._sockets = Sockets(self._auth)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._fault is not None:
            await refuse_start(scope, receive, send, self._fault)
        scope_type = scope["type"]
        if scope_type != "http" and scope_type != "websocket":
            check_scope_type(scope)
            # The start does not wait for the keys. Without a lifespan event the first token waits for them.
            self._auth.warm_up()
            await self.app(scope, receive, self._closing(send))
            return
        if type(scope["headers"]) is not list:  # inlined for speed
            list_headers(scope)
        if self._metadata is not None and self._asks_metadata(scope):
            await self._metadata(scope, receive, send)
            return
        scope[GUARD] = self._guard
        try:
            claims = self._cached_claims(scope)
            if claims is None and (presented := self._presented(scope)) is not None:
                token, proof = presented
                claims = of_scheme(await self._auth.verify(token, proof=proof), proof)
            if claims is not None and self._validate is not None:
                await self._validate_by_host(claims, scope)
        except AuthError as error:
            await self._refuse(error, scope, receive, send)
            return
        _enter(scope, claims)
        if scope_type == "http":
            await self.app(scope, receive, send)
        else:
            await self._serve_socket(claims, scope, receive, send)

    def let_in_at_sight(self, scope: Scope) -> bool:
        """Whether an HTTP request passes without a wait: its token was verified before, or it needs none.

        The scope then says whose it is. False: the request is to be answered by a call. For callers that have no event
        loop.
        """
        list_headers(scope)
        if self._validate is not None or self._asks_metadata(scope):
            return False
        scope[GUARD] = self._guard
        try:
            presented = self._presented(scope)
        except AuthError:
            return False
        claims = None if presented is None else self._auth.verify_cached(presented[0])
        if presented is not None and (claims is None or presented[1] is not None):
            return False
        _enter(scope, claims)
        return True

    async def _serve_socket(self, claims: Claims | None, scope: Scope, receive: Receive, send: Send) -> None:
        # The verifier of a token that is no JWT is asked again while the WebSocket is open.
        presented = None if claims is None or self._auth.opaque_tokens is None else self._presented(scope)
        token = None if presented is None else presented[0]
        hidden = hide_subprotocol_token(scope, dpop=not self._dpop.is_off) if self._reads_subprotocol else None
        if hidden is not None:
            send = _selecting(hidden, send)
        if claims is not None:
            await self._sockets.serve(self.app, claims, token, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _closing(self, send: Send) -> Send:
        """Wraps `send`: closes the store that `Auth` opened when the app has shut down."""
        if self._auth.settings.store is None:
            return send

        async def close(message: Message) -> None:
            try:
                if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
                    await self._auth.aclose()
            finally:
                await send(message)

        return close

    def _cached_claims(self, scope: Scope) -> Claims | None:
        """The claims of a request whose path is not public and whose only Bearer token was verified before.

        None: `_presented` and `Auth.verify` decide. Every request runs this function, so it makes few calls.
        """
        try:
            raw_path = scope["raw_path"]
            if scope["root_path"] or not raw_path or _PERCENT in raw_path or self._may_be_public(raw_path):
                return None
        except KeyError:  # both keys are optional in ASGI
            return None
        found = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                if found is not None:
                    return None
                found = value
        if found is not None and self._reads_header and found.startswith(b"Bearer "):
            return self._auth.verify_cached(found[7:])
        return None

    def _presented(self, scope: Scope) -> tuple[bytes, Proof | None] | None:
        """The request's token, and its proof if the scheme is `DPoP`. None: the request passes without a token.

        Raises `MissingToken` if it needs one and has none.
        """
        if self._public.match(scope):
            self._root_path.apply(scope)
            return None
        try:
            presented = self._dpop.presented(scope) if self._reads_header else None
            if presented is None:
                presented = self._token_of_other_source(scope)
        except InvalidRequest:
            if self._dpop.is_used(scope):
                scope[GUARD] = self._dpop_guard
            raise
        if presented is None:
            if not self._optional:
                raise MissingToken
        elif presented[1] is not None:
            scope[GUARD] = self._dpop_guard
        return presented

    def _token_of_other_source(self, scope: Scope) -> tuple[bytes, Proof | None] | None:
        for source in self._other_sources:
            proven = self._dpop.subprotocol_token(scope) if source == "subprotocol" else None
            if proven is not None:
                return proven
            token = self._token_from(source, scope)
            if token is not None:
                return token, None
        return None

    def _token_from(self, source: str, scope: Scope) -> bytes | None:
        """The token in the header, cookie or subprotocol that `source` names. Raises `CrossSite`."""
        kind, _, name = source.partition(":")
        if kind == "subprotocol":
            return subprotocol_token(scope)
        if kind == "header":
            token = header_token(scope["headers"], name.lower().encode())
        else:
            token = cookie_token(scope["headers"], name.encode())
        # A gateway makes its header from a cookie of its own, which a browser sends with other sites' requests, too.
        if token is not None and (scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS):
            check_cross_site(scope, self._trusted)
        return token

    async def _validate_by_host(self, claims: Claims, scope: Scope) -> None:
        """Call the host's `validate`. Raises `RefusedToken` when it returns False, and whatever `validate` raises."""
        answer: object = await settle(self._validate(claims, scope)) if self._validate else None
        # The host may return a database column, where 0 means False.
        if answer is not None and not isinstance(answer, int):
            raise TypeError(f"validate returns True, False or None, not {kind(answer)}: False refuses the token")
        if answer is not None and not answer:
            raise RefusedToken

    async def _refuse(self, error: AuthError, scope: Scope, receive: Receive, send: Send) -> None:
        await self._auth.events.emit(TokenRefused(error.reason, error.status, scope["type"]))
        self._hints.refused(error, scope)
        response = None
        if self._on_error is not None:
            response = await settle(self._on_error(error, scope))
            if response is not None and not callable(response):
                raise TypeError(f"on_error returns a Response, or None for the standard one: not {kind(response)}")
        if response is None:
            guard: Guard = scope[GUARD]
            response = guard.challenge.response(error)
        await deny(response, scope, receive, send)

    def _asks_metadata(self, scope: Scope) -> bool:
        path = None if self._metadata is None else self._metadata.path
        return path is not None and scope["type"] == "http" and self._root_path.route_path(scope) == path


def _enter(scope: Scope, claims: Claims | None) -> None:
    """Put the user of the request into the scope. None: an anonymous request."""
    if claims is not None:
        scope["claims"] = scope["user"] = claims
        scope["auth"] = claims.credentials
    else:
        # Each request gets a new user: an app may set attributes on Starlette's class.
        scope["claims"], scope["user"], scope["auth"] = None, UnauthenticatedUser(), _NO_CREDENTIALS


def _auth_from_env() -> Auth:
    """The Auth of the environment. Raises `ConfigurationError` for `memory://`: no AuthApp could share that store."""
    auth = Auth.from_env()
    if (auth.settings.store or "").lower().startswith("memory:"):
        raise ConfigurationError(
            "ASGI_JWT_STORE is memory://, and JWTMiddleware without auth= would have a store of its own, in which no"
            " logout shows: pass the auth of AuthApp, as JWTMiddleware(app, auth=auth), or unset ASGI_JWT_STORE"
        )
    return auth


def _selecting(subprotocol: str, send: Send) -> Send:
    """Wraps `send`: selects `subprotocol` if the app selects none.

    A browser that offered subprotocols closes a connection for which none was selected.
    """

    async def select(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message = {**message, "subprotocol": subprotocol}
        await send(message)

    return select
