"""RemoteKeySet: the keys of a remote issuer, a JWK Set over HTTP, and the policy of its cache. RFC 7517."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from math import inf
from pathlib import Path
from typing import Any

from anyio import get_cancelled_exc_class

from asgi_jwt.errors import ConfigurationError, KeysUnavailable
from asgi_jwt.events import Event, EventSink, KeysFetched, KeysNotFetched
from asgi_jwt.tasks import SingleFlight, in_thread, start
from asgi_jwt.tokens.algorithms import same_algorithms
from asgi_jwt.tokens.discovery import (
    LOOPBACK,
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
from asgi_jwt.tokens.token_file import TokenFile

MAX_WAITING = 1000
MAX_KEYS = 100
"""The most keys of a JWK Set. Issuers have far fewer. Reading more would take long, and reporting them fill the log."""

_LONGEST_REASON, _LONGEST_FAILURE = 200, 1000
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
# All keys that an issuer publishes are valid now. Only the keys of this service have these times.
_TIMES = frozenset({"nbf", "exp"})

_REFRESH_AFTER = 0.8
"""The part of the fresh time after which the keys are fetched again."""
_FETCH_INTERVAL = 30.0
"""The shortest time (s) between two fetches while there are usable keys."""
_FETCH_INTERVAL_WITHOUT_KEYS = 1.0
_USABLE_AFTER_STALE = 3600.0
"""How long (s) after their fresh time the keys stay usable, if the issuer is out of reach."""
_DAY = 86400.0
_NEVER = float("-inf")


class RemoteKeySet:
    """The keys of a remote issuer. They are fetched when they are needed, and kept fresh.

    One fetch serves all waiting callers. The keys are fresh for 10 minutes, or for the time in `Cache-Control`, between
    1 minute and 24 hours. After 80 % of that time they are fetched again, and the old keys are used meanwhile. An
    unknown `kid` causes one fetch in 30 s at most. If the issuer is out of reach, its known keys are used for an hour
    past their time. Then `KeysUnavailable` is raised.

    `url`: the URL of the JWK Set. Or `issuer`: the issuer whose metadata names that URL (see `discover`). The metadata
    is read again after a day, or after the time in its `Cache-Control`, after a failed fetch of keys, and when a `kid`
    stays unknown. If it names another URL, the keys of that URL replace the old ones.
    `algorithms`: the allowed ones. Empty allows the default of each key.
    `allow_http`: hosts of which `url` may be plain http, besides this machine.
    `token_file`: a file with a bearer token, read at each fetch. It is sent to the origin of `url`, or of `issuer`.
    `clock`: returns seconds since the epoch.
    `events`: emits an event for each fetch.
    The attribute `left_out` has a text for each unusable key. `unread` makes a set of the same issuer, whose keys have
    to be fetched again.

    Raises `ConfigurationError` for a URL that is not https (http is allowed on this machine), and without httpx2.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        algorithms: Iterable[str] = (),
        allow_http: Iterable[str] = (),
        token_file: Path | None = None,
        clock: Callable[[], float] = time.time,
        events: EventSink | None = None,
    ) -> None:
        require_http_client()
        try:
            self._url = check_url(url, LOOPBACK.union(allow_http)) if url is not None else ""
            self._issuer = check_issuer(issuer) if issuer is not None else None
        except ValueError as fault:
            raise ConfigurationError(f"the URL of a remote issuer {fault}") from None
        if (url is None) == (issuer is None):
            raise ConfigurationError("a RemoteKeySet takes the URL of the keys or the issuer, one of the two")
        self.source = issuer or without_query(url or "")
        self._token = None if token_file is None else TokenFile(token_file, issuer or url or "")
        self._algorithms = same_algorithms(algorithms)
        self._clock = clock
        self._events = events or EventSink()
        self.unread = partial(
            RemoteKeySet,
            url,
            issuer=issuer,
            algorithms=self._algorithms,
            allow_http=allow_http,
            token_file=token_file,
            clock=clock,
            events=self._events,
        )
        self._keys: KeySet | None = None
        # Keys fetched at `_fetched_at` are fetched again from `_due_at` on, and are stale from `_stale_at` on. They are
        # used until `_USABLE_AFTER_STALE` later. `_attempted_at` is the start of the last fetch, good or not.
        self._fetched_at = self._due_at = self._stale_at = self._attempted_at = self._certified_at = _NEVER
        # When the metadata has to be read again. A URL that was given never changes.
        self._locate_at = _NEVER if url is None else inf
        self._kid_is_unknown = False
        self._certificates = system_certificates
        self._must_wait = False
        self._failure: str | None = None
        self.left_out: tuple[str, ...] = ()
        self._flight = SingleFlight(self._fetch)
        self._listeners: list[Callable[[KeySet], None]] = []

    def on_change(self, listener: Callable[[KeySet], None]) -> None:
        """Call `listener` with each new set of keys, before the keys are used."""
        self._listeners.append(listener)

    @property
    def known(self) -> KeySet:
        """The keys that were fetched last. Empty before the first fetch."""
        return self._keys or KeySet(())

    @property
    def age(self) -> float | None:
        """How long ago (s) the keys were fetched. None: they were never fetched."""
        return None if self._keys is None else max(0.0, self._clock() - self._fetched_at)

    @property
    def known_until(self) -> float:
        """Until when `known` may be used without a call of `current`, in seconds since the epoch."""
        # If the clock was set back, `current` has to be called.
        if self._must_wait or self._clock() < self._fetched_at:
            return _NEVER
        return min(max(self._due_at, self._attempted_at + _FETCH_INTERVAL), self._stale_at + _USABLE_AFTER_STALE)

    def warm_up(self) -> None:
        """Start a fetch if it is due, and return at once. It needs a running event loop."""
        if self._is_due(self._clock()):
            self._attempt()

    async def current(self) -> KeySet:
        """The keys to verify with now. Raises `KeysUnavailable`.

        It waits for a fetch if there are no usable keys, or if the keys were not used since their fresh time ended.
        """
        now = self._clock()
        if now < self._fetched_at:
            self._clock_was_set_back(now)
        if self._is_due(now):
            self._attempt()
            if self._must_wait or not self._is_usable(now):
                await self._flight.wait()
        if self._keys is None or not self._is_usable(self._clock()):
            raise KeysUnavailable(self._failure)
        return self._keys

    async def renewed(self) -> KeySet:
        """The keys for a token with an unknown `kid`. They are fetched first, unless a fetch began a moment ago.

        The issuer may have a new key, or an attacker invents the `kid`. Raises `KeysUnavailable`.
        """
        if self._attempt(kid_is_unknown=True) and self._flight.waiting < MAX_WAITING:
            await self._flight.wait()
        return await self.current()

    def _clock_was_set_back(self, now: float) -> None:
        """Take the keys as fetched at `now`, with the remaining times as they were, and have them fetched again."""
        self._stale_at += now - self._fetched_at
        self._locate_at += now - self._fetched_at
        self._fetched_at = self._due_at = now

    def _is_due(self, now: float) -> bool:
        # If the clock was set back, `_fetched_at` is in the future.
        return not self._fetched_at <= now < self._due_at

    def _is_usable(self, now: float) -> bool:
        return self._keys is not None and now < self._stale_at + _USABLE_AFTER_STALE

    def _attempt(self, *, kid_is_unknown: bool = False) -> bool:
        """Start a fetch, unless one began a moment ago. Returns whether a fetch is running now."""
        if self._flight.under_way:
            self._kid_is_unknown = self._kid_is_unknown or kid_is_unknown
            return True
        now = self._clock()
        interval = _FETCH_INTERVAL if self._is_usable(now) else _FETCH_INTERVAL_WITHOUT_KEYS
        if 0 <= now - self._attempted_at < interval:
            return False
        # If the keys were not used since the fetch was due, the issuer may have withdrawn a key long ago.
        self._must_wait = now >= self._stale_at and self._attempted_at < self._due_at
        self._attempted_at, self._kid_is_unknown = now, kid_is_unknown
        self._flight.start()
        return True

    async def _fetch(self) -> None:
        began = self._attempted_at
        if self._failure is not None or not 0 <= began - self._certified_at < _DAY:
            # The system's certificates may have changed.
            self._certificates, self._certified_at = cache(system_certificates), began
        try:
            await self._renew(began)
        except get_cancelled_exc_class():
            # The event loop has ended, and the next loop may try again at once.
            self._attempted_at = _NEVER
            raise
        except KeysUnavailable as why:
            if self._issuer is not None and self._fetched_at != began:
                # The issuer may have moved its keys.
                self._locate_at = _NEVER
            self._failure = _short(str(why), _LONGEST_FAILURE)
            self._emit(KeysNotFetched(self.source, self._failure))
        else:
            self._failure = None
            self._emit(KeysFetched(self.source, len(self.known), self.left_out))
        self._must_wait = False

    async def _renew(self, now: float) -> None:
        """Fetch the keys, and the metadata if the keys may have moved. Raises `KeysUnavailable`."""
        with deadline():
            locate_first = now >= self._locate_at
            if locate_first:
                await self._locate(now)
            has_new_key = await self._read(now)
            # The keys are read first, so that they stay even if the metadata can't be fetched.
            may_have_moved = self._issuer is not None and self._kid_is_unknown and not (locate_first or has_new_key)
            if may_have_moved and await self._locate(now):
                self._due_at = self._stale_at = now
                await self._read(now)

    async def _locate(self, now: float) -> bool:
        """Fetch the metadata. Returns whether the URL of the keys has changed. Raises `KeysUnavailable`."""
        issuer, before = self._issuer or "", self._url
        metadata = await read_metadata(issuer, self._certificates, self._token)
        self._url = self._keys_url(issuer, metadata.content)
        self._locate_at = now + (metadata.fresh_for if metadata.stated else _DAY)
        return self._url != before

    def _keys_url(self, issuer: str, metadata: Mapping[str, Any]) -> str:
        """The URL of the keys that the metadata names. Raises `KeysUnavailable`."""
        return keys_url(issuer, metadata)

    async def _read(self, now: float) -> bool:
        """Fetch the keys, and replace the old ones. Returns whether a key is new.

        Raises `KeysUnavailable`, and the old keys stay.
        """
        document = await fetch(self._url, self._certificates, self._token)
        # Reading a key takes 0.1 ms, and a set may have 100 keys, so a thread reads them.
        keys, self.left_out = await in_thread(partial(self._usable, document.content))
        self._fetched_at, self._stale_at = now, now + document.fresh_for
        self._due_at = min(now + _REFRESH_AFTER * document.fresh_for, self._locate_at)
        old = self.known
        self._keys = keys.keeping(old)
        if [*self._keys] != [*old]:
            for listener in self._listeners:
                listener(self._keys)
        return not set(self._keys) <= set(old)

    def _usable(self, jwks: dict[str, Any]) -> tuple[KeySet, tuple[str, ...]]:
        """The usable keys of the JWK Set, and a text for each unusable key. Raises `KeysUnavailable`."""
        return usable_keys(jwks, self._algorithms)

    def _emit(self, event: Event) -> None:
        # A task of its own emits: the host's `on_event` may be slow, and callers wait for this fetch.
        start(lambda: self._events.emit(event))


def usable_keys(jwks: dict[str, Any], algorithms: tuple[str, ...]) -> tuple[KeySet, tuple[str, ...]]:
    """The usable public keys of the JWK Set, limited to `algorithms`, and a text for each unusable key.

    Raises `KeysUnavailable` for more than `MAX_KEYS` keys, and if no key may verify: an empty set must not replace a
    full one.
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
    left_out = [_short(reason, _LONGEST_REASON) for reason in left_out]
    if not any(key.verifies and key.algorithms for key in public):
        raise KeysUnavailable("; ".join(["the JWK Set holds no key to verify signatures with", *left_out]))
    return KeySet(key for key in public if key not in surplus), tuple(left_out)


def _public_key(jwk: object) -> Key:
    if not isinstance(jwk, Mapping):
        raise ValueError("is no object")
    # Some issuers write a missing member as null.
    members = {name: value for name, value in jwk.items() if value is not None and name not in _TIMES}
    if not _PRIVATE.isdisjoint(members):
        raise ValueError("it is published with its secret, so that everyone could sign with it")
    key = Key.from_jwk(members)
    _ = key.identity  # the key computes its slow identity once, here in the thread
    return key


def _short(text: str, longest: int) -> str:
    # A `kid` may be as long as the whole document.
    return text if len(text) <= longest else f"{text[:longest]}..."
