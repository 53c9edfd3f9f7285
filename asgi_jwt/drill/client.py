"""Client: sends the drill's requests, each in a connection of its own, to one origin alone and within bounds."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import anyio

from asgi_jwt.commands.output import CommandError, shown
from asgi_jwt.drill.outcome import Broken, Untried
from asgi_jwt.errors import ConfigurationError, MalformedToken
from asgi_jwt.tokens.compact import parse_document
from asgi_jwt.tokens.discovery import require_http_client, system_certificates

if TYPE_CHECKING:
    import httpx2

Headers = Iterable[tuple[str, str]]

MAX_REQUESTS = 500
MAX_ANSWER = 256 * 1024
REQUEST_TIMEOUT = 10.0
_RESERVED = 20
"""The requests of `MAX_REQUESTS` that are kept for ending the sessions."""
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. Names of headers are in lower case. `sent` and `received` are seconds of the event loop's clock."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    sent: float
    received: float

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def values(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for each, value in self.headers if each == name]

    def header(self, name: str) -> str:
        """The values of a header in one text."""
        return ", ".join(self.values(name))

    def json(self) -> dict[str, Any]:
        """The JSON object of the body. Empty if the body is none."""
        try:
            return parse_document(self.body)
        except MalformedToken:
            return {}

    def objects(self, member: str) -> list[dict[str, Any]]:
        """The objects in a list that is a member of the JSON object."""
        value = self.json().get(member)
        return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []

    def text(self, member: str) -> str:
        """A member of the JSON object that is text, else an empty one."""
        value = self.json().get(member)
        return value if isinstance(value, str) else ""


class Client:
    """Sends requests to `origin`, follows no redirect, and keeps no cookie.

    A connection for each request lets all processes behind the address take part. `requests` counts what was sent.
    """

    def __init__(self, origin: str, user_agent: str, http: httpx2.AsyncClient) -> None:
        self.requests = 0
        self.is_ending = False
        self._origin = origin
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._places = anyio.CapacityLimiter(_AT_ONCE)
        self._http = http

    async def send(self, method: str, path: str, headers: Headers = (), body: bytes | None = None) -> Answer:
        """One request. `path` is sent as it is. Raises `Broken` without a whole answer within 10 s.

        Raises `Untried` when the limit of requests is reached.
        """
        import httpx2

        async with self._places:
            if self.requests >= MAX_REQUESTS - (0 if self.is_ending else _RESERVED):
                raise Untried(f"the drill sends {MAX_REQUESTS} requests at most")
            self.requests += 1
            sent = anyio.current_time()
            try:
                with anyio.fail_after(REQUEST_TIMEOUT):
                    return await self._send(method, path, [*self._headers.items(), *headers], body, sent)
            except TimeoutError:
                raise _no_answer(f"no whole answer within {REQUEST_TIMEOUT:g} s") from None
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
                raise _no_answer(_reason(error)) from None

    async def _send(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes | None, sent: float
    ) -> Answer:
        # The path is the target as it is: a client would mend `..` and `//` in a URL.
        target = {"target": path.encode("ascii")}
        async with self._http.stream(
            method, self._origin, headers=headers, content=body or b"", extensions=target
        ) as response:
            content = await _read(response)
            named = tuple((name.lower(), value) for name, value in response.headers.multi_items())
            return Answer(response.status_code, named, content, sent, anyio.current_time())

    async def post(self, path: str, fields: Mapping[str, str] | None = None, headers: Headers = ()) -> Answer:
        """POST with a JSON body, or without a body."""
        if fields is None:
            return await self.send("POST", path, headers)
        body = json.dumps(fields).encode()
        return await self.send("POST", path, [("Content-Type", "application/json"), *headers], body)

    async def burst(self, number: int, method: str, path: str, headers: Headers = ()) -> list[Answer]:
        """The answers to the same request, sent `number` times at once."""
        answers: list[Answer] = []
        headers = list(headers)

        async def one() -> None:
            answers.append(await self.send(method, path, headers))

        await together(*[one] * number)
        return answers


async def together(*works: Any) -> None:
    """Run all works at once. Raises the first `Broken` or `Untried`."""
    try:
        async with anyio.create_task_group() as tasks:
            for work in works:
                tasks.start_soon(work)
    except* (Broken, Untried) as several:
        first: BaseException = several
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def http_client(is_https: bool) -> httpx2.AsyncClient:
    """The HTTP client. Raises `CommandError` without httpx2, and if the proxy of the environment is unusable."""
    try:
        require_http_client()
    except ConfigurationError:
        raise CommandError("the drill takes httpx2: pip install httpx2") from None
    import httpx2

    verify = system_certificates() if is_https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return httpx2.AsyncClient(
            verify=verify,
            timeout=None,
            follow_redirects=False,
            trust_env=is_https,
            limits=httpx2.Limits(max_keepalive_connections=0),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
    except (ImportError, httpx2.InvalidURL, ValueError):
        # The text of the exception may contain the proxy's password.
        raise CommandError("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY can't be used: correct it") from None


async def _read(response: httpx2.Response) -> bytes:
    """The body, or its first 256 KiB."""
    body = bytearray()
    # The read is cancelled. If the loop were left instead, its generators would stay unfinished.
    with anyio.CancelScope() as scope:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER:
                scope.cancel()
    return bytes(body[:MAX_ANSWER])


def _no_answer(reason: str) -> Broken:
    return Broken(
        f"no answer: {reason}", "see that the server runs, and that its certificate is of SSL_CERT_FILE or the system"
    )


def _reason(error: BaseException) -> str:
    """The text of `error`, or of the fault of the system or of TLS below it."""
    below: BaseException | None = error
    while below is not None and not (str(below) and (below is error or isinstance(below, OSError))):
        below = below.__context__
    return shown(str(below)) if below is not None else type(error).__name__
