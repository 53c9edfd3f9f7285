"""KeySet: the keys to verify with, the choice of keys for a token, and the key to sign with."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import Any

from asgi_jwt.errors import AlgorithmNotAllowed, ConfigurationError, MalformedToken, UnknownKey, UnsuitableKey
from asgi_jwt.tokens.algorithms import UnsupportedKey, same_algorithms
from asgi_jwt.tokens.compact import parse_object
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.pem import pem_blocks, utf8

MAX_CANDIDATES = 4
"""The most keys that are tried for one token. A signature check takes up to 1 ms, and anyone may send a token."""

_LONGEST_KID = 64
TOO_MANY_ALIKE = f"more than {MAX_CANDIDATES} keys of one algorithm with the same kid, or without one"


def _named(jwk: object) -> str:
    """The key's `kid` in parentheses, shortened and quoted, because it may come from an attacker. Empty without one."""
    kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
    return f" ({kid[:_LONGEST_KID]!r})" if isinstance(kid, str) else ""


class KeySet:
    """An iterable of keys to verify with. The first private key signs. It is a `KeySource` whose keys never change.

    `KeySet.parse(text)` reads a JWK Set, a JWK or PEM. `KeySet.from_secret(secret)` takes an HMAC secret. `allowed` are
    the algorithms of tokens if the keys decide about them (see `limited_to`), else None.
    """

    __slots__ = ("_keys", "allowed")

    known_until = inf

    def __init__(self, keys: Iterable[Key], *, limited: bool = False) -> None:
        self._keys = tuple(keys)
        self.allowed: frozenset[str] | None = None
        if limited:
            self.allowed = frozenset(name for key in self if key.verifies for name in key.algorithms)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def known(self) -> "KeySet":
        """This set (see `KeySource`)."""
        return self

    async def current(self) -> "KeySet":
        """This set, at once."""
        return self

    async def renewed(self) -> "KeySet":
        """This set, at once."""
        return self

    def on_change(self, listener: Callable[["KeySet"], None]) -> None:
        """Does nothing, because the keys never change."""

    def warm_up(self) -> None:
        """Does nothing, because the keys are there."""

    @classmethod
    def from_secret(cls, secret: str | bytes) -> "KeySet":
        """A set of one HMAC secret, 32 bytes at least. Raises `ConfigurationError`."""
        try:
            return cls([Key.from_secret(secret)])
        except ValueError as fault:
            raise ConfigurationError(str(fault)) from None

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any]) -> tuple["KeySet", tuple[ValueError, ...]]:
        """The usable keys of a JWK Set, and an exception for each unusable key (RFC 7517 section 5).

        The exception is an `UnsupportedKey` for a key of an unsupported kind, and a plain `ValueError` for a broken or
        weak key. Raises `ConfigurationError` if `jwks` is no JWK Set.
        """
        members = jwks.get("keys")
        if not isinstance(members, list | tuple):
            raise ConfigurationError("is no JWK Set: its member `keys` is no array")
        keys: list[Key] = []
        faults: list[ValueError] = []
        for position, jwk in enumerate(members, 1):
            try:
                if not isinstance(jwk, Mapping):
                    raise ValueError("is no object")
                keys.append(Key.from_jwk(jwk))
            except ValueError as fault:
                faults.append(type(fault)(f"key {position} of the JWK Set{_named(jwk)} can't be used: {fault}"))
        return cls(keys), tuple(faults)

    @classmethod
    def parse(cls, text: str | bytes) -> "KeySet":
        """The keys of a JWK Set, of a JWK, or of one or more PEM blocks.

        Raises `ConfigurationError` if a key is broken or too short, or if no key may verify signatures.
        """
        faults: tuple[ValueError, ...] = ()
        try:
            content = utf8(text)
            if content.lstrip().startswith(b"{"):
                document = parse_object(content)
                keys, faults = cls.from_jwks(document if "keys" in document else {"keys": [document]})
            else:
                keys = cls([Key.from_pem(block) for block in pem_blocks(content)])
        except MalformedToken:
            raise ConfigurationError("is broken JSON") from None
        except ConfigurationError:
            raise
        except ValueError as fault:
            raise ConfigurationError(str(fault)) from None
        broken = [str(fault) for fault in faults if not isinstance(fault, UnsupportedKey)]
        if not broken and (whole := keys.fault()):
            broken = [*map(str, faults), whole]
        if broken:
            raise ConfigurationError(broken)
        return keys

    def fault(self) -> str | None:
        """The reason why the set as a whole is unusable, as a sentence without its subject. None: it is usable."""
        if not any(key.verifies for key in self):
            return "holds no key that may verify signatures"
        if self.surplus():
            return f"holds {TOO_MANY_ALIKE}: give each a kid of its own, in a JWK Set, or remove the oldest"
        return None

    def surplus(self) -> tuple[Key, ...]:
        """The keys that a token would never be tried with, because too many keys are alike.

        Keys are alike if they have one `kid`, or none, and one algorithm. No token shows which of them signed it, and
        only the first `MAX_CANDIDATES` of them are tried.
        """
        alike = Counter[tuple[str, str | None]]()
        surplus = []
        for key in filter(lambda key: key.verifies, self):
            uses = [(algorithm, key.kid if key.declared else None) for algorithm in key.algorithms]
            if any(alike[use] == MAX_CANDIDATES for use in uses):
                surplus.append(key)
            else:
                alike.update(uses)
        return tuple(surplus)

    def candidates(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """The keys that may have signed a token with this header, the likeliest first.

        Keys whose `kid` is that of the token come first, then keys without a declared `kid`. A token is tried with
        `MAX_CANDIDATES` of them at most.

        Raises `AlgorithmNotAllowed` if `algorithm` is none of `allowed`, `UnknownKey` if no key has this `kid`, and
        `UnsuitableKey` if no key with this `kid` fits `algorithm`.
        """
        if self.allowed is not None and algorithm not in self.allowed:
            raise AlgorithmNotAllowed
        # A secret without a `kid` signs tokens without a `kid`, so for these it comes before keys with a declared one.
        named = [key for key in self if kid is None or key.kid == kid or not key.declared]
        named.sort(key=lambda key: (key.kid != kid, key.declared))
        if not named:
            raise UnknownKey
        fitting = tuple(key for key in named if key.verifies and algorithm in key.algorithms)
        if not fitting:
            raise UnsuitableKey
        return fitting

    def limited_to(self, algorithms: tuple[str, ...]) -> "KeySet":
        """These keys, each limited to those of `algorithms` that fit it. Without `algorithms`, to its default.

        `allowed` of the new set are the algorithms that are left.
        """
        return KeySet((key.limited_to(algorithms) for key in self), limited=True)

    def keeping(self, old: "KeySet") -> "KeySet":
        """These keys, in which each key that `old` has, too, is the object of `old`."""
        kept = {key.identity: key for key in old}
        return self._with(kept.get(key.identity, key) for key in self)

    def at(self, now: float) -> "KeySet":
        """These keys at `now`, in seconds since the epoch.

        Keys that have ended are left out. Keys that don't sign yet come last.
        """
        left = (key for key in self if key.ends is None or now < key.ends)
        return self._with(sorted(left, key=lambda key: key.begins is not None and now < key.begins))

    def _with(self, keys: Iterable[Key]) -> "KeySet":
        return KeySet(keys, limited=self.allowed is not None)

    def holds_until(self, now: float) -> float:
        """When the result of `at` changes next after `now`, in seconds since the epoch."""
        times = (time for key in self for time in (key.begins, key.ends) if time is not None and now < time)
        return min(times, default=inf)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms that the keys are made for. An RSA key is made for RS256 unless its JWK has another `alg`."""
        return same_algorithms(key.default for key in self if key.verifies)

    def signing_key(self) -> Key | None:
        """The first private key. None: all keys are public."""
        return next((key for key in self if key.signs), None)

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish. It has only public members, and no secrets."""
        return {"keys": [jwk for key in self if key.verifies and (jwk := key.public_jwk()) is not None]}
