"""The keys of a remote issuer: a JWK Set over HTTP (RFC 7517), found by discovery where there is no URL.

OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio import to_thread

from asgi_jwt.errors import ConfigurationError, KeysUnavailable, MalformedToken, UnknownKey
from asgi_jwt.events import EventSink, KeysFetched, KeysNotFetched
from asgi_jwt.tasks import SingleFlight
from asgi_jwt.tokens.compact import parse_object
from asgi_jwt.tokens.keys import Key, KeySet, same_algorithms

if TYPE_CHECKING:
    import httpx2

TIMEOUT = 5.0
MAX_DOCUMENT = 256 * 1024
MAX_WAITING = 1000

_FRESH = 600.0
_LEAST_FRESH, _MOST_FRESH = 60.0, 86400.0
_AHEAD = 0.8
_BETWEEN_ATTEMPTS = 30.0
_BETWEEN_COLD_ATTEMPTS = 1.0
_OUTAGE = 3600.0
_FLAGS = re.IGNORECASE | re.ASCII
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class FetchFailed(Exception):
    """Why a document could not be had; its text is for operators."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document from the issuer, and how long it is fresh (seconds)."""

    content: dict[str, Any]
    fresh_for: float


def check_url(url: str) -> str:
    """`url`, if keys may be fetched from it: https, and http from loopback alone. Raises `ValueError`."""
    parts = urlsplit(url)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        return url
    raise ValueError("has to be an https URL, or http on this machine alone")


async def fetch(url: str) -> Document:
    """The JSON object at `url`. Raises `FetchFailed`: 5 s in all, 256 KiB, no redirects, status 200."""
    try:
        import httpx2
    except ImportError:
        raise ConfigurationError("keys over HTTP need httpx2: pip install 'asgi_jwt[jwks]'") from None
    try:
        check_url(url)
        with anyio.fail_after(TIMEOUT):
            # In a thread, for reading the system's certificates takes tens of milliseconds.
            client = await to_thread.run_sync(lambda: httpx2.AsyncClient(follow_redirects=False, timeout=TIMEOUT))
            async with client, client.stream("GET", url, headers=_HEADERS) as response:
                body = await _read(response)
                return Document(await to_thread.run_sync(parse_object, body), _fresh_for(response))
    except (TimeoutError, httpx2.TimeoutException):
        raise FetchFailed(f"no whole answer within {TIMEOUT:g} s") from None
    except MalformedToken:
        raise FetchFailed("the answer is no JSON object") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from None


# Nothing is to be unpacked: a few bytes can become gigabytes.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


async def _read(response: httpx2.Response) -> bytes:
    if response.status_code != 200:
        raise FetchFailed(f"answered {response.status_code}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed("the answer is packed, though that was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_DOCUMENT:
            raise FetchFailed(f"the answer is past {MAX_DOCUMENT // 1024} KiB")
    return bytes(body)


def _fresh_for(response: httpx2.Response) -> float:
    """RFC 9111 section 5.2.2.1, held within bounds."""
    max_age = re.search(
        r"(?:^|[\s,])max-age=\"?(\d{1,9})", response.headers.get("cache-control", ""), re.IGNORECASE | re.ASCII
    )
    return min(max(float(max_age[1]), _LEAST_FRESH), _MOST_FRESH) if max_age else _FRESH


async def discover(issuer: str) -> str:
    """The `jwks_uri` of `issuer`, whose metadata has to name it exactly.

    Raises `FetchFailed`. OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.
    """
    parts = urlsplit(issuer)
    path = parts.path.removesuffix("/")
    base = f"{parts.scheme}://{parts.netloc}"
    failure = FetchFailed()
    for url in (
        f"{base}{path}/.well-known/openid-configuration",
        f"{base}/.well-known/oauth-authorization-server{path}",
    ):
        try:
            metadata = (await fetch(url)).content
        except FetchFailed as fault:
            failure = FetchFailed(f"{url}: {fault}")
            continue
        if metadata.get("issuer") != issuer:
            # Else one issuer could speak for another (RFC 8414 section 3.3).
            raise FetchFailed(f"{url}: names another issuer")
        if not isinstance(metadata.get("jwks_uri"), str):
            raise FetchFailed(f"{url}: names no jwks_uri")
        return str(metadata["jwks_uri"])
    raise failure


class RemoteKeySet:
    """The keys of a remote issuer, fetched when they are needed and kept fresh.

    Fetched once for all who wait; fresh for 10 minutes, or as `Cache-Control` says, between 1 minute and 24 hours;
    fetched anew ahead of that while the old ones serve. An unknown `kid` causes one fetch in 30 s at most. When the
    issuer is out of reach its known keys serve an hour past their time, then `KeysUnavailable` is raised.

    `url` is the JWK Set's, or `issuer` is given for discovery. `algorithms` are those allowed; empty: what each key is
    made for. `clock` gives seconds since the epoch.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        algorithms: Iterable[str] = (),
        clock: Callable[[], float],
        events: EventSink | None = None,
    ) -> None:
        self._url = url
        self._issuer = issuer
        self._clock = clock
        self._events = events or EventSink()
        self._keys: KeySet | None = None
        self._algorithms = same_algorithms(algorithms)
        self._fetched_at = self._stale_at = self._attempted_at = self._answered_at = float("-inf")
        self._flight = SingleFlight(self._fetch)
        self._on_change: list[Callable[[KeySet], None]] = []
        self.fetches = 0

    @property
    def _due_at(self) -> float:
        return self._fetched_at + _AHEAD * (self._stale_at - self._fetched_at)

    def on_change(self, tell: Callable[[KeySet], None]) -> None:
        """Have `tell` called with each new set, before anyone verifies with it."""
        self._on_change.append(tell)

    @property
    def unquestioned_until(self) -> float:
        """Until when (seconds since the epoch) nothing has to be asked of this, as long as no new `kid` comes."""
        if self._keys is None:
            return float("-inf")
        return min(max(self._due_at, self._attempted_at + _BETWEEN_ATTEMPTS), self._stale_at + _OUTAGE)

    def warm_up(self) -> None:
        """Begin the first fetch, and don't wait for it. Needs a running event loop."""
        if self._keys is None:
            self._flight.start()

    async def current(self) -> KeySet:
        """The keys to verify with now.

        It waits only when there are none, or when nobody has asked since they were due. Raises `KeysUnavailable`.
        """
        now = self._clock()
        if self._keys is None:
            if now >= self._attempted_at + _BETWEEN_COLD_ATTEMPTS:
                self._flight.start()
            await self._flight.wait()
        elif now >= self._due_at:
            if now >= self._attempted_at + _BETWEEN_ATTEMPTS:
                self._flight.start()
            if now >= self._stale_at and self._answered_at < self._due_at:
                # Nothing was refreshed ahead in a quiet time: a key may have been withdrawn long ago.
                await self._flight.wait()
        if self._keys is None or self._clock() >= self._stale_at + _OUTAGE:
            raise KeysUnavailable
        return self._keys

    async def candidates(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """The keys that may have signed a token with this header: see `KeySet.candidates`."""
        keys = await self.current()
        try:
            return keys.candidates(kid, algorithm)
        except UnknownKey:
            # The issuer may have a new key, or someone makes up names.
            if not self._flight.under_way:
                if self._clock() < self._attempted_at + _BETWEEN_ATTEMPTS:
                    raise
                self._flight.start()
            if self._flight.waiting >= MAX_WAITING:
                raise
            await self._flight.wait()
        return (await self.current()).candidates(kid, algorithm)

    async def _fetch(self) -> None:
        self._attempted_at = self._clock()
        self.fetches += 1
        try:
            if self._url is None:
                self._url = check_url(await discover(self._issuer or ""))
            document = await fetch(self._url)
            keys, faults = await to_thread.run_sync(_usable_keys, document.content, self._algorithms)
        except (FetchFailed, ConfigurationError, ValueError) as fault:
            await self._events.emit(KeysNotFetched(str(fault)))
        else:
            # Those that stay are the same objects, so that what they verified stays in the cache.
            self._keys = keys = keys.keeping(self._keys)
            self._fetched_at = self._clock()
            self._stale_at = self._fetched_at + document.fresh_for
            for tell in self._on_change:
                tell(keys)
            await self._events.emit(KeysFetched(len(keys.keys), len(faults)))
        finally:
            self._answered_at = self._clock()


def _usable_keys(jwks: dict[str, Any], algorithms: tuple[str, ...]) -> tuple[KeySet, tuple[ValueError, ...]]:
    """The public keys of the set, each for what it is made for or what is allowed.

    Raises `FetchFailed` when there is none: an empty set never takes the place of a full one.
    """
    keys, faults = KeySet.from_jwks(jwks)
    usable = KeySet(key.limited_to(algorithms) for key in keys.keys if key.public_jwk() is not None)
    if not any(key.verifies and key.algorithms for key in usable.keys):
        raise FetchFailed("the JWK Set holds no public key that may verify signatures with an allowed algorithm")
    return usable, faults
