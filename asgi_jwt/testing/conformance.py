"""StoreConformance: the tests that every session store has to pass."""
# ruff: noqa: S101 (these are tests)

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn, TypeVar
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.sessions.rotation import (
    Decision,
    Presented,
    RotationPolicy,
    Verdict,
    decide,
    end_session,
    open_session,
)
from asgi_jwt.stores.base import SWEEP_AFTER, Change, Outcome, SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import CLOCK_SKEW, Client, Revocation, Session, SessionKey
from asgi_jwt.testing.log_conformance import LogConformance, an_issuer, append, pages, read, revocations

T = TypeVar("T")

MINUTE = Millis(60_000)
HOUR = Millis(60 * MINUTE)
DAY = Millis(24 * HOUR)
NOW = Millis(1_700_000_000_000)
SWEPT_TOO_EARLY = f"sweep takes a record {SWEEP_AFTER} ms (SWEEP_AFTER) past its Session.kept_until, and no sooner"
POLICY = RotationPolicy(grace=Millis(30_000), recovery=DAY, refresh_ttl=Millis(7 * DAY))

SUBJECTS = {
    "plain": "alice",
    "empty-looking": " ",
    "brace": "a}b",
    "hash tag": "{a}{b}",
    "colon": "a:b:",
    "glob": "a*?[b]",
    "NUL": "a\0b",
    "newline": "a\r\nb",
    "quote": "a'b\"; DROP TABLE sessions",
    "emoji": "🦊",
    "composed": "é",
    "decomposed": "e\u0301",
    "lone surrogate": "\ud800",
    "10 KB": "x" * 10_240,
    "10 KB and one": "x" * 10_241,
}


class ChangeError(TimeoutError):
    """Raised by changes of these tests. It is a TimeoutError that a store must not take for its own."""


def a_key() -> SessionKey:
    return SessionKey(f"subject-{uuid4().hex}", uuid4().hex)


def a_session(key: SessionKey) -> Session:
    return open_session(key.subject, key.sid, now=NOW, refresh_ttl=POLICY.refresh_ttl, session_ttl=Millis(30 * DAY))


def put(session: Session) -> Change[None]:
    return lambda _: (session, None)


def change_of(change: Callable[[Session], Session]) -> Change[None]:
    """A change of a record that has to be there."""

    def apply(stored: Session | None) -> tuple[Session, None]:
        assert stored is not None
        return change(stored), None

    return apply


def raises(fault: Exception) -> Change[None]:
    def apply(_: Session | None) -> NoReturn:
        raise fault

    return apply


async def created(store: SessionStore, key: SessionKey | None = None) -> Session:
    """A session just written, as it reads back."""
    key = key or a_key()
    await store.update(key, put(a_session(key)))
    return await stored(store, key)


async def stored(store: SessionStore, key: SessionKey) -> Session:
    session = await store.get(key)
    assert session is not None
    return session


async def refresh(store: SessionStore, key: SessionKey, presented: Presented, branch: str, now: Millis) -> Decision:
    def change(session: Session | None) -> tuple[Session | None, Decision]:
        decision = decide(session, presented, branch=branch, now=now, policy=POLICY)
        return decision.session, decision

    return await store.update(key, change)


async def end(store: SessionStore, key: SessionKey, issuer: str, now: Millis = NOW) -> bool:
    """End the session with an entry for `issuer`; whether it had not ended before."""

    def change(session: Session | None) -> Outcome[bool]:
        ended = session and end_session(session, now)
        if ended is session:
            return session, False
        return ended, True, [Revocation("sid", issuer, key.sid, now + HOUR, now)]

    return await store.update(key, change)


async def at_once(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What the calls return, each made in a task of its own, in their order."""
    results: dict[int, T] = {}

    async def run(n: int, call: Callable[[], Awaitable[T]]) -> None:
        results[n] = await call()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for n, call in enumerate(calls):
                tasks.start_soon(run, n, call)
    return [results[n] for n in range(len(calls))]


class StoreConformance(LogConformance):
    """The tests of every promise of `SessionStore`. Inherit them to test a store of your own.

    ```python
    class TestMyStore(StoreConformance):
        @asynccontextmanager
        async def open_store(self) -> AsyncIterator[SessionStore]:
            store = MyStore(...)
            try:
                yield store
            finally:
                await store.aclose()
    ```

    The tests need pytest with anyio's plugin. `open_store` opens the store under test, and may be entered many times.
    The store may contain other sessions, because each test has random subjects. All times are near `NOW`, years ago,
    so a store must not compare them with its own clock.
    """

    # Reading and writing

    async def test_unknown_session_is_none(self, store: SessionStore) -> None:
        """What was never written is None, and its subject has no sessions."""
        key = a_key()
        assert await store.get(key) is None
        assert list(await store.list(key.subject, NOW)) == []

    async def test_created_session_reads_back(self, store: SessionStore) -> None:
        """A record reads back as it was written, every field of it, and its first version is 1."""
        key = a_key()
        full = replace(
            a_session(key),
            client_id="web",
            generation=2**40,
            rotated_branch="b1",
            window_at=NOW + 1,
            seen=True,
            used_at=NOW + 2,
            claims={"email": "é@example.com", "nested": {"list": [1, 2.5, None, True, "\0🦊"]}, "": ""},
            scopes=("orders:read", "orders:write"),
            roles=("admin",),
            client=Client("Mozilla/5.0 (X11)", "2001:db8::1"),
            ending_at=NOW + 3,
            others={"of a newer release": ["é", 1, None]},
        )
        await store.update(key, put(full))
        assert await store.get(key) == replace(full, version=1)

    async def test_empty_fields_read_back(self, store: SessionStore) -> None:
        """What a record leaves out stays out: None is not the empty string, nor 0."""
        session = await created(store)
        assert await store.get(session.key) == session
        assert session.window_at is None
        assert session.client == Client()

    async def test_update_gives_back_the_result(self, store: SessionStore) -> None:
        """The change's own result is the caller's, whatever it is."""
        result = object()
        assert await store.update(a_key(), lambda _: (None, result)) is result

    async def test_change_is_handed_the_stored_record(self, store: SessionStore) -> None:
        """A change sees None where nothing is stored, and then what was written last."""
        key = a_key()
        assert await store.update(key, lambda stored: (a_session(key), stored)) is None
        handed = await store.update(key, lambda stored: (stored, stored))
        assert handed == await store.get(key) == replace(a_session(key), version=1)

    async def test_every_write_counts_the_version_up_by_one(self, store: SessionStore) -> None:
        """The version is the store's: it counts writes from 1, whatever the change put there."""
        key = a_key()
        for version in range(1, 5):
            await store.update(key, put(replace(a_session(key), version=77)))
            assert (await stored(store, key)).version == version

    async def test_same_object_writes_nothing(self, store: SessionStore) -> None:
        """Giving back the very object that was handed in leaves the record as it is, version and all."""
        session = await created(store)
        assert await store.update(session.key, lambda stored: (stored, "read")) == "read"
        assert await store.get(session.key) == session

    async def test_equal_object_is_written(self, store: SessionStore) -> None:
        """An equal record that is another object is a write."""
        session = await created(store)
        await store.update(session.key, change_of(lambda session: replace(session)))
        assert await store.get(session.key) == replace(session, version=2)

    async def test_none_deletes(self, store: SessionStore) -> None:
        """A change that gives None takes the record away, from the list too."""
        session = await created(store)
        await store.update(session.key, lambda _: (None, None))
        assert await store.get(session.key) is None
        assert list(await store.list(session.subject, NOW)) == []

    async def test_deleting_nothing_is_no_error(self, store: SessionStore) -> None:
        """Deleting what isn't there does nothing, twice as well."""
        key = a_key()
        for _ in range(2):
            assert await store.update(key, lambda stored: (None, stored)) is None
        assert await store.get(key) is None

    async def test_raising_change_writes_nothing(self, store: SessionStore) -> None:
        """What a change raises is the caller's, and the record stays as it was."""
        session = await created(store)
        fault = ChangeError("no")
        with pytest.raises(ChangeError) as raised:
            await store.update(session.key, raises(fault))
        assert raised.value is fault
        assert await store.get(session.key) == session

    async def test_change_can_not_move_a_record(self, store: SessionStore) -> None:
        """A record with the subject or sid of another key is refused, and nothing is written under either."""
        session = await created(store)
        other = SessionKey(session.subject, "another")
        with pytest.raises(ValueError, match="subject and sid"):
            await store.update(session.key, put(a_session(other)))
        assert await store.get(session.key) == session
        assert await store.get(other) is None

    # Many at once

    async def test_concurrent_changes_are_atomic(self, store: SessionStore) -> None:
        """Of many changes to one record at once none is lost, and each has the result of the run that counted."""
        session = await created(store)

        def advance(stored: Session | None) -> tuple[Session | None, int]:
            assert stored is not None
            return replace(stored, generation=stored.generation + 1), stored.generation + 1

        results = await at_once([lambda: store.update(session.key, advance)] * self.parallel)

        assert sorted(results) == list(range(1, self.parallel + 1))
        last = await stored(store, session.key)
        assert (last.generation, last.version) == (self.parallel, self.parallel + 1)

    async def test_concurrent_creations_make_one(self, store: SessionStore) -> None:
        """Of many who create the same record at once one does, and the others are handed its record."""
        key = a_key()

        def create(stored: Session | None) -> tuple[Session | None, bool]:
            return (a_session(key), True) if stored is None else (stored, False)

        results = await at_once([lambda: store.update(key, create)] * self.parallel)

        assert results.count(True) == 1
        assert (await stored(store, key)).version == 1

    async def test_one_failing_change_harms_no_other(self, store: SessionStore) -> None:
        """Changes that raise, among many at once, take no other down with them."""
        keys = [a_key() for _ in range(self.parallel)]

        async def write(key: SessionKey, fails: bool) -> bool:
            try:
                await store.update(key, raises(ChangeError()) if fails else put(a_session(key)))
            except ChangeError:
                return False
            return True

        written = await at_once([partial(write, key, n % 3 == 0) for n, key in enumerate(keys)])

        assert written == [n % 3 != 0 for n in range(self.parallel)]
        assert [await store.get(key) is not None for key in keys] == written

    async def test_one_token_rotates_once(self, store: SessionStore) -> None:
        """Of many refreshes of one token at once exactly one rotates, the others are replayed: one write in all."""
        session = await created(store)
        first = Presented(0, "b0")

        decisions = await at_once(
            [partial(refresh, store, session.key, first, f"b1-{n}", NOW) for n in range(self.parallel)]
        )

        verdicts = [decision.verdict for decision in decisions]
        assert verdicts.count(Verdict.ROTATED) == 1
        assert verdicts.count(Verdict.REPLAYED) == self.parallel - 1
        last = await stored(store, session.key)
        assert (last.generation, last.version) == (1, 2)

    async def test_cancelled_caller_harms_no_other(self, store: SessionStore) -> None:
        """A caller who goes away in the middle leaves the others their answers, and his change whole or undone."""
        session = await created(store)
        finished = 0

        async def count_up() -> None:
            nonlocal finished
            await store.update(
                session.key, change_of(lambda session: replace(session, generation=session.generation + 1))
            )
            finished += 1

        with anyio.fail_after(60):
            async with anyio.create_task_group() as others, anyio.create_task_group() as leaving:
                for _ in range(self.parallel // 2):
                    leaving.start_soon(count_up)
                    others.start_soon(count_up)
                await anyio.lowlevel.checkpoint()
                leaving.cancel_scope.cancel()

        await count_up()
        assert finished > self.parallel // 2
        last = await stored(store, session.key)
        assert finished <= last.generation <= self.parallel + 1
        assert last.version == last.generation + 1

    # Ending, with entries for the log

    async def test_session_ends_with_its_entries(self, store: SessionStore) -> None:
        """When a change has ended a session with entries, both the tombstone and the entries are there."""
        session, issuer = await created(store), an_issuer()
        cursor = (await pages(store))[-1].cursor
        assert await end(store, session.key, issuer)
        assert await read(store, issuer, cursor) == [Revocation("sid", issuer, session.sid, NOW + HOUR, NOW)]
        tombstone = await stored(store, session.key)
        assert tombstone == replace(session, ended_at=NOW, version=tombstone.version)
        assert tombstone.version > session.version

    async def test_session_without_a_record_has_no_entries(self, store: SessionStore) -> None:
        """A change that gives two members appends nothing: it met an unknown session, or one that has ended."""
        session, issuer = await created(store), an_issuer()
        assert not await end(store, a_key(), issuer)
        for first in (True, False):
            assert await end(store, session.key, issuer) is first
        assert len(await read(store, issuer)) == 1

    async def test_mark_is_listed_until_it_is_finished(self, store: SessionStore) -> None:
        """A session whose end has begun is read and listed as such, and ends like any other."""
        session, issuer = await created(store), an_issuer()
        await store.update(session.key, change_of(lambda session: session.marked(NOW)))
        marked = replace(session, ending_at=NOW, version=2)
        assert await store.get(session.key) == marked
        assert list(await store.list(session.subject, NOW)) == [marked]
        assert await end(store, session.key, issuer)
        assert len(await read(store, issuer)) == 1
        ended = await stored(store, session.key)
        assert (ended.ending_at, ended.ended_at) == (None, NOW)
        assert list(await store.list(session.subject, NOW)) == []

    async def test_many_end_one_session(self, store: SessionStore) -> None:
        """Of many who end a session at once one does, and its entry is there."""
        session, issuer = await created(store), an_issuer()
        ended = await at_once([lambda: end(store, session.key, issuer)] * self.parallel)
        assert ended.count(True) == 1
        assert {entry.value for entry in await read(store, issuer)} == {session.sid}

    async def test_log_forgets_where_sessions_end_alone(self, store: SessionStore) -> None:
        """The log does not grow without end where all that is appended comes with the ends of sessions."""
        issuer = an_issuer()
        await append(store, revocations(issuer, 600))
        if await self.pass_time(store, HOUR + 2 * CLOCK_SKEW):
            for _ in range(100):
                assert await end(store, (await created(store)).key, issuer)
            assert len(await read(store, issuer)) < 300

    async def test_no_refresh_follows_an_end(self, store: SessionStore) -> None:
        """Among many refreshes a session ends once and for all, with its entry."""
        session, issuer = await created(store), an_issuer()
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(refresh, store, session.key, Presented(0, "b0"), f"b1-{n}", NOW) for n in range(self.parallel)
        ]
        calls.insert(self.parallel // 2, partial(end, store, session.key, issuer))
        await at_once(calls)
        assert (await stored(store, session.key)).ended_at == NOW
        decision = await refresh(store, session.key, Presented(1, "b1"), "b2", NOW)
        assert decision.verdict is Verdict.INVALID
        assert len(await read(store, issuer)) >= 1

    async def test_entries_of_a_change_that_fails(self, store: SessionStore) -> None:
        """Where the record can't be written, its entries are not either."""
        session, issuer = await created(store), an_issuer()
        entries = [Revocation("sid", issuer, session.sid, NOW + HOUR, NOW)]
        other = end_session(a_session(SessionKey(session.subject, "another")), NOW)
        with pytest.raises(ValueError, match="subject and sid"):
            await store.update(session.key, lambda _: (other, None, entries))
        assert await read(store, issuer) == []
        assert (await stored(store, session.key)).ended_at is None

    # Subjects and their lists

    @pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS.keys())
    async def test_any_subject(self, store: SessionStore, subject: str) -> None:
        """A subject is any string: it reads back, is listed, ends, and meets no other subject's sessions."""
        key = SessionKey(subject, uuid4().hex)
        session = await created(store, key)
        assert await store.get(key) == session
        assert session in await store.list(subject, NOW)
        for other in {*SUBJECTS.values(), subject[:-1], subject + " "} - {subject}:
            assert await store.get(SessionKey(other, key.sid)) is None
        await store.update(key, lambda _: (None, None))
        assert await store.get(key) is None
        assert session not in await store.list(subject, NOW)

    @pytest.mark.parametrize("sid", SUBJECTS.values(), ids=SUBJECTS.keys())
    async def test_any_sid(self, store: SessionStore, sid: str) -> None:
        """A `sid` that came from a URL may be any string as well."""
        key = SessionKey(a_key().subject, sid)
        session = await created(store, key)
        assert await store.get(key) == session
        assert list(await store.list(key.subject, NOW)) == [session]

    async def test_subject_and_sid_are_kept_apart(self, store: SessionStore) -> None:
        """Keys whose parts join to the same text are different keys."""
        base = a_key().subject
        one, other = SessionKey(base + ":a", "b"), SessionKey(base, "a:b")
        session = await created(store, one)
        assert await store.get(other) is None
        assert list(await store.list(base, NOW)) == []
        assert list(await store.list(base + ":a", NOW)) == [session]

    async def test_list_is_ordered_by_age(self, store: SessionStore) -> None:
        """A subject's sessions come oldest first, in whatever order they were written or used."""
        subject = a_key().subject
        for age in (3, 1, 4, 2):
            session = a_session(SessionKey(subject, f"s{age}"))
            await store.update(session.key, put(replace(session, created_at=NOW - age)))
        await refresh(store, SessionKey(subject, "s3"), Presented(0, "b0"), "b1", NOW)

        assert [session.sid for session in await store.list(subject, NOW)] == ["s4", "s3", "s2", "s1"]

    async def test_list_holds_live_sessions_alone(self, store: SessionStore) -> None:
        """Tombstones and sessions past either end are not listed, to the millisecond."""
        subject = a_key().subject
        live, ended, idle, over = [await created(store, SessionKey(subject, sid)) for sid in "abcd"]
        await store.update(ended.key, change_of(lambda session: end_session(session, NOW)))
        await store.update(idle.key, change_of(lambda session: replace(session, expires_at=NOW + MINUTE)))
        await store.update(over.key, change_of(lambda session: replace(session, ends_at=NOW + MINUTE)))

        before = await store.list(subject, NOW + MINUTE - 1)
        after = await store.list(subject, NOW + MINUTE)

        assert [session.sid for session in before] == [live.sid, idle.sid, over.sid]
        assert [session.sid for session in after] == [live.sid]

    async def test_list_of_one_subject_is_its_own(self, store: SessionStore) -> None:
        """Nobody is shown another subject's sessions."""
        mine, yours = await created(store), await created(store)
        assert list(await store.list(mine.subject, NOW)) == [mine]
        assert list(await store.list(yours.subject, NOW)) == [yours]

    # Ends

    async def test_tombstone_is_kept(self, store: SessionStore) -> None:
        """An ended session stays readable, and ended, while its tokens could still be shown."""
        session = await created(store)
        await store.update(session.key, change_of(lambda session: end_session(session, NOW + 1)))
        await store.sweep(session.expires_at + DAY)

        assert await store.get(session.key) is not None, SWEPT_TOO_EARLY
        kept = await stored(store, session.key)
        decision = await refresh(store, session.key, Presented(9, "b9"), "b10", NOW + 2)

        assert kept.ended_at == NOW + 1
        assert decision.verdict is Verdict.INVALID
        assert await store.get(session.key) == kept

    async def test_rotation_does_not_grow_the_record(self, store: SessionStore) -> None:
        """After a thousand rotations a record is as large as after ten, but for the digits of its counters."""
        session = await created(store)
        sizes: dict[int, int] = {}

        def rotate(stored: Session | None) -> tuple[Session | None, None]:
            for generation in range(100):
                assert stored is not None
                presented = Presented(stored.generation, f"{generation:016x}")
                decision = decide(stored, presented, branch="-", now=stored.used_at + MINUTE, policy=POLICY)
                stored = decision.session
            return stored, None

        for generation in range(100, 1001, 100):
            await store.update(session.key, rotate)
            last = await stored(store, session.key)
            assert last.generation == generation
            sizes[generation] = len(repr(last))
        assert max(sizes.values()) - min(sizes.values()) <= 4

    async def test_sweep_spares_what_lives(self, store: SessionStore) -> None:
        """A sweep takes no record before its end, nor for `SWEEP_AFTER` past it."""
        session = await created(store)
        await store.sweep(session.kept_until + SWEEP_AFTER)
        assert await store.get(session.key) == session, SWEPT_TOO_EARLY

    async def test_sweeping_is_safe_at_any_time(self, store: SessionStore) -> None:
        """Sweeps beside each other and beside updates disturb nothing, and say how many records went."""
        session = await created(store)

        async def touch() -> int:
            await store.update(session.key, change_of(lambda session: replace(session)))
            return 0

        swept = await at_once([lambda: store.sweep(NOW), touch] * 5)

        assert min(swept) >= 0
        assert (await stored(store, session.key)).version == 6

    # Closing

    async def test_closed_store_refuses(self, store: SessionStore) -> None:
        """Closing twice is fine; any other method of a closed store raises StoreUnavailable."""
        session = await created(store)
        await store.aclose()
        await store.aclose()
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.get(session.key),
            lambda: store.update(session.key, lambda stored: (stored, None)),
            lambda: store.list(session.subject, NOW),
            lambda: store.sweep(NOW),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable):
                await call()

    async def test_unused_store_closes(self, store: SessionStore) -> None:
        """A store that was never used closes without a fault."""
        await store.aclose()
