"""Auth: wires settings, keys, verifier, issuer, store and sessions together."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from types import TracebackType
from typing import Any, Self, Unpack

from anyio import fail_after

from asgi_jwt.errors import ConfigurationError, Unavailable, WrongIssuer
from asgi_jwt.events import EventSink, OnEvent
from asgi_jwt.sessions.replays import StoreReplays
from asgi_jwt.sessions.revocations import RevocationList, RevocationPolicy
from asgi_jwt.sessions.revoker import Revoker
from asgi_jwt.sessions.rotation import RotationPolicy
from asgi_jwt.sessions.sessions import Sessions
from asgi_jwt.settings import MAX_LEEWAY, Settings
from asgi_jwt.settings.keywords import SettingsKeywords
from asgi_jwt.settings.trusts import Resolve, finders_of, trusts_of
from asgi_jwt.stores.base import ProofStore, SessionStore
from asgi_jwt.stores.millis import millis
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.reporting import ReportingStore
from asgi_jwt.stores.urls import open_store
from asgi_jwt.tokens.binding import Binding, Replays
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.opaque import OpaqueTokens, OpaqueVerifier, is_opaque
from asgi_jwt.tokens.own_keys import OwnKeys
from asgi_jwt.tokens.proof import Proof
from asgi_jwt.tokens.proofs import Proofs
from asgi_jwt.tokens.replays import ReplayMemory
from asgi_jwt.tokens.verifier import TokenVerifier


class Auth:
    """Verifies, issues and revokes the tokens of an application. Build it once, at import, where its faults show.

    `settings`: the issuer whose tokens are issued here, if it has keys of its own.
    `issuers`: further trusted issuers, each as `Settings` of its own, from which its keys, audience and rules for
    claims are taken. The `iss` of a token decides which issuer's keys and rules apply. Or a function that is called
    with the `iss` of a token, and returns that issuer's `Settings`, or None if the issuer is not trusted. Its answers
    are held for 60 s. `forget_issuer` drops one earlier. If it raises, tokens of that issuer are answered with 503.
    `verifiers`: asked in their order for a token that is no JWT, as an API key, and before introspection. Each is an
    object with `async verify(token: str) -> Claims | None`.
    `store`: a store of the host's own, instead of `settings.store`.
    `on_event`: called with each event, sync or async.
    `clock`: returns seconds since the epoch.

    As an async context manager it closes itself at the end. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        issuers: Iterable[Settings] | Resolve = (),
        verifiers: Iterable[OpaqueVerifier] = (),
        store: SessionStore | None = None,
        on_event: OnEvent | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(store, (str, type)):
            raise ConfigurationError("store= takes a store, as MemoryStore(): a URL goes into the settings' `store`")
        self.settings = settings
        self._store = store
        self._opened: SessionStore | None = None
        self.events = EventSink(on_event)
        self.clock = clock
        self._policy = settings.policy
        self._sessions: Sessions | None = None
        self._own = OwnKeys(settings, clock=clock, events=self.events)
        listed, resolve = ([settings], issuers) if callable(issuers) else ([settings, *issuers], None)
        self.verifier = self._verifier(listed, resolve)
        self.opaque_tokens = OpaqueTokens.of(verifiers, listed, clock=clock, events=self.events)
        self._revocations: RevocationList | None = None
        if store is not None or settings.store is not None:
            self._keep_revocations()
        self.binding = Binding(settings.dpop, Proofs(clock), self._replays())

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        issuers: Iterable[Settings] | Resolve = (),
        verifiers: Iterable[OpaqueVerifier] = (),
        store: SessionStore | str | None = None,
        on_event: OnEvent | None = None,
        clock: Callable[[], float] = time.time,
        **settings: Unpack[SettingsKeywords],
    ) -> Self:
        """An Auth with the settings in `environ`, overridden by keywords. None: the environment of the process.

        `store` is a URL, as in `STORE`, or a store of the host's own. Raises `ConfigurationError`.
        """
        if isinstance(store, str):
            read, store = Settings.from_env(environ, store=store, **settings), None
        else:
            read = Settings.from_env(environ, **settings)
        return cls(read, issuers=issuers, verifiers=verifiers, store=store, on_event=on_event, clock=clock)

    def _verifier(self, listed: Sequence[Settings], resolve: Resolve | None) -> TokenVerifier:
        own = [self._own, *(OwnKeys(each, clock=self.clock, events=self.events) for each in listed[1:])]
        trusts = [
            trust
            for each, keys in zip(listed, own, strict=True)
            for trust in trusts_of(each, keys, clock=self.clock, events=self.events)
        ]
        (keys, policy), *others = trusts
        return TokenVerifier(
            keys,
            policy,
            cache_size=self.settings.cache_size,
            clock=self.clock,
            others=others,
            finders=finders_of(listed, resolve, clock=self.clock, events=self.events),
            at_sight=self.settings.dpop != "required",
        )

    def _replays(self) -> Replays:
        if self.settings.dpop_replay == "store":
            self.require_store()
            return StoreReplays(self._reporting_store)
        return ReplayMemory(self.settings.dpop_replay_size, self.clock)

    def _keep_revocations(self) -> None:
        settings = self.settings
        self._revocations = RevocationList(
            self._reporting_store,
            RevocationPolicy(
                interval=settings.revocation_interval,
                max_staleness=settings.revocation_max_staleness,
                outage=settings.revocation_outage,
            ),
            clock=self.clock,
            events=self.events,
        )
        self._revoker = Revoker(
            self._reporting_store,
            self._revocations,
            issuer=self._policy.issuer,
            revocation_ttl=millis(settings.revocation_ttl),
            leeway=millis(MAX_LEEWAY),
            owns_sessions=bool(settings.refresh_secret),
            clock=self.clock,
            events=self.events,
        )

    def warm_up(self) -> None:
        """Start to fetch remote keys and to read revocations, and return at once. It needs a running event loop.

        A call is optional. Without it the first token waits for keys and revocations.
        """
        self.verifier.warm_up()
        if self._revocations is not None:
            self._revocations.warm_up()

    async def ready(self) -> None:
        """Returns when the store, if there is one, answers, and the keys of every issuer named in full are there.

        The keys of tenants, and of issuers that the function `issuers` trusts, are fetched with their first token.
        It is made for a readiness route. Raises `Unavailable` if keys or store are out of reach, within 5 seconds.
        """
        try:
            with fail_after(_READY_TIMEOUT):
                await self.verifier.ready()
                if self._revocations is not None:
                    await self.require_store().get(_UNUSED_KEY)
                    await self._revocations.current()
        except TimeoutError:
            raise Unavailable(f"no answer within {_READY_TIMEOUT} s") from None

    @property
    def issuer(self) -> TokenIssuer:
        """Issues access tokens, with the first private key whose `nbf` has passed. A changed key file is followed.

        Raises `ConfigurationError` if there is no private key.
        """
        return self._own.issuer

    async def published_keys(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish: the public members of the keys that are configured here.

        It is empty if the keys are secrets or come from a remote issuer (RFC 7517 section 5).
        """
        await self._own.current()
        return self._own.public_jwks()

    @property
    def store(self) -> SessionStore:
        """The store of sessions and revocations. It is opened at the first use.

        Raises `ConfigurationError` if no store is configured.
        """
        return self.require_store()

    def require_store(self) -> SessionStore:
        """The same as `store`. A caller that needs the store later calls it early, so that faults show at the start."""
        if self._store is None:
            if self.settings.store is None:
                raise ConfigurationError(_STORE_MISSING)
            self._store = self._opened = open_store(self.settings.store)
        if self.settings.dpop_replay == "store" and not isinstance(self._store, ProofStore):
            raise ConfigurationError(_NO_PROOF_STORE)
        return self._store

    def _reporting_store(self) -> ReportingStore:
        return ReportingStore(self.store, self.events)

    @property
    def sessions(self) -> Sessions:
        """Opens, refreshes and ends sessions.

        Raises `ConfigurationError` if `REFRESH_SECRET`, the store or a signing key is missing.
        """
        return self.require_sessions()

    def require_sessions(self) -> Sessions:
        """The same as `sessions`. A caller that needs it later calls it early, so that faults show at the start."""
        if self._sessions is None:
            settings = self.settings
            if not settings.refresh_secret:
                raise ConfigurationError("ASGI_JWT_REFRESH_SECRET is missing: asgi-jwt keygen makes one")
            self._sessions = Sessions(
                self._reporting_store(),
                self.issuer,
                TokenVerifier(self._own.refresh, settings.refresh_policy, cache_size=0, clock=self.clock),
                RotationPolicy(
                    grace=millis(settings.grace),
                    recovery=millis(settings.recovery),
                    refresh_ttl=millis(settings.refresh_ttl),
                    shared_clients=frozenset(settings.shared_clients),
                ),
                self._revoker,
                binding=self.binding,
                session_ttl=millis(settings.session_ttl),
                unremembered_ttl=millis(min(settings.unremembered_ttl, settings.session_ttl)),
                max_sessions=settings.max_sessions,
                clock=self.clock,
                events=self.events,
                ready=self._own.current,
            )
        return self._sessions

    @property
    def revocations(self) -> RevocationList:
        """The revoked tokens, as this process knows them. Raises `ConfigurationError` if there is no store."""
        if self._revocations is None:
            raise ConfigurationError(_STORE_MISSING)
        return self._revocations

    @property
    def revoker(self) -> Revoker:
        """Ends sessions and revokes tokens. Raises `ConfigurationError` if there is no store."""
        self.require_store()
        return self._revoker

    @property
    def asks_others(self) -> bool:
        """Whether `verify` may wait for another server, or for a verifier of the host's."""
        return self.opaque_tokens is not None or self.verifier.asks_others

    def verify_cached(self, token: str | bytes) -> Claims | None:
        """The claims of a token that was verified before and is still valid. It is synchronous and does no I/O.

        None: `verify` has to decide, as it does for every token that is bound to a key.
        """
        token = token if type(token) is bytes else _bytes(token)
        claims = self.verifier.verify_cached(token)
        if claims is None and self.opaque_tokens is not None:
            claims = self.binding.at_sight(self.opaque_tokens.verify_cached(token))
        revocations = self._revocations
        if claims is None or revocations is None or revocations.passes(claims):
            return claims
        return None

    async def verify(self, token: str | bytes, *, proof: Proof | None = None) -> Claims:
        """The claims of a valid access token that is not revoked. Raises an `AuthError` for any other token.

        `proof`: the request's proof of a key. A token that is bound to a key is refused without it, with `InvalidProof`
        (RFC 9449 section 4.3). For any other token it is ignored.

        The checks are those of RFC 7519 section 7.2, RFC 8725 and RFC 9068 section 4.
        """
        token = token if type(token) is bytes else _bytes(token)
        digest = b"" if proof is None else sha256(token).digest()
        claims = None if proof is None else self.verifier.verify_cached_bound(digest)
        if claims is None:
            claims = await self.authentic(token)
        verified = self.binding.check(claims, digest, proof)
        if self._revocations is not None:
            await self._revocations.check(claims)
        if verified is not None:
            await self.binding.use(verified)
        return claims

    async def authentic(self, token: str | bytes) -> Claims:
        """The claims of a valid access token, even if it is revoked. Raises an `AuthError` for any other token.

        Use it only to end a session or to revoke a token, never to give access.
        """
        token = token if type(token) is bytes else _bytes(token)
        if self.opaque_tokens is not None and is_opaque(token):
            return await self.opaque_tokens.verify(token)
        return await self.verifier.verify(token)

    async def revoke_token(self, token: str | bytes | Claims) -> None:
        """Revoke one access token: every process that shares the store refuses it from now on. Its session lives on.

        `token` is the token or its verified `Claims`. A token without a `jti` is revoked with all tokens of its `sid`.
        A second call does nothing.

        Raises `MissingClaim` for a token with neither `jti` nor `sid`, an `AuthError` for an invalid token, and
        `ConfigurationError` without a store. Raises `StoreUnavailable` if the store is down: then call it again.
        """
        await self.revoker.revoke_token(token if isinstance(token, Claims) else await self.authentic(token))

    async def revoke_subject(self, subject: str, *, issuer: str | None = None) -> None:
        """Revoke every token that was issued for the subject until now, and end the subject's sessions.

        It is for a user who is banned or has changed the password. A login right after the call works. `issuer` is the
        issuer of the user's tokens; None is the first one, whose sessions are kept here. Name the issuer of a tenant.

        Raises `ValueError` for an issuer that is not trusted, and `ConfigurationError` without a store. Raises
        `StoreUnavailable` if the store is down, and `KeysUnavailable` if the function `issuers` fails: then call it
        again.
        """
        revoker = self.revoker
        named = issuer or self._policy.issuer
        # The issuers of a host's verifiers are known to them alone.
        if self.opaque_tokens is None:
            try:
                await self.verifier.trust_in(named)
            except WrongIssuer:
                raise ValueError("revoke_subject: the issuer is none of those whose tokens are taken") from None
        await revoker.revoke_subject(subject, named)

    def forget_issuer(self, iss: str) -> None:
        """Drop the keys and the cached tokens of the issuer, and close its WebSockets within a second.

        Call it when a tenant is removed or has replaced its keys. The issuer's next token is verified with keys that
        are fetched anew. An unknown issuer changes nothing. Each process has to call it.
        """
        self.verifier.forget(iss)
        if self.opaque_tokens is not None:
            self.opaque_tokens.forget(iss)

    @property
    def may_forget(self) -> bool:
        """Whether the issuer of verified claims may have been forgotten meanwhile, or be trusted no longer."""
        opaque = self.opaque_tokens
        return self.verifier.may_forget or (opaque is not None and opaque.may_forget)

    async def aclose(self) -> None:
        """Stop restoring what the log has lost, and close the store if this `Auth` opened it.

        A second call does nothing, and a later use opens the store again.
        """
        if self._revocations is not None:
            self._revoker.close()
            # The next use may open a new store, which needs a new mirror.
            self._sessions = None
            self._keep_revocations()
        opened, self._opened = self._opened, None
        if opened is not None:
            self._store = None
            await opened.aclose()

    def __deepcopy__(self, memo: object) -> Self:
        """The same object: Litestar copies what its routers hold, and the keys and the revocations must stay one."""
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_READY_TIMEOUT = 5
_UNUSED_KEY = SessionKey("asgi-jwt ready", "none")
"""A key without a session: reading it shows whether the store answers."""
_STORE_MISSING = "ASGI_JWT_STORE is missing: a URL, as sqlite:///asgi-jwt.db or redis://host"
_NO_PROOF_STORE = "ASGI_JWT_DPOP_REPLAY is store, which takes a store in Redis or PostgreSQL: use process"


def _bytes(token: str | bytes) -> bytes:
    # A text with other characters than ASCII gives bytes that the parser refuses as malformed.
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else bytes(token)
