"""The protocols of a store, `SessionStore` and `RevocationLog`. Their docstrings are the contract."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import Revocation, Session, SessionKey

T = TypeVar("T")

SWEEP_AFTER = Millis(86_400_000)
"""How long (ms) a record is kept past its end. A process whose clock is ahead by less removes no live session."""

SWEEP_LIMIT = 1000
"""The most records that one call of `sweep` removes."""

LOG_PAGE = 1000
"""The most entries of a page of the log, and of one call of `append_revocations`. More would block the event loop."""

Outcome = tuple[Session | None, T] | tuple[Session | None, T, Sequence[Revocation]]
"""The return value of a change: the record to keep, the result, and with a tombstone the entries for the log."""

Change = Callable[[Session | None], Outcome[T]]
"""A pure function of the stored record, for `SessionStore.update`."""


class LogPage(NamedTuple):
    """A page of the log: entries in the order of their append.

    `cursor` is the argument for the next read. `continues`: the page begins where the given cursor ended. `more`: the
    log has another page already.
    """

    revocations: Sequence[Revocation]
    cursor: Any
    continues: bool
    more: bool


class RevocationLog(Protocol):
    """Keeps the log of revocations. Any number of processes append to it and mirror it.

    Every method raises `StoreUnavailable` if the log can't be reached or does not answer in time. No exception of a
    driver passes. `now` is in ms since the epoch, by the clock of the calling process.
    """

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        """Append all of the entries, `LOG_PAGE` at most, or none of them.

        When the call returns, the entries are as durable as the store can make them, and every later
        `read_revocations` of any process finds them. When it raises `StoreUnavailable`, the entries may be in the log
        or not, and the call may be repeated. An entry that is in the log twice has the effect of one.

        An entry is kept for its `Revocation.life(now)`, counted from its append, and is never removed or evicted
        earlier. The clocks of processes may differ by hours, so a store counts the time by a clock of its own: the
        server's, or a monotonic one. A call removes entries whose life ended more than `CLOCK_SKEW` ago: a bounded
        number, but more than it appends, so that the log shrinks again. The newest entry always stays, because cursors
        point to it.
        """
        ...

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """The page of entries that were appended after `cursor`, which is the cursor of an earlier page.

        None reads from the beginning of the log, and `continues` is false.

        The log may have lost the place of `cursor`: it was flushed or restored from a backup, the server is another, or
        the cursor's entry was removed. Then the page is the first of a new reading, and `continues` is false. The new
        reading finds every entry that was appended after the entries which were read already.

        A cursor is valid in one process and for one store, even if the store's server changes.
        """
        ...


@runtime_checkable
class ProofStore(Protocol):
    """Remembers for all processes which proofs of a key were shown (`DPOP_REPLAY=store`)."""

    async def claim(self, digest: bytes, until: int) -> bool:
        """Whether no caller has claimed `digest` before. One of several concurrent callers gets True.

        The digest is remembered until `until`, in ms since the epoch, and for `CLOCK_SKEW` longer, because clocks of
        processes may differ. Raises `StoreUnavailable`; the digest is then claimed or not.
        """
        ...


class SessionStore(RevocationLog, Protocol):
    """Keeps sessions for any number of processes. Every session store is a `RevocationLog`, too.

    A store has no clock for sessions: the caller passes `now`, in ms since the epoch. A store keeps no tokens, and
    nothing in it can be used as a token. Every method raises `StoreUnavailable` if the store can't be reached or does
    not answer in time. No exception of a driver passes. Any tasks of one event loop may call the methods concurrently.

    Subclass `asgi_jwt.testing.StoreConformance` to test a store of your own.
    """

    async def get(self, key: SessionKey) -> Session | None:
        """The last committed record, which may be a tombstone. None: there is no record.

        A record past its end may have been removed.
        """
        ...

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        """Apply `change` to the stored record atomically, and return the result of `change`.

        `change` is pure and synchronous. It gets the stored record, or None, and returns the record to keep and a
        result. If it returns the record that it got, nothing is written. None deletes the record; deleting an absent
        record is no error. Any other record is written with a higher `version` than the stored one. After a conflict
        `change` is called again with the newer record, and only the result of the last call is returned. An exception
        of `change` is passed on, and nothing is written.

        A record must keep the subject and `sid` of its key. `next_version(key, stored, changed)` returns the record to
        write, and raises `ValueError` for a record of another key.

        A change that ends a session (the record gets `ended_at`) returns a third member: the entries for the log. When
        the call returns, the record and its entries are written. Neither a failure nor the end of the process may leave
        a tombstone without its entries, or entries of a session that can still be refreshed. A store with transactions
        writes both in one. Any other store writes in this order: first the record with `ending_at`, so that no token
        refreshes the session any more (`Session.marked`); then the entries, as `append_revocations` does; then the
        tombstone. If a store finds a record that is marked already, it calls `change`, which ends the session, and then
        writes the entries and the tombstone. Another caller may write between these steps: that is a conflict.

        When the call returns, the change is as durable as the store can make it. When it raises `StoreUnavailable`, the
        change has happened once or not at all.
        """
        ...

    async def list(self, subject: str, now: Millis) -> Sequence[Session]:
        """The subject's live sessions (`Session.is_live(now)`), the oldest first. Empty for an unknown subject.

        Sessions that are marked (`ending_at`) are included, so that the caller can finish an interrupted end.
        """
        ...

    async def sweep(self, now: Millis) -> int:
        """Remove records whose `Session.kept_until` passed more than `SWEEP_AFTER` ago. Returns how many were removed.

        A call removes `SWEEP_LIMIT` records at most. Several processes may call it at any time. A store whose records
        expire by themselves does nothing. The log is swept by `append_revocations`.
        """
        ...

    async def aclose(self) -> None:
        """Release connections, threads and files. Other methods then raise. A second call does nothing."""
        ...


def outcome(given: Outcome[T]) -> tuple[Session | None, T, Sequence[Revocation]]:
    """The return value of a change, as three members."""
    return given if len(given) == 3 else (*given, ())


def next_version(key: SessionKey, stored: Session | None, changed: Session) -> Session:
    """`changed` with the `version` after that of `stored`. The first version is 1.

    Raises `ValueError` if the subject or `sid` of `changed` is not that of `key`.
    """
    if changed.key != key:
        raise ValueError("a change must keep the subject and sid of its session")
    return changed.changed(version=(0 if stored is None else stored.version) + 1)
