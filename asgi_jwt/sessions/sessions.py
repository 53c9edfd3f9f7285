"""Sessions: opened, refreshed, listed and ended."""

# A function within a method is made at each call, and its annotations would be evaluated then.
from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

from anyio import to_thread

from asgi_jwt.callbacks import ask
from asgi_jwt.errors import (
    AuthError,
    InvalidGrant,
    InvalidScope,
    InvalidToken,
    SessionOver,
    StoreUnavailable,
    TokenReused,
)
from asgi_jwt.events import EventSink, Refreshed, ReuseDetected, SessionEnded, SessionOpened, StoreFailed
from asgi_jwt.sessions.gate import Gate
from asgi_jwt.sessions.pairs import TokenPair, issued_pair
from asgi_jwt.sessions.revoker import Revoker
from asgi_jwt.sessions.rotation import Decision, Presented, RotationPolicy, Verdict, decide, judge, open_session
from asgi_jwt.stores.base import SWEEP_LIMIT, SessionStore
from asgi_jwt.stores.records import Client, Session, SessionKey
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.identity import Described, Identity, kind, names, with_scopes
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.verifier import TokenVerifier

CheckSize = Callable[[str, str], None]
"""Raises for an access token and a refresh token that are too large for where they go."""
LoadIdentity = Callable[[str, Session], Awaitable[Identity | None] | Identity | None]

_REFUSED = (Verdict.INVALID, Verdict.REUSED)
_REFRESHED = {verdict: Refreshed(verdict) for verdict in Verdict}
_ROUNDS = 3
_SWEEP_EVERY = 60_000


class Sessions:
    """The logins of an application. Times of its own are milliseconds; `clock` gives seconds since the epoch.

    `ready` is awaited before each signature: the keys of `issuer` may change.

    Every method raises `StoreUnavailable` when the store does not answer: the caller keeps what it has and tries
    again. The order of steps loses nothing whichever of them fails.
    """

    def __init__(
        self,
        store: SessionStore,
        issuer: TokenIssuer,
        refresh_verifier: TokenVerifier,
        policy: RotationPolicy,
        revoker: Revoker,
        *,
        session_ttl: int,
        clock: Callable[[], float],
        events: EventSink,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._refresh_verifier = refresh_verifier
        self._policy = policy
        self._revoker = revoker
        self._session_ttl = session_ttl
        self._clock = clock
        self._events = events
        self._ready = ready
        self._gate = Gate()
        self._overload_told_at = -inf
        self._swept_at: int | None = None

    def _now(self) -> int:
        return int(self._clock() * 1000)

    async def open(
        self, identity: Identity, client: Client | None = None, *, check_size: CheckSize | None = None
    ) -> TokenPair:
        """A new session for `identity` on the device `client`, and its first tokens.

        What `check_size` raises of the tokens is raised before anything is kept.
        """
        entered = await self._enter("open")
        try:
            return await self._open(identity, client, check_size)
        finally:
            self._gate.leave(entered)

    async def _open(self, identity: Identity, client: Client | None, check_size: CheckSize | None) -> TokenPair:
        now = self._now()
        session = open_session(
            identity.subject,
            secrets.token_urlsafe(16),
            now=now,
            refresh_ttl=self._policy.refresh_ttl,
            session_ttl=self._session_ttl,
            client_id=identity.client_id,
            claims=identity.claims,
            scopes=identity.scopes,
            roles=identity.roles,
            client=client,
        )
        access_token = await self._mint(identity, session)
        decision = Decision(Verdict.ROTATED, session, secrets.token_hex(8))
        # What can't be made, because it would be too large, shows before anything is kept.
        pair = issued_pair(self._issuer, decision, session, access_token, identity, now=now)
        if check_size is not None:
            check_size(access_token, pair.refresh_token)
        await self._store.update(session.key, lambda _: (session, None))
        await self._events.emit(SessionOpened())
        await self._sweep(now)
        return pair

    async def refresh(
        self,
        token: str | bytes,
        *,
        load_identity: LoadIdentity | None = None,
        client_id: str | None = None,
        scope: str = "",
        check_size: CheckSize | None = None,
    ) -> TokenPair:
        """New tokens for a refresh token: RFC 6749 section 6, RFC 9700 section 4.14.2, and the README's table.

        `load_identity(subject, session)` gives the user as they are now; None ends the session. `client_id` is the id
        of the OAuth client that asks, empty for a client that names none: a session that has a client id is for that
        client alone. None: no client asks, but the page that the cookie belongs to. `scope` narrows the access token
        to these space-separated scopes; empty: it has all. What `check_size` raises of the new access token is
        raised before anything is changed. Raises `SessionOver` or `TokenReused`, both `InvalidGrant`,
        when the session is over, `InvalidGrant` for a token of no use or of another client, and `InvalidScope` for a
        scope that the session does not have.
        """
        entered = await self._enter("refresh")
        try:
            return await self._refresh(token, load_identity, client_id, scope, check_size)
        finally:
            self._gate.leave(entered)

    async def _enter(self, operation: str) -> float:
        """Take a place at the gate. Refuses what can't be served in time before it costs a signature."""
        try:
            return await self._gate.enter()
        except StoreUnavailable as overload:
            # Told once a second: each of thousands of refusals would delay the callers who are at work.
            if abs(self._clock() - self._overload_told_at) >= 1:
                self._overload_told_at = self._clock()
                await self._events.emit(StoreFailed(operation, overload.detail or ""))
            raise

    async def _refresh(
        self,
        token: str | bytes,
        load_identity: LoadIdentity | None,
        client_id: str | None,
        scope: str,
        check_size: CheckSize | None,
    ) -> TokenPair:
        members = await self._members(token)
        presented, branch = Presented(members["gen"], members["br"]), secrets.token_hex(8)
        key = SessionKey(members["sub"], members["sid"])
        for _ in range(_ROUNDS):
            session = await self._store.get(key)
            if session is not None and client_id is not None and session.client_id not in (None, client_id):
                raise InvalidGrant("another client's session")
            if await self._revoker.refuse_revoked(key):
                raise await self._refusal(Verdict.INVALID)
            verdict = judge(session, presented, now=self._now(), policy=self._policy)
            minted = None
            if session is not None and verdict not in _REFUSED:
                minted = await self._provisional(session, load_identity, scope)
                if check_size is not None:
                    check_size(minted[0], "")
            now = self._now()
            decision = await self._commit(key, presented, branch=branch, now=now, minted=minted is not None)
            if decision.verdict in _REFUSED:
                raise await self._refusal(decision.verdict)
            if minted is not None and decision.session is not None:
                await self._events.emit(_REFRESHED[decision.verdict])
                return issued_pair(self._issuer, decision, decision.session, *minted, now=now, presented=token)
            # The record is newer than the one that was read, as behind a lagging replica.
        lagging = "the store's reads lag behind its writes"
        await self._events.emit(StoreFailed("get", lagging))
        raise StoreUnavailable(lagging)

    async def read(self, token: str | bytes) -> Claims:
        """The claims of an authentic refresh token, whatever became of its session. Raises `InvalidGrant`."""
        return Claims(await self._members(token))

    async def _members(self, token: str | bytes) -> Mapping[str, Any]:
        try:
            given = token if isinstance(token, bytes) else token.encode("ascii")
            members = await self._refresh_verifier.verify_once(given)
        except (InvalidToken, UnicodeEncodeError):
            # A signature that is wrong ends no session: anyone could log others out so.
            raise InvalidGrant from None
        if type(members["sid"]) is not str or type(members["gen"]) is not int or type(members["br"]) is not str:
            raise InvalidGrant
        return members

    async def is_live(self, subject: str, sid: str) -> bool:
        """Whether the session is neither ended nor expired."""
        session = await self._store.get(SessionKey(subject, sid))
        return session is not None and session.is_live(self._now())

    async def has_ended(self, subject: str, sid: str) -> bool:
        """Whether the session is known, and over before its time. An end that had begun is finished."""
        session = await self._store.get(SessionKey(subject, sid))
        if session is None or (session.ended_at is None and session.ending_at is None):
            return False
        await self._revoker.end(subject, sid)
        return True

    async def end(self, subject: str, sid: str) -> bool:
        """End one session of the subject's, for good, and its access tokens; whether there was a live one."""
        return await self._revoker.end(subject, sid)

    async def end_all(self, subject: str) -> int:
        """End every session that the subject has now, and its access tokens; how many.

        A login right after is untouched.
        """
        return await self._revoker.end_all(subject)

    async def list(self, subject: str) -> Sequence[Session]:
        """The subject's live sessions, oldest first. One whose end had begun is ended now, and is none of them."""
        sessions = await self._store.list(subject, self._now())
        for session in sessions:
            if session.ending_at is not None:
                await self._revoker.end(*session.key)
        return tuple(session for session in sessions if session.ending_at is None)

    def _commit(
        self, key: SessionKey, presented: Presented, *, branch: str, now: int, minted: bool
    ) -> Awaitable[Decision]:
        def change(stored: Session | None) -> tuple[Session | None, Decision]:
            decision = decide(stored, presented, branch=branch, now=now, policy=self._policy)
            # Nothing is written that would need an access token and has none.
            return decision.session if minted or decision.verdict in _REFUSED else stored, decision

        return self._revoker.update(key, change)

    async def _provisional(
        self, session: Session, load_identity: LoadIdentity | None, scope: str
    ) -> tuple[str, Described]:
        """An access token, minted before the store commits, so that a failing hook loses nothing."""
        identity = session if load_identity is None else await self._loaded(session, load_identity)
        if scope and (asked := names(scope)):
            if not set(asked) <= {*session.scopes, *identity.scopes}:
                raise InvalidScope
            identity = with_scopes(identity, (name for name in identity.scopes if name in asked))
        return await self._mint(identity, session), identity

    async def _loaded(self, session: Session, load_identity: LoadIdentity) -> Identity:
        identity: object = await ask(load_identity, session.subject, session)
        if identity is None:
            await self._revoker.end(*session.key)
            raise SessionOver
        if not isinstance(identity, Identity):
            raise TypeError(
                "load_identity returns the user's Identity, or None to end the session, as Identity(subject):"
                f" it returned {kind(identity)}"
            )
        if identity.subject != session.subject:
            raise ValueError("load_identity gave the identity of another subject")
        return identity

    async def _mint(self, identity: Described, session: Session) -> str:
        await self._ready()
        if self._issuer.slow:
            mint = partial(self._issuer.access_token, identity, session_id=session.sid, ends_at=session.ends_at / 1000)
            return await to_thread.run_sync(mint)
        return self._issuer.access_token(identity, session_id=session.sid, ends_at=session.ends_at / 1000)

    async def _refusal(self, verdict: Verdict) -> AuthError:
        await self._events.emit(_REFRESHED[verdict])
        if verdict is Verdict.REUSED:
            await self._events.emit(ReuseDetected())
            await self._events.emit(SessionEnded("reuse"))
            return TokenReused()
        return SessionOver()

    async def _sweep(self, now: int) -> None:
        if self._swept_at is not None and abs(now - self._swept_at) < _SWEEP_EVERY:
            return
        self._swept_at = now
        with suppress(StoreUnavailable):  # The login stands, and a later one sweeps.
            if await self._store.sweep(now) >= SWEEP_LIMIT:
                self._swept_at = None  # there is more: the next login goes on
