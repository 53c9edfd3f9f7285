"""OwnKeys: the keys of this service. They sign and verify here, and follow their files and the clock."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Protocol, Self

from anyio import NoEventLoopError

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.events import EventSink
from asgi_jwt.tokens.algorithms import same_algorithms
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.local_keys import KeyFile, LocalKeys

_ENDED = "have all ended, as their exp says: asgi-jwt keys rotate gives it a new one"
_MISSING = {
    "keys": "private key any more, and tokens",
    "refresh_secret": "secret to sign with any more, and refresh tokens",
}


class KeySettings(Protocol):
    """The part of `Settings` that the keys of this service come from."""

    @property
    def key_set(self) -> KeySet: ...
    @property
    def refresh_keys(self) -> KeySet: ...
    @property
    def algorithms(self) -> tuple[str, ...]: ...
    @property
    def policy(self) -> TokenPolicy: ...
    @property
    def access_ttl(self) -> float: ...
    @property
    def client_id(self) -> str | None: ...
    @property
    def files(self) -> Mapping[str, Path]: ...
    def variable(self, name: str) -> str: ...
    def read_again(self, name: str) -> Self: ...


class OwnKeys:
    """The keys of access tokens (`access`) and of refresh tokens (`refresh`), and the issuer that signs with them.

    `access` is empty if the keys are a remote issuer's. `clock` returns seconds since the epoch.
    """

    def __init__(self, settings: KeySettings, *, clock: Callable[[], float], events: EventSink) -> None:
        self._settings = settings
        self._clock = clock
        self._events = events
        self._given = settings.key_set
        self._algorithms = same_algorithms(settings.algorithms)
        self._issuer: TokenIssuer | None = None
        self.access = self._source("keys", self._given, self._algorithms)
        self.refresh = self._source("refresh_secret", settings.refresh_keys, ("HS256",))
        for source in (self.access, self.refresh):
            source.on_change(self._follow)

    def with_access(self, keys: KeySet) -> "OwnKeys":
        """A copy with other keys of access tokens, and with an issuer that signs with them."""
        other = copy(self)
        other.access = other._given = keys
        other._issuer = None
        other.refresh.on_change(other._follow)
        return other

    @property
    def issuer(self) -> TokenIssuer:
        """The issuer, which signs with the first private key whose `nbf` has passed.

        Raises `ConfigurationError` if there is no private key.
        """
        if self._issuer is None:
            self._update()
            key, algorithm, refresh_key = self._signing()
            self._issuer = TokenIssuer(
                key,
                algorithm,
                self._settings.policy,
                ttl=self._settings.access_ttl,
                clock=self._clock,
                refresh_key=refresh_key,
                client_id=self._settings.client_id,
                update_keys=self._update,
            )
        return self._issuer

    async def current(self) -> None:
        """Have the keys read again if that is due. Raises `KeysUnavailable` if all keys have ended."""
        now = self._clock()
        for source in (self.access, self.refresh):
            if now >= source.known_until:
                await source.current()

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish, by `KeySet.public_jwks`."""
        return self.access.known.public_jwks()

    def _source(self, name: str, keys: KeySet, algorithms: tuple[str, ...]) -> KeySource:
        """The keys of the setting `name`. They follow their file, and the clock if a key has `nbf` or `exp`."""
        file = None
        path = self._settings.files.get(name)
        if path is not None and path.is_file():  # a pipe can be read only once
            file = KeyFile(self._settings.variable(name), path, partial(self._read_again, name))
        elif keys.holds_until(-inf) == inf:
            return keys
        return LocalKeys(keys, file=file, algorithms=algorithms, clock=self._clock, events=self._events)

    def _read_again(self, name: str) -> KeySet:
        """The present keys in the file of the setting `name`. Raises `ConfigurationError`."""
        again = self._settings.read_again(name)
        keys = again.key_set if name == "keys" else again.refresh_keys
        current = keys.at(self._clock())
        if not any(key.verifies for key in current):
            raise ConfigurationError(f"{self._settings.variable(name)} holds keys that {_ENDED}")
        if self._issuer is not None:
            for key in (current.signing_key(), keys.signing_key()):
                if key is None:
                    raise ConfigurationError(f"{self._settings.variable(name)} holds no {_MISSING[name]} are issued")
                if name == "keys":
                    self._algorithm_of(key)
        if name == "keys":
            self._given = keys
        return keys

    def _update(self) -> None:
        """Have the issuer sign with the keys of this time. In an event loop it starts a check of the files if due."""
        with suppress(NoEventLoopError):
            self.access.warm_up()
            self.refresh.warm_up()
        _ = self.access.known, self.refresh.known

    def _follow(self, _: KeySet) -> None:
        if self._issuer is not None:
            with suppress(ConfigurationError):  # without a new key the old one goes on signing, and nobody accepts it
                self._issuer.sign_with(*self._signing())

    def _signing(self) -> tuple[Key, str, Key | None]:
        """The key of access tokens and its algorithm, and the key of refresh tokens. Raises `ConfigurationError`."""
        key = self.access.known.signing_key()
        if key is None:
            raise ConfigurationError(f"{self._settings.variable('keys')} {self._lack()}")
        return key, self._algorithm_of(key), self.refresh.known.signing_key()

    def _lack(self) -> str:
        if not self._given:
            return "is not set, and a remote issuer gives no private key: tokens can't be issued"
        if self._given.signing_key() is None:
            return "holds no private key: tokens can't be issued"
        return f"holds private keys that {_ENDED}"

    def _algorithm_of(self, key: Key) -> str:
        allowed = self._algorithms or (key.default,)
        algorithm = next((name for name in allowed if name in key.algorithms), None)
        if algorithm is None:
            raise ConfigurationError("ASGI_JWT_ALGORITHMS names none for which the first private key is made")
        return algorithm
