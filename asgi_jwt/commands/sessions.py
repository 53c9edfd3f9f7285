"""`asgi-jwt sessions list` and `asgi-jwt sessions revoke`: a subject's sessions, shown and ended."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

from asgi_jwt.auth import Auth
from asgi_jwt.commands.output import CommandError, count, moment, run, say, say_json, shown
from asgi_jwt.settings import Settings
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.records import Session
from asgi_jwt.stores.sqlite import SQLiteStore

T = TypeVar("T")
Clock = Callable[[], float]

PATIENCE = 30.0
"""Seconds for all that is asked of the store: each of its answers has a time of its own."""


def list_sessions(subject: str, *, as_json: bool, clock: Clock) -> int:
    """Prints the subject's live sessions, oldest first: the device, when it logged in, and when it was last used.

    Raises `ConfigurationError`, `StoreUnavailable`, and `CommandError` where there is no store to look into.
    """

    async def work(auth: Auth) -> list[Session]:
        return list(await auth.sessions.list(subject))

    sessions = _at_store(work, clock)
    if as_json:
        say_json({"sessions": [_told(session) for session in sessions]})
        return 0
    for session in sessions:
        device = [shown(part) for part in (session.client.user_agent, session.client.address) if part]
        say(f"{shown(session.sid)}: {' at '.join(device) or 'no device was told'}")
        for title, time in (("logged in", session.created_at), ("last used", session.used_at)):
            say(f"  {title} {moment(time / 1000, clock())}")
        say(f"  ends unless it is used {moment(session.expires_at / 1000, clock())}")
    say(f"{count(len(sessions), 'session')} of {shown(subject)}")
    return 0


def revoke_sessions(subject: str, *, sid: str | None, as_json: bool, clock: Clock) -> int:
    """Ends all sessions of the subject and revokes all that was issued for it until now; with `sid`, one session alone.

    1 when there is no such session. Raises as `list_sessions` does.
    """

    async def work(auth: Auth) -> int:
        if sid is not None:
            return int(await auth.sessions.end(subject, sid))
        ended = len(await auth.sessions.list(subject))
        await auth.revoke_subject(subject)
        return ended

    ended = _at_store(work, clock)
    if sid is not None and not ended:
        raise CommandError(f"{shown(subject)} has no live session {shown(sid)}: `asgi-jwt sessions list` shows them")
    if as_json:
        say_json({"ended": ended})
    elif sid is not None:
        say(f"The session {shown(sid)} of {shown(subject)} is ended, and its tokens are revoked.")
    else:
        say(f"{count(ended, 'session')} of {shown(subject)} ended, and all tokens that it had until now are revoked.")
    return 0


def _at_store(work: Callable[[Auth], Awaitable[T]], clock: Clock) -> T:
    auth = Auth(Settings.from_env(), clock=clock)
    auth.require_sessions()
    if isinstance(auth.store, MemoryStore):
        raise CommandError("memory:// keeps sessions in the service's own process: this one can't see them")
    if isinstance(auth.store, SQLiteStore) and not auth.store.path.exists():
        # It is not made here: it would be of whoever asks, and not of the server's user.
        raise CommandError(f"{shown(str(auth.store.path))} is not there: nobody has logged in yet, or name its place")
    return run(partial(_within_patience, auth, work))


async def _within_patience(auth: Auth, work: Callable[[Auth], Awaitable[T]]) -> T:
    try:
        with anyio.fail_after(PATIENCE):
            async with auth:
                return await work(auth)
    except TimeoutError:
        raise CommandError(f"the store gives no answer within {PATIENCE:g} s: see that it runs") from None


def _told(session: Session) -> dict[str, object]:
    return {
        "sid": session.sid,
        "client": {"user_agent": session.client.user_agent, "address": session.client.address},
        "client_id": session.client_id,
        "created_at": session.created_at / 1000,
        "used_at": session.used_at / 1000,
        "expires_at": session.expires_at / 1000,
        "ends_at": session.ends_at / 1000,
    }
