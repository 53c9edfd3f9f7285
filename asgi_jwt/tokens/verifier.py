"""Keys and policy turned into one question: does this token hold?"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from asgi_jwt.errors import (
    AlgorithmNotAllowed,
    InvalidSignature,
    MalformedToken,
    TokenTooLarge,
    UnsupportedHeader,
    WrongHeaderType,
)
from asgi_jwt.tokens.claims import Claims, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import decode_base64url, parse_claims, parse_object, split
from asgi_jwt.tokens.keys import Key, KeySet

_KNOWN_HEADERS = 256
_MAX_BRACKETS = 16


class TokenVerifier:
    """Verifies access tokens: steps 1 to 7 of the verification, and the cache of those that passed.

    `keys` verify, `policy` says what the claims have to meet, `cache_size` bounds the tokens remembered (0: none),
    `clock` gives seconds since the epoch. `verified`, `cache_hits` and `signature_checks` count what was done.
    """

    def __init__(self, keys: KeySet, policy: TokenPolicy, *, cache_size: int, clock: Callable[[], float]) -> None:
        self.keys = keys
        self.policy = policy
        self.verified = 0
        self.cache_hits = 0
        self.signature_checks = 0
        self._clock = clock
        self._cache_size = cache_size
        self._max_token_size = policy.max_token_size
        # By the digest, so that a copy of the memory holds no token.
        self._cache: OrderedDict[bytes, tuple[Claims, float, float]] = OrderedDict()
        # An issuer's tokens share a few headers: parsed once, and only those of tokens that verified stay.
        self._headers: dict[bytes, tuple[str, tuple[Key, ...]]] = {}

    def verify_cached(self, token: bytes) -> Claims | None:
        """The claims of a token that verified before and still holds; None: ask `verify`, which says why."""
        if len(token) > self._max_token_size:
            return None
        return self._remembered(sha256(token).digest())

    async def verify(self, token: bytes) -> Claims:
        """The claims of `token`. Raises the child of `InvalidToken` that says what is wrong with it.

        RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725, RFC 9068 section 4.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        if not self._cache_size:
            return self._verify(token)[0]
        digest = sha256(token).digest()
        claims = self._remembered(digest)
        if claims is None:
            claims, not_before, expires = self._verify(token)
            if len(self._cache) >= self._cache_size:
                self._cache.popitem(last=False)
            self._cache[digest] = (claims, not_before, expires)
        return claims

    def verify_once(self, token: bytes) -> Mapping[str, Any]:
        """The members of a token that is presented once: verified like any other, neither frozen nor remembered."""
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        members = parse_object(self._content(token))
        check_claims(members, self.policy, self._clock())
        self.verified += 1
        return members

    def _remembered(self, digest: bytes) -> Claims | None:
        entry = self._cache.get(digest)
        if entry is None:
            return None
        claims, not_before, expires = entry
        if not_before <= self._clock() < expires:
            self.cache_hits += 1
            return claims
        self._cache.pop(digest, None)  # another thread's loop may have been quicker
        return None

    def _verify(self, token: bytes) -> tuple[Claims, float, float]:
        members = parse_claims(self._content(token))
        policy = self.policy
        not_before, expires = check_claims(members, policy, self._clock())
        claims = Claims._of_frozen(members, policy.scope_claim, policy.roles_claim)
        self.verified += 1
        return claims, not_before, expires

    def _content(self, token: bytes) -> bytes:
        """The payload, once the signature over it has verified."""
        header, payload, signature, signing_input = split(token)
        content = decode_base64url(payload)
        signed = decode_base64url(signature)
        known = self._headers.get(header)
        algorithm, candidates = known or self._candidates(decode_base64url(header))
        for key in candidates:
            self.signature_checks += 1
            if key.verify(algorithm, signing_input, signed):
                break
        else:
            raise InvalidSignature
        if known is None:
            if len(self._headers) >= _KNOWN_HEADERS:
                self._headers.clear()
            self._headers[header] = (algorithm, candidates)
        return content

    def _candidates(self, header: bytes) -> tuple[str, tuple[Key, ...]]:
        # Anyone may write a header: what no honest one has is not parsed.
        if header.count(b"{") + header.count(b"[") > _MAX_BRACKETS:
            raise MalformedToken("a header with too many objects and lists")
        algorithm, kid = check_header(parse_object(header), self.policy)
        return algorithm, self.keys.candidates(kid, algorithm)


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
    elif type(typ) is not str or typ.lower() not in policy.typ:
        raise WrongHeaderType
    if kid is not None and type(kid) is not str:
        raise MalformedToken("kid is no string")
    return algorithm, kid
