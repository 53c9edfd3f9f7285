"""The keys of a remote issuer: a JWK Set (RFC 7517) over HTTP, and how long it is relied on."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from math import inf
from typing import Any

from anyio import get_cancelled_exc_class

from asgi_jwt.errors import ConfigurationError, KeysUnavailable
from asgi_jwt.events import Event, EventSink, KeysFetched, KeysNotFetched
from asgi_jwt.tasks import SingleFlight, in_thread, start
from asgi_jwt.tokens.algorithms import same_algorithms
from asgi_jwt.tokens.discovery import (
    check_issuer,
    check_url,
    deadline,
    fetch,
    keys_url,
    read_metadata,
    require_http_client,
    system_certificates,
    without_query,
)
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import TOO_MANY_ALIKE, KeySet

MAX_WAITING = 1000
MAX_KEYS = 100
"""No issuer has nearly as many: reading more would hold up the process, and telling of each fill its log."""

_TOLD, _TOLD_IN_ALL = 200, 1000
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
# When a key begins and ends is what one's own keys are told; an issuer's are those that it publishes.
_TIMES = frozenset({"nbf", "exp"})

_AHEAD = 0.8
_BETWEEN_ATTEMPTS = 30.0
_BETWEEN_COLD_ATTEMPTS = 1.0
_OUTAGE = 3600.0
_DAY = 86400.0
_NEVER = float("-inf")


class RemoteKeySet:
    """The keys of a remote issuer, fetched when they are needed and kept fresh.

    Fetched once for all who wait; fresh for 10 minutes, or as `Cache-Control` says, between 1 minute and 24 hours;
    fetched anew after 80 % of that, while the old ones serve. An unknown `kid` causes one fetch in 30 s at most. When
    the issuer is out of reach, its known keys serve for an hour past their time, then `KeysUnavailable` is raised.

    `url` is the JWK Set's, or `issuer` is named, whose metadata tells it (see `discover`). The metadata is read again
    after a day, or when its `Cache-Control` says, when a fetch of keys has failed, and when a `kid` stays unknown; keys
    of a URL that it no longer names are replaced. `algorithms` are those allowed; none: what each key is made for.
    `clock` gives seconds since the epoch, `events` hears of each fetch. `left_out` says of each key that can't be used
    why not.
    Raises `ConfigurationError` for a URL that is not https, and without httpx2.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        algorithms: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        events: EventSink | None = None,
    ) -> None:
        require_http_client()
        try:
            self._url = check_url(url) if url is not None else ""
            self._issuer = check_issuer(issuer) if issuer is not None else None
        except ValueError as fault:
            raise ConfigurationError(f"the URL of a remote issuer {fault}") from None
        if (url is None) == (issuer is None):
            raise ConfigurationError("a RemoteKeySet takes the URL of the keys or the issuer, one of the two")
        self.source = issuer or without_query(url or "")
        self._algorithms = same_algorithms(algorithms)
        self._clock = clock
        self._events = events or EventSink()
        self._keys: KeySet | None = None
        self._fetched_at = self._due_at = self._stale_at = self._attempted_at = self._certified_at = _NEVER
        # When the metadata has to be read again; a URL that was given stands.
        self._relocate_at = _NEVER if url is None else inf
        self._sought = False
        self._certificates = system_certificates
        self._awaited = False
        self._failure: str | None = None
        self.left_out: tuple[str, ...] = ()
        self._flight = SingleFlight(self._fetch)
        self._listeners: list[Callable[[KeySet], None]] = []

    def on_change(self, tell: Callable[[KeySet], None]) -> None:
        """Have `tell` called with each set that differs from the one before, before anyone verifies with it."""
        self._listeners.append(tell)

    @property
    def known(self) -> KeySet:
        """The keys that were fetched last; none before the first fetch."""
        return self._keys or KeySet(())

    @property
    def age(self) -> float | None:
        """How long ago (s) the keys were fetched; None before the first time."""
        return None if self._keys is None else max(0.0, self._clock() - self._fetched_at)

    @property
    def unquestioned_until(self) -> float:
        """Until when (seconds since the epoch) what these keys verified holds without asking for them again."""
        # A clock that was set back, too, has the keys asked for.
        if self._awaited or self._clock() < self._fetched_at:
            return _NEVER
        return min(max(self._due_at, self._attempted_at + _BETWEEN_ATTEMPTS), self._stale_at + _OUTAGE)

    def warm_up(self) -> None:
        """Begin a fetch if one is due, and don't wait for it. Needs a running event loop."""
        if self._is_due(self._clock()):
            self._attempt()

    async def current(self) -> KeySet:
        """The keys to verify with now. Raises `KeysUnavailable`.

        It waits when there are none that could be relied on, or when nobody has asked since a fetch was due.
        """
        now = self._clock()
        if now < self._fetched_at:
            self._count_from(now)
        if self._is_due(now):
            self._attempt()
            if self._awaited or not self._is_usable(now):
                await self._flight.wait()
        if self._keys is None or not self._is_usable(self._clock()):
            raise KeysUnavailable(self._failure)
        return self._keys

    async def renewed(self) -> KeySet:
        """The keys after a fetch, for a token of a key that none is: if there was no fetch lately. Raises
        `KeysUnavailable`.

        The issuer may have a new key, or someone makes up names.
        """
        if self._attempt(sought=True) and self._flight.waiting < MAX_WAITING:
            await self._flight.wait()
        return await self.current()

    def _count_from(self, now: float) -> None:
        """The clock was set back: a fetch is due, and its failing makes the keys no younger than if they came now."""
        self._stale_at += now - self._fetched_at
        self._relocate_at += now - self._fetched_at
        self._fetched_at = self._due_at = now

    def _is_due(self, now: float) -> bool:
        # Before its fetch too: the clock was set back.
        return not self._fetched_at <= now < self._due_at

    def _is_usable(self, now: float) -> bool:
        return self._keys is not None and now < self._stale_at + _OUTAGE

    def _attempt(self, *, sought: bool = False) -> bool:
        """Begin a fetch, unless there was one lately. Whether one is under way now.

        `sought`: for a `kid` that is unknown.
        """
        if self._flight.under_way:
            self._sought = self._sought or sought
            return True
        now = self._clock()
        between = _BETWEEN_ATTEMPTS if self._is_usable(now) else _BETWEEN_COLD_ATTEMPTS
        if 0 <= now - self._attempted_at < between:
            return False
        # After a quiet time, in which nobody had it refreshed ahead: a key may have been withdrawn long ago.
        self._awaited = now >= self._stale_at and self._attempted_at < self._due_at
        self._attempted_at, self._sought = now, sought
        self._flight.start()
        return True

    async def _fetch(self) -> None:
        began = self._attempted_at
        if self._failure is not None or not 0 <= began - self._certified_at < _DAY:
            # The system's may have changed.
            self._certificates, self._certified_at = cache(system_certificates), began
        try:
            await self._renew(began)
        except get_cancelled_exc_class():
            # Its event loop has ended. To the next one it is no attempt.
            self._attempted_at = _NEVER
            raise
        except KeysUnavailable as why:
            if self._issuer is not None and self._fetched_at != began:
                # The issuer may have moved its keys.
                self._relocate_at = _NEVER
            self._failure = _short(str(why), _TOLD_IN_ALL)
            self._tell(KeysNotFetched(self.source, self._failure))
        else:
            self._failure = None
            self._tell(KeysFetched(self.source, len(self.known), self.left_out))
        self._awaited = False

    async def _renew(self, now: float) -> None:
        """Fetch the keys, and look in the metadata where they are, if they may have moved. Raises `KeysUnavailable`."""
        with deadline():
            lost = now >= self._relocate_at
            if lost:
                await self._locate(now)
            found = await self._read(now)
            # Keys that were read stay, whatever becomes of the metadata.
            if self._issuer is not None and self._sought and not (lost or found) and await self._locate(now):
                self._due_at = self._stale_at = now
                await self._read(now)

    async def _locate(self, now: float) -> bool:
        """Read the metadata. Whether it names another URL of the keys than before. Raises `KeysUnavailable`."""
        issuer, before = self._issuer or "", self._url
        metadata = await read_metadata(issuer, self._certificates)
        self._url = keys_url(issuer, metadata.content)
        self._relocate_at = now + (metadata.fresh_for if metadata.stated else _DAY)
        return self._url != before

    async def _read(self, now: float) -> bool:
        """Put the keys that are at the URL now in the place of the old ones. Whether one among them is new.

        Raises `KeysUnavailable`, and then the old keys stay.
        """
        document = await fetch(self._url, self._certificates)
        # A key takes a tenth of a millisecond to read, and a set holds up to a hundred.
        keys, self.left_out = await in_thread(partial(_usable_keys, document.content, self._algorithms))
        self._fetched_at, self._stale_at = now, now + document.fresh_for
        self._due_at = min(now + _AHEAD * document.fresh_for, self._relocate_at)
        old = self.known
        self._keys = keys.keeping(old)
        if self._keys.keys != old.keys:
            for tell in self._listeners:
                tell(self._keys)
        return not set(self._keys.keys) <= set(old.keys)

    def _tell(self, event: Event) -> None:
        # Not within the fetch: the host's listener may take its time, and all would wait for it.
        start(lambda: self._events.emit(event))


def _usable_keys(jwks: dict[str, Any], algorithms: tuple[str, ...]) -> tuple[KeySet, tuple[str, ...]]:
    """The public keys of the set, each for what is allowed or what it is made for, and why others can't be used.

    Raises `KeysUnavailable` when there are more than `MAX_KEYS`, or none may verify: an empty set never takes the place
    of a full one.
    """
    listed = jwks.get("keys")
    if not isinstance(listed, list):
        raise KeysUnavailable("the answer is no JWK Set")
    if len(listed) > MAX_KEYS:
        raise KeysUnavailable(f"the JWK Set holds more than {MAX_KEYS} keys")
    public: list[Key] = []
    left_out: list[str] = []
    for position, jwk in enumerate(listed, 1):
        try:
            key = _public_key(jwk)
        except ValueError as fault:
            left_out.append(f"key {position} of the JWK Set can't be used: {fault}")
            continue
        public.append(key.limited_to(algorithms))
        if not key.verifies:
            left_out.append(f"{key!r} is not for verifying signatures")
        elif not public[-1].algorithms:
            left_out.append(f"{key!r} is for none of the allowed algorithms")
    surplus = KeySet(public).surplus()
    left_out += [f"{key!r} is behind {TOO_MANY_ALIKE}" for key in surplus]
    left_out = [_short(told, _TOLD) for told in left_out]
    if not any(key.verifies and key.algorithms for key in public):
        raise KeysUnavailable("; ".join(["the JWK Set holds no key to verify signatures with", *left_out]))
    return KeySet(key for key in public if key not in surplus), tuple(left_out)


def _public_key(jwk: object) -> Key:
    if not isinstance(jwk, Mapping):
        raise ValueError("is no object")
    # Some write what a key lacks as null.
    members = {name: value for name, value in jwk.items() if value is not None and name not in _TIMES}
    if not _PRIVATE.isdisjoint(members):
        raise ValueError("it is published with its secret, so that everyone could sign with it")
    key = Key.from_jwk(members)
    _ = key.identity  # takes as long as all the rest, and is remembered
    return key


def _short(told: str, longest: int) -> str:
    # A `kid` may be as long as the document, and a server's answer longer.
    return told if len(told) <= longest else f"{told[:longest]}..."
