"""Keys of one's own that change while they are used: with their file, and with the time."""

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

_EVERY = 1.0
_QUIET = 10.0
"""After so many seconds without a look, keys may have been replaced long ago: the next look is waited for."""
_PATIENCE = 1.0
_NEVER = float("-inf")
_Stamp = tuple[int, int, int, int]


class KeyFile(NamedTuple):
    """A file with keys: the variable that named it, its path, and `read`, which raises `ConfigurationError`."""

    variable: str
    path: Path
    read: Callable[[], KeySet]


class _InForce(NamedTuple):
    """The keys as of a time, out of those `given`: for as long as they are the same. In one piece, for threads."""

    given: KeySet
    keys: KeySet
    since: float
    until: float


class LocalKeys:
    """Keys that begin to sign and end by the clock (see `Key`), and that are read again when their `file` changes.

    The file is looked at in a thread, once a second at the most while the keys are asked for; a new one that can't be
    used leaves the keys as they are, and `events` hears why. `algorithms` are those allowed; none: what each key is
    made for. `clock` gives seconds since the epoch.
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
        self._settled = False
        self._failure: str | None = None
        self._looked_at = _NEVER
        self._awaited = False
        self._flight = SingleFlight(self._look)
        self._listeners: list[Callable[[KeySet], None]] = []
        self._given = keys.limited_to(self._algorithms)
        self._in_force = _InForce(self._given, KeySet(()), 0, 0)
        self._use(clock())

    def on_change(self, tell: Callable[[KeySet], None]) -> None:
        """Have `tell` called with each set that differs from the one before, before anyone verifies with it."""
        self._listeners.append(tell)

    @property
    def known(self) -> KeySet:
        """The keys as of now, as far as is known without a look at the file."""
        now = self._clock()
        given, keys, since, until = self._in_force
        return keys if given is self._given and since <= now < until else self._use(now)

    @property
    def unquestioned_until(self) -> float:
        """Until when (seconds since the epoch) what these keys verified holds without asking for them again."""
        # A clock that was set back, too, has the keys asked for.
        if self._awaited or self._clock() < max(self._in_force.since, self._looked_at):
            return _NEVER
        return self._in_force.until if self._file is None else min(self._in_force.until, self._looked_at + _EVERY)

    def warm_up(self) -> None:
        """Begin a look at the file if one is due, and don't wait for it. Needs a running event loop."""
        if self._is_due():
            self._flight.start()
            self._looked_at = self._clock()

    async def current(self) -> KeySet:
        """The keys to verify and to sign with now. Raises `KeysUnavailable` when all have ended."""
        last = self._looked_at
        if self._flight.under_way and not last <= self._clock() < last + _QUIET:
            await self._wait()  # this look began before the quiet time, and may have read the old file
        self.warm_up()
        if self._looked_at != last:
            self._awaited = not last <= self._looked_at < last + _QUIET
        # While the look after a quiet time goes on, everyone waits: what is known may be long gone.
        if self._awaited:
            await self._wait()
            self._awaited = False
        keys = self.known
        if not keys:
            raise KeysUnavailable("all keys have ended, as their `exp` says: asgi-jwt keys rotate makes a new one")
        return keys

    async def renewed(self) -> KeySet:
        """The keys after the look that is under way, if one is: another process may have read a newer file."""
        if self._flight.under_way:
            await self._wait()
        return self.known

    def _is_due(self) -> bool:
        return self._file is not None and not self._looked_at <= self._clock() < self._looked_at + _EVERY

    async def _wait(self) -> None:
        # A file system that hangs takes no request with it.
        with anyio.move_on_after(_PATIENCE):
            await self._flight.wait()

    async def _look(self) -> None:
        event = await self._event_of_look()
        if event is not None:
            # Not within the look: the host's listener may take its time, and all would wait for it.
            start(lambda: self._events.emit(event))

    async def _event_of_look(self) -> Event | None:
        file = cast(KeyFile, self._file)  # without one no look is due
        try:
            read = await in_thread(lambda: self._read_again(file))
        except ConfigurationError as fault:
            failure, self._failure = self._failure, "; ".join(fault.faults)
            return KeysNotRead(file.variable, self._failure) if self._failure != failure else None
        mended, self._failure = self._failure is not None, None
        if read is None:
            return KeysRead(file.variable, len(self._given)) if mended else None
        # Only what is taken counts as read: a read may fail for want of a descriptor, and a look end with its loop.
        stamp, keys = read
        self._settled, self._stamp = stamp == self._stamp, stamp
        given, self._given = self._given, keys
        if self._given.keys != given.keys:
            self._use(self._clock())
        elif not mended:
            return None
        return KeysRead(file.variable, len(self._given))

    def _read_again(self, file: KeyFile) -> tuple[_Stamp | None, KeySet] | None:
        """The stamp and the keys of a file that has changed.

        Two writes can share a time stamp: each change is read twice.
        """
        stamp = _stamp(file.path)
        if stamp == self._stamp and self._settled:
            return None
        return stamp, file.read().limited_to(self._algorithms).keeping(self._given)

    def _use(self, now: float) -> KeySet:
        """Take the keys as of `now`, and return them."""
        given, old = self._given, self._in_force.keys
        keys = given.at(now)
        self._in_force = _InForce(given, keys, now, given.holds_until(now))
        if keys.keys != old.keys:
            for tell in self._listeners:
                tell(keys)
        return keys


def _stamp(path: Path) -> _Stamp | None:
    try:
        told = os.stat(path)
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ctime_ns, told.st_ino, told.st_size
