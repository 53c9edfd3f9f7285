"""Keys and policy turned into one question: does this token hold?"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

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

# The algorithm of a header, the keys that its tokens are tried with, how many fit, and whether a thread is to try them:
# a plain tuple, as below.
Candidates = tuple[str, tuple[Key, ...], int, bool]

_KNOWN_HEADERS = 256
_MAX_UNVERIFIED_BRACKETS = 500


class Trust(NamedTuple):
    """One issuer that is trusted: `keys` verify its tokens, `policy` says what their claims have to meet."""

    keys: KeySource
    policy: TokenPolicy


class _Issuer:
    """A trust at work. Keys and headers of two issuers never mix."""

    __slots__ = ("headers", "keys", "known", "policy")

    def __init__(self, trust: Trust) -> None:
        self.keys, self.policy = trust
        self.known = self.keys.known.keys
        if self.keys.known.allowed is not None:
            self.policy = replace(self.policy, algorithms=frozenset(ALGORITHMS))
        # An issuer's tokens share a few headers: parsed once, and only those of tokens that verified stay.
        self.headers: dict[bytes, Candidates] = {}

    @property
    def trust(self) -> Trust:
        """The trust as of now: the algorithms follow keys that change."""
        allowed = self.keys.known.allowed
        return Trust(self.keys, self.policy if allowed is None else replace(self.policy, algorithms=allowed))

    async def candidates(self, header: bytes) -> Candidates:
        """The algorithm that the header names, and the keys that may have signed, as they are now."""
        algorithm, kid = read_header(header, self.policy)
        fitting = await candidates(self.keys, kid, algorithm)
        tried = fitting[:MAX_CANDIDATES]
        # Four checks by ES512 would hold the event loop for 2 to 4 ms, and anyone may send a token without a `kid`.
        return algorithm, tried, len(fitting), sum(key.slow_to_verify for key in tried) > 1

    def remember(self, header: bytes, found: Candidates) -> None:
        if header not in self.headers:
            if len(self.headers) >= _KNOWN_HEADERS:
                self.headers.clear()
            self.headers[header] = found
            # Another thread may have changed the keys since they were asked for.
            if not all(key in self.known for key in found[1]):
                self.headers.clear()


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
        keys: KeySource,
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
        for issuer in self._issuers.values():
            issuer.keys.on_change(partial(self._keys_changed, issuer))

    @property
    def policy(self) -> TokenPolicy:
        """What a token of the first issuer has to meet. Its algorithms follow keys that change."""
        return self._first.trust.policy

    @property
    def trusts(self) -> tuple[Trust, ...]:
        """Each issuer's keys, and what its tokens have to meet."""
        return tuple(issuer.trust for issuer in self._issuers.values())

    @property
    def issuers(self) -> tuple[str, ...]:
        """Whose tokens are taken."""
        return tuple(self._issuers)

    def ends_at(self, claims: Claims) -> float:
        """When (s since the epoch) a token with these claims, which were verified here, holds no longer."""
        return claims.expires_at + self._issuers[claims.issuer].policy.leeway

    def key_ages(self) -> dict[str, float]:
        """How long ago (s) the keys of each remote issuer were fetched, by its name or URL; none before the first."""
        sources = [issuer.keys for issuer in self._issuers.values()]
        ages = {source.source: source.age for source in sources if isinstance(source, RemoteKeySet)}
        return {source: age for source, age in ages.items() if age is not None}

    def warm_up(self) -> None:
        """Begin to fetch the remote keys, and don't wait for them. Needs a running event loop."""
        for issuer in self._issuers.values():
            issuer.keys.warm_up()

    async def ready(self) -> None:
        """Have the keys of every issuer read, where that is due. Raises `KeysUnavailable`."""
        for issuer in self._issuers.values():
            await issuer.keys.current()

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
        if digest in self._cache:
            claims = self._remembered(digest)
            if claims is None:
                claims = await self._confirmed(digest)
            if claims is not None:
                return claims
        now = self._clock()
        issuer, header, payload, signature, message, found = self._taken_apart(token, now)
        if found is None:
            found = await issuer.candidates(header)
            # Of many requests with one token that waited, the first has verified it.
            claims = self._remembered(digest)
            if claims is not None:
                return claims
            now = self._clock()
        if found[3]:
            key = await in_few_threads(partial(self._verifying_key, found, message, signature))
            now = self._clock()
        else:
            key = self._verifying_key(found, message, signature)
        # A change of keys that comes between a check and its being remembered, in another thread or while slow keys
        # are tried in one, finds what was remembered forgotten: here, or there.
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
            if issuer.keys.unquestioned_until < expires:
                until = issuer.keys.unquestioned_until
            self._cache[digest] = (claims, not_before, until, expires, key, issuer)
            if key not in issuer.known:
                self._cache.pop(digest, None)
        return claims

    async def verify_once(self, token: bytes) -> Mapping[str, Any]:
        """The members of a token that is presented once: verified like any other, neither frozen nor remembered.

        For secrets, as refresh tokens have: slow keys would hold the event loop.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        issuer, header, payload, signature, message, found = self._taken_apart(token, self._clock())
        if found is None:
            found = await issuer.candidates(header)
        self._verifying_key(found, message, signature)
        issuer.remember(header, found)
        members = parse_object(payload)
        check_claims(members, issuer.policy, self._clock())
        self.verified += 1
        return members

    def _taken_apart(self, token: bytes, now: float) -> tuple[_Issuer, bytes, bytes, bytes, bytes, Candidates | None]:
        """The token's issuer, its header as it came, its payload and signature decoded, and the bytes that are signed.

        The last are the candidates of a header that verified before; None: ask `_Issuer.candidates`, which may wait.
        """
        header, payload, signature, message = split(token)
        content = decode_base64url(payload)
        issuer = self._first if self._sole else self._issuer_of(token, content)
        found = issuer.headers.get(header) if now < issuer.keys.unquestioned_until else None
        return issuer, header, content, decode_base64url(signature), message, found

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
        if (entry := self._cache.get(digest)) is not None:
            await entry[-1].keys.current()
        if (entry := self._cache.get(digest)) is not None:
            claims, not_before, _, expires, key, issuer = entry
            until = min(expires, issuer.keys.unquestioned_until)
            self._cache[digest] = (claims, not_before, until, expires, key, issuer)
        return self._remembered(digest)

    def _keys_changed(self, issuer: _Issuer, keys: KeySet) -> None:
        """What a key that left had verified leaves the cache."""
        issuer.known = keys.keys
        issuer.headers.clear()
        staying = frozenset(keys)
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

    def _verifying_key(self, found: Candidates, message: bytes, signature: bytes) -> Key:
        algorithm, keys, fitting, _ = found
        for key in keys:
            self.signature_checks += 1
            if key.verify(algorithm, message, signature):
                return key
        if fitting > len(keys):
            raise UnknownKey(f"{fitting} keys fit, and {MAX_CANDIDATES} at most are tried")
        raise InvalidSignature
