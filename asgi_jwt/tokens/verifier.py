"""TokenVerifier: verifies access tokens with the keys and policies of trusted issuers, and caches verified tokens."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, Final, NamedTuple

from asgi_jwt.errors import (
    ConfigurationError,
    InvalidSignature,
    MalformedToken,
    MissingClaim,
    TokenTooLarge,
    UnknownKey,
    WrongIssuer,
)
from asgi_jwt.tasks import in_few_threads
from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.claims import Claims, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import decode_base64url, parse_claims, parse_object, split
from asgi_jwt.tokens.header import read_header
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_source import KeySource, candidates
from asgi_jwt.tokens.keys import MAX_CANDIDATES, KeySet
from asgi_jwt.tokens.remote_keys import RemoteKeySet

# The algorithm of a header, the keys to try, how many keys fit, and whether the keys are tried in a thread. It is a
# plain tuple, which costs less than a named one.
Candidates = tuple[str, tuple[Key, ...], int, bool]

_MAX_KNOWN_HEADERS = 256
_MAX_UNVERIFIED_BRACKETS = 500

# An entry of the cache is a plain tuple of the claims, three times, the key and the issuer. A named tuple would cost
# each request more.
_KEY: Final = 4
_ISSUER: Final = 5

_BOUND = b"bound"
"""Ends the cache's key of a token that is not enough by itself, so that `verify_cached` does not find the token."""


class Trust(NamedTuple):
    """A trusted issuer: `keys` verify its tokens, and `policy` has the rules for their claims."""

    keys: KeySource
    policy: TokenPolicy


class _TrustedIssuer:
    """The keys, the policy and the cached headers of one issuer. Those of two issuers never mix."""

    __slots__ = ("headers", "keys", "policy", "source")

    def __init__(self, trust: Trust) -> None:
        self.source, self.policy = trust
        self.keys = tuple(self.source.known)
        if self.source.known.allowed is not None:
            self.policy = replace(self.policy, algorithms=frozenset(ALGORITHMS))
        # The tokens of an issuer share a few headers. Each is parsed once, and kept only after its token was verified.
        self.headers: dict[bytes, Candidates] = {}

    @property
    def trust(self) -> Trust:
        """The trust with the present algorithms, which may change with the keys."""
        allowed = self.source.known.allowed
        return Trust(self.source, self.policy if allowed is None else replace(self.policy, algorithms=allowed))

    async def candidates(self, header: bytes) -> Candidates:
        """The algorithm of an encoded header, and the present keys that may have signed its token."""
        algorithm, kid = read_header(header, self.policy)
        fitting = await candidates(self.source, kid, algorithm)
        tried = fitting[:MAX_CANDIDATES]
        # Four checks with ES512 would block the event loop for 2 to 4 ms, and anyone may send a token without a `kid`.
        return algorithm, tried, len(fitting), sum(key.slow_to_verify for key in tried) > 1

    def remember(self, header: bytes, found: Candidates) -> None:
        """Keep the candidates of a header whose token was verified."""
        if header not in self.headers:
            if len(self.headers) >= _MAX_KNOWN_HEADERS:
                self.headers.clear()
            self.headers[header] = found
            # Another thread may have changed the keys meanwhile.
            if not all(key in self.keys for key in found[1]):
                self.headers.clear()


# The claims of a verified token, from when and until when they are valid without a call of `KeySource.current`, when
# the token expires, its key and its issuer. It is a plain tuple: every request unpacks it, and a named one costs 40 ns
# more.
_CacheEntry = tuple[Claims, float, float, float, Key, _TrustedIssuer]


class TokenVerifier:
    """Verifies the size, form, header, signature and claims of access tokens, and caches verified tokens.

    `keys`, `policy`: the keys and the rules of the first issuer.
    `others`: further issuers. The `iss` of a token decides which issuer's keys are tried.
    `cache_size`: the most cached tokens. 0 caches none.
    `at_sight`: `verify_cached` returns the claims of tokens that are not bound to a key.
    `clock`: returns seconds since the epoch.
    The attributes `verified`, `cache_hits` and `signature_checks` are counters.

    Raises `ConfigurationError` if an issuer is given twice.
    """

    def __init__(
        self,
        keys: KeySource,
        policy: TokenPolicy,
        *,
        cache_size: int,
        clock: Callable[[], float],
        others: Iterable[Trust] = (),
        at_sight: bool = True,
    ) -> None:
        trusts = (Trust(keys, policy), *others)
        self.verified = 0
        self.cache_hits = 0
        self.signature_checks = 0
        self._clock = clock
        self._cache_size = cache_size
        self._at_sight = at_sight
        self._max_token_size = max(trust.policy.max_token_size for trust in trusts)
        # The keys are digests of tokens, so that a dump of the memory contains no token.
        self._cache: OrderedDict[bytes, _CacheEntry] = OrderedDict()
        self._issuers = {trust.policy.issuer: _TrustedIssuer(trust) for trust in trusts}
        if len(self._issuers) < len(trusts):
            raise ConfigurationError("an issuer is trusted twice: its tokens can't have two kinds of keys")
        self._first = self._issuers[policy.issuer]
        self._sole = len(trusts) == 1
        for issuer in self._issuers.values():
            issuer.source.on_change(partial(self._keys_changed, issuer))

    @property
    def policy(self) -> TokenPolicy:
        """The rules for tokens of the first issuer. Its algorithms may change with the keys."""
        return self._first.trust.policy

    @property
    def trusts(self) -> tuple[Trust, ...]:
        """The keys and the rules of each issuer."""
        return tuple(issuer.trust for issuer in self._issuers.values())

    @property
    def issuers(self) -> tuple[str, ...]:
        """The trusted issuers."""
        return tuple(self._issuers)

    def ends_at(self, claims: Claims) -> float:
        """When a token that was verified here expires, with the leeway, in seconds since the epoch."""
        return claims.expires_at + self._issuers[claims.issuer].policy.leeway

    def key_ages(self) -> dict[str, float]:
        """How long ago (s) the keys of each remote issuer were fetched, by its name or URL, if they were fetched."""
        sources = [issuer.source for issuer in self._issuers.values()]
        ages = {source.source: source.age for source in sources if isinstance(source, RemoteKeySet)}
        return {source: age for source, age in ages.items() if age is not None}

    def warm_up(self) -> None:
        """Start to fetch remote keys, and return at once. It needs a running event loop."""
        for issuer in self._issuers.values():
            issuer.source.warm_up()

    async def ready(self) -> None:
        """Have the keys of every issuer read if that is due. Raises `KeysUnavailable`."""
        for issuer in self._issuers.values():
            await issuer.source.current()

    def verify_cached(self, token: bytes) -> Claims | None:
        """The claims of a token in the cache that is still valid and not bound. None: `verify` has to decide."""
        if len(token) > self._max_token_size:
            return None
        # Every request runs this, so it calls as little as possible.
        entry = self._cache.get(sha256(token).digest())
        if entry is not None and entry[1] <= self._clock() < entry[2]:
            self.cache_hits += 1
            return entry[0]
        return None

    async def verify(self, token: bytes) -> Claims:
        """The claims of `token`. Raises a child of `InvalidToken` for an invalid token.

        It may wait for remote keys, and raises `KeysUnavailable` if they are out of reach (RFC 7515 section 5.2,
        RFC 7519 section 7.2, RFC 8725, RFC 9068 section 4).
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        digest = sha256(token).digest() if self._cache_size else b""
        if digest not in self._cache:
            digest += _BOUND
        if digest in self._cache:
            claims = self._cached(digest)
            if claims is None:
                claims = await self._cached_with_current_keys(digest)
            if claims is not None:
                return claims
        now = self._clock()
        issuer, header, payload, signature, message, found = self._parse(token, now)
        if found is None:
            found = await issuer.candidates(header)
            # Another request with this token may have waited, too, and verified it.
            claims = self._cached(digest)
            if claims is not None:
                return claims
            now = self._clock()
        if found[3]:
            key = await in_few_threads(partial(self._verifying_key, found, message, signature))
            now = self._clock()
        else:
            key = self._verifying_key(found, message, signature)
        # The keys may change between the signature check and the cache's entry, in another thread or while a thread
        # checks. `_keys_changed` removes entries of old keys, and below an entry whose key has left is removed, too.
        issuer.remember(header, found)
        policy = issuer.policy
        members = parse_claims(payload)
        not_before, expires = check_claims(members, policy, now)
        claims = Claims._of_frozen(members, policy.scope_claim, policy.roles_claim)
        self.verified += 1
        if self._cache_size:
            if len(self._cache) >= self._cache_size:
                self._cache.popitem(last=False)
            until = expires
            if issuer.source.known_until < expires:
                until = issuer.source.known_until
            digest = digest.removesuffix(_BOUND)
            if "cnf" in members or not self._at_sight:
                digest += _BOUND
            self._cache[digest] = (claims, not_before, until, expires, key, issuer)
            if key not in issuer.keys:
                self._cache.pop(digest, None)
        return claims

    async def verify_once(self, token: bytes) -> Mapping[str, Any]:
        """The claims of a refresh token, as a plain dict. They are verified as in `verify`, and not cached.

        The event loop does the signature check, so the keys must be secrets. Raises a child of `InvalidToken`.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        issuer, header, payload, signature, message, found = self._parse(token, self._clock())
        if found is None:
            found = await issuer.candidates(header)
        self._verifying_key(found, message, signature)
        issuer.remember(header, found)
        members = parse_object(payload)
        check_claims(members, issuer.policy, self._clock())
        self.verified += 1
        return members

    def _parse(self, token: bytes, now: float) -> tuple[_TrustedIssuer, bytes, bytes, bytes, bytes, Candidates | None]:
        """The token's issuer, its encoded header, its decoded payload and signature, the signing input, and candidates.

        The candidates are those of a cached header. None: `_TrustedIssuer.candidates` has to find them.
        """
        header, payload, signature, message = split(token)
        content = decode_base64url(payload)
        issuer = self._first if self._sole else self._issuer_of(token, content)
        found = issuer.headers.get(header) if now < issuer.source.known_until else None
        return issuer, header, content, decode_base64url(signature), message, found

    def _cached(self, digest: bytes) -> Claims | None:
        entry = self._cache.get(digest)
        if entry is None:
            return None
        claims, not_before, until, expires, _, _ = entry
        now = self._clock()
        if not_before <= now < until:
            self.cache_hits += 1
            return claims
        if not not_before <= now < expires:
            self._cache.pop(digest, None)  # another thread may have removed it
        return None

    async def _cached_with_current_keys(self, digest: bytes) -> Claims | None:
        """The claims of a cached token, after its issuer's keys were read. If its key has left, the token has, too."""
        if (entry := self._cache.get(digest)) is not None:
            await entry[_ISSUER].source.current()
        if (entry := self._cache.get(digest)) is not None:
            claims, not_before, _, expires, key, issuer = entry
            until = min(expires, issuer.source.known_until)
            self._cache[digest] = (claims, not_before, until, expires, key, issuer)
        return self._cached(digest)

    def _keys_changed(self, issuer: _TrustedIssuer, keys: KeySet) -> None:
        """Remove the tokens of keys that have left from the cache."""
        issuer.keys = tuple(keys)
        issuer.headers.clear()
        staying = frozenset(keys)
        entries = list(self._cache.items())
        for digest in [digest for digest, entry in entries if entry[_ISSUER] is issuer and entry[_KEY] not in staying]:
            self._cache.pop(digest, None)

    def _issuer_of(self, token: bytes, payload: bytes) -> _TrustedIssuer:
        """The issuer in the payload, which is not verified yet. It only selects the keys that are tried."""
        if payload.count(b"{") + payload.count(b"[") > _MAX_UNVERIFIED_BRACKETS:
            raise MalformedToken("a payload with too many objects and lists")
        members = parse_object(payload)
        name = members.get("iss")
        issuer = self._issuers.get(name) if type(name) is str else None
        if issuer is None:
            raise WrongIssuer if "iss" in members else MissingClaim("iss")
        if len(token) > issuer.policy.max_token_size:
            raise TokenTooLarge
        return issuer

    def _verifying_key(self, found: Candidates, message: bytes, signature: bytes) -> Key:
        algorithm, keys, fitting, _ = found
        for key in keys:
            self.signature_checks += 1
            if key.verify(algorithm, message, signature):
                return key
        if fitting > len(keys):
            raise UnknownKey(f"{fitting} keys fit, and {MAX_CANDIDATES} at most are tried")
        raise InvalidSignature
