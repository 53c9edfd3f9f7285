"""Ends sessions and revokes tokens: what is written, in which order, and for how long it counts."""

# A function within a method is made at each call, and its annotations would be evaluated then.
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import islice
from math import floor, inf
from time import monotonic
from typing import Generic, TypeVar

import anyio
from anyio import create_task_group

from asgi_jwt.errors import MissingClaim, StoreUnavailable
from asgi_jwt.events import EventSink, SessionEnded, TokensRevoked
from asgi_jwt.sessions.own_entries import Written
from asgi_jwt.sessions.revocations import RevocationList
from asgi_jwt.sessions.rotation import end_session
from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, Outcome, SessionStore
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey, log_value
from asgi_jwt.tasks import SingleFlight
from asgi_jwt.tokens.claims import Claims

T = TypeVar("T")

_AT_ONCE = 50
_BETWEEN_PAGES = 1.0
_LATEST = 2**53


class _Ending(Generic[T]):
    """`change`, and the entries that go with it where it ends the session; of its last run, which counts."""

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

    A session's tombstone and the entry that refuses its access tokens are written in one step (`SessionStore.update`).
    So no failure between the two leaves an access token alive behind a dead session, or brings a session back.

    `ttl`: the longest life (ms) of an access token. `leeway`: how long (ms) past its end a service may take a token.
    `owns_sessions`: whether every token of `issuer` that has a `sid` is of a session in this store. `clock` gives
    seconds since the epoch, `monotonic` seconds since any moment.

    Every method raises `StoreUnavailable` when the store does not answer; its work is then done in part, and the call
    can be made again.
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
        monotonic: Callable[[], float] = monotonic,
    ) -> None:
        self._open = store
        self._revocations = revocations
        self._issuer = issuer
        self._leeway = leeway
        # A token may be issued for as long as a mirror may be old, by a clock that differs.
        self._life = ttl + leeway + round(revocations.policy.max_staleness * 1000) + CLOCK_SKEW
        self._owns_sessions = owns_sessions
        self._clock = clock
        self._events = events
        self._monotonic = monotonic
        self._own = revocations.own
        self._closed = False
        self._putting_back = SingleFlight(self._put_back)
        self._own.on_lost = self._putting_back.start

    @cached_property
    def _store(self) -> SessionStore:
        return self._open()

    async def end(self, subject: str, sid: str, *, shown: bool = False) -> bool:
        """End one session of the subject's; whether there was a live one.

        `shown`: an authentic refresh token of the session was shown, so that its access tokens are refused although the
        store may have lost the session.
        """
        if await self._end(SessionKey(subject, sid)):
            return True
        if shown and not self._revocations.has_session(self._issuer, sid):
            await self._append([self._session_entry(sid, self._now())])
            await self._events.emit(TokensRevoked("sid"))
        return False

    async def end_all(self, subject: str, *, last: str | None = None) -> int:
        """End every session that the subject has now, and revoke its other tokens; how many sessions.

        The session with the `sid` `last` ends in the last step: a request that bears its token can be made again for as
        long as anything is left to do.
        """
        now = self._now()
        entry = self._subject_entry(self._issuer, subject, now, spares_sessions=self._owns_sessions)
        # Sessions that have expired by a clock that is ahead live by another.
        sessions = await self._store.list(subject, now - SWEEP_AFTER)
        own = [session.key for session in sessions if session.sid == last]
        ended = await self._end_each(session.key for session in sessions if session.sid != last)
        if own and await self._end(own[0], entry):
            return ended + 1
        await self._append([entry])
        return ended

    async def revoke_subject(self, subject: str, issuer: str) -> None:
        """Revoke all that the issuer has issued for the subject up to now; with `issuer` our own, end its sessions."""
        if issuer == self._issuer:
            await self.end_all(subject)
        else:
            await self._append([self._subject_entry(issuer, subject, self._now(), spares_sessions=False)])
        await self._events.emit(TokensRevoked("sub"))

    async def revoke_token(self, claims: Claims) -> None:
        """Revoke the one access token with these claims, which were verified; without a `jti`, all tokens of its `sid`.

        Raises `MissingClaim` for a token with neither.
        """
        entry = self._token_entry(claims)
        if entry.kind != "jti" or not self._revocations.has_token(claims.issuer, claims["jti"]):
            await self._append([entry])
            await self._events.emit(TokensRevoked(entry.kind))

    async def refuse_revoked(self, key: SessionKey) -> bool:
        """Whether the session's access tokens are revoked: then it is ended, if it was not. Every refresh asks.

        An entry without a tombstone is of a store that lost the tombstone, or of a host's own making. Raises
        `RevocationsUnavailable`.
        """
        await self._revocations.current()
        if not self._revocations.has_session(self._issuer, key.sid):
            return False
        await self._end(key)
        return True

    async def update(
        self, key: SessionKey, change: Callable[[Session | None], tuple[Session | None, T]], *more: Revocation
    ) -> T:
        """`SessionStore.update`; where `change` ends the session, its entry, and `more`, go into the log with it."""
        now = self._now()
        ending = _Ending(change, lambda: (self._session_entry(key.sid, now), *more))
        result = await self._store.update(key, ending)
        if ending.entries:
            self._remember(ending.entries, key)
        return result

    def close(self) -> None:
        """Put nothing back any more."""
        self._closed = True

    async def _end(self, key: SessionKey, *more: Revocation) -> bool:
        now = self._now()

        def change(session: Session | None) -> tuple[Session | None, bool]:
            # A session that has expired by this clock may live by another.
            return session and end_session(session, now), session is not None and session.is_live(now)

        ended = await self.update(key, change, *more)
        if ended:
            await self._events.emit(SessionEnded("ended"))
        return ended

    async def _end_each(self, keys: Iterable[SessionKey]) -> int:
        """End these sessions, each whether or not another fails; how many were live. Raises the first failure."""
        ended: list[bool] = []
        failures: list[StoreUnavailable] = []

        async def end(key: SessionKey) -> None:
            try:
                ended.append(await self._end(key))
            except StoreUnavailable as failure:
                failures.append(failure)

        # Some at once, for a store that commits together the calls that come together.
        left = iter(keys)
        while page := [*islice(left, _AT_ONCE)]:
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
        """Refuse from now on in this process, and know what to put back."""
        self._revocations.take(revocations)
        self._own.wrote(revocations, key, self._elapsed(), self._now())

    async def _put_back(self) -> None:
        """Give a log that lost its entries those that this process had written, a page at a time.

        A server that restarted empty, or was failed over, has lost logouts that were answered with 204.
        """
        while self._own.lost and not self._closed:
            page = [self._own.lost.popleft() for _ in range(min(LOG_PAGE, len(self._own.lost)))]
            try:
                await self._put_back_page(page)
            except StoreUnavailable:
                self._own.lost.extendleft(reversed(page))
            if self._own.lost:
                await anyio.sleep(_BETWEEN_PAGES)

    async def _put_back_page(self, page: Sequence[Written]) -> None:
        now = self._elapsed()
        held = [written for written in page if written.lapses > now]
        # With the remaining life, so that no entry lives on from loss to loss.
        entries = [each.revocation._replace(until=each.revocation.time + each.lapses - now) for each in held]
        await self._store.append_revocations(entries, self._now())
        self._own.put_back(entries)
        # A tombstone may be lost as well: a session that is live again ends again.
        await self._end_each([each.key for each in held if each.key is not None])

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _elapsed(self) -> int:
        return int(self._monotonic() * 1000)

    def _session_entry(self, sid: str, now: int) -> Revocation:
        return Revocation("sid", self._issuer, log_value(sid), now + self._life, now)

    def _subject_entry(self, issuer: str, subject: str, now: int, *, spares_sessions: bool) -> Revocation:
        return Revocation("sub", issuer, log_value(subject), now + self._life, now, spares_sessions)

    def _token_entry(self, claims: Claims) -> Revocation:
        jti, sid, now = claims.get("jti"), claims.get("sid"), self._now()
        # By a clock that is ahead the token seems to have less life left than it has: at most all of it.
        issued = min(max(claims.get("iat", inf) * 1000, now - SWEEP_AFTER), now)
        until = floor(min(now + claims.expires_at * 1000 - issued + self._leeway, _LATEST))
        if type(jti) is str:
            return Revocation("jti", claims.issuer, log_value(jti), until, now)
        if type(sid) is str:
            # Other tokens of the session may live longer than this one.
            return Revocation("sid", claims.issuer, log_value(sid), max(until, now + self._life), now)
        raise MissingClaim("jti and sid: the token has no name by which it could be refused")
