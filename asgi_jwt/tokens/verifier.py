"""Keys and policy turned into one question: does this token hold?"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from asgi_jwt.errors import (
    AlgorithmNotAllowed,
    ConfigurationError,
    InvalidSignature,
    MalformedToken,
    MissingClaim,
    TokenTooLarge,
    UnknownKey,
    UnsupportedHeader,
    WrongHeaderType,
    WrongIssuer,
)
from asgi_jwt.tokens.claims import Claims, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import decode_base64url, parse_claims, parse_object, split
from asgi_jwt.tokens.keys import MAX_CANDIDATES, Key, KeySet
from asgi_jwt.tokens.local_keys import LocalKeys
from asgi_jwt.tokens.remote_keys import RemoteKeySet

Candidates = tuple[str, tuple[Key, ...]]

_KNOWN_HEADERS = 256
_MAX_BRACKETS = 16
_MAX_UNVERIFIED_BRACKETS = 500
_MAX_THREADS = 4
_SLOW_CHECKS: RunVar[CapacityLimiter] = RunVar("asgi_jwt.slow_checks")


class Trust(NamedTuple):
    """One issuer that is trusted: `keys` verify its tokens, `policy` says what their claims have to meet."""

    keys: KeySet | LocalKeys | RemoteKeySet
    policy: TokenPolicy


class _Issuer:
    """A trust at work. Keys and headers of two issuers never mix."""

    __slots__ = ("headers", "keys", "live", "policy")

    def __init__(self, trust: Trust) -> None:
        self.live = None if isinstance(trust.keys, KeySet) else trust.keys
        self.keys = trust.keys if isinstance(trust.keys, KeySet) else KeySet(())
        self.policy = trust.policy
        # An issuer's tokens share a few headers: parsed once, and only those of tokens that verified stay.
        self.headers: dict[bytes, Candidates] = {}

    def candidates(self, header: bytes) -> Candidates:
        """The algorithm that a header seen for the first time names, and the keys that may have signed."""
        algorithm, kid = _read_header(header, self.policy)
        return algorithm, self.keys.candidates(kid, algorithm)

    async def live_candidates(self, header: bytes, live: LocalKeys | RemoteKeySet) -> Candidates:
        """The same for any header, from keys that may have to be fetched: a change of theirs empties `headers`."""
        # A new key may be for another algorithm, so one's own are looked at before the header is judged. A remote
        # issuer is not asked for a header that no key could make good.
        if header in self.headers or isinstance(live, LocalKeys):
            await live.current()
        if header in self.headers:
            return self.headers[header]
        algorithm, kid = _read_header(header, self.policy)
        return algorithm, await live.candidates(kid, algorithm)

    def remember(self, header: bytes, candidates: Candidates) -> None:
        if header not in self.headers:
            if len(self.headers) >= _KNOWN_HEADERS:
                self.headers.clear()
            self.headers[header] = candidates
            if not all(map(self.has, candidates[1])):
                self.headers.clear()

    def has(self, key: Key) -> bool:
        """Whether this is still one of its keys: a change in another thread may have come since it was asked for."""
        return self.live is None or key in self.live.keys.keys

    def holds_until(self, expires: float) -> float:
        """Until when a token that expires then needs no other look than one at the clock."""
        return expires if self.live is None else min(expires, self.live.unquestioned_until)


# A token that verified, from when until when it is let in at sight, when it expires, and what signed it.
# A plain tuple: every request takes it apart, and with a named one that costs 40 ns more.
_Remembered = tuple[Claims, float, float, float, Key, _Issuer]


class TokenVerifier:
    """Verifies access tokens: steps 1 to 7 of the verification, and the cache of those that passed.

    `keys` verify, `policy` says what the claims have to meet, `cache_size` bounds the tokens remembered (0: none),
    `clock` gives seconds since the epoch. `others` are further issuers: a token picks its issuer by its `iss`, and no
    other's keys are tried. `verified`, `cache_hits` and `signature_checks` count what was done.

    Raises `ConfigurationError` when two of them are one issuer.
    """

    def __init__(
        self,
        keys: KeySet | LocalKeys | RemoteKeySet,
        policy: TokenPolicy,
        *,
        cache_size: int,
        clock: Callable[[], float],
        others: Iterable[Trust] = (),
    ) -> None:
        trusts = (Trust(keys, policy), *others)
        self.verified = 0
        self.cache_hits = 0
        self.signature_checks = 0
        self._clock = clock
        self._cache_size = cache_size
        self._max_token_size = max(trust.policy.max_token_size for trust in trusts)
        # By the digest, so that a copy of the memory holds no token.
        self._cache: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._issuers = {trust.policy.issuer: _Issuer(trust) for trust in trusts}
        if len(self._issuers) < len(trusts):
            raise ConfigurationError("an issuer is trusted twice: its tokens can't have two kinds of keys")
        self._first = self._issuers[policy.issuer]
        self._sole = len(trusts) == 1
        self._live = [(issuer, issuer.live) for issuer in self._issuers.values() if issuer.live is not None]
        for issuer, live in self._live:
            live.on_change(partial(self._keys_changed, issuer))

    @property
    def policy(self) -> TokenPolicy:
        """What a token of the first issuer has to meet. Its algorithms follow keys that change."""
        return self._first.policy

    @property
    def trusts(self) -> tuple[Trust, ...]:
        """Each issuer's keys, and what its tokens have to meet."""
        return tuple(Trust(issuer.live or issuer.keys, issuer.policy) for issuer in self._issuers.values())

    @property
    def issuers(self) -> tuple[str, ...]:
        """Whose tokens are taken."""
        return tuple(self._issuers)

    def ends_at(self, claims: Claims) -> float:
        """When (s since the epoch) a token with these claims, which were verified here, holds no longer."""
        return claims.expires_at + self._issuers[claims.issuer].policy.leeway

    def key_ages(self) -> dict[str, float]:
        """How long ago (s) the keys of each remote issuer were fetched, by its name or URL; none before the first."""
        ages = {live.source: live.age for _, live in self._live if isinstance(live, RemoteKeySet)}
        return {source: age for source, age in ages.items() if age is not None}

    def warm_up(self) -> None:
        """Begin to fetch the remote keys, and don't wait for them. Needs a running event loop."""
        for _, live in self._live:
            live.warm_up()

    def verify_cached(self, token: bytes) -> Claims | None:
        """The claims of a token that verified before and still holds; None: ask `verify`, which says why."""
        if len(token) > self._max_token_size:
            return None
        # Every request comes this way: it makes no call that can be spared.
        entry = self._cache.get(sha256(token).digest())
        if entry is not None and entry[1] <= self._clock() < entry[2]:
            self.cache_hits += 1
            return entry[0]
        return None

    async def verify(self, token: bytes) -> Claims:
        """The claims of `token`. Raises the child of `InvalidToken` that says what is wrong with it.

        With remote keys it may wait for them, and raises `KeysUnavailable`.
        RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725, RFC 9068 section 4.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        digest = sha256(token).digest() if self._cache_size else b""
        claims = self._remembered(digest)
        if claims is None and self._live:
            claims = await self._confirmed(digest)
        if claims is not None:
            return claims
        header, payload, signature, message = split(token)
        content, signed = decode_base64url(payload), decode_base64url(signature)
        issuer = self._first if self._sole else self._issuer_of(token, content)
        if issuer.live is None:
            candidates = issuer.headers.get(header) or issuer.candidates(header)
        else:
            candidates = await issuer.live_candidates(header, issuer.live)
            # Of many requests with one token that waited, the first has verified it.
            claims = self._remembered(digest)
            if claims is not None:
                return claims
        # A change of keys that comes between a check and its being remembered, in another thread or while slow keys
        # are tried in one, finds what was remembered forgotten: here, or there.
        key = await self._verifying_key(candidates, message, signed)
        issuer.remember(header, candidates)
        policy = issuer.policy
        members = parse_claims(content)
        not_before, expires = check_claims(members, policy, self._clock())
        claims = Claims._of_frozen(members, policy.scope_claim, policy.roles_claim)
        self.verified += 1
        if self._cache_size:
            if len(self._cache) >= self._cache_size:
                self._cache.popitem(last=False)
            self._cache[digest] = (claims, not_before, issuer.holds_until(expires), expires, key, issuer)
            if not issuer.has(key):
                self._cache.pop(digest, None)
        return claims

    async def verify_once(self, token: bytes) -> Mapping[str, Any]:
        """The members of a token that is presented once: verified like any other, neither frozen nor remembered.

        By the first issuer's keys.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        header, payload, signature, message = split(token)
        content, signed = decode_base64url(payload), decode_base64url(signature)
        issuer = self._first
        if issuer.live is None:
            candidates = issuer.headers.get(header) or issuer.candidates(header)
        else:
            candidates = await issuer.live_candidates(header, issuer.live)
        await self._verifying_key(candidates, message, signed)
        issuer.remember(header, candidates)
        members = parse_object(content)
        check_claims(members, issuer.policy, self._clock())
        self.verified += 1
        return members

    def _remembered(self, digest: bytes) -> Claims | None:
        entry = self._cache.get(digest)
        if entry is None:
            return None
        claims, not_before, until, expires, _, _ = entry
        now = self._clock()
        if not_before <= now < until:
            self.cache_hits += 1
            return claims
        if not not_before <= now < expires:
            self._cache.pop(digest, None)  # another thread's loop may have been quicker
        return None

    async def _confirmed(self, digest: bytes) -> Claims | None:
        """The claims of a token remembered, when its issuer has been asked whether its key is still one."""
        entry = self._cache.get(digest)
        live = entry[-1].live if entry is not None else None
        if live is None:
            return None
        await live.current()
        entry = self._cache.get(digest)
        if entry is not None:
            claims, not_before, _, expires, key, issuer = entry
            self._cache[digest] = (claims, not_before, issuer.holds_until(expires), expires, key, issuer)
        return self._remembered(digest)

    def _keys_changed(self, issuer: _Issuer, keys: KeySet) -> None:
        """What a key that left had verified leaves the cache."""
        issuer.headers.clear()
        if isinstance(issuer.live, LocalKeys):
            issuer.policy = replace(issuer.policy, algorithms=issuer.live.algorithms)
        staying = frozenset(keys.keys)
        # Thousands are looked at in one go.
        entries = list(self._cache.items())
        for digest in [digest for digest, entry in entries if entry[5] is issuer and entry[4] not in staying]:
            self._cache.pop(digest, None)

    def _issuer_of(self, token: bytes, payload: bytes) -> _Issuer:
        """The issuer that the payload names, unverified as it is: it only says whose keys are to be tried."""
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

    async def _verifying_key(self, candidates: Candidates, message: bytes, signature: bytes) -> Key:
        keys = candidates[1]
        if len(keys) > 1 and sum(key.slow_to_verify for key in keys[:MAX_CANDIDATES]) > 1:
            # Four checks by ES512 would hold the event loop for 2 to 4 ms, and anyone may send a token without a `kid`.
            return await to_thread.run_sync(self._check, candidates, message, signature, limiter=_slow_checks())
        return self._check(candidates, message, signature)

    def _check(self, candidates: Candidates, message: bytes, signature: bytes) -> Key:
        """The key that verifies the signature. Raises `UnknownKey` or `InvalidSignature`."""
        algorithm, keys = candidates
        for key in keys[:MAX_CANDIDATES]:
            self.signature_checks += 1
            if key.verify(algorithm, message, signature):
                return key
        if len(keys) > MAX_CANDIDATES:
            raise UnknownKey(f"{len(keys)} keys fit, and {MAX_CANDIDATES} at most are tried")
        raise InvalidSignature


def _slow_checks() -> CapacityLimiter:
    """Threads of their own, so that forged tokens never keep the host waiting for one."""
    try:
        return _SLOW_CHECKS.get()
    except LookupError:
        limiter = CapacityLimiter(_MAX_THREADS)
        _SLOW_CHECKS.set(limiter)
        return limiter


def _read_header(header: bytes, policy: TokenPolicy) -> tuple[str, str | None]:
    content = decode_base64url(header)
    # Anyone may write a header: what no honest one has is not parsed.
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
    elif type(typ) is not str or not policy.accepts_typ(typ):
        raise WrongHeaderType
    if "kid" in header and type(kid) is not str:
        raise MalformedToken("kid is no string")
    return algorithm, kid
