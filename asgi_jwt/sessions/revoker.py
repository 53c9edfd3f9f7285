"""Sessions ended and tokens revoked, for good: an entry in the log of revocations first, then the tombstone.

So no order of failures leaves an access token alive behind a session that is dead. A session that got no tombstone is
one whose tokens are refused, and which dies when it is refreshed. Who wanted it ended may give up after a 503, or go
away in the middle, and the entry lapses one day: where there is an entry, the tombstone follows when the store is back.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import floor
from typing import Any

import anyio
from anyio import create_task_group

from asgi_jwt.errors import MissingClaim, StoreUnavailable
from asgi_jwt.events import EventSink, SessionEnded, TokensRevoked
from asgi_jwt.sessions.revocations import RevocationList
from asgi_jwt.sessions.rotation import end_session
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey, log_value
from asgi_jwt.tasks import SingleFlight
from asgi_jwt.tokens.claims import Claims

_AT_ONCE = 50
_BETWEEN_ATTEMPTS = 2.0
_LATEST = 2**53


class Revoker:
    """Ends the sessions of `issuer` in the store, and revokes tokens of any issuer.

    `ttl`: the longest life (ms) of an access token. `leeway`: how long (ms) past its end a service may take a token.
    `owns_sessions`: whether every token of `issuer` that has a `sid` is of a session in this store.

    Every method raises `StoreUnavailable` when the store does not answer; what it was asked is then done in part, and
    can be asked again.
    """

    def __init__(
        self,
        store: Callable[[], SessionStore],
        revocations: RevocationList,
        *,
        issuer: str,
        ttl: int,
        leeway: int,
        owns_sessions: bool,
        clock: Callable[[], float],
        events: EventSink,
    ) -> None:
        self._store = store
        self._revocations = revocations
        self._issuer = issuer
        # A token may be issued for as long as a mirror may be old, by a clock that differs.
        self._life = ttl + leeway + round(revocations.policy.max_staleness * 1000) + CLOCK_SKEW
        self._leeway = leeway
        self._owns_sessions = owns_sessions
        self._clock = clock
        self._events = events
        # Those whose end has begun, and when.
        self._unfinished: dict[SessionKey, int] = {}
        self._finishing = SingleFlight(self._finish)

    async def end(self, subject: str, sid: str) -> bool:
        """End one session of the subject's; whether there was a live one."""
        key = SessionKey(subject, sid)
        session = await self._store().update(key, _as_stored)
        # Another's `sid`, or a made-up one, never gets into the log.
        if session is None or session.ended_at is not None:
            return False
        with self.begun(key):
            await self.revoke_session(sid)
            return await self._bury(key)

    async def end_all(self, subject: str) -> int:
        """End every session that the subject has now, and what else was issued for it up to now; how many sessions."""
        now = self._now()
        keys = [session.key for session in await self._store().list(subject, now)]
        entries = [self._session_entry(key.sid, now) for key in keys]
        entries.append(self._subject_entry(self._issuer, subject, now, spares_sessions=self._owns_sessions))
        ended: list[bool] = []
        failures: list[StoreUnavailable] = []

        async def bury(key: SessionKey) -> None:
            try:
                ended.append(await self._bury(key))
            except StoreUnavailable as failure:
                failures.append(failure)

        with self.begun(*keys):
            await self._revocations.add(entries)
            # At once, for a store that commits together what comes together.
            for start in range(0, len(keys), _AT_ONCE):
                async with create_task_group() as group:
                    for key in keys[start : start + _AT_ONCE]:
                        group.start_soon(bury, key)
            if failures:
                raise failures[0]
        return sum(ended)

    async def revoke_subject(self, subject: str, issuer: str) -> None:
        """Revoke all that the issuer has issued for the subject up to now; with `issuer` our own, end its sessions."""
        if issuer == self._issuer:
            await self.end_all(subject)
        else:
            await self._revocations.add([self._subject_entry(issuer, subject, self._now(), spares_sessions=False)])
        await self._events.emit(TokensRevoked("sub"))

    async def revoke_token(self, claims: Claims) -> None:
        """Revoke the one access token with these claims, which were verified. Raises `MissingClaim` without a `jti`."""
        jti: Any = claims.get("jti")
        if type(jti) is not str:
            raise MissingClaim("jti: the token has no name by which it could be refused")
        until = min(floor(claims.expires_at * 1000) + self._leeway, _LATEST)
        if await self._revocations.add([Revocation("jti", claims.issuer, log_value(jti), until)]):
            await self._events.emit(TokensRevoked("jti"))

    async def revoke_session(self, sid: str) -> None:
        """Revoke the session's access tokens: to be followed by its tombstone."""
        await self._revocations.add([self._session_entry(sid, self._now())])

    async def refuse_revoked(self, key: SessionKey) -> bool:
        """Whether the session's access tokens are revoked: then it is ended, if it was not. For every refresh to ask.

        Whoever ended it could not write its tombstone, or is about to. Raises `RevocationsUnavailable`.
        """
        await self._revocations.current()
        if not self._revocations.has_session(self._issuer, key.sid):
            return False
        with self.begun(key):
            await self._bury(key)
        return True

    @contextmanager
    def begun(self, *keys: SessionKey) -> Iterator[None]:
        """Within it sessions are ended: an end that fails half-way, or whose caller goes away, is finished later."""
        self._unfinished.update(dict.fromkeys(keys, self._now()))
        try:
            yield
        except GeneratorExit:
            raise  # the event loop is gone
        except BaseException:
            self._finishing.start()
            raise
        for key in keys:
            self._unfinished.pop(key, None)

    async def _bury(self, key: SessionKey) -> bool:
        """Put a tombstone in the session's place, once its tokens are revoked; whether it was live."""
        now = self._now()

        def change(session: Session | None) -> tuple[Session | None, bool]:
            # One that has expired by our clock may live by another's.
            return session and end_session(session, now), session is not None and session.is_live(now)

        ended = await self._store().update(key, change)
        self._unfinished.pop(key, None)
        if ended:
            await self._events.emit(SessionEnded("ended"))
        return ended

    def close(self) -> None:
        """Finish nothing any more."""
        self._unfinished.clear()

    async def _finish(self) -> None:
        while self._unfinished:
            await anyio.sleep(_BETWEEN_ATTEMPTS)
            await self._revocations.poll()
            for key, began in list(self._unfinished.items()):
                # An entry that the store took without saying so turns up in the log, if a little late.
                revoked = self._revocations.has_session(self._issuer, key.sid)
                if self._now() - began >= (self._life if revoked else CLOCK_SKEW):
                    self._unfinished.pop(key, None)
                elif revoked:
                    with suppress(StoreUnavailable):
                        await self._bury(key)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _session_entry(self, sid: str, now: int) -> Revocation:
        return Revocation("sid", self._issuer, log_value(sid), now + self._life)

    def _subject_entry(self, issuer: str, subject: str, now: int, *, spares_sessions: bool) -> Revocation:
        return Revocation("sub", issuer, log_value(subject), now + self._life, now, spares_sessions)


def _as_stored(session: Session | None) -> tuple[Session | None, Session | None]:
    """Reads what an update would change, wherever else the store may read from."""
    return session, session
