"""The findings of `asgi-jwt check` about the store: it writes, reads and deletes a session."""

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
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.records import Revocation, log_value
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.stores.urls import POSTGRES_SCHEMES, REDIS_SCHEMES

CHECK_TIMEOUT = 10.0
"""The time limit (s) for all calls of the store. A call has a shorter limit, unless the store's URL sets another."""

LARGEST_CLOCK_DIFFERENCE = 10.0
"""How far (s) a clock may differ: `GRACE` is twice that, plus 5 s each for a request and its answer."""

_LIFE = Millis(60_000)

_REACH = "see that it runs, and that this machine reaches it"
_LOCKED = "see which process writes to it for so long"
_COMPLAINT = re.compile(r"(.* \([A-Z0-9]+\)): (.*)")
"""The text of a server's error: its code, and the mend. The errors of SQLite have no such form."""


async def check_store(auth: Auth, clock: Callable[[], float]) -> list[Finding]:
    """The findings about the store, within `CHECK_TIMEOUT`. The check leaves nothing in the store."""
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
        # Closing a store that hangs would hang, too, so it is within the time limit.
        with anyio.fail_after(CHECK_TIMEOUT):
            kept = await _write_and_read(store, millis(clock()))
            policy = await _ask_server(store, "maxmemory_policy")
            cautions = await _ask_server(store, "cautions") or ()
            difference = clock() - (await _ask_server(store, "server_time") or clock())
            await store.aclose()
    except TimeoutError:
        return [problem("store", f"{name} gives no answer within {CHECK_TIMEOUT:g} s", mend or _REACH)]
    except StoreUnavailable as why:
        text = printable(str(why))
        complaint = _COMPLAINT.fullmatch(text)
        text, mend = complaint.groups() if complaint else (text, _LOCKED if "is locked" in text else mend)
        return [problem("store", f"{name} can't be used: {text}", mend)]
    if not kept:
        return [problem("store", f"{name} loses what is written", "see that it is a master, and evicts nothing")]
    found = ok("store", f"{name} was written and read, in {(perf_counter() - began) * 1000:.0f} ms")
    cautioned = [warning("store", f"{name} {fact}", advice) for fact, advice in cautions]
    return [found, *_evictions(name, policy), *cautioned, *_clocks_differ(name, difference)]


async def _ask_server(store: SessionStore, method: str) -> Any:
    """The answer of a method that some stores have. None: this store has it not, or its user lacks the right."""
    ask: Callable[[], Awaitable[Any]] | None = getattr(store, method, None)
    if ask is not None:
        with suppress(StoreUnavailable):  # a store works without the right for this command
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


def _clocks_differ(name: str, difference: float) -> Iterator[Finding]:
    if abs(difference) > LARGEST_CLOCK_DIFFERENCE:
        yield warning(
            "store",
            f"this machine's clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} that of"
            f" {name}: users whose tabs race may be logged out",
            "keep the clocks of all machines in step (NTP)",
        )


async def _write_and_read(store: SessionStore, now: Millis) -> bool:
    """Whether a session is found after it was written. Its subject is no user, and it is deleted at once.

    If the deletion fails, the session expires in a minute. The log of revocations gets an entry without any life.
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
    """A warning if the file is gone and its -wal or -shm are left: they would change or spoil a new file."""
    left = " and ".join(suffix for suffix in ("-wal", "-shm") if os.path.lexists(f"{path}{suffix}"))
    if left:
        yield warning(
            "store",
            f"{name} is gone, and its {left} still there",
            f"put it back, or stop all processes that use it, and remove its {left} before they start anew",
        )


def _not_made_yet(path: Path, name: str) -> Finding:
    # The service's user has to own the file, so this command does not create it.
    if os.access(path.parent, os.W_OK | os.X_OK):
        return ok("store", f"{name} is not there yet: the service's start makes it")
    return problem("store", f"{name} is not there, and can't be made", "let this user write its directory")


def _name(url: str) -> str:
    """The store's URL without credentials. For the URL of another package's store it is the scheme alone."""
    scheme = url.partition("://")[0].lower()
    if scheme in POSTGRES_SCHEMES:
        from asgi_jwt.stores.postgres.url import parse_postgres_url

        return printable(str(parse_postgres_url(url)))
    if scheme not in REDIS_SCHEMES:
        return f"{printable(scheme)}://"
    from asgi_jwt.stores.redis.url import parse_redis_url

    return printable(str(parse_redis_url(url)))
