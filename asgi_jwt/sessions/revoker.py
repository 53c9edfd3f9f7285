"""Revoker: ends sessions and revokes tokens. It decides what is written, in which order, and for how long.

`_life` is the life of an entry for a session or a subject. An entry for one token lives until the token's end.
"""

# Otherwise the annotations of a nested function would be evaluated at each call of the method around it.
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from itertools import islice
from math import inf
from time import monotonic
from typing import Generic, TypeVar

import anyio
from anyio import create_task_group

from asgi_jwt.errors import MissingClaim, StoreUnavailable
from asgi_jwt.events import EventSink, SessionEnded, TokensRevoked
from asgi_jwt.sessions.gate import AdmissionGate, Overload, place_at
from asgi_jwt.sessions.own_entries import Written
from asgi_jwt.sessions.revocations import RevocationList
from asgi_jwt.sessions.rotation import end_session
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, Outcome, SessionStore
from asgi_jwt.stores.millis import Millis, millis, seconds
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey, log_value
from asgi_jwt.tasks import SingleFlight
from asgi_jwt.tokens.claims import Claims

T = TypeVar("T")

_ENDED_AT_ONCE = 50
_BETWEEN_PAGES = 1.0
_LATEST_TIME = Millis(2**53)


class _EndingChange(Generic[T]):
    """A change for `SessionStore.update`: adds the log entries to `change` if `change` ends the session.

    `entries` are those of the last run, which is the run that the store has written.
    """

    def __init__(
        self,
        change: Callable[[Session | None], tuple[Session | None, T]],
        entries_of: Callable[[], Sequence[Revocation]],
    ) -> None:
        self.entries: Sequence[Revocation] = ()
        self._change = change
        self._entries_of = entries_of

    def __call__(self, stored: Session | None) -> Outcome[T]:
        changed, result = given = self._change(stored)
        if changed is None or changed.ended_at is None or (stored is not None and stored.ended_at is not None):
            self.entries = ()
            return given
        self.entries = self._entries_of()
        return changed, result, self.entries


class Revoker:
    """Ends the sessions of `issuer` in the store, and revokes tokens of any issuer.

    One step (`SessionStore.update`) writes a session's tombstone and the entry that revokes its access tokens. So a
    failure can't leave a valid access token of an ended session, and can't bring the session back.

    `revocation_ttl`: the longest life of an access token, in ms (the setting `REVOCATION_TTL`).
    `leeway`: how long after its `exp` a service may accept a token, in ms.
    `owns_sessions`: every token of `issuer` with a `sid` belongs to a session of this store.
    `clock` returns seconds since the epoch, `monotonic` seconds since any moment.

    Every method raises `StoreUnavailable` if the store does not answer. A part of the work may then be done, and the
    call can be repeated.
    """

    def __init__(
        self,
        store: Callable[[], SessionStore],
        revocations: RevocationList,
        *,
        issuer: str,
        revocation_ttl: Millis,
        leeway: Millis,
        owns_sessions: bool,
        clock: Callable[[], float],
        events: EventSink,
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._open = store
        self._revocations = revocations
        self._issuer = issuer
        self._leeway = leeway
        # The life covers a token issued late: by a process whose mirror is stale, or by a clock that differs.
        # By default it is 3,600 s, the largest leeway of a service, 5 s and 60 s.
        self._life = revocation_ttl + leeway + millis(revocations.policy.max_staleness) + CLOCK_SKEW
        self._owns_sessions = owns_sessions
        self._clock = clock
        self._events = events
        self._monotonic = monotonic
        self._own_entries = revocations.own_entries
        self._gate = AdmissionGate()
        self._overload = Overload(events, clock)
        self._closed = False
        self._restoring = SingleFlight(self._restore)
        self._own_entries.on_lost = self._restoring.start

    @cached_property
    def _store(self) -> SessionStore:
        return self._open()

    async def end(self, subject: str, sid: str, *, shown: bool = False) -> bool:
        """End one session of the subject, and revoke its access tokens. Returns whether the session was live.

        `shown`: the caller has an authentic refresh token of the session. Then the access tokens are revoked, even if
        the store has lost the session.
        """
        async with self.place("end"):
            if await self._end(SessionKey(subject, sid)):
                return True
            if shown and not self._revocations.has_session(self._issuer, sid):
                await self._append([self._session_entry(sid, self._now())])
                await self._events.emit(TokensRevoked("sid"))
            return False

    async def evict(self, keys: Iterable[SessionKey]) -> None:
        """End these sessions of a subject that has too many."""
        async with self.place("evict"):
            await self._end_each(keys, cause="evicted")

    async def end_all(self, subject: str, *, last: str | None = None) -> int:
        """End all present sessions of the subject, and revoke its other tokens. Returns the number of ended sessions.

        `last` is the `sid` of the session that ends in the last step: its token can repeat the request until then.
        """
        async with self.place("end_all"):
            return await self._end_all(subject, last)

    async def _end_all(self, subject: str, last: str | None) -> int:
        now = self._now()
        entry = self._subject_entry(self._issuer, subject, now, spares_sessions=self._owns_sessions)
        # This clock may be ahead: a session that has expired by it may be live for another process.
        sessions = await self._store.list(subject, now - SWEEP_AFTER)
        own = [session.key for session in sessions if session.sid == last]
        ended = await self._end_each(session.key for session in sessions if session.sid != last)
        if own and await self._end(own[0], entry):
            return ended + 1
        await self._append([entry])
        return ended

    async def revoke_subject(self, subject: str, issuer: str) -> None:
        """Revoke all tokens that `issuer` has issued for the subject until now, and end the sessions kept here."""
        if issuer == self._issuer:
            await self.end_all(subject)
        else:
            async with self.place("revoke_subject"):
                await self._append([self._subject_entry(issuer, subject, self._now(), spares_sessions=False)])
        await self._events.emit(TokensRevoked("sub"))

    async def revoke_token(self, claims: Claims) -> None:
        """Revoke the access token with these verified claims, or without a `jti` all tokens of its `sid`.

        Raises `MissingClaim` for a token with neither.
        """
        entry = self._token_entry(claims)
        if entry.kind != "jti" or not self._revocations.has_token(claims.issuer, claims["jti"]):
            async with self.place("revoke_token"):
                await self._append([entry])
            await self._events.emit(TokensRevoked(entry.kind))

    async def log_out(self, claims: Claims) -> None:
        """Revoke the tokens of the session or of the user in the verified claims of a logout token.

        Without a `sid` these are all tokens that the issuer has issued for the user until the claim `iat`. The life of
        the entry counts from then, so a token that is sent again revokes no newer ones, and adds nothing to the log.
        """
        issued, sid = millis(claims["iat"]), claims.session_id
        until = issued + self._life - (self._now() - issued)
        entry = (
            Revocation("sub", claims.issuer, log_value(claims.subject), until, issued)
            if sid is None
            else Revocation("sid", claims.issuer, log_value(sid), until, issued)
        )
        if not self._own_entries.has_written(entry):
            await self._append([entry])
            await self._events.emit(TokensRevoked(entry.kind))

    async def refuse_revoked(self, key: SessionKey) -> bool:
        """Whether the session's access tokens are revoked. If so, the session is ended, too. Every refresh calls it.

        A session may have an entry and no tombstone: the store has lost the tombstone, or the host appended the entry.
        Raises `RevocationsUnavailable`.
        """
        await self._revocations.current()
        if not self._revocations.has_session(self._issuer, key.sid):
            return False
        await self._end(key)
        return True

    async def update(
        self, key: SessionKey, change: Callable[[Session | None], tuple[Session | None, T]], *more: Revocation
    ) -> T:
        """Call `SessionStore.update`. If `change` ends the session, its entry and `more` are appended with it."""
        now = self._now()
        ending = _EndingChange(change, lambda: (self._session_entry(key.sid, now), *more))
        result = await self._store.update(key, ending)
        if ending.entries:
            self._remember(ending.entries, key)
        return result

    def place(self, operation: str) -> AbstractAsyncContextManager[None]:
        """Hold a place at the gate. A caller that checks signatures enters before them.

        Within the block this task's calls of `Revoker` take no other place. Entering raises `StoreUnavailable` in an
        overload: a logout fails at once, or in time.
        """
        return place_at(self._gate, self._overload, operation)

    def close(self) -> None:
        """Stop restoring entries that the log has lost."""
        self._closed = True

    async def _end(self, key: SessionKey, *more: Revocation, cause: str = "ended") -> bool:
        now = self._now()

        def change(session: Session | None) -> tuple[Session | None, bool]:
            # A session that has expired by this clock may be live for another process, so it gets a tombstone.
            return session and end_session(session, now), session is not None and session.is_live(now)

        ended = await self.update(key, change, *more)
        if ended:
            await self._events.emit(SessionEnded(cause))
        return ended

    async def _end_each(self, keys: Iterable[SessionKey], *, cause: str = "ended") -> int:
        """End all of these sessions, and then raise the first failure. Returns how many sessions were live."""
        ended: list[bool] = []
        failures: list[StoreUnavailable] = []

        async def end(key: SessionKey) -> None:
            try:
                ended.append(await self._end(key, cause=cause))
            except StoreUnavailable as failure:
                failures.append(failure)

        # A store may commit concurrent calls together, so some sessions end at once.
        remaining = iter(keys)
        while page := [*islice(remaining, _ENDED_AT_ONCE)]:
            async with create_task_group() as group:
                for key in page:
                    group.start_soon(end, key)
        if failures:
            raise failures[0]
        return sum(ended)

    async def _append(self, revocations: Sequence[Revocation]) -> None:
        await self._store.append_revocations(revocations, self._now())
        self._remember(revocations)

    def _remember(self, revocations: Sequence[Revocation], key: SessionKey | None = None) -> None:
        """Have this process refuse the tokens from now on, and keep the entries for a log that loses them."""
        self._revocations.add(revocations)
        self._own_entries.wrote(revocations, key, self._elapsed(), self._now())

    async def _restore(self) -> None:
        """Append again, a page at a time, the entries of this process that the log has lost.

        A server that restarted empty, or failed over, has lost logouts that were answered with 204.
        """
        lost = self._own_entries.lost
        while lost and not self._closed:
            page = [lost.popleft() for _ in range(min(LOG_PAGE, len(lost)))]
            try:
                await self._restore_page(page)
            except StoreUnavailable:
                lost.extendleft(reversed(page))
            if lost:
                await anyio.sleep(_BETWEEN_PAGES)

    async def _restore_page(self, page: Sequence[Written]) -> None:
        now = self._elapsed()
        alive = [written for written in page if written.lapses_at > now]
        # The entries get their remaining life: with a full one they would live for ever in a log that is lost often.
        entries = [each.revocation._replace(until=each.revocation.time + each.lapses_at - now) for each in alive]
        await self._store.append_revocations(entries, self._now())
        self._own_entries.restored(entries)
        # The store may have lost the tombstones, too, so the sessions end again.
        await self._end_each([each.key for each in alive if each.key is not None])

    def _now(self) -> Millis:
        return millis(self._clock())

    def _elapsed(self) -> Millis:
        return millis(self._monotonic())

    def _session_entry(self, sid: str, now: Millis) -> Revocation:
        return Revocation("sid", self._issuer, log_value(sid), now + self._life, now)

    def _subject_entry(self, issuer: str, subject: str, now: Millis, *, spares_sessions: bool) -> Revocation:
        return Revocation("sub", issuer, log_value(subject), now + self._life, now, spares_sessions)

    def _token_entry(self, claims: Claims) -> Revocation:
        jti, sid, now = claims.get("jti"), claims.get("sid"), self._now()
        # If this clock is ahead, `exp` minus now is too short. So the entry lives for the token's whole life.
        issued = max(millis(min(claims.get("iat", inf), seconds(now))), now - SWEEP_AFTER)
        until = min(now + millis(min(claims.expires_at, _LATEST_TIME)) - issued + self._leeway, _LATEST_TIME)
        if type(jti) is str:
            return Revocation("jti", claims.issuer, log_value(jti), until, now)
        if type(sid) is str:
            # The entry revokes all tokens of the session, and others may live longer than this one.
            return Revocation("sid", claims.issuer, log_value(sid), max(until, now + self._life), now)
        raise MissingClaim("jti and sid: an entry of the log needs one of them")
