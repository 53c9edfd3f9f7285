"""Reads and checks the header of a token: RFC 7515 section 4.1. Pure."""

from collections.abc import Mapping
from typing import Any

from asgi_jwt.errors import AlgorithmNotAllowed, MalformedToken, UnsupportedHeader, WrongHeaderType
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.compact import decode_base64url, parse_object

_MAX_BRACKETS = 16


def read_header(header: bytes, policy: TokenPolicy) -> tuple[str, str | None]:
    """The `alg` and `kid` of an encoded header segment. Raises the errors of `check_header`."""
    content = decode_base64url(header)
    # A header may come from an attacker. No issuer's header has so many objects and lists, so it is not parsed.
    if content.count(b"{") + content.count(b"[") > _MAX_BRACKETS:
        raise MalformedToken("a header with too many objects and lists")
    return check_header(parse_object(content), policy)


def check_header(header: Mapping[str, Any], policy: TokenPolicy) -> tuple[str, str | None]:
    """The header's `alg` and `kid`. `jwk`, `jku`, `x5u` and `x5c` are ignored (RFC 8725 section 3.10).

    Raises `AlgorithmNotAllowed`, `UnsupportedHeader`, `WrongHeaderType` or `MalformedToken`.
    """
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ")
    if type(algorithm) is not str or algorithm not in policy.algorithms:
        raise AlgorithmNotAllowed
    if "crit" in header or "b64" in header:
        raise UnsupportedHeader
    if "typ" not in header:
        if policy.require_typ:
            raise WrongHeaderType
    elif type(typ) is not str or not accepts_typ(policy, typ):
        raise WrongHeaderType
    if "kid" in header and type(kid) is not str:
        raise MalformedToken("kid is no string")
    return algorithm, kid


def accepts_typ(policy: TokenPolicy, typ: str) -> bool:
    """Whether `policy` allows this `typ`. Case and `application/` make no difference (RFC 7515 section 4.1.9)."""
    return _media_type(typ) in map(_media_type, policy.typ)


def _media_type(typ: str) -> str:
    return typ.lower() if "/" in typ else f"application/{typ.lower()}"
