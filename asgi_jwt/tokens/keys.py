"""KeySet: keys to verify with, which of them a token may be of, and one to sign with."""

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
"""How many keys a token is tried with at most: anyone may send a token, and a signature check takes up to 1 ms."""

_SHOWN = 64
TOO_MANY_ALIKE = f"more than {MAX_CANDIDATES} keys of one algorithm with the same kid, or without one"


def _named(jwk: object) -> str:
    """Its `kid`, safe to print: anyone may have written it."""
    kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
    return f" ({kid[:_SHOWN]!r})" if isinstance(kid, str) else ""


class KeySet:
    """Keys to verify with, and one to sign with: the first private one. A `KeySource` whose keys stay.

    `KeySet.parse(text)` reads a JWK Set, a JWK or PEM; `KeySet.from_secret(secret)` an HMAC secret. `allowed` are the
    algorithms of tokens where the keys decide (see `limited_to`), else None.
    """

    __slots__ = ("allowed", "keys")

    unquestioned_until = inf

    def __init__(self, keys: Iterable[Key], *, limited: bool = False) -> None:
        self.keys = tuple(keys)
        self.allowed: frozenset[str] | None = None
        if limited:
            self.allowed = frozenset(name for key in self.keys if key.verifies for name in key.algorithms)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def known(self) -> "KeySet":
        """Itself: see `KeySource`."""
        return self

    async def current(self) -> "KeySet":
        """Itself, at once."""
        return self

    async def renewed(self) -> "KeySet":
        """Itself, at once."""
        return self

    def on_change(self, tell: Callable[["KeySet"], None]) -> None:
        """They stay: `tell` is never called."""

    def warm_up(self) -> None:
        """They are there already."""

    @classmethod
    def from_secret(cls, secret: str | bytes) -> "KeySet":
        """One HMAC secret. Raises `ConfigurationError`."""
        try:
            return cls([Key.from_secret(secret)])
        except ValueError as fault:
            raise ConfigurationError(str(fault)) from None

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any]) -> tuple["KeySet", tuple[ValueError, ...]]:
        """The keys of a JWK Set (RFC 7517 section 5) that can be used, and what is wrong with each of the others.

        Those of a kind that isn't used here are an `UnsupportedKey`, the broken and weak ones a plain `ValueError`.
        Raises `ConfigurationError` when it is no JWK Set.
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
        """A JWK Set, a JWK, or one or more PEM blocks.

        Raises `ConfigurationError` when a key in it is broken or too short, or none of them may verify signatures.
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
        """Why these keys as a whole can't verify every token that they should; None when they can."""
        if not any(key.verifies for key in self):
            return "holds no key that may verify signatures"
        if self.surplus():
            return f"holds {TOO_MANY_ALIKE}: give each a kid of its own, in a JWK Set, or remove the oldest"
        return None

    def surplus(self) -> tuple[Key, ...]:
        """The keys behind the first `MAX_CANDIDATES` with the same `kid`, or without one, for the same algorithm.

        A token is not tried with so many, and nothing in it tells them apart.
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
        """The keys that may have signed a token with this header.

        First come those that would have given it its `kid`, and then those without a declared one: a token without a
        `kid` is rather of these.

        A token is tried with `MAX_CANDIDATES` of them at most. Raises `UnknownKey` when no key has that `kid`,
        `UnsuitableKey` when none that has it fits `algorithm`, `AlgorithmNotAllowed` when that is none of `allowed`.
        """
        if self.allowed is not None and algorithm not in self.allowed:
            raise AlgorithmNotAllowed
        # A secret without a name names none: it would come too late behind those that were made after it.
        named = [key for key in self if kid is None or key.kid == kid or not key.declared]
        named.sort(key=lambda key: (key.kid != kid, key.declared))
        if not named:
            raise UnknownKey
        fitting = tuple(key for key in named if key.verifies and algorithm in key.algorithms)
        if not fitting:
            raise UnsuitableKey
        return fitting

    def limited_to(self, algorithms: tuple[str, ...]) -> "KeySet":
        """These keys for those of `algorithms` that fit each; where none are given, for what each is made for.

        Tokens may then be signed with what is left, and with nothing else.
        """
        return KeySet((key.limited_to(algorithms) for key in self), limited=True)

    def keeping(self, old: "KeySet") -> "KeySet":
        """These keys, each as the very object that `old` has for it, if it does."""
        kept = {key.identity: key for key in old}
        return self._with(kept.get(key.identity, key) for key in self)

    def at(self, now: float) -> "KeySet":
        """These keys as of `now` (seconds since the epoch): without those that have ended, and with those that don't
        sign yet behind all others."""
        left = (key for key in self if key.ends is None or now < key.ends)
        return self._with(sorted(left, key=lambda key: key.begins is not None and now < key.begins))

    def _with(self, keys: Iterable[Key]) -> "KeySet":
        return KeySet(keys, limited=self.allowed is not None)

    def holds_until(self, now: float) -> float:
        """Until when (seconds since the epoch) these keys are what they are at `now`."""
        times = (time for key in self for time in (key.begins, key.ends) if time is not None and now < time)
        return min(times, default=inf)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What the keys are made for: an RSA key for RS256 unless its JWK says otherwise."""
        return same_algorithms(key.default for key in self if key.verifies)

    def signing_key(self) -> Key | None:
        """The first private key; None when all are public."""
        return next((key for key in self if key.signs), None)

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish: public members alone, and no secret."""
        return {"keys": [jwk for key in self if key.verifies and (jwk := key.public_jwk()) is not None]}
