"""What `asgi-jwt check` finds at the session store: a session is written, read, and gone again."""

import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio

from asgi_jwt.auth import Auth
from asgi_jwt.commands.check_settings import check_mode
from asgi_jwt.commands.findings import Finding, ok, problem, warning
from asgi_jwt.commands.output import shown
from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.events import printable
from asgi_jwt.sessions.rotation import open_session
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.records import Revocation, log_value
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.urls import REDIS_SCHEMES

PATIENCE = 10.0
"""Seconds for all that is asked of the store: its own patience ends before, unless its URL says otherwise."""

APART = 10.0
"""Seconds that a clock may be off: twice that, and 5 s for a request and for its answer, are GRACE's default."""

_LIFE = 60_000

_REACH = "see that it runs, and that this machine reaches it"
_LOCKED = "see which process writes to it for so long"
_COMPLAINT = re.compile(r"(.* \([A-Z]+\)): (.*)")
"""What a Redis server complains of by its code, and the mend. What SQLite says has its mend in it."""


async def check_store(auth: Auth, clock: Callable[[], float]) -> list[Finding]:
    """Whether the store keeps sessions, within `PATIENCE`. Nothing is left in it."""
    if auth.settings.store is None:
        return [ok("store", "none is configured: tokens are verified without one")]
    try:
        store = auth.store
    except ConfigurationError as error:
        return [problem("store", printable(fault)) for fault in error.faults]
    if not isinstance(store, SQLiteStore):
        return await _try(store, _name(auth.settings.store), _REACH, clock)
    name = f"the SQLite file {shown(str(store.path))}"
    if not store.path.exists():
        return [*_left_behind(store.path, name), _not_made_yet(store.path, name)]
    return [*check_mode(store.path, "store", name), *await _try(store, name, "", clock)]


async def _try(store: SessionStore, name: str, mend: str, clock: Callable[[], float]) -> list[Finding]:
    began = perf_counter()
    try:
        # A store that hangs is not closed either: that would wait for it.
        with anyio.fail_after(PATIENCE):
            kept = await _write_and_read(store, int(clock() * 1000))
            policy = await _told(store, "maxmemory_policy")
            apart = clock() - (await _told(store, "server_time") or clock())
            await store.aclose()
    except TimeoutError:
        return [problem("store", f"{name} gives no answer within {PATIENCE:g} s", mend or _REACH)]
    except StoreUnavailable as why:
        told = printable(str(why))
        complaint = _COMPLAINT.fullmatch(told)
        told, mend = complaint.groups() if complaint else (told, _LOCKED if "is locked" in told else mend)
        return [problem("store", f"{name} can't be used: {told}", mend)]
    if not kept:
        return [problem("store", f"{name} loses what is written", "see that it is a master, and evicts nothing")]
    found = ok("store", f"{name} was written and read, in {(perf_counter() - began) * 1000:.0f} ms")
    return [found, *_evictions(name, policy), *_clocks_apart(name, apart)]


async def _told(store: SessionStore, what: str) -> Any:
    """What a server of Redis tells of itself; None of another store, or where it does not say."""
    ask: Callable[[], Awaitable[Any]] | None = getattr(store, what, None)
    if ask is not None:
        with suppress(StoreUnavailable):  # the right to ask for it is not among those that a store needs
            return await ask()
    return None


def _evictions(name: str, policy: str | None) -> Iterator[Finding]:
    if policy not in (None, "noeviction"):
        yield warning(
            "store",
            f"{name} evicts sessions, and the log of revocations, when its memory is full"
            f" (maxmemory-policy {printable(policy)})",
            "set its maxmemory-policy to noeviction",
        )


def _clocks_apart(name: str, apart: float) -> Iterator[Finding]:
    if abs(apart) > APART:
        yield warning(
            "store",
            f"this machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} that of {name}:"
            " users whose tabs race may be logged out",
            "keep the clocks of all machines in step (NTP)",
        )


async def _write_and_read(store: SessionStore, now: int) -> bool:
    """Whether a session that is written is found again. Its user is nobody's, and it goes at once, or in a minute.

    The log of revocations gets an entry that has lapsed already.
    """
    subject, sid = f"asgi-jwt check {secrets.token_hex(8)}", secrets.token_hex(16)
    session = open_session(subject, sid, now=now, refresh_ttl=_LIFE, session_ttl=_LIFE)
    await store.update(session.key, lambda _: (session, None))
    found, listed = await store.get(session.key), await store.list(subject, now)
    await store.update(session.key, lambda _: (None, None))
    await store.append_revocations([Revocation("jti", subject, log_value(sid), now)], now)
    await store.read_revocations()
    return found is not None and [each.sid for each in listed] == [sid]


def _left_behind(path: Path, name: str) -> Iterator[Finding]:
    """Whether the file was there once: a new one beside these can't be used, or has what is in them."""
    left = " and ".join(suffix for suffix in ("-wal", "-shm") if os.path.lexists(f"{path}{suffix}"))
    if left:
        yield warning(
            "store",
            f"{name} is gone, and its {left} still there",
            f"put it back, or stop all processes that use it, and remove its {left} before they start anew",
        )


def _not_made_yet(path: Path, name: str) -> Finding:
    # It is not made here: it would be of whoever checks, and not of the server's user.
    if os.access(path.parent, os.W_OK | os.X_OK):
        return ok("store", f"{name} is not there yet: the service's start makes it")
    return problem("store", f"{name} is not there, and can't be made", "let this user write its directory")


def _name(url: str) -> str:
    """Without credentials: of a store whose URL is not read here, the scheme alone."""
    scheme = url.partition("://")[0].lower()
    if scheme not in REDIS_SCHEMES:
        return f"{printable(scheme)}://"
    from asgi_jwt.stores.redis.url import parse_redis_url

    return printable(str(parse_redis_url(url)))
