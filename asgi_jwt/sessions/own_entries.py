"""OwnEntries: the entries that this process has appended to the log. It restores those that the log loses."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, SessionKey

_MAX_WRITTEN = 100_000


class Written(NamedTuple):
    """An entry that this process has appended, and when it lapses, in ms of the monotonic clock.

    `key` is the session that ended with the entry, or None.
    """

    revocation: Revocation
    lapses_at: Millis
    key: SessionKey | None


class OwnEntries:
    """The entries that this process has appended, 100,000 at most, and those of them that the log has lost.

    - If the log does not have the place of the last reading any more, its server may be a new one: all entries count
      as lost.
    - If a reading that began after an entry was appended reaches the end of the log without it, that entry is lost.
      After a failover a replica may have the place and lack later entries.

    `_unread` are the entries that no reading has found yet. `_expected` are those of them that the present reading has
    to find. After each reading that leaves lost entries `on_lost` is called.
    """

    on_lost: Callable[[], None] | None = None

    def __init__(self) -> None:
        self.lost: deque[Written] = deque()
        self._written: OrderedDict[tuple[str, str, str, Millis], Written] = OrderedDict()
        self._unread: set[tuple[str, str, str, Millis]] = set()
        self._expected: set[tuple[str, str, str, Millis]] = set()

    def wrote(self, revocations: Iterable[Revocation], key: SessionKey | None, now: Millis, wall: Millis) -> None:
        """Entries were appended. `now` is in ms of the monotonic clock, `wall` in ms since the epoch."""
        for each in revocations:
            self._written[each.act] = Written(each, now + each.life(wall), key if each.kind == "sid" else None)
            self._unread.add(each.act)
        while self._written and self._has_one_too_many(now):
            act, _ = self._written.popitem(last=False)
            self._unread.discard(act)

    def has_written(self, revocation: Revocation) -> bool:
        """Whether an entry of the same revocation was appended."""
        return revocation.act in self._written

    def restored(self, revocations: Iterable[Revocation]) -> None:
        """Lost entries were appended again."""
        self._unread.update(each.act for each in revocations)

    def reading_began(self) -> None:
        """A reading began. It is expected to find all entries that are unread now."""
        self._expected = set(self._unread)

    def read(self, revocations: Iterable[Revocation]) -> None:
        """The reading found these entries."""
        if self._unread:
            self._unread.difference_update(each.act for each in revocations)

    def place_was_lost(self) -> None:
        """The log has lost the place up to which it was read, so all entries are `lost`."""
        self.lost.clear()
        self.lost.extend(self._written.values())
        self._unread.clear()

    def reading_ended(self) -> None:
        """The reading reached the end of the log. Expected entries that it did not find are `lost`."""
        missing = self._expected & self._unread
        self._unread -= missing
        self.lost.extend(self._written[act] for act in missing if act in self._written)
        if self.lost and self.on_lost is not None:
            self.on_lost()

    def _has_one_too_many(self, now: Millis) -> bool:
        return len(self._written) > _MAX_WRITTEN or next(iter(self._written.values())).lapses_at <= now
