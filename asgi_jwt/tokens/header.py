"""The header of a token: RFC 7515 section 4.1. Pure."""

from collections.abc import Mapping
from typing import Any

from asgi_jwt.errors import AlgorithmNotAllowed, MalformedToken, UnsupportedHeader, WrongHeaderType
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.compact import decode_base64url, parse_object

_MAX_BRACKETS = 16


def read_header(header: bytes, policy: TokenPolicy) -> tuple[str, str | None]:
    """The `alg` and `kid` of a header segment as it came. Raises what `check_header` does."""
    content = decode_base64url(header)
    # Anyone may write a header: one with more objects and lists than an honest one has is not parsed.
    if content.count(b"{") + content.count(b"[") > _MAX_BRACKETS:
        raise MalformedToken("a header with too many objects and lists")
    return check_header(parse_object(content), policy)


def check_header(header: Mapping[str, Any], policy: TokenPolicy) -> tuple[str, str | None]:
    """The header's `alg` and `kid`. `jwk`, `jku`, `x5u` and `x5c` are never looked at (RFC 8725 section 3.10).

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
    """Whether a header may have this `typ`: media types compare in any case (RFC 7515 section 4.1.9)."""
    return _media_type(typ) in map(_media_type, policy.typ)


def _media_type(typ: str) -> str:
    return typ.lower() if "/" in typ else f"application/{typ.lower()}"
