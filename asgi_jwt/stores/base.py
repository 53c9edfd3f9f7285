"""The protocols of a store: what `SessionStore` and `RevocationLog` promise."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from asgi_jwt.stores.records import Revocation, Session, SessionKey

T = TypeVar("T")

SWEEP_AFTER = 86_400_000
"""How long (ms) past its end a record is kept: no clock that is ahead by less takes a session that lives by another."""

SWEEP_LIMIT = 1000
"""How many records one call of `sweep` takes at the most."""

LOG_PAGE = 1000
"""How many entries a page of the log has at the most, and one call appends: an event loop goes on soon."""

Outcome = tuple[Session | None, T] | tuple[Session | None, T, Sequence[Revocation]]
"""What a change returns: the record to keep, the result, and with a tombstone the entries that go into the log."""

Change = Callable[[Session | None], Outcome[T]]


class LogPage(NamedTuple):
    """Entries in the order in which they were appended, and `cursor`, from which the next page goes on.

    `continues`: the page follows upon the cursor that was given. `more`: there is another page by now.
    """

    revocations: Sequence[Revocation]
    cursor: Any
    continues: bool
    more: bool


class RevocationLog(Protocol):
    """Keeps the log of revocations for any number of processes, each of which mirrors it.

    Every method raises `StoreUnavailable` when the log can't be reached or doesn't answer in time, and no driver's own
    exception. `now` is in ms since the epoch, by the clock of the process that calls.
    """

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        """Put entries, `LOG_PAGE` at the most, at the end of the log, all or none of them.

        When this returns they are as durable as the store can make them, and every later `read_revocations`, of any
        process, comes upon them. When it raises `StoreUnavailable` they may be there or not, and may be appended
        again: an entry that is there twice has the effect of one, and no store looks for it.

        An entry is kept for its `Revocation.life(now)`, counted from its append. It is never forgotten, nor evicted,
        before that, whatever `now` a process says: the clocks of processes differ by hours, so a store measures the
        time since the append by a clock of its own (the server's, or a monotonic one). Entries that were kept for
        `CLOCK_SKEW` longer are forgotten: a bounded number a call, and more than it appends, so that the log shrinks
        again. The newest entry always stays: cursors hold by it.
        """
        ...

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """The next page of the log: what was appended after `cursor`, a page's; None: from the beginning.

        Where the log does not go on from `cursor` (it was flushed or put back to an earlier state, is another
        server's, or has forgotten the entry that the cursor is of), the page is the first of a new reading, and
        `continues` is false; so it is where the cursor is None. A new reading passes over no entry that was appended
        after those which the cursor's reader had read. A cursor holds for one process, and for one store whatever
        server it leads to.
        """
        ...


class SessionStore(RevocationLog, Protocol):
    """Keeps sessions for any number of processes. Every store of sessions is a `RevocationLog` too.

    It has no clock for sessions: `now` (ms since the epoch) is handed in. It knows nothing of tokens, and nothing that
    it keeps can be used as one. Every method raises `StoreUnavailable` when the store can't be reached or doesn't
    answer in time, and no driver's own exception. Its methods may be called from any task of one event loop, at the
    same time.

    A third party's store is tested by subclassing `asgi_jwt.testing.StoreConformance`.
    """

    async def get(self, key: SessionKey) -> Session | None:
        """The record as last committed, tombstones included; None when there is none.

        A record past its end may be gone already.
        """
        ...

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        """Apply `change` to the stored record with no other change between, and give back its result.

        `change` is pure and synchronous and is handed the record, or None when there is none. It returns the record
        to keep and the result: the very object it was handed writes nothing, None deletes, anything else is written
        with a `version` above the stored one. After a conflict it is called again with the newer record; only the
        result of the call that counted is returned. What it raises is passed on, and nothing is written. A record
        keeps the subject and sid of its key: `next_version(key, stored, changed)` gives what to write, and raises the
        ValueError that is due otherwise.

        A change that ends a session (its record gets `ended_at`) returns a third member: the entries for the log. The
        record and its entries are one: when this returns both are there, and no failure, nor the end of the process,
        leaves a session that has entries and may still be refreshed, or a tombstone without its entries. A store with
        transactions writes both in one. Any other store writes, in this order: the record as it was with `ending_at`,
        from where no token refreshes it (`Session.marked`); the entries, as `append_revocations` does; the tombstone.
        A store leaves a mark that it finds to `change`, which ends the session: it appends the entries and writes the
        tombstone then. Between the steps another caller may come first: a conflict like any other.

        When this returns, the change is as durable as the store can make it. When it raises `StoreUnavailable`, the
        change may or may not have happened, and once at the most. Deleting what isn't there is no error.
        """
        ...

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        """The subject's live sessions (`Session.is_live(now)`), oldest first; empty for an unknown subject.

        Marked ones (`ending_at`) are among them: an end that did not come to its tombstone is to be finished.
        """
        ...

    async def sweep(self, now: int) -> int:
        """Forget records whose `Session.kept_until` has passed by more than `SWEEP_AFTER`, a bounded number a call.

        Gives how many went.

        A store whose records go by themselves does nothing here. Safe to call at any time, by several processes.
        The log is not concerned: `append_revocations` forgets what lapsed.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections, threads and files. A second call does nothing; other methods then raise."""
        ...


def outcome(given: Outcome[T]) -> tuple[Session | None, T, Sequence[Revocation]]:
    """The outcome of a change as three members."""
    return given if len(given) == 3 else (*given, ())


def next_version(key: SessionKey, stored: Session | None, changed: Session) -> Session:
    """`changed` as a store writes it in place of `stored`: with the next `version`, which begins at 1.

    Raises ValueError when it belongs under another key, where nothing would find it.
    """
    if changed.key != key:
        raise ValueError("a change must keep the subject and sid of its session")
    return changed.changed(version=(0 if stored is None else stored.version) + 1)
