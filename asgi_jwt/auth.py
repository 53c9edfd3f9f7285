"""Auth: settings, keys, verifier, issuer, store and sessions wired together."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from anyio import fail_after

from asgi_jwt.errors import ConfigurationError, Unavailable
from asgi_jwt.events import EventSink, OnEvent
from asgi_jwt.sessions.revocations import RevocationList, RevocationPolicy
from asgi_jwt.sessions.revoker import Revoker
from asgi_jwt.sessions.rotation import RotationPolicy
from asgi_jwt.sessions.sessions import Sessions
from asgi_jwt.settings import MAX_LEEWAY, Settings
from asgi_jwt.settings.keywords import SettingsKeywords
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.stores.reporting import ReportingStore
from asgi_jwt.stores.urls import open_store
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.own_keys import OwnKeys
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.verifier import TokenVerifier, Trust


class Auth:
    """What an application has to know of tokens, built once at import: its faults show there.

    `issuers` are further ones whose tokens are taken, each as `Settings` of its own, of which those that verify count:
    its keys, its audience, its rules. A token picks its issuer by its `iss`. The first of `settings` is who signs.
    `on_event` hears of every event, sync or async; `clock` gives seconds since the epoch.
    Usable as an async context manager, which closes it. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        issuers: Iterable[Settings] = (),
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
        others = [(each, OwnKeys(each, clock=clock, events=self.events)) for each in issuers]
        self.verifier = self._verifier(
            trust for each, own in [(settings, self._own), *others] for trust in self._trusts_of(each, own)
        )
        self._revocations: RevocationList | None = None
        if store is not None or settings.store is not None:
            self._keep_revocations()

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        issuers: Iterable[Settings] = (),
        store: SessionStore | str | None = None,
        on_event: OnEvent | None = None,
        clock: Callable[[], float] = time.time,
        **settings: Unpack[SettingsKeywords],
    ) -> Self:
        """An Auth for the settings in `environ` (None: the process's `ASGI_JWT_*`), overridden by the keywords.

        `store` is a URL as in `STORE`, or a store of your own.
        """
        if isinstance(store, str):
            read, store = Settings.from_env(environ, store=store, **settings), None
        else:
            read = Settings.from_env(environ, **settings)
        return cls(read, issuers=issuers, store=store, on_event=on_event, clock=clock)

    def _trusts_of(self, settings: Settings, own: OwnKeys) -> Iterator[Trust]:
        for policy in settings.policies:
            keys = own.access
            if settings.is_remote:
                keys = RemoteKeySet(
                    settings.jwks_url,
                    issuer=policy.issuer if settings.discovery else None,
                    algorithms=settings.algorithms,
                    clock=self.clock,
                    events=self.events,
                )
            yield Trust(keys, policy)

    def _verifier(self, trusts: Iterable[Trust]) -> TokenVerifier:
        (keys, policy), *others = trusts
        return TokenVerifier(keys, policy, cache_size=self.settings.cache_size, clock=self.clock, others=others)

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
            ttl=_milliseconds(settings.revocation_ttl),
            leeway=_milliseconds(MAX_LEEWAY),
            owns_sessions=bool(settings.refresh_secret),
            clock=self.clock,
            events=self.events,
        )

    def warm_up(self) -> None:
        """Begin to fetch remote keys and to read revocations, and don't wait for them. Needs a running event loop.

        Nothing depends on it: the first token waits for them otherwise.
        """
        self.verifier.warm_up()
        if self._revocations is not None:
            self._revocations.warm_up()

    async def ready(self) -> None:
        """For a readiness route: returns when the keys of every issuer are there, and the store, if any, answers.

        Raises `Unavailable` where one of them is out of reach, after 5 seconds at the latest.
        """
        try:
            with fail_after(_READY_WITHIN):
                await self.verifier.ready()
                if self._revocations is not None:
                    await self.require_store().get(_NOBODYS)
                    await self._revocations.current()
        except TimeoutError:
            raise Unavailable(f"no answer within {_READY_WITHIN} s") from None

    @property
    def issuer(self) -> TokenIssuer:
        """Issues access tokens with the first private key that has begun. It follows keys that change.

        Raises `ConfigurationError` when there is none.
        """
        return self._own.issuer

    async def published_keys(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish (RFC 7517): one's own keys, public members alone.

        Empty where they are secrets or a remote issuer's.
        """
        await self._own.current()
        return self._own.public_jwks()

    @property
    def store(self) -> SessionStore:
        """Where sessions and revocations are kept, opened at its first use.

        Raises `ConfigurationError` when none is configured.
        """
        return self.require_store()

    def require_store(self) -> SessionStore:
        """See `store`: for callers that need it later, so that its faults show now."""
        if self._store is None:
            if self.settings.store is None:
                raise ConfigurationError(_STORE_MISSING)
            self._store = self._opened = open_store(self.settings.store)
        return self._store

    def _reporting_store(self) -> ReportingStore:
        return ReportingStore(self.store, self.events)

    @property
    def sessions(self) -> Sessions:
        """Opens, refreshes and ends sessions. Raises `ConfigurationError` for what is missing to do so."""
        return self.require_sessions()

    def require_sessions(self) -> Sessions:
        """See `sessions`: for callers that need them later, so that their faults show now."""
        if self._sessions is None:
            settings = self.settings
            if not settings.refresh_secret:
                raise ConfigurationError("ASGI_JWT_REFRESH_SECRET is missing: asgi-jwt keygen makes one")
            self._sessions = Sessions(
                self._reporting_store(),
                self.issuer,
                TokenVerifier(self._own.refresh, settings.refresh_policy, cache_size=0, clock=self.clock),
                RotationPolicy(
                    grace=_milliseconds(settings.grace),
                    recovery=_milliseconds(settings.recovery),
                    refresh_ttl=_milliseconds(settings.refresh_ttl),
                ),
                self._revoker,
                session_ttl=_milliseconds(settings.session_ttl),
                clock=self.clock,
                events=self.events,
                ready=self._own.current,
            )
        return self._sessions

    @property
    def revocations(self) -> RevocationList:
        """Which tokens are revoked. Raises `ConfigurationError` when there is no store."""
        if self._revocations is None:
            raise ConfigurationError(_STORE_MISSING)
        return self._revocations

    @property
    def revoker(self) -> Revoker:
        """Ends sessions and revokes tokens. Raises `ConfigurationError` when there is no store."""
        self.require_store()
        return self._revoker

    def verify_cached(self, token: str | bytes) -> Claims | None:
        """The claims of a token that was verified before and still holds; None: ask `verify`. Never waits."""
        claims = self.verifier.verify_cached(token if type(token) is bytes else _bytes(token))
        revocations = self._revocations
        if claims is None or revocations is None or revocations.clears(claims):
            return claims
        return None

    async def verify(self, token: str | bytes) -> Claims:
        """The claims of an access token that is not revoked. Raises the `AuthError` that says why it is refused.

        RFC 7519 section 7.2, RFC 8725, RFC 9068 section 4.
        """
        claims = await self.authentic(token)
        if self._revocations is not None:
            await self._revocations.check(claims)
        return claims

    async def authentic(self, token: str | bytes) -> Claims:
        """The same, revoked or not: to end what the token is of, and for nothing that it would give access to."""
        return await self.verifier.verify(token if type(token) is bytes else _bytes(token))

    async def revoke_token(self, token: str | bytes | Claims) -> None:
        """Have this one access token refused from now on, by every process that shares the store; its session lives on.

        It may be given as its verified `Claims`. Revoking it once more is no error. A token without a `jti` is refused
        with all tokens of its `sid`. Raises the `AuthError` that says why the token does not hold anyway,
        `MissingClaim` for one with neither claim, `StoreUnavailable`, after which it is to be called again, and
        `ConfigurationError` without a store.
        """
        await self.revoker.revoke_token(token if isinstance(token, Claims) else await self.authentic(token))

    async def revoke_subject(self, subject: str, *, issuer: str | None = None) -> None:
        """Have every token refused that was issued for the subject up to now, and end the subject's sessions.

        For a user whose password changed or who is banned: one who may log in again is untouched when doing so.
        `issuer`, where several are trusted, is the one whose user it is: by default the first, whose sessions these
        are. Raises `ValueError` for an issuer that is not trusted, `StoreUnavailable`, after which it is to be called
        again, and `ConfigurationError` without a store.
        """
        revoker = self.revoker
        if issuer is not None and issuer not in self.verifier.issuers:
            raise ValueError("revoke_subject: the issuer is none of those whose tokens are taken")
        await revoker.revoke_subject(subject, issuer or self._policy.issuer)

    async def aclose(self) -> None:
        """Close the store, if this opened it. A second call does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            self._store = self._sessions = None
            self._revoker.close()
            self._keep_revocations()
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


_READY_WITHIN = 5
_NOBODYS = SessionKey("asgi-jwt ready", "none")
_STORE_MISSING = "ASGI_JWT_STORE is missing: a URL, as sqlite:///asgi-jwt.db or redis://host"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _bytes(token: str | bytes) -> bytes:
    # Text that is not ASCII stays so, and is refused as malformed like any other.
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else bytes(token)
