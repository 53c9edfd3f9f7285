"""The protocols of a store: what `SessionStore` and `RevocationLog` promise."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from asgi_jwt.stores.records import Revocation, Session, SessionKey

T = TypeVar("T")

SWEEP_AFTER = 60_000
"""How long (ms) past its end a record is swept: longer than the clocks of several servers differ."""

SWEEP_LIMIT = 1000
"""How many records one call of `sweep` takes on at the most."""

LOG_PAGE = 1000
"""How many revocations a page of the log has at the most, and one call appends: what takes an event loop a moment."""

Change = Callable[[Session | None], tuple[Session | None, T]]


class LogPage(NamedTuple):
    """Revocations in the order in which they were appended, and `cursor`, from which the next page goes on.

    `continues`: the page follows upon the cursor that was given. `more`: there is another page by now.
    """

    revocations: Sequence[Revocation]
    cursor: Any
    continues: bool
    more: bool


class RevocationLog(Protocol):
    """Keeps the log of revocations for any number of processes, each of which mirrors it.

    The log has no clock: `now` (ms since the epoch) is handed in. Every method raises `StoreUnavailable` when the log
    can't be reached or doesn't answer in time, and no driver's own exception.
    """

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        """Put revocations, `LOG_PAGE` at the most, at the end of the log, all or none of them.

        When this returns they are as durable as the store can make them, and every later `read_revocations`, of any
        process, comes upon them. When it raises `StoreUnavailable` they may be there or not, and may be appended
        again: an entry that is there twice says no more than once, and so nothing is done to find it.

        Entries whose `until` has passed by more than `SWEEP_AFTER` are forgotten: a bounded number a call, and more
        than it appends, so that the log shrinks again. An entry is never forgotten, nor evicted, before that.
        """
        ...

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """The next page of the log: what was appended after `cursor`, a page's; None: from the beginning.

        Where the log does not go on from there, for it was flushed or put back to an earlier state, is another
        server's, or has forgotten the very entry that the cursor is of, the page is the first of all that is there
        now, and `continues` is false; so it is where the cursor is None. No entry is passed over in either case: who
        keeps what was read until it lapses, and adds what each page brings, misses none that the log ever had when it
        was read. A cursor holds for one process, and for one store whatever server it leads to.
        """
        ...


class SessionStore(RevocationLog, Protocol):
    """Keeps sessions for any number of processes. Every store of sessions is a `RevocationLog` too.

    It has no clock: `now` (ms since the epoch) is handed in. It knows nothing of tokens, and what it keeps can't be
    used as one. Every method raises `StoreUnavailable` when the store can't be reached or doesn't answer in time,
    and no driver's own exception. Its methods may be called from any task of one event loop, at the same time.

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
        with `version` one above the stored one. After a conflict it is called again with the newer record; only the
        result of the call that counted is returned. What it raises is passed on, and nothing is written. A record
        keeps the subject and sid of its key: `next_version(key, stored, changed)` gives what to write, and raises the
        ValueError that is due otherwise.

        When this returns, the change is as durable as the store can make it. When it raises `StoreUnavailable`, the
        change may or may not have happened, and once at the most. Deleting what isn't there is no error.
        """
        ...

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        """The subject's live sessions (`Session.is_live(now)`), oldest first; empty for an unknown subject."""
        ...

    async def sweep(self, now: int) -> int:
        """Forget records whose `Session.kept_until` has passed by more than `SWEEP_AFTER`, a bounded number a call.

        Gives how many went.

        A store whose records go by themselves does nothing here. Safe to call at any time, by several processes.
        Revocations are none of these: `append_revocations` forgets those that lapsed.
        """
        ...

    async def aclose(self) -> None:
        """Give back connections, threads and files. A second call does nothing; other methods then raise."""
        ...


def next_version(key: SessionKey, stored: Session | None, changed: Session) -> Session:
    """`changed` as a store writes it in place of `stored`: with the next `version`, which begins at 1.

    Raises ValueError when it belongs under another key, where nothing would find it.
    """
    if changed.key != key:
        raise ValueError("a change must keep the subject and sid of its session")
    return changed.changed(version=(0 if stored is None else stored.version) + 1)
