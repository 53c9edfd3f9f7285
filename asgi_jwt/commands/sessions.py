"""`asgi-jwt sessions list` shows a subject's sessions. `asgi-jwt sessions revoke` ends them."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import anyio

from asgi_jwt.auth import Auth
from asgi_jwt.commands.output import CommandError, counted, moment, run, say, say_json, shown
from asgi_jwt.settings import Settings
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.stores.millis import seconds
from asgi_jwt.stores.records import Session
from asgi_jwt.stores.sqlite import SQLiteStore

T = TypeVar("T")
Clock = Callable[[], float]

STORE_TIMEOUT = 30.0
"""The time limit (s) for all calls of the store together. Each call has a shorter limit of its own."""


def list_sessions(subject: str, *, as_json: bool, clock: Clock) -> int:
    """Print the subject's live sessions, the oldest first: the device, and when it logged in and was last used.

    Raises `ConfigurationError`, `StoreUnavailable`, and `CommandError` if this process can't open the store.
    """

    async def work(auth: Auth) -> list[Session]:
        return list(await auth.sessions.list(subject))

    sessions = _at_store(work, clock)
    if as_json:
        say_json({"sessions": [_json(session) for session in sessions]})
        return 0
    for session in sessions:
        device = [shown(part) for part in (session.client.user_agent, session.client.address) if part]
        say(f"{shown(session.sid)}: {' at '.join(device) or 'unknown device'}")
        for title, time in (("logged in", session.created_at), ("last used", session.used_at)):
            say(f"  {title} {moment(seconds(time), clock())}")
        say(f"  ends unless it is used {moment(seconds(session.expires_at), clock())}")
    say(f"{counted(len(sessions), 'session')} of {shown(subject)}")
    return 0


def revoke_sessions(subject: str, *, sid: str | None, as_json: bool, clock: Clock) -> int:
    """End all sessions of the subject, and revoke all its tokens. With `sid`, end one session only.

    Raises as `list_sessions` does, and `CommandError` if there is no live session with this `sid`.
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
        say(f"{counted(ended, 'session')} of {shown(subject)} ended, and all tokens that it had until now are revoked.")
    return 0


def _at_store(work: Callable[[Auth], Awaitable[T]], clock: Clock) -> T:
    auth = Auth(Settings.from_env(), clock=clock)
    auth.require_sessions()
    if isinstance(auth.store, MemoryStore):
        raise CommandError("memory:// keeps sessions in the service's own process: this one can't see them")
    if isinstance(auth.store, SQLiteStore) and not auth.store.path.exists():
        # The service's user has to own the file, so this command does not create it.
        raise CommandError(f"{shown(str(auth.store.path))} is not there: nobody has logged in yet, or name its place")
    return run(partial(_within_timeout, auth, work))


async def _within_timeout(auth: Auth, work: Callable[[Auth], Awaitable[T]]) -> T:
    try:
        with anyio.fail_after(STORE_TIMEOUT):
            async with auth:
                return await work(auth)
    except TimeoutError:
        raise CommandError(f"the store gives no answer within {STORE_TIMEOUT:g} s: see that it runs") from None


def _json(session: Session) -> dict[str, object]:
    return {
        "sid": session.sid,
        "client": {"user_agent": session.client.user_agent, "address": session.client.address},
        "client_id": session.client_id,
        "created_at": seconds(session.created_at),
        "used_at": seconds(session.used_at),
        "expires_at": seconds(session.expires_at),
        "ends_at": seconds(session.ends_at),
    }
