"""LogConformance: the tests that the log of revocations of every store has to pass."""
# ruff: noqa: S101 (these are tests)

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import chain
from typing import Any
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.base import LOG_PAGE, LogPage, RevocationLog, SessionStore
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation

NOW = Millis(1_700_000_000_000)
HOUR = Millis(3_600_000)

_PAGES = 10_000


def an_issuer() -> str:
    """A random issuer, by which a test finds its entries among others."""
    return f"https://{uuid4().hex}.example"


def revocations(issuer: str, count: int, *, until: Millis = NOW + HOUR, first: int = 0) -> list[Revocation]:
    return [Revocation("sid", issuer, f"s{n}", until) for n in range(first, first + count)]


async def append(store: RevocationLog, entries: Sequence[Revocation], now: Millis = NOW) -> None:
    for first in range(0, len(entries) or 1, LOG_PAGE):
        await store.append_revocations(entries[first : first + LOG_PAGE], now)


async def pages(store: RevocationLog, cursor: Any = None) -> list[LogPage]:
    """All pages of the log after `cursor`."""
    found: list[LogPage] = []
    for _ in range(_PAGES):
        found.append(await store.read_revocations(cursor))
        cursor = found[-1].cursor
        if not found[-1].more:
            return found
    raise AssertionError("the log has no end")


async def read(store: RevocationLog, issuer: str, cursor: Any = None) -> list[Revocation]:
    """The issuer's entries after `cursor`."""
    entries = chain.from_iterable(page.revocations for page in await pages(store, cursor))
    return [entry for entry in entries if entry.issuer == issuer]


class LogConformance:
    """The tests of every promise of `RevocationLog`. They are a part of `StoreConformance`."""

    pytestmark = pytest.mark.anyio

    parallel = 50
    """How many calls the tests make at the same time."""

    def open_store(self) -> AbstractAsyncContextManager[SessionStore]:
        """A context manager that opens the store under test and closes it. Override it."""
        raise NotImplementedError("override open_store")

    @pytest.fixture
    async def store(self, anyio_backend: object) -> AsyncIterator[SessionStore]:
        """The store under test, for one test."""
        async with self.open_store() as store:
            yield store

    async def pass_time(self, store: RevocationLog, ms: int) -> bool:
        """Move the clock by which the store counts the life of entries. Returns whether it was moved.

        Override it if a test can move the store's clock. Otherwise the removal of lapsed entries is not tested.
        """
        return False

    async def test_log_begins_empty(self, store: SessionStore) -> None:
        """A log that nobody wrote to has an end, from its beginning and from there again."""
        issuer = an_issuer()
        last = (await pages(store))[-1]
        assert await read(store, issuer) == await read(store, issuer, last.cursor) == []

    async def test_revocations_read_back(self, store: SessionStore) -> None:
        """Entries read back in the order in which they were appended, every field of them."""
        issuer = an_issuer()
        entries = [
            Revocation("sid", issuer, "s1", NOW + 1),
            Revocation("jti", issuer, "", Millis(2**53)),
            Revocation("sub", issuer, "alice\0\r\n\U0001f98a\ud800", NOW + 2, NOW, True),
            Revocation("sub", issuer, "x" * 64, NOW + 2, NOW - 1, False),
        ]
        await append(store, entries[:1])
        await append(store, entries[1:])
        found = await read(store, issuer)
        assert found == entries
        assert [type(entry.spares_sessions) for entry in found] == [bool] * 4

    async def test_log_goes_on_from_its_cursor(self, store: SessionStore) -> None:
        """What was read is not read again, and what comes later is: after the last page, and after one without any."""
        issuer, cursor = an_issuer(), None
        for n in range(3):
            entries = revocations(issuer, 2, first=2 * n)
            await append(store, entries)
            assert await read(store, issuer, cursor) == entries
            cursor = (await pages(store, cursor))[-1].cursor
            nothing = await store.read_revocations(cursor)
            assert (list(nothing.revocations), nothing.continues, nothing.more) == ([], True, False)
            cursor = nothing.cursor

    async def test_log_is_read_by_the_page(self, store: SessionStore) -> None:
        """However long the log, a page is short; the first begins anew, and each other goes on from the one before."""
        issuer = an_issuer()
        entries = revocations(issuer, 2 * LOG_PAGE + 1)
        await append(store, entries)
        found = await pages(store)
        assert max(len(page.revocations) for page in found) <= LOG_PAGE
        assert [page.continues for page in found] == [False, *[True] * (len(found) - 1)]
        assert [page.more for page in found] == [*[True] * (len(found) - 1), False]
        assert await read(store, issuer) == entries

    async def test_page_that_is_full_and_the_last(self, store: SessionStore) -> None:
        """A page that ends where the log does says that there is no more."""
        await append(store, revocations(an_issuer(), 1))
        cursor = (await pages(store))[-1].cursor
        await append(store, revocations(an_issuer(), LOG_PAGE))
        page = await store.read_revocations(cursor)
        assert (len(page.revocations), page.continues, page.more) == (LOG_PAGE, True, False)

    async def test_appending_nothing_is_no_error(self, store: SessionStore) -> None:
        """Without entries nothing is written."""
        cursor = (await pages(store))[-1].cursor
        await store.append_revocations([], NOW)
        assert list((await store.read_revocations(cursor)).revocations) == []

    async def test_appended_twice(self, store: SessionStore) -> None:
        """An entry may be appended again, by one whose first try may have failed: it is there once or twice."""
        issuer = an_issuer()
        entries = revocations(issuer, 2)
        for _ in range(2):
            await append(store, entries)
        assert set(await read(store, issuer)) == set(entries)

    async def test_log_forgets_what_has_lapsed(self, store: SessionStore) -> None:
        """The log shrinks as entries lapse, in whatever order they do, and keeps all others until they do."""
        issuer = an_issuer()
        lasting = revocations(issuer, 3, until=NOW + 100 * HOUR, first=1000)
        await append(store, lasting[:1])
        await append(store, revocations(issuer, 600, until=NOW + 1))
        await append(store, lasting[1:2])
        await append(store, revocations(issuer, 600, until=NOW + HOUR))
        await append(store, lasting[2:])
        if not await self.pass_time(store, HOUR + CLOCK_SKEW + 1):
            return
        lasting += revocations(issuer, 100, until=NOW + 100 * HOUR, first=2000)
        for entry in lasting[3:]:
            await append(store, [entry])
            await self.pass_time(store, CLOCK_SKEW)
        found = await read(store, issuer)
        assert len(found) < 300
        assert set(found) >= set(lasting)

    async def test_log_spares_what_holds(self, store: SessionStore) -> None:
        """No entry goes before it has lapsed, whatever the clock says of a process that appends."""
        issuer = an_issuer()
        entries = revocations(issuer, 20)
        await append(store, entries)
        for skew in (HOUR, 10_000 * HOUR, -10_000 * HOUR):
            for n in range(3):
                now = NOW + skew + n * HOUR // 20
                await append(store, revocations(an_issuer(), 1, until=now + HOUR), now)
        await self.pass_time(store, HOUR)
        for now in (NOW - HOUR, NOW, NOW + 2 * HOUR):
            await append(store, revocations(an_issuer(), 1, until=now + HOUR), now)
        assert await read(store, issuer) == entries

    async def test_newest_entry_stays(self, store: SessionStore) -> None:
        """The last entry stays where everything has lapsed, so that cursors go on from it."""
        issuer = an_issuer()
        await append(store, revocations(issuer, 3, until=NOW + 1))
        cursor = (await pages(store))[-1].cursor
        for _ in range(3):
            await self.pass_time(store, HOUR)
            await append(store, [])
        page = await store.read_revocations(cursor)
        assert (list(page.revocations), page.continues) == ([], True)

    async def test_cursor_of_what_was_forgotten(self, store: SessionStore) -> None:
        """A reader whose last entry was forgotten while he slept passes over nothing that came since."""
        issuer = an_issuer()
        await append(store, revocations(issuer, 1, until=NOW + 1))
        cursor = (await pages(store))[-1].cursor
        entries = revocations(issuer, 100, until=NOW + 9 * HOUR, first=1)
        await self.pass_time(store, HOUR)
        for entry in entries:
            await append(store, [entry])
            await self.pass_time(store, CLOCK_SKEW)
        assert await read(store, issuer, cursor) == entries

    async def test_nothing_is_passed_over(self, store: SessionStore) -> None:
        """Of many who append at once each is come upon by one who reads all the while, and by one who comes later."""
        issuer, seen, ended = an_issuer(), set[str](), False
        entries = revocations(issuer, 3 * self.parallel)

        async def follow() -> None:
            cursor, done = None, False
            while not done:
                done = ended
                page = await store.read_revocations(cursor)
                seen.update(entry.value for entry in page.revocations if entry.issuer == issuer)
                cursor = page.cursor
                done = done and not page.more
                await anyio.lowlevel.checkpoint()

        async def write(n: int) -> None:
            for entry in entries[3 * n : 3 * n + 3]:
                await store.append_revocations([entry], NOW)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as reading:
                reading.start_soon(follow)
                async with anyio.create_task_group() as writing:
                    for n in range(self.parallel):
                        writing.start_soon(write, n)
                ended = True
        assert seen == {entry.value for entry in entries}
        assert set(await read(store, issuer)) == set(entries)

    async def test_closed_store_has_no_log(self, store: SessionStore) -> None:
        """A closed store neither appends nor reads: StoreUnavailable."""
        await append(store, revocations(an_issuer(), 1))
        await store.aclose()
        with pytest.raises(StoreUnavailable):
            await store.append_revocations(revocations(an_issuer(), 1), NOW)
        with pytest.raises(StoreUnavailable):
            await store.read_revocations()
