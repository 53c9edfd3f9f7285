"""Django: `TokenMiddleware` under ASGI, WSGI and the test clients, and `JWTAuthentication` for REST framework."""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.encoding import escape_uri_path
from django.utils.module_loading import import_string
from starlette.types import Scope

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ConfigurationError, MissingToken
from asgi_jwt.http.asgi import checked_auth
from asgi_jwt.http.gate import Gate, Refusal, routed_scope, wsgi_scope
from asgi_jwt.http.middleware import GUARD
from asgi_jwt.http.require import answer
from asgi_jwt.tokens.claims import Claims

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.request import Request
else:
    BaseAuthentication = object  # REST framework calls two methods alone, and need not be installed


_NAME = "asgi_jwt.django.TokenMiddleware"


class TokenUser:
    """The user of a token, without a row in Django's tables: `pk` is the subject. Without `claims` it is anonymous."""

    is_staff = is_superuser = False

    def __init__(self, claims: Claims | None) -> None:
        self.claims = claims
        self.pk = self.id = None if claims is None else claims.subject
        self.is_authenticated = self.is_active = claims is not None
        self.is_anonymous = claims is None

    def get_username(self) -> str:
        return self.pk or ""

    def has_perms(self, asked: Sequence[str], obj: object = None) -> bool:
        """True for an empty list alone: permissions are rows of Django's tables. `require` checks a token's scopes."""
        return not asked

    has_perm = has_module_perms = has_perms

    async def ahas_perms(self, asked: Sequence[str], obj: object = None) -> bool:
        return self.has_perms(asked)

    def __str__(self) -> str:
        return "AnonymousUser" if self.claims is None else self.claims.display_name


class TokenRequest(HttpRequest):
    """The type of a request behind `TokenMiddleware`, for annotations."""

    claims: Claims | None
    scope: dict[str, Any]
    user: "TokenUser | AnonymousUser"  # type: ignore[assignment]


class TokenMiddleware:
    """For `MIDDLEWARE`: every request needs a valid Bearer token, as behind `JWTMiddleware`.

    A view finds `request.user`, `request.claims`, and `request.scope` for `require("orders:read")(request)`; an
    `AuthError` that it raises becomes the answer. The setting `ASGI_JWT_AUTH` is the dotted name of the `Auth`;
    `ASGI_JWT_OPTIONAL = True` lets requests without a token pass, as by an `AnonymousUser`. Raises
    `ConfigurationError` for an `Auth` that can't be used.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        self._gate = Gate(_auth(), optional=getattr(settings, "ASGI_JWT_OPTIONAL", False))
        _check_order([*settings.MIDDLEWARE])
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._acall(request)
        scope = _scope(request)
        refusal = self._gate.ask_blocking(scope)
        return _response(refusal) if refusal else self._get_response(_entered(request, scope))

    async def _acall(self, request: HttpRequest) -> Any:
        scope = _scope(request)
        refusal = await self._gate.ask(scope)
        return _response(refusal) if refusal else await self._get_response(_entered(request, scope))

    def process_exception(self, request: Any, exception: Exception) -> HttpResponse | None:
        """The answer to an `AuthError` that a view raised."""
        if not isinstance(exception, AuthError):
            return None
        answered = answer(exception, request.scope)
        return _response(Refusal(answered.status_code, dict(answered.headers), bytes(answered.body)))


class JWTAuthentication(BaseAuthentication):
    """For REST framework: `request.user` is a `TokenUser`, `request.auth` its `Claims`.

    Behind `TokenMiddleware` it uses the claims that the middleware verified. Without the middleware it verifies the
    token itself, and a request without a token passes to the view's permissions.
    """

    def authenticate(self, request: "Request") -> tuple[TokenUser, Claims] | None:
        inner: Any = request._request
        if GUARD not in getattr(inner, "scope", ()):
            scope = _scope(inner)
            if refusal := _optional_gate(_auth()).ask_blocking(scope):
                raise _api_exception(refusal)
            _entered(inner, scope)
        claims: Claims | None = inner.scope["claims"]
        return None if claims is None else (TokenUser(claims), claims)

    def authenticate_header(self, request: "Request") -> str:
        """The challenge: with it REST framework answers 401 rather than 403."""
        inner: Any = request._request
        return answer(MissingToken(), inner.scope).headers["WWW-Authenticate"]


def _auth() -> Auth:
    name: Any = getattr(settings, "ASGI_JWT_AUTH", None)
    setting = f"Django's setting ASGI_JWT_AUTH={name!r}"
    try:
        auth = import_string(name)
    except (ImportError, AttributeError, ValueError) as fault:
        raise ConfigurationError(f"{setting} is no dotted name of an Auth, as 'shop.auth.auth': {fault}") from fault
    return checked_auth(auth, setting)


def _check_order(names: list[str]) -> None:
    if _NAME in names and "django.contrib.auth.middleware.AuthenticationMiddleware" in names[names.index(_NAME) :]:
        raise ConfigurationError(f"MIDDLEWARE: put {_NAME} after AuthenticationMiddleware, which sets request.user")


_optional_gate = lru_cache(maxsize=8)(lambda auth: Gate(auth, optional=True))


def _scope(request: Any) -> Scope:
    """The ASGI scope of the request. Its path is the one that Django routes by: a client may set `root_path`."""
    prefix, path = request.META["SCRIPT_NAME"].rstrip("/"), request.path_info
    given = getattr(request, "scope", None) or wsgi_scope(request.META, request.headers.items())
    given = {**given, "method": request.method, "scheme": request.scheme}
    return routed_scope(given, prefix, path, escape_uri_path(prefix + path))


def _entered(request: Any, scope: Scope) -> Any:
    """The request with its claims and its user. The scope of an ASGI server gets them too."""
    claims = request.claims = scope["claims"]
    request.user = user = _user(claims)

    async def auser() -> Any:
        return user

    request.auser = auser
    request.scope = getattr(request, "scope", scope)
    request.scope.update({name: scope[name] for name in (GUARD, "claims", "user", "auth")})
    return request


def _user(claims: Claims | None) -> Any:
    if claims is not None or not apps.is_installed("django.contrib.auth"):
        return TokenUser(claims)
    return import_string("django.contrib.auth.models.AnonymousUser")()


def _response(refusal: Refusal) -> HttpResponse:
    return HttpResponse(refusal.body, status=refusal.status, headers=refusal.headers)


def _api_exception(refusal: Refusal) -> Any:
    """REST framework's exception whose answer is the refusal."""
    exception = import_string("rest_framework.exceptions.APIException")(json.loads(refusal.body))
    exception.status_code = refusal.status
    exception.auth_header = refusal.headers.get("www-authenticate")
    exception.wait = int(refusal.headers.get("retry-after", 0))
    return exception
