"""Auth: settings, keys, verifier, issuer, store and sessions wired together."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from types import TracebackType
from typing import Any, Self, Unpack

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.events import EventSink, OnEvent
from asgi_jwt.sessions.revocations import RevocationList, RevocationPolicy
from asgi_jwt.sessions.revoker import Revoker
from asgi_jwt.sessions.rotation import RotationPolicy
from asgi_jwt.sessions.sessions import Sessions
from asgi_jwt.settings import MAX_LEEWAY, Settings
from asgi_jwt.settings.keywords import SettingsKeywords
from asgi_jwt.stores.base import SessionStore
from asgi_jwt.stores.reporting import ReportingStore
from asgi_jwt.stores.urls import open_store
from asgi_jwt.tokens.algorithms import same_algorithms
from asgi_jwt.tokens.claims import Claims
from asgi_jwt.tokens.issuer import TokenIssuer
from asgi_jwt.tokens.keys import Key, KeySet
from asgi_jwt.tokens.local_keys import KeyFile, LocalKeys
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
        self._refresh_keys = self._own_keys("refresh_secret", settings, settings.refresh_keys)
        self._issuer: TokenIssuer | None = None
        self._use(trust for each in (settings, *issuers) for trust in self._trusts_of(each))
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

    def _trusts_of(self, settings: Settings) -> Iterator[Trust]:
        for policy in settings.policies:
            keys: KeySet | LocalKeys | RemoteKeySet
            if not settings.is_remote:
                keys = self._own_keys("keys", settings, settings.key_set)
            else:
                keys = RemoteKeySet(
                    settings.jwks_url,
                    issuer=policy.issuer if settings.discovery else None,
                    algorithms=settings.algorithms,
                    clock=self.clock,
                    events=self.events,
                )
            yield Trust(keys, policy)

    def _own_keys(self, name: str, settings: Settings, keys: KeySet) -> KeySet | LocalKeys:
        """The keys of the setting `name`, as they are or as they change."""
        file = None
        if name in settings.files and settings.files[name].is_file():  # a pipe gives its keys once
            read = partial(self._read_again, settings, name)
            file = KeyFile(settings.variable(name), settings.files[name], read)
        elif keys.holds_until(-inf) == inf:
            return keys
        algorithms = settings.algorithms if name == "keys" else ("HS256",)
        live = LocalKeys(keys, file=file, algorithms=algorithms, clock=self.clock, events=self.events)
        live.on_change(self._follow)
        return live

    def _read_again(self, settings: Settings, name: str) -> KeySet:
        again = settings.read_again(name)
        keys = again.key_set if name == "keys" else again.refresh_keys
        current = keys.at(self.clock())
        if not any(key.verifies for key in current.keys):
            raise ConfigurationError(f"{settings.variable(name)} holds keys that {_ENDED}")
        if self._issuer is not None and settings is self.settings:
            now, later = current.signing_key(), keys.signing_key()
            if now is None or later is None:
                lost = (
                    "private key any more, and tokens are issued"
                    if name == "keys"
                    else "secret to sign with any more, and refresh tokens are issued"
                )
                raise ConfigurationError(f"{settings.variable(name)} holds no {lost}")
            if name == "keys":
                for key in (now, later):
                    self._algorithm_of(key)
        return keys

    def _use(self, trusts: Iterable[Trust]) -> None:
        (keys, policy), *others = trusts
        self._keys = keys
        self._issuer = None
        self._sessions: Sessions | None = None
        self.verifier = TokenVerifier(
            keys, policy, cache_size=self.settings.cache_size, clock=self.clock, others=others
        )

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

    @contextmanager
    def using(self, keys: KeySet) -> Iterator[None]:
        """Other keys for a while, for every issuer, under the same policies: for tests."""
        own = self._keys, self._issuer, self._sessions, self.verifier
        self._use([Trust(keys, policy) for _, policy in self.verifier.trusts])
        try:
            yield
        finally:
            self._keys, self._issuer, self._sessions, self.verifier = own
            self._follow(KeySet(()))

    def warm_up(self) -> None:
        """Begin to fetch remote keys and to read revocations, and don't wait for them. Needs a running event loop.

        Nothing depends on it: the first token waits for them otherwise.
        """
        self.verifier.warm_up()
        if self._revocations is not None:
            self._revocations.warm_up()

    @property
    def issuer(self) -> TokenIssuer:
        """Issues access tokens with the first private key that has begun. It follows keys that change.

        Raises `ConfigurationError` when there is none.
        """
        if self._issuer is None:
            self._look()
            key, algorithm, refresh_key = self._signing()
            self._issuer = TokenIssuer(
                key,
                algorithm,
                self._policy,
                ttl=self.settings.access_ttl,
                clock=self.clock,
                refresh_key=refresh_key,
                look=self._look if self._local_keys else None,
            )
        return self._issuer

    async def published_keys(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set to publish (RFC 7517): one's own keys, public members alone.

        Empty where they are secrets or a remote issuer's.
        """
        await self._current_keys()
        return _now(self._keys).public_jwks()

    @property
    def _local_keys(self) -> list[LocalKeys]:
        return [keys for keys in (self._keys, self._refresh_keys) if isinstance(keys, LocalKeys)]

    def _signing(self) -> tuple[Key, str, Key | None]:
        """The keys to sign with, and the algorithm of access tokens. Raises `ConfigurationError`."""
        key = _now(self._keys).signing_key()
        if key is None:
            lacks = "is not set, and a remote issuer gives no private key: tokens can't be issued"
            if not self.settings.is_remote:
                ended = isinstance(self._keys, LocalKeys) and self._keys.given.signing_key() is not None
                lacks = f"holds private keys that {_ENDED}" if ended else "holds no private key: tokens can't be issued"
            raise ConfigurationError(f"{self.settings.variable('keys')} {lacks}")
        return key, self._algorithm_of(key), _now(self._refresh_keys).signing_key()

    def _algorithm_of(self, key: Key) -> str:
        """What it signs with here. Raises `ConfigurationError`."""
        wanted = same_algorithms(self.settings.algorithms) or (key.default,)
        algorithm = next((name for name in wanted if name in key.algorithms), None)
        if algorithm is None:
            raise ConfigurationError("ASGI_JWT_ALGORITHMS names none for which the first private key is made")
        return algorithm

    def _follow(self, _: KeySet) -> None:
        """Sign with the keys as they have become."""
        if self._issuer is not None:
            with suppress(ConfigurationError):  # none is left: what the old one signs is refused from now on
                self._issuer.sign_with(*self._signing())

    def _look(self) -> None:
        for keys in self._local_keys:
            keys.look()

    async def _current_keys(self) -> None:
        for keys in self._local_keys:
            await keys.current()

    @property
    def store(self) -> SessionStore:
        """Where sessions and revocations are kept, opened at its first use.

        Raises `ConfigurationError` when none is configured.
        """
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
        if self._sessions is None:
            settings = self.settings
            if not settings.refresh_secret:
                raise ConfigurationError("ASGI_JWT_REFRESH_SECRET is missing: asgi-jwt keygen makes one")
            self._sessions = Sessions(
                self._reporting_store(),
                self.issuer,
                TokenVerifier(self._refresh_keys, settings.refresh_policy, cache_size=0, clock=self.clock),
                RotationPolicy(
                    grace=_milliseconds(settings.grace),
                    recovery=_milliseconds(settings.recovery),
                    refresh_ttl=_milliseconds(settings.refresh_ttl),
                ),
                self._revoker,
                session_ttl=_milliseconds(settings.session_ttl),
                clock=self.clock,
                events=self.events,
                ready=self._current_keys,
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
        self.revocations  # noqa: B018 - says what is missing
        return self._revoker

    def verify_cached(self, token: str | bytes) -> Claims | None:
        """The claims of a token that was verified before and still holds; None: ask `verify`. Never waits."""
        claims = self.verifier.verify_cached(token if isinstance(token, bytes) else _bytes(token))
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
        return await self.verifier.verify(token if isinstance(token, bytes) else _bytes(token))

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


_STORE_MISSING = "ASGI_JWT_STORE is missing: a URL, as sqlite:///asgi-jwt.db or redis://host"
_ENDED = "have all ended, as their exp says: asgi-jwt keys rotate gives it a new one"


def _now(keys: KeySet | LocalKeys | RemoteKeySet) -> KeySet:
    """One's own keys as they are now: a remote issuer's are none."""
    if isinstance(keys, LocalKeys):
        return keys.keys
    return keys if isinstance(keys, KeySet) else KeySet(())


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _bytes(token: str) -> bytes:
    # Text that is not ASCII stays so, and is refused as malformed like any other.
    return token.encode("utf-8", "surrogatepass")
