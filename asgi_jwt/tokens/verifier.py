"""TokenVerifier: verifies access tokens with the keys and policies of trusted issuers, and caches verified tokens."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Final

from asgi_jwt.errors import (
    ConfigurationError,
    InvalidSignature,
    MalformedToken,
    MissingClaim,
    TokenTooLarge,
    UnknownKey,
    WrongClaim,
    WrongIssuer,
)
from asgi_jwt.tasks import in_few_threads
from asgi_jwt.tokens.claims import OF_NO_ISSUER, Claims, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import decode_base64url, parse_claims, parse_object, split
from asgi_jwt.tokens.found_issuers import FoundIssuers
from asgi_jwt.tokens.issuer_pattern import IssuerPattern
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import MAX_CANDIDATES, KeySet
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.tenant_keys import asks_tid
from asgi_jwt.tokens.trusted import Candidates, Trust, TrustedIssuer

_MAX_UNVERIFIED_BRACKETS = 500

# The places in `_CacheEntry`.
_KEY: Final = 4
_ISSUER: Final = 5

_BOUND = b"bound"
"""The end of the cache's key of a token that needs a proof, too. So `verify_cached` does not find the token."""


# The claims of a verified token, from when and until when they are valid without a call of `KeySource.current`, when
# the token expires, its key and its issuer. A plain tuple costs each request 40 ns less than a named one.
_CacheEntry = tuple[Claims, float, float, float, Key, TrustedIssuer]


class TokenVerifier:
    """Verifies the size, form, header, signature and claims of access tokens, and caches verified tokens.

    `keys`, `policy`: the keys and the rules of the first issuer.
    `others`: further issuers. The `iss` of a token decides which issuer's keys are tried.
    `finders`: find the issuers that are named neither here nor in `others`.
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
        finders: Iterable[FoundIssuers] = (),
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
        self._finders = tuple(finders)
        self._has_forgotten = False
        listed = {trust.policy.issuer: TrustedIssuer(trust) for trust in trusts}
        if len(listed) < len(trusts):
            raise ConfigurationError("an issuer is trusted twice: its tokens can't have two kinds of keys")
        self._first = listed[policy.issuer]
        self._listed = listed
        patterns = {finder.pattern.text for finder in self._finders if finder.pattern is not None}
        self._issuers = {name: issuer for name, issuer in listed.items() if name not in patterns}
        self._sole = len(trusts) == 1 and not self._finders
        for issuer in self._issuers.values():
            issuer.source.on_change(partial(self._keys_changed, issuer))
        for finder in self._finders:
            finder.listen(self._keys_changed, self._drop_tokens)

    @property
    def policy(self) -> TokenPolicy:
        """The rules for tokens of the first issuer. Its algorithms may change with the keys."""
        return self._first.trust.policy

    @property
    def trusts(self) -> tuple[Trust, ...]:
        """The keys and the rules of each issuer that is named in full."""
        return tuple(issuer.trust for issuer in self._issuers.values())

    @property
    def issuers(self) -> tuple[str, ...]:
        """The trusted issuers. An issuer with a placeholder stands for its tenants."""
        return tuple(self._listed)

    @property
    def patterns(self) -> tuple[IssuerPattern, ...]:
        """The issuers with a placeholder."""
        return tuple(finder.pattern for finder in self._finders if finder.pattern is not None)

    @property
    def asks_others(self) -> bool:
        """Whether `verify` may wait for another server, or for the host to find an issuer."""
        sources = [issuer.source for issuer in self._issuers.values()]
        return bool(self._finders) or any(isinstance(source, RemoteKeySet) for source in sources)

    async def trust_in(self, iss: str) -> Trust:
        """The keys and the rules of the issuer with this name. It may ask the host.

        Raises `WrongIssuer` if the issuer is not trusted, and `KeysUnavailable` if the host gives no answer.
        """
        return (await self._find(iss)).trust

    def with_keys(self, keys: KeySet) -> "TokenVerifier":
        """A verifier by the same policies, which verifies the tokens of every issuer with `keys`."""
        (first, *others) = [Trust(keys, issuer.trust.policy) for issuer in self._listed.values()]
        finders = [finder.with_keys(keys) for finder in self._finders]
        return TokenVerifier(*first, cache_size=self._cache_size, clock=self._clock, others=others, finders=finders)

    def ends_at(self, claims: Claims) -> float:
        """When a token that was verified here expires, with the leeway, in seconds since the epoch."""
        return claims.expires_at + claims._standing.leeway

    def leeway_of(self, claims: Claims) -> float:
        """The leeway (s) for the times in verified claims. For claims of no known issuer it is the first issuer's."""
        return self.policy.leeway if claims._standing is OF_NO_ISSUER else claims._standing.leeway

    @property
    def may_forget(self) -> bool:
        """Whether `has_forgotten` may be true for any claims."""
        return self._has_forgotten or bool(self._finders)

    def has_forgotten(self, claims: Claims) -> bool:
        """Whether the issuer was forgotten since a token with these claims was verified."""
        return claims._standing.ended

    async def ask_again(self, iss: str) -> None:
        """Find out again whether the issuer is trusted. If it is not, it is forgotten. Raises `KeysUnavailable`."""
        for finder in self._finders:
            await finder.ask_again(iss)

    def forget(self, iss: str) -> None:
        """Drop the keys and the cached tokens of an issuer. Its next token is verified with keys that are read anew."""
        issuer = self._issuers.get(iss)
        if issuer is not None:
            self._has_forgotten = issuer.standing.ended = True
            source = issuer.source.unread() if isinstance(issuer.source, RemoteKeySet) else issuer.source
            self._issuers[iss] = renewed = TrustedIssuer(Trust(source, issuer.trust.policy))
            renewed.source.on_change(partial(self._keys_changed, renewed))
            self._first = renewed if issuer is self._first else self._first
            self._drop_tokens(issuer)
        for finder in self._finders:
            finder.forget(iss)

    def key_ages(self) -> dict[str, float]:
        """How long ago (s) remote keys were fetched, by the name or URL of their issuer, if they were fetched.

        Tenants have one name, and the age is that of the oldest keys.
        """
        sources = [issuer.source for issuer in self._issuers.values()]
        sources += [source for finder in self._finders for source in finder.sources()]
        ages = [(source.age, source.source) for source in sources if isinstance(source, RemoteKeySet)]
        return {name: age for age, name in sorted((age, name) for age, name in ages if age is not None)}

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

    def verify_cached_bound(self, digest: bytes) -> Claims | None:
        """The same for a token that is not enough by itself, as one that is bound to a key, by its SHA-256 digest."""
        entry = self._cache.get(digest + _BOUND)
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
        place = self._place_of(digest)
        if place in self._cache:
            claims = self._cached(place)
            if claims is None:
                claims = await self._cached_with_current_keys(place)
            if claims is not None:
                return claims
        header, payload, signature, message = self._parse(token)
        issuer = self._first if self._sole else await self._issuer_of(token, payload)
        now = self._clock()
        found = issuer.headers.get(header) if now < issuer.source.known_until else None
        if found is None:
            found = await issuer.candidates(header)
            # Another request with this token may have waited, too, and verified it.
            claims = self._cached(self._place_of(digest))
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
        if issuer.standing.ended:
            return await self.verify(token)
        if issuer.finder is not None:
            _check_tenant(issuer, key, members)
            issuer.finder.keep(issuer)
        claims = Claims._of_frozen(members, policy.scope_claim, policy.roles_claim, issuer.standing)
        self.verified += 1
        if self._cache_size:
            if len(self._cache) >= self._cache_size:
                self._cache.popitem(last=False)
            until = expires
            if issuer.source.known_until < expires:
                until = issuer.source.known_until
            if "cnf" in members or not self._at_sight:
                digest += _BOUND
            self._cache[digest] = (claims, not_before, until, expires, key, issuer)
            if key not in issuer.keys or issuer.standing.ended:
                self._cache.pop(digest, None)
        return claims

    async def verify_once(self, token: bytes) -> Mapping[str, Any]:
        """The claims of a refresh token, as a plain dict. They are verified as in `verify`, and not cached.

        The event loop does the signature check, so the keys must be secrets. Raises a child of `InvalidToken`.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        header, payload, signature, message = self._parse(token)
        issuer = self._first
        found = issuer.headers.get(header) if self._clock() < issuer.source.known_until else None
        if found is None:
            found = await issuer.candidates(header)
        self._verifying_key(found, message, signature)
        issuer.remember(header, found)
        members = parse_object(payload)
        check_claims(members, issuer.policy, self._clock())
        self.verified += 1
        return members

    async def verify_signature(self, token: bytes, typ: frozenset[str]) -> tuple[Claims, TokenPolicy]:
        """The claims of a token of another kind than access tokens, and the rules of its issuer.

        The signature is verified with the issuer's keys, and the claims are not checked. `typ` has the values of the
        header's `typ`, if it is there. Raises a child of `InvalidToken`, and `KeysUnavailable`.
        """
        if len(token) > self._max_token_size:
            raise TokenTooLarge
        header, payload, signature, message = self._parse(token)
        issuer = self._first if self._sole else await self._issuer_of(token, payload)
        found = await issuer.candidates(header, typ)
        key = await in_few_threads(partial(self._verifying_key, found, message, signature))
        members, policy = parse_claims(payload), issuer.policy
        if issuer.standing.ended:
            return await self.verify_signature(token, typ)
        if issuer.finder is not None:
            _check_tenant(issuer, key, members)
            issuer.finder.keep(issuer)
        return Claims._of_frozen(members, policy.scope_claim, policy.roles_claim, issuer.standing), policy

    def _parse(self, token: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """The token's encoded header, its decoded payload and signature, and the signing input."""
        header, payload, signature, message = split(token)
        return header, decode_base64url(payload), decode_base64url(signature), message

    def _place_of(self, digest: bytes) -> bytes:
        return digest if digest in self._cache else digest + _BOUND

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

    def _keys_changed(self, issuer: TrustedIssuer, keys: KeySet) -> None:
        """Remove the tokens of keys that have left from the cache."""
        issuer.keys = tuple(keys)
        issuer.headers.clear()
        self._drop_tokens(issuer, but=frozenset(keys))

    def _drop_tokens(self, issuer: TrustedIssuer, *, but: Collection[Key] = ()) -> None:
        """Remove the issuer's tokens from the cache, except those of the keys in `but`."""
        entries = list(self._cache.items())
        for digest in [digest for digest, entry in entries if entry[_ISSUER] is issuer and entry[_KEY] not in but]:
            self._cache.pop(digest, None)

    async def _issuer_of(self, token: bytes, payload: bytes) -> TrustedIssuer:
        """The issuer in the payload, which is not verified yet. It only selects the keys that are tried."""
        if payload.count(b"{") + payload.count(b"[") > _MAX_UNVERIFIED_BRACKETS:
            raise MalformedToken("a payload with too many objects and lists")
        members = parse_object(payload)
        name = members.get("iss")
        if type(name) is not str:
            raise WrongIssuer if "iss" in members else MissingClaim("iss")
        issuer = await self._find(name)
        if len(token) > issuer.policy.max_token_size:
            raise TokenTooLarge
        return issuer

    async def _find(self, iss: str) -> TrustedIssuer:
        """The issuer of this name. Raises `WrongIssuer` if it is not trusted, and `KeysUnavailable`."""
        if (issuer := self._issuers.get(iss)) is not None:
            return issuer
        for finder in self._finders:
            if (issuer := await finder.find(iss)) is not None:
                return issuer
        raise WrongIssuer

    def _verifying_key(self, found: Candidates, message: bytes, signature: bytes) -> Key:
        algorithm, keys, fitting, _ = found
        for key in keys:
            self.signature_checks += 1
            if key.verify(algorithm, message, signature):
                return key
        if fitting > len(keys):
            raise UnknownKey(f"{fitting} keys fit, and {MAX_CANDIDATES} at most are tried")
        raise InvalidSignature


def _check_tenant(issuer: TrustedIssuer, key: Key, members: Mapping[str, Any]) -> None:
    """Raises `WrongClaim` if `key` serves many tenants, and the claims are of another one than the issuer."""
    if issuer.standing.tenant is not None and asks_tid(key) and members.get("tid") != issuer.standing.tenant:
        raise WrongClaim("tid")
