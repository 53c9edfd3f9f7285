"""Fetches the documents of an issuer over HTTP: its metadata, and its keys at the URL that the metadata names.

OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from asgi_jwt.errors import ConfigurationError, KeysUnavailable, MalformedToken, NotPublished
from asgi_jwt.tasks import in_thread
from asgi_jwt.tokens.compact import parse_document
from asgi_jwt.tokens.token_file import TokenFile

if TYPE_CHECKING:
    import httpx2

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FETCH_TIMEOUT = 5.0
MAX_DOCUMENT = 256 * 1024
ANOTHER_ISSUER = "names another issuer"
_LONGEST_NAME = 200

_FRESH, _MIN_FRESH, _MAX_FRESH = 600.0, 60.0, 86400.0
_NOT_KEPT = re.compile(r"(?:^|[\s,])no-(?:cache|store)(?:$|[\s,])", re.IGNORECASE)
_SECONDS = re.compile(r"\d+", re.ASCII)
_MAX_AGE = re.compile(r'(?:^|[\s,])max-age="?(\d{1,9})', re.IGNORECASE | re.ASCII)
# A compressed answer is not accepted, because a few bytes can unpack to gigabytes.
_HEADERS = {"Accept": "application/json, application/jwk-set+json", "Accept-Encoding": "identity"}

Certificates = Callable[[], ssl.SSLContext]
"""Returns the TLS context with the certificates that https servers are checked by. It is called in any thread."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document of an issuer.

    `fresh_for`: how long it is fresh, in seconds. `stated`: the issuer's `Cache-Control` says how long.
    """

    content: dict[str, Any]
    fresh_for: float
    stated: bool = False


def require_http_client() -> None:
    """Import httpx2. Raises `ConfigurationError` if it is not installed.

    The import takes long, so it is done before an event loop runs.
    """
    try:
        import httpcore2  # noqa: F401 - httpx2 would load it with its first client
        import httpx2  # noqa: F401
    except ImportError:
        raise ConfigurationError("keys over HTTP need httpx2: pip install httpx2") from None


def system_certificates() -> ssl.SSLContext:
    """A TLS context with the certificates of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.

    Reading the certificates takes most of the processor time of a fetch, so callers that fetch again keep the context.
    """
    import httpx2

    return httpx2.create_ssl_context()


def check_url(url: str, http_hosts: Collection[str] = LOOPBACK) -> str:
    """`url` itself, if it is an https URL, or an http URL of one of `http_hosts`. Else raises `ValueError`."""
    try:
        parts = urlsplit(url)
        allowed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in http_hosts)
        allowed = allowed and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a broken port or IPv6 address
        allowed = False
    if not allowed or not url.isprintable():
        raise ValueError("has to be an https URL, or http on this machine alone")
    return url


def check_issuer(issuer: str) -> str:
    """`issuer` itself, if its metadata may be fetched: such a URL without query and fragment (RFC 8414 section 2).

    Else raises `ValueError`.
    """
    if "?" in check_url(issuer) or "#" in issuer:
        raise ValueError("has to be a URL without query and fragment")
    return issuer


def without_query(url: str) -> str:
    """`url` without query and fragment, for logs: some issuers have secret codes in the query."""
    return re.split("[?#]", url, maxsplit=1)[0]


@contextmanager
def deadline() -> Iterator[None]:
    """Raises `KeysUnavailable` if its block takes more than 5 s."""
    try:
        with anyio.fail_after(FETCH_TIMEOUT):
            yield
    except TimeoutError:
        raise KeysUnavailable(f"no whole answer within {FETCH_TIMEOUT:g} s") from None


async def discover(issuer: str, certificates: Certificates = system_certificates) -> str:
    """The URL of an issuer's keys: the `jwks_uri` in its metadata, whose `issuer` must be equal to `issuer`.

    `certificates` returns the TLS context for https servers, by default with the system's certificates.

    Raises `ValueError` if `issuer` is no https URL (http is allowed on this machine), and `ConfigurationError` without
    httpx2. Raises `KeysUnavailable` if the metadata can't be fetched within 5 s, names another issuer, or has no https
    `jwks_uri` (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
    """
    check_issuer(issuer)
    require_http_client()
    with deadline():
        return keys_url(issuer, (await read_metadata(issuer, certificates)).content)


def keys_url(issuer: str, metadata: Mapping[str, Any]) -> str:
    """The `jwks_uri` of `metadata`, whose `issuer` must be equal to `issuer`. Raises `KeysUnavailable`."""
    named = metadata.get("issuer")
    if named != issuer:
        # Otherwise one issuer could publish keys for another (RFC 8414 section 3.3).
        other = f"{ANOTHER_ISSUER}, {named[:_LONGEST_NAME]!r}" if isinstance(named, str) else "names no issuer"
        raise KeysUnavailable(f"the metadata of {issuer} {other}")
    url = metadata.get("jwks_uri")
    try:
        if not isinstance(url, str) or (issuer.startswith("https:") and not url.startswith("https:")):
            raise ValueError("has to be an https URL")
        return check_url(url)
    except ValueError as fault:
        raise KeysUnavailable(f"jwks_uri in the metadata of {issuer} {fault}") from None


async def read_metadata(issuer: str, certificates: Certificates, token: TokenFile | None = None) -> Document:
    """The metadata of `issuer`, at the path of OpenID Connect, else at that of RFC 8414.

    Raises `NotPublished` if the server answers 404 at both paths, and `KeysUnavailable` for any other failure.
    """
    parts = urlsplit(issuer)
    host, path = f"{parts.scheme}://{parts.netloc}", parts.path.removesuffix("/")
    try:
        return await fetch(f"{host}{path}/.well-known/openid-configuration", certificates, token)
    except KeysUnavailable as first:
        try:
            return await fetch(f"{host}/.well-known/oauth-authorization-server{path}", certificates, token)
        except KeysUnavailable as second:
            kind = NotPublished if type(first) is type(second) is NotPublished else KeysUnavailable
            raise kind(f"{first}; {second}") from None


async def fetch(url: str, certificates: Certificates = system_certificates, token: TokenFile | None = None) -> Document:
    """The JSON object at `url`. Redirects are not followed. `token` is sent if `url` is of its origin.

    Raises `KeysUnavailable` for another status than 200, an answer over 256 KiB or after 5 s, and for malformed JSON.
    For the status 404 it is a `NotPublished`.
    """
    shown = without_query(url)
    try:
        with deadline():
            return await _fetch(url, certificates, token)
    except KeysUnavailable as why:
        raise type(why)(f"{shown}: {why}{token.note(url) if token else ''}") from None
    except MalformedToken as why:
        raise KeysUnavailable(f"{shown}: the answer is no JSON object: {why}") from None


async def _fetch(url: str, certificates: Certificates, token: TokenFile | None) -> Document:
    secret = await in_thread(partial(token.headers, url)) if token else {}
    headers, content = await ask(url, certificates, {**_HEADERS, **secret})
    return Document(await in_thread(partial(parse_document, content)), *_freshness(headers))


async def ask(
    url: str, certificates: Certificates, headers: Mapping[str, str], form: bytes | None = None
) -> tuple[Mapping[str, str], bytes]:
    """The headers and the body of the answer to a GET, or to a POST of `form`. Redirects are not followed.

    Raises `KeysUnavailable` for another status than 200 and for an answer over 256 KiB. It has no time limit.
    """
    import httpx2

    try:
        client = await in_thread(partial(_client, url, certificates))
        # httpx2 logs the URL of each request. The query may be secret, so only the request's target has it.
        target = {"target": httpx2.URL(url).raw_path}
        request = ("GET" if form is None else "POST"), without_query(url)
        async with (
            client,
            client.stream(*request, headers=headers, content=form, extensions=target) as response,
        ):
            return response.headers, await _read(response)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        raise KeysUnavailable(_reason(error)) from None


def _client(url: str, certificates: Certificates) -> httpx2.AsyncClient:
    """An HTTP client for one fetch. Making its TLS context takes tens of milliseconds, so it is called in a thread.

    Raises `KeysUnavailable` if a proxy of the environment is unusable. The text shows nothing of the proxy's URL.
    """
    import httpx2

    # An http URL is on this machine or network, so its client needs neither certificates nor the environment's proxies.
    remote = url.startswith("https:")
    verify = certificates() if remote else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    logging.getLogger("httpcore2.socks").addFilter(_has_no_password)
    try:
        return httpx2.AsyncClient(verify=verify, timeout=None, follow_redirects=False, trust_env=remote)
    except ImportError:
        raise KeysUnavailable("HTTPS_PROXY or ALL_PROXY is a SOCKS proxy: pip install socksio") from None
    except (httpx2.InvalidURL, ValueError):
        # The text of the exception may contain the proxy's password.
        raise KeysUnavailable("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY can't be used: correct it") from None


def _has_no_password(record: logging.LogRecord) -> bool:
    """False for the DEBUG line in which httpcore2 logs the user and the password of a SOCKS proxy."""
    return "auth=(" not in record.getMessage()


async def _read(response: httpx2.Response) -> bytes:
    if response.status_code != 200:
        kind = NotPublished if response.status_code == 404 else KeysUnavailable
        raise kind(f"answered {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise KeysUnavailable("the answer is packed, though that was not asked for")
    body = bytearray()
    # The read is cancelled. If the loop were left instead, trio would warn of each unfinished generator below.
    with anyio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_DOCUMENT:
                scope.cancel()
    if len(body) > MAX_DOCUMENT:
        raise KeysUnavailable(f"the answer is past {MAX_DOCUMENT // 1024} KiB")
    return bytes(body)


def _reason(error: BaseException) -> str:
    """The text of `error`, or else of its context, because under trio the error of a failed TLS handshake has none."""
    below = error.__context__
    return str(error) or (_reason(below) if below else type(error).__name__)


def _freshness(headers: Mapping[str, str]) -> tuple[float, bool]:
    """How long an answer is fresh, in seconds from 1 minute to 1 day, and whether its `Cache-Control` says how long.

    It is `max-age`, else 10 minutes, minus `Age`. With `no-cache` or `no-store` it is 10 minutes at most (RFC 9111
    sections 4.2, 5.2.2.4 and 5.2.2.5).
    """
    control = headers.get("cache-control", "")
    max_age, not_kept = _MAX_AGE.search(control), _NOT_KEPT.search(control)
    lifetime = float(max_age[1]) if max_age else _FRESH
    lifetime = min(lifetime, _FRESH) if not_kept else lifetime
    return min(max(lifetime - _age(headers), _MIN_FRESH), _MAX_FRESH), bool(max_age or not_kept)


def _age(headers: Mapping[str, str]) -> float:
    """How long (s) caches have kept the answer. Of several values the first one counts (RFC 9111 section 5.1)."""
    first = headers.get("age", "").partition(",")[0].strip()
    return float(first) if _SECONDS.fullmatch(first) else 0.0
