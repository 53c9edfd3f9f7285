"""The entries that a process has written to the log of revocations: to put back those that the log loses."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from asgi_jwt.stores.records import Revocation, SessionKey

_REMEMBERED = 100_000


class Written(NamedTuple):
    """An entry that this process has written, and when it lapses, in ms of the monotonic clock.

    `key` is the session that ended with it, if one did.
    """

    revocation: Revocation
    lapses_at: int
    key: SessionKey | None


class OwnEntries:
    """The entries that this process has written, 100,000 at the most, and which of them the log has lost.

    The log has lost all of them where its place is lost, for it may be another server's by now. It has lost one of them
    where a reading that began after the entry was written comes to the log's end without it: a replica that took over
    may have the place and lack what came after. `on_lost` is called after each reading that leaves entries in `lost`.
    """

    on_lost: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.lost: deque[Written] = deque()
        self._written: OrderedDict[tuple[str, str, str, int], Written] = OrderedDict()
        self._unmet: set[tuple[str, str, str, int]] = set()
        self._awaited: set[tuple[str, str, str, int]] = set()

    def wrote(self, revocations: Iterable[Revocation], key: SessionKey | None, now: int, wall: int) -> None:
        """Entries are in the log. `now` is in ms of the monotonic clock, `wall` in ms since the epoch."""
        for each in revocations:
            self._written[each.act] = Written(each, now + each.life(wall), key if each.kind == "sid" else None)
            self._unmet.add(each.act)
        while self._written and self._has_one_too_many(now):
            self._written.popitem(last=False)

    def put_back(self, revocations: Iterable[Revocation]) -> None:
        """Entries that were lost are in the log again."""
        self._unmet.update(each.act for each in revocations)

    def reading_began(self) -> None:
        """What is in the log now is to be met."""
        self._awaited = set(self._unmet)

    def read(self, revocations: Iterable[Revocation]) -> None:
        """These are in the log."""
        if self._unmet:
            self._unmet.difference_update(each.act for each in revocations)

    def place_was_lost(self) -> None:
        """The log does not go on where it was read: `lost` has all entries."""
        self.lost = deque(self._written.values())
        self._unmet.clear()

    def reading_ended(self) -> None:
        """The reading came to the log's end: `lost` has the entries that it should have met, too."""
        missing = self._awaited & self._unmet
        self._unmet -= missing
        self.lost.extend(self._written[act] for act in missing if act in self._written)
        if self.lost and self.on_lost is not None:
            self.on_lost()

    def _has_one_too_many(self, now: int) -> bool:
        return len(self._written) > _REMEMBERED or next(iter(self._written.values())).lapses_at <= now
