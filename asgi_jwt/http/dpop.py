"""DPoP in requests: the scheme, the proof, and the URLs that a proof may be for. RFC 9449 section 7.1."""

import re
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.types import Scope

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AmbiguousCredentials, MalformedCredentials, UnboundToken
from asgi_jwt.http.bearer import (
    MAX_HEADERS,
    MAX_SUBPROTOCOLS,
    Headers,
    Shown,
    authorization_token,
    subprotocols,
)
from asgi_jwt.http.cross_site import values_of
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.proof import PROOF_ALGORITHMS, Proof
from asgi_jwt.tokens.proofs import VerifiedProof
from asgi_jwt.tokens.uri import LONGEST, is_below, without_query

_PATH = "/!$&'()*+,;=:@~"
_OF_SOCKETS = {"http": "ws", "https": "wss"}
_AS_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]*)?")
"""Host and port (RFC 3986 section 3.2)."""
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e)", re.IGNORECASE)
_LONGEST_HOST = 300
"""A host has 253 characters at most (RFC 1035 section 2.3.4)."""

_NO_PROOF = Proof((), "", "")


class DPoP:
    """Reads tokens and proofs from requests, by the settings of `auth`."""

    def __init__(self, auth: Auth) -> None:
        settings = auth.settings
        self._auth = auth
        self.is_off = settings.dpop == "off"
        self._schemes = (b"bearer",) if self.is_off else (b"bearer", b"dpop")
        self._bases = _bases(settings)

    def authorization_token(self, headers: Headers) -> Shown | None:
        """The token of the Authorization header. None: there is no such header, or its scheme is another.

        Raises the errors of `authorization_token`.
        """
        return authorization_token(headers, self._schemes)

    def presented(self, scope: Scope) -> tuple[bytes, Proof | None] | None:
        """The token of the Authorization header, and its proof if the scheme is `DPoP`. None: there is no such token.

        Raises the errors of `authorization_token`.
        """
        shown = authorization_token(scope["headers"], self._schemes)
        if shown is None:
            return None
        scheme, token, proofs = shown
        return token, None if scheme == b"bearer" else self._proof(scope, proofs)

    def proof(self, scope: Scope) -> Proof:
        """The proof of a request. It has no headers if the request has none, or if DPoP is off."""
        return _NO_PROOF if self.is_off else self._proof(scope, values_of(scope, b"dpop"))

    def subprotocol_token(self, scope: Scope) -> tuple[bytes, Proof] | None:
        """The token and the proof that follow `dpop` in a WebSocket's list of subprotocols. None: it is not offered.

        Raises `MalformedCredentials` if they don't follow, and `AmbiguousCredentials` if `dpop` is offered twice or
        beside `bearer`.
        """
        offered = subprotocols(scope)
        if self.is_off or "dpop" not in offered:
            return None
        if offered.count("dpop") + offered.count("bearer") > 1:
            raise AmbiguousCredentials
        position = offered.index("dpop")
        if len(offered) < position + 3:
            raise MalformedCredentials
        token, proof = (each.encode("utf-8", "replace") for each in offered[position + 1 : position + 3])
        return token, self._proof(scope, [proof, *values_of(scope, b"dpop")])

    def is_used(self, scope: Scope) -> bool:
        """Whether the request uses the scheme `DPoP`, even if its credentials are malformed.

        The first Authorization header decides, or without one the subprotocols. The first `MAX_HEADERS` headers and
        `MAX_SUBPROTOCOLS` subprotocols count.
        """
        for name, value in scope["headers"][:MAX_HEADERS]:
            if name == b"authorization":
                return not self.is_off and value.strip(b" \t").partition(b" ")[0].lower() == b"dpop"
        return not self.is_off and "dpop" in scope.get("subprotocols", ())[:MAX_SUBPROTOCOLS]

    async def authentic(self, token: bytes, proof: Proof | None) -> tuple[Claims, VerifiedProof | None]:
        """The claims of a request's access token, revoked or not, and its proof, which has to be used then.

        `proof`: None for a token that did not come by the scheme `DPoP`. Raises the errors of `Auth.verify`.
        """
        claims = await self._auth.authentic(token)
        verified = self._auth.binding.check(claims, sha256(token).digest(), proof)
        return of_scheme(claims, proof), verified

    def _proof(self, scope: Scope, headers: list[bytes]) -> Proof:
        if not headers:
            return _NO_PROOF
        raw_path: bytes | None = scope.get("raw_path")
        if raw_path is None:  # as under AWS Lambda
            raw_path = quote(scope["path"], safe=_PATH, errors="replace").encode()
        bases = () if len(raw_path) > LONGEST else self._bases or _own_origin(scope)
        if scope["type"] == "websocket":
            return Proof(headers, "GET", _urls(bases + tuple(map(_of_socket, bases)), raw_path))
        return Proof(headers, scope["method"], _urls(bases, raw_path))


def of_scheme(claims: Claims, proof: Proof | None) -> Claims:
    """The claims, if the token may come by its scheme. `proof`: None if it did not come by the scheme `DPoP`.

    Raises `UnboundToken` for a token that is bound to no key and came by `DPoP` (RFC 9449 section 7.1).
    """
    if proof is not None and "cnf" not in claims._members:
        raise UnboundToken
    return claims


def _urls(bases: tuple[str, ...], raw_path: bytes) -> str | tuple[str, ...]:
    path = raw_path.decode("utf-8", "replace")
    if "?" in path or "#" in path:
        path = without_query(path)
    if path and path[0] != "/":  # `.example` would lead to another host
        return ()
    # `/../x` may lead out of the base.
    may_leave = ("/." in path or "%" in path) and _DOT_SEGMENT.search(path) is not None
    if len(bases) == 1 and not may_leave:
        return bases[0] + path
    return tuple([base + path for base in bases if not may_leave or is_below(base + path, base)])


def _of_socket(base: str) -> str:
    scheme, separator, rest = base.partition("://")
    return _OF_SOCKETS[scheme] + separator + rest


def dpop_metadata(settings: Settings) -> dict[str, Any]:
    """The members of the metadata about proofs. Empty if DPoP is off (RFC 9449 section 5.1, RFC 9728 section 2)."""
    if settings.dpop == "off":
        return {}
    required = {"dpop_bound_access_tokens_required": True} if settings.dpop == "required" else {}
    return {"dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS), **required}


def _bases(settings: Settings) -> tuple[str, ...]:
    if settings.dpop_bases or settings.resource is None:
        return settings.dpop_bases
    resource = urlsplit(settings.resource)
    return (f"{resource.scheme}://{resource.netloc}",)


def _own_origin(scope: Scope) -> tuple[str, ...]:
    """The origin that a client chose for its request, by the header `Host`. Empty if there is not one good header."""
    hosts = values_of(scope, b"host")
    scheme = _AS_HTTP.get(scope.get("scheme", "http").lower())
    # With `?` in it the path of the request would count as a query, so the proof of another path would do.
    if scheme is None or len(hosts) != 1 or len(hosts[0]) > _LONGEST_HOST or not _AUTHORITY.fullmatch(hosts[0]):
        return ()
    return (f"{scheme}://{hosts[0].decode()}",)
