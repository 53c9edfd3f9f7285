"""IntrospectionVerifier: asks an authorization server about opaque access tokens. RFC 7662."""

import re
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from math import inf
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import quote_plus, urlencode

from asgi_jwt.errors import KeysUnavailable, MalformedToken, VerifierUnavailable, WrongIssuer, WrongType
from asgi_jwt.tasks import in_thread
from asgi_jwt.tokens.claims import Claims, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import parse_claims
from asgi_jwt.tokens.discovery import ask, deadline, require_http_client, system_certificates, without_query

MAX_IN_FLIGHT = 50
INACTIVE_TTL = 10.0
"""How long (s) the server's answer that a token is inactive is remembered."""
MAX_INACTIVE = 4096

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_REFRESH = frozenset({"refresh", "refresh_token", "offline"})  # Keycloak's refresh tokens without an end are `Offline`
_CERTIFIED_FOR = 60.0


def can_be_sent(token: str) -> bool:
    """Whether the token has only characters that a Bearer token may have (RFC 6750 section 2.1)."""
    return _B64TOKEN.fullmatch(token) is not None


class IntrospectionSettings(Protocol):
    """The part of `Settings` that an authorization server is asked by."""

    @property
    def introspection_url(self) -> str | None: ...
    @property
    def introspection_client_id(self) -> str | None: ...
    @property
    def introspection_client_secret(self) -> str | None: ...
    @property
    def introspection_ttl(self) -> float: ...
    @property
    def policy(self) -> TokenPolicy: ...
    @property
    def policies(self) -> tuple[TokenPolicy, ...]: ...


class IntrospectionVerifier:
    """Asks an authorization server whether a token is active, and whose it is.

    An answer without `iss` is of the first issuer of `settings`. `ttl` is how long (s) an answer holds, at most until
    `exp`. `clock` returns seconds since the epoch. Raises `ConfigurationError` without httpx2.
    """

    def __init__(self, settings: IntrospectionSettings, *, clock: Callable[[], float]) -> None:
        require_http_client()
        self.ttl = settings.introspection_ttl
        self._url = settings.introspection_url or ""
        self.source = without_query(self._url)
        client_id, client_secret = settings.introspection_client_id or "", settings.introspection_client_secret or ""
        # The id and the secret are form-encoded before they are joined (RFC 6749 section 2.3.1).
        credentials = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
        self._headers = {
            "Authorization": f"Basic {b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._policies = {each.issuer: replace(each, type=None, requires_exp=False) for each in settings.policies}
        self._clock = clock
        self._in_flight = 0
        self._inactive: OrderedDict[bytes, float] = OrderedDict()
        self._certificates, self._certified_at = cache(system_certificates), -inf

    async def verify(self, token: str) -> Claims | None:
        """The claims of an active token. None: the token is not active.

        Raises a child of `InvalidToken` for an active token that is not for this service, and `VerifierUnavailable` if
        the server gives no usable answer, or 50 questions are under way.
        """
        if not can_be_sent(token):
            raise MalformedToken("not a Bearer token of RFC 6750 section 2.1")
        digest = sha256(token.encode()).digest()
        until = self._inactive.get(digest, -inf)
        if until - INACTIVE_TTL <= self._clock() < until:
            return None
        answer = await self.introspect(token)
        if answer.get("active") is not True:
            self._remember_inactive(digest)
            return None
        return self._claims_of(answer)

    async def introspect(self, token: str) -> Mapping[str, Any]:
        """The server's answer about a token (RFC 7662 section 2.2). Raises `VerifierUnavailable`."""
        if self._in_flight >= MAX_IN_FLIGHT:
            raise VerifierUnavailable(f"{MAX_IN_FLIGHT} introspections are under way")
        self._in_flight += 1
        try:
            with deadline():
                return await self._fetch(urlencode({"token": token, "token_type_hint": "access_token"}).encode())
        except KeysUnavailable as why:
            self._renew_certificates()
            raise VerifierUnavailable(f"{self.source}: {why}") from None
        except MalformedToken as why:
            raise VerifierUnavailable(f"{self.source}: the answer is no JSON object: {why}") from None
        finally:
            self._in_flight -= 1

    async def _fetch(self, form: bytes) -> Mapping[str, Any]:
        headers, content = await ask(self._url, self._certificates, self._headers, form)
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise KeysUnavailable("the answer is no application/json")
        return await in_thread(partial(parse_claims, content))

    def _renew_certificates(self) -> None:
        """Have the system's certificates read again, once a minute: they may have changed."""
        if not 0 <= self._clock() - self._certified_at < _CERTIFIED_FOR:
            self._certificates, self._certified_at = cache(system_certificates), self._clock()

    def _remember_inactive(self, digest: bytes) -> None:
        self._inactive.pop(digest, None)
        if len(self._inactive) >= MAX_INACTIVE:
            self._inactive.popitem(last=False)
        self._inactive[digest] = self._clock() + INACTIVE_TTL

    def _claims_of(self, answer: Mapping[str, Any]) -> Claims:
        issuer = answer.get("iss", next(iter(self._policies)))
        policy = self._policies.get(issuer) if type(issuer) is str else None
        if policy is None:
            raise WrongIssuer
        for name in ("token_type", "token_use", "typ"):
            kind = answer.get(name)
            if type(kind) is str and kind.lower() in _REFRESH:
                raise WrongType("a refresh token")
        members = MappingProxyType({**answer, "iss": issuer})
        check_claims(members, policy, self._clock())
        return Claims._of_frozen(members, policy.scope_claim, policy.roles_claim)
