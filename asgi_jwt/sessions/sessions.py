"""Sessions: opens, refreshes, lists and ends sessions."""

# Otherwise the annotations of a nested function would be evaluated at each call of the method around it.
from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from anyio import to_thread

from asgi_jwt.callbacks import ask, notify
from asgi_jwt.errors import (
    InvalidGrant,
    InvalidScope,
    InvalidToken,
    SessionOver,
    StoreUnavailable,
    TokenReused,
)
from asgi_jwt.events import (
    EventSink,
    Refreshed,
    ReuseDetected,
    SessionEnded,
    SessionOpened,
    StaleReplayed,
    StoreFailed,
)
from asgi_jwt.sessions.gate import AdmissionGate, Overload
from asgi_jwt.sessions.pairs import TokenPair, issued_pair
from asgi_jwt.sessions.revoker import Revoker
from asgi_jwt.sessions.rotation import Decision, Presented, RotationPolicy, Verdict, decide, judge, open_session
from asgi_jwt.stores.base import SWEEP_LIMIT, SessionStore
from asgi_jwt.stores.millis import Millis, millis, seconds
from asgi_jwt.stores.records import CLOCK_SKEW, Client, Session, SessionKey
from asgi_jwt.tokens.binding import Binding
from asgi_jwt.tokens.claims import Claims, bound_to
from asgi_jwt.tokens.identity import Described, Identity, kind, names, with_login, with_scopes
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.proof import Proof
from asgi_jwt.tokens.verifier import TokenVerifier

CheckSize = Callable[[str, str], None]
"""Called with the access token and the refresh token. Raises if one is too large, as for a cookie.

The access token of a session that is bound to a key is not named: it gets no cookie.
"""
LoadIdentity = Callable[[str, Session], Awaitable[Identity | None] | Identity | None]
OnReuse = Callable[[Session], Awaitable[None] | None]

_ON_REUSE_LIMIT = 1.0
"""How long (s) an answer waits for the host's `on_reuse`."""

_REFUSED = (Verdict.INVALID, Verdict.REUSED)
_REFRESHED = {verdict: Refreshed(verdict) for verdict in Verdict}
_THEFT = (_REFRESHED[Verdict.REUSED], ReuseDetected(), SessionEnded("reuse"))
_MAX_READS = 3
_SWEEP_INTERVAL = Millis(60_000)


class Sessions:
    """Opens, refreshes, lists and ends the sessions of an application.

    `binding` checks proofs. `session_ttl` is in ms, and `unremembered_ttl` is the same for a login that is not
    remembered. `max_sessions`: how many sessions a subject may have, and 0 for any number. `clock` returns seconds
    since the epoch. `ready` is awaited before each signature, because the keys of `issuer` may change.

    Every method raises `StoreUnavailable` if the store does not answer. The caller keeps its tokens and tries again:
    whichever step fails, nothing is lost.
    """

    def __init__(
        self,
        store: SessionStore,
        issuer: TokenIssuer,
        refresh_verifier: TokenVerifier,
        policy: RotationPolicy,
        revoker: Revoker,
        *,
        binding: Binding,
        session_ttl: Millis,
        unremembered_ttl: Millis,
        max_sessions: int,
        clock: Callable[[], float],
        events: EventSink,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._refresh_verifier = refresh_verifier
        self._policy = policy
        self._revoker = revoker
        self._binding = binding
        self._session_ttl = session_ttl
        self._unremembered_ttl = unremembered_ttl
        self._max_sessions = max_sessions
        self._clock = clock
        self._events = events
        self._ready = ready
        self._gate = AdmissionGate()
        self._overload = Overload(events, clock)
        self._swept_at: Millis | None = None

    def _now(self) -> Millis:
        return millis(self._clock())

    async def open(
        self,
        identity: Identity,
        client: Client | None = None,
        *,
        jkt: str | None = None,
        replaces: SessionKey | None = None,
        check_size: CheckSize | None = None,
    ) -> TokenPair:
        """Open a session for `identity` on the device `client`. Returns its first tokens.

        `jkt`: the thumbprint of the key that the session is bound to. None: any holder of a token may use it.
        `replaces`: the session that ends now. Then the subject's sessions that were used longest ago end, until
        `MAX_SESSIONS` are left. A session that was opened at the same time may be among them. An error that
        `check_size` raises is raised before the session is stored.
        """
        entered = await self._enter("open")
        try:
            return await self._open(identity, client, jkt, replaces, check_size)
        finally:
            self._gate.leave(entered)

    async def _open(
        self,
        identity: Identity,
        client: Client | None,
        jkt: str | None,
        replaces: SessionKey | None,
        check_size: CheckSize | None,
    ) -> TokenPair:
        now = self._now()
        session = open_session(
            identity.subject,
            _new_sid(),
            now=now,
            refresh_ttl=self._policy.refresh_ttl,
            session_ttl=self._session_ttl if identity.remember else self._unremembered_ttl,
            client_id=identity.client_id,
            claims=identity.claims,
            scopes=identity.scopes,
            roles=identity.roles,
            client=client,
            jkt=jkt,
            acr=identity.acr,
            amr=identity.amr,
            remember=identity.remember,
        )
        if self._max_sessions:
            session = await self._used_last(session, now)
        access_token = await self._mint(identity, session)
        decision = Decision(Verdict.ROTATED, session, secrets.token_hex(8))
        # Tokens that are too large raise here, before the session is stored.
        shared = self._policy.is_shared(session)
        pair = issued_pair(self._issuer, decision, session, access_token, identity, now=now, shared=shared)
        if check_size is not None:
            check_size("" if pair.is_bound else access_token, pair.refresh_token)
        await self._store.update(session.key, lambda _: (session, None))
        await self._events.emit(SessionOpened())
        if replaces is not None:
            await self._revoker.end(*replaces)
        if self._max_sessions:
            await self._evict(identity.subject, now)
        await self._sweep(now)
        return pair

    async def _used_last(self, session: Session, now: Millis) -> Session:
        """The session, used after all others of the subject, by clocks that are up to `CLOCK_SKEW` ahead.

        Otherwise a login by a clock that is behind would evict itself.
        """
        others = await self._store.list(session.subject, now)
        latest = max((other.used_at for other in others if other.used_at < now + CLOCK_SKEW), default=now)
        return replace(session, used_at=Millis(max(now, latest + 1)))

    async def _evict(self, subject: str, now: Millis) -> None:
        """End all sessions of the subject but the `MAX_SESSIONS` that were used last.

        Whoever opened a session at the same time ends none of those either: the order is the same for all.
        """
        listed = await self._store.list(subject, now)
        # A session whose end has begun takes no other's place.
        sessions = sorted((session for session in listed if session.ending_at is None), key=_last_use)
        await self._revoker.evict(session.key for session in sessions[: -self._max_sessions])

    async def refresh(
        self,
        token: str | bytes,
        *,
        proof: Proof | None = None,
        load_identity: LoadIdentity | None = None,
        client_id: str | None = None,
        scope: str = "",
        check_size: CheckSize | None = None,
        on_reuse: OnReuse | None = None,
    ) -> TokenPair:
        """Exchange a refresh token for new tokens. The rules are those of `decide`.

        `proof`: the request's proof of a key. A token that is bound to a key needs one.
        `load_identity(subject, session)` returns the user's present identity, or None to end the session.
        `client_id` is the id of the OAuth client that sends the request, and empty for a client without an id. A
        session with a client id is for that client alone. None: the token comes from a cookie, and no id is checked.
        `scope` has the scopes of the access token, separated by spaces. Empty: all scopes of the identity.
        An error that `check_size` raises is raised before the session changes.
        `on_reuse(session)` is called with the tombstone of a session that ends now as stolen.

        Raises `SessionOver` if the session is unknown, expired or ended, `TokenReused` if it ends now as stolen,
        `InvalidGrant`, the parent of both, for an invalid token or another client's, `InvalidGrantProof` for a missing
        or invalid proof, before the store is asked, and `InvalidScope` for a scope that the session does not have (RFC
        6749 section 6, RFC 9449 section 5, RFC 9700 section 4.14.2).
        """
        entered = await self._enter("refresh")
        try:
            claims = await self._refresh_claims(token)
            await self._binding.at_refresh(bound_to(claims), proof)
            refreshed = await self._refresh(token, claims, load_identity, client_id, scope, check_size)
        finally:
            self._gate.leave(entered)
        if isinstance(refreshed, TokenPair):
            return refreshed
        # The place at the gate is free by now: thefts that the host is slow to hear of keep no one out.
        if on_reuse is not None:
            await notify(on_reuse, refreshed, limit=_ON_REUSE_LIMIT)
        raise TokenReused

    async def _enter(self, operation: str) -> float:
        """Take a place at the gate, before any signature is checked. Raises `StoreUnavailable` in an overload."""
        try:
            return await self._gate.enter()
        except StoreUnavailable as overload:
            await self._overload.emit(operation, overload)
            raise

    async def _refresh(
        self,
        token: str | bytes,
        claims: Mapping[str, Any],
        load_identity: LoadIdentity | None,
        client_id: str | None,
        scope: str,
        check_size: CheckSize | None,
    ) -> TokenPair | Session:
        """The new tokens, or the tombstone of a session that ends now as stolen. Raises every other refusal."""
        presented, branch = Presented(claims["gen"], claims["br"]), secrets.token_hex(8)
        key = SessionKey(claims["sub"], claims["sid"])
        for _ in range(_MAX_READS):
            session = await self._store.get(key)
            if session is not None and client_id is not None and session.client_id not in (None, client_id):
                raise InvalidGrant("another client's session")
            if await self._revoker.refuse_revoked(key):
                raise await self._invalid()
            verdict = judge(session, presented, now=self._now(), policy=self._policy)
            minted = None
            if session is not None and verdict not in _REFUSED:
                minted = await self._mint_for(session, load_identity, scope)
                if check_size is not None:
                    check_size("" if session.jkt else minted[0], "")
            now = self._now()
            decision = await self._commit(key, presented, branch=branch, now=now, minted=minted is not None)
            if decision.verdict is Verdict.INVALID or decision.session is None:
                raise await self._invalid()
            if decision.verdict is Verdict.REUSED:
                for event in _THEFT:
                    await self._events.emit(event)
                return decision.session
            if minted is not None:
                await self._events.emit(_REFRESHED[decision.verdict])
                if decision.is_stale:
                    await self._events.emit(StaleReplayed())
                shared = self._policy.is_shared(decision.session)
                return issued_pair(
                    self._issuer, decision, decision.session, *minted, now=now, presented=token, shared=shared
                )
            # `get` was stale and gave a refusal, and `update` saw a newer record that accepts the token. No access
            # token was minted, so nothing was written.
        lagging = "the store's reads lag behind its writes"
        await self._events.emit(StoreFailed("get", lagging))
        raise StoreUnavailable(lagging)

    async def read(self, token: str | bytes) -> Claims:
        """The claims of an authentic refresh token, even if its session has ended. Raises `InvalidGrant`."""
        return Claims(await self._refresh_claims(token))

    async def _refresh_claims(self, token: str | bytes) -> Mapping[str, Any]:
        try:
            encoded = token if isinstance(token, bytes) else token.encode("ascii")
            claims = await self._refresh_verifier.verify_once(encoded)
        except (InvalidToken, UnicodeEncodeError):
            # A wrong signature must not end the session: otherwise anyone could log other users out.
            raise InvalidGrant from None
        if type(claims["sid"]) is not str or type(claims["gen"]) is not int or type(claims["br"]) is not str:
            raise InvalidGrant
        return claims

    async def is_live(self, subject: str, sid: str) -> bool:
        """Whether the session is neither ended nor expired."""
        session = await self._store.get(SessionKey(subject, sid))
        return session is not None and session.is_live(self._now())

    async def has_ended(self, subject: str, sid: str) -> bool:
        """Whether the session was ended. An end that was interrupted is finished now."""
        session = await self._store.get(SessionKey(subject, sid))
        if session is None or (session.ended_at is None and session.ending_at is None):
            return False
        await self._revoker.end(subject, sid)
        return True

    async def end(self, subject: str, sid: str) -> bool:
        """End one session of the subject, and revoke its access tokens. Returns whether the session was live."""
        return await self._revoker.end(subject, sid)

    async def end_all(self, subject: str) -> int:
        """End all present sessions of the subject, and revoke its access tokens. Returns the number of sessions.

        A login right after the call is not affected.
        """
        return await self._revoker.end_all(subject)

    async def list(self, subject: str) -> Sequence[Session]:
        """The subject's live sessions, the oldest first. A session whose end was interrupted is ended now."""
        sessions = await self._store.list(subject, self._now())
        for session in sessions:
            if session.ending_at is not None:
                await self._revoker.end(*session.key)
        return tuple(session for session in sessions if session.ending_at is None)

    def _commit(
        self, key: SessionKey, presented: Presented, *, branch: str, now: Millis, minted: bool
    ) -> Awaitable[Decision]:
        def change(stored: Session | None) -> tuple[Session | None, Decision]:
            decision = decide(stored, presented, branch=branch, now=now, policy=self._policy)
            # Without a minted access token the new record would have no answer, so nothing is written.
            return decision.session if minted or decision.verdict in _REFUSED else stored, decision

        return self._revoker.update(key, change)

    async def _mint_for(
        self, session: Session, load_identity: LoadIdentity | None, scope: str
    ) -> tuple[str, Described]:
        """An access token and its identity. It is minted before the store commits, so a failing hook loses nothing."""
        identity = session if load_identity is None else await self._load(session, load_identity)
        if scope and (wanted := names(scope)):
            if not set(wanted) <= {*session.scopes, *identity.scopes}:
                raise InvalidScope
            identity = with_scopes(identity, (name for name in identity.scopes if name in wanted))
        return await self._mint(identity, session), identity

    async def _load(self, session: Session, load_identity: LoadIdentity) -> Identity:
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
        return with_login(identity, session)

    async def _mint(self, identity: Described, session: Session) -> str:
        await self._ready()
        mint = partial(
            self._issuer.access_token,
            identity,
            session_id=session.sid,
            auth_time=seconds(session.auth_time),
            ends_at=seconds(session.ends_at),
            jkt=session.jkt,
        )
        return await to_thread.run_sync(mint) if self._issuer.slow else mint()

    async def _invalid(self) -> SessionOver:
        await self._events.emit(_REFRESHED[Verdict.INVALID])
        return SessionOver()

    async def _sweep(self, now: Millis) -> None:
        if self._swept_at is not None and abs(now - self._swept_at) < _SWEEP_INTERVAL:
            return
        self._swept_at = now
        with suppress(StoreUnavailable):  # the login has succeeded, and a later login sweeps
            if await self._store.sweep(now) >= SWEEP_LIMIT:
                self._swept_at = None  # more records have to go, so the next login sweeps, too


def _new_sid() -> str:
    """128 random bits. A command line would take a `sid` that begins with `-` for an option."""
    while (sid := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return sid


def _last_use(session: Session) -> tuple[Millis, Millis, str]:
    return session.used_at, session.created_at, session.sid
