"""LocalKeys: keys of this service that change while they are used, with their file and with the time."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, cast

import anyio

from asgi_jwt.errors import ConfigurationError, KeysUnavailable
from asgi_jwt.events import Event, EventSink, KeysNotRead, KeysRead
from asgi_jwt.tasks import SingleFlight, in_thread, start
from asgi_jwt.tokens.algorithms import same_algorithms
from asgi_jwt.tokens.keys import KeySet

_CHECK_INTERVAL = 1.0
"""How often (s) the file is checked while the keys are used."""
_QUIET = 10.0
"""After this time (s) without a check the keys may have been replaced long ago, so the next check is waited for."""
_CHECK_WAIT = 1.0
"""How long (s) a caller waits for a check. A file system may hang."""
_NEVER = float("-inf")
_Stamp = tuple[int, int, int, int]


class KeyFile(NamedTuple):
    """A file with keys: the setting that names it, its path, and `read`, which raises `ConfigurationError`."""

    variable: str
    path: Path
    read: Callable[[], KeySet]


class _Present(NamedTuple):
    """The keys of `given` that are valid from `since` until `until`. One object, so that threads see all or nothing."""

    given: KeySet
    keys: KeySet
    since: float
    until: float


class LocalKeys:
    """Keys that begin to sign and end by the clock (see `Key`), and that are read again when their `file` changes.

    A thread checks the file once a second, while the keys are used. If the new file is unusable, the old keys stay, and
    `events` emits the reason. `algorithms` are the allowed ones; empty allows the default of each key. `clock` returns
    seconds since the epoch.
    """

    def __init__(
        self,
        keys: KeySet,
        *,
        file: KeyFile | None = None,
        algorithms: Iterable[str] = (),
        clock: Callable[[], float],
        events: EventSink,
    ) -> None:
        self._algorithms = same_algorithms(algorithms)
        self._file = file
        self._clock = clock
        self._events = events
        self._stamp: _Stamp | None = None
        self._read_twice = False
        self._failure: str | None = None
        self._checked_at = _NEVER
        self._must_wait = False
        self._flight = SingleFlight(self._check)
        self._listeners: list[Callable[[KeySet], None]] = []
        self._given = keys.limited_to(self._algorithms)
        self._present = _Present(self._given, KeySet(()), 0, 0)
        self._use(clock())

    def on_change(self, listener: Callable[[KeySet], None]) -> None:
        """Call `listener` with each new set of keys, before the keys are used."""
        self._listeners.append(listener)

    @property
    def known(self) -> KeySet:
        """The keys that were read last, as they are at this time. The file is not checked."""
        now = self._clock()
        given, keys, since, until = self._present
        return keys if given is self._given and since <= now < until else self._use(now)

    @property
    def known_until(self) -> float:
        """Until when `known` may be used without a call of `current`, in seconds since the epoch."""
        # If the clock was set back, `current` has to be called.
        if self._must_wait or self._clock() < max(self._present.since, self._checked_at):
            return _NEVER
        until = self._present.until
        return until if self._file is None else min(until, self._checked_at + _CHECK_INTERVAL)

    def warm_up(self) -> None:
        """Start a check of the file if it is due, and return at once. It needs a running event loop."""
        if self._is_due():
            self._flight.start()
            self._checked_at = self._clock()

    async def current(self) -> KeySet:
        """The keys to verify and to sign with now. Raises `KeysUnavailable` if all keys have ended."""
        last = self._checked_at
        if self._flight.under_way and not last <= self._clock() < last + _QUIET:
            await self._wait()  # this check began before the quiet time, and may have read an old file
        self.warm_up()
        if self._checked_at != last:
            was_quiet = not last <= self._checked_at < last + _QUIET
            self._must_wait = was_quiet
        # In a quiet time no request has the file checked. After it the known keys may have been replaced long ago, so
        # all callers wait for the check.
        if self._must_wait:
            await self._wait()
            self._must_wait = False
        keys = self.known
        if not keys:
            raise KeysUnavailable("all keys have ended, as their `exp` says: asgi-jwt keys rotate makes a new one")
        return keys

    async def renewed(self) -> KeySet:
        """The keys after the running check, if one is running. The unknown `kid` may be that of a newer file."""
        if self._flight.under_way:
            await self._wait()
        return self.known

    def _is_due(self) -> bool:
        if self._file is None:
            return False
        return not self._checked_at <= self._clock() < self._checked_at + _CHECK_INTERVAL

    async def _wait(self) -> None:
        with anyio.move_on_after(_CHECK_WAIT):
            await self._flight.wait()

    async def _check(self) -> None:
        event = await self._event_of_check()
        if event is not None:
            # A task of its own emits: the host's `on_event` may be slow, and callers wait for this check.
            start(lambda: self._events.emit(event))

    async def _event_of_check(self) -> Event | None:
        file = cast(KeyFile, self._file)  # a check is due only if there is a file
        try:
            read = await in_thread(lambda: self._read_again(file))
        except ConfigurationError as fault:
            failure, self._failure = self._failure, "; ".join(fault.faults)
            return KeysNotRead(file.variable, self._failure) if self._failure != failure else None
        mended, self._failure = self._failure is not None, None
        if read is None:
            return KeysRead(file.variable, len(self._given)) if mended else None
        # The stamp is kept only now: a check that failed, or ended with its event loop, has to be made again.
        stamp, keys = read
        self._read_twice, self._stamp = stamp == self._stamp, stamp
        given, self._given = self._given, keys
        if [*self._given] != [*given]:
            self._use(self._clock())
        elif not mended:
            return None
        return KeysRead(file.variable, len(self._given))

    def _read_again(self, file: KeyFile) -> tuple[_Stamp | None, KeySet] | None:
        """The stamp and the keys of the file. None: the file has not changed.

        A changed file is read at two checks, because two writes can have the same stamp.
        """
        stamp = _stamp(file.path)
        if stamp == self._stamp and self._read_twice:
            return None
        return stamp, file.read().limited_to(self._algorithms).keeping(self._given)

    def _use(self, now: float) -> KeySet:
        """Use the keys that are valid at `now` from now on, and return them."""
        given, old = self._given, self._present.keys
        keys = given.at(now)
        self._present = _Present(given, keys, now, given.holds_until(now))
        if [*keys] != [*old]:
            for listener in self._listeners:
                listener(keys)
        return keys


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
