"""Devices: opens the drill's sessions, refreshes their tokens as a browser or an OAuth client, and ends them all."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from asgi_jwt import __version__
from asgi_jwt.drill.client import Answer, Client
from asgi_jwt.drill.cookies import Cookie, cookies_of, refresh_cookie
from asgi_jwt.drill.outcome import Broken, Untried
from asgi_jwt.drill.target import Target
from asgi_jwt.errors import MalformedToken
from asgi_jwt.tokens.compact import decode_base64url, parse_object, split

if TYPE_CHECKING:
    import httpx2

Pairs = list[tuple[str, str]]

_ERRORS = frozenset(
    [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "invalid_token",
        "invalid_scope",
        "invalid_dpop_proof",
        "insufficient_scope",
        "cross_site",
        "unauthorized_client",
        "unsupported_grant_type",
        "unsupported_token_type",
        "server_error",
        "temporarily_unavailable",
    ]
)


@dataclass(slots=True)
class Device:
    """A login. `cookie` has the newest refresh token as the login set it, or is None: `refresh` came in the body."""

    answer: Answer
    access: str
    refresh: str
    cookie: Cookie | None

    @property
    def bearer(self) -> Pairs:
        return bearer(self.access)

    @property
    def sid(self) -> str:
        """The session's id in the access token. Empty if there is none."""
        value = payload_of(self.access).get("sid")
        return value if isinstance(value, str) else ""


class Devices:
    """The drill's logins. `name` is the User-Agent of this drill alone, by which its sessions are found again."""

    def __init__(self, target: Target, credentials: Mapping[str, str], http: "httpx2.AsyncClient") -> None:
        self.target = target
        self.name = f"asgi-jwt-drill/{__version__} {secrets.token_hex(8)}"
        self.client = Client(target.origin, self.name, http)
        self.opened: list[Device] = []
        self._credentials = dict(credentials)

    @property
    def own_site(self) -> Pairs:
        """The headers of a request from the deployment's own page."""
        return [("Origin", self.target.origin), ("Sec-Fetch-Site", "same-origin")]

    async def log_in(self, *more: tuple[str, str], headers: Pairs | None = None) -> tuple[Answer, Device | None]:
        """The answer to a login with `more` fields, and its device if it has opened a session."""
        headers = self.own_site if headers is None else headers
        answer = await self.client.post(f"{self.target.mount}/login", {**self._credentials, **dict(more)}, headers)
        device = _device_of(answer)
        if device is not None:
            self.opened.append(device)
        return answer, device

    async def another(self, *more: tuple[str, str]) -> Device:
        """A new device. Raises `Untried` if the login is refused, as by a throttle."""
        answer, device = await self.log_in(*more)
        if device is None:
            raise Untried(f"another login was answered {told(answer)}")
        if not device.refresh:
            raise Untried("the login gives no refresh token")
        return device

    async def refresh(self, device: Device, token: str | None = None, headers: Pairs | None = None) -> Answer:
        """The answer to a refresh with `token`, or the device's newest one, as the browser or OAuth client sends it.

        The device keeps no new token: see `adopt`.
        """
        token = device.refresh if token is None else token
        if device.cookie is None:
            return await self.client.post(
                f"{self.target.mount}/token", {"grant_type": "refresh_token", "refresh_token": token}
            )
        headers = self.own_site if headers is None else headers
        cookie = [("Cookie", f"{device.cookie.name}={token}")]
        return await self.client.post(f"{self.target.mount}/refresh", headers=[*headers, *cookie])

    def adopt(self, device: Device, answer: Answer) -> bool:
        """Give the device the tokens of a refresh. Returns whether the refresh token is another."""
        before = device.refresh
        device.access = answer.text("access_token") or device.access
        device.refresh = new_refresh_token(device, answer) or before
        return device.refresh != before

    async def end(self, device: Device) -> Answer:
        """Log the device out."""
        cookie = [] if device.cookie is None else [("Cookie", f"{device.cookie.name}={device.refresh}")]
        headers = [*self.own_site, *cookie, *device.bearer]
        return await self.client.post(f"{self.target.mount}/logout", headers=headers)

    async def end_all(self) -> list[Answer | Broken]:
        """Log out all devices, and end each other session that a login of this drill has opened.

        Such a login's answer was lost. Sessions of other devices stay. Returns what could not be ended: the answers.
        """
        self.client.is_ending = True
        left: list[Answer | Broken] = []
        for position, device in enumerate(reversed(self.opened)):
            try:
                if not position:
                    await self._end_lost_logins(device)
                answer = await self.end(device)
                if device.cookie is None and device.refresh:
                    answer = await self.client.post(f"{self.target.mount}/revoke", {"token": device.refresh})
            except Broken as silence:
                left.append(silence)
            else:
                left += [] if answer.is_good else [answer]
        return left

    async def _end_lost_logins(self, device: Device) -> None:
        path = f"{self.target.mount}/sessions"
        answer = await self.client.send("GET", path, device.bearer)
        if answer.status == 401:  # the access token has expired, or the session has ended
            self.adopt(device, await self.refresh(device))
            answer = await self.client.send("GET", path, device.bearer)
        known = {each.sid for each in self.opened}
        for sid in _sids_of(answer, self.name) - known:
            await self.client.send("DELETE", f"{path}/{quote(sid, safe='')}", [*self.own_site, *device.bearer])


def bearer(token: str) -> Pairs:
    return [("Authorization", f"Bearer {token}")]


def new_refresh_token(device: Device, answer: Answer) -> str:
    """The refresh token that the answer hands to the device. Empty if it hands none."""
    if device.cookie is None:
        return answer.text("refresh_token")
    name = device.cookie.name
    return next((cookie.value for cookie in cookies_of(answer) if cookie.name == name), "")


def told(answer: Answer) -> str:
    """The status of an answer, and its error if OAuth knows the error. Other texts of the server are not shown."""
    error = answer.text("error")
    return f"{answer.status} {error}" if error in _ERRORS else str(answer.status)


def payload_of(token: str) -> dict[str, Any]:
    """The claims of a token, unverified. Empty if they can't be read."""
    return _part(token, 1)


def header_of(token: str) -> dict[str, Any]:
    """The header of a token. Empty if it can't be read."""
    return _part(token, 0)


def _part(token: str, position: int) -> dict[str, Any]:
    read: Callable[[bytes], dict[str, Any]] = parse_object
    try:
        return read(decode_base64url(split(token.encode())[position]))
    except MalformedToken:
        return {}


def _device_of(answer: Answer) -> Device | None:
    access = answer.text("access_token")
    if not answer.is_good or not access:
        return None
    cookie, in_body = refresh_cookie(cookies_of(answer)), answer.text("refresh_token")
    if in_body or cookie is None:
        return Device(answer, access, in_body, None)
    return Device(answer, access, cookie.value, cookie)


def _sids_of(answer: Answer, name: str) -> set[str]:
    """The ids of the sessions that the User-Agent `name` has opened."""
    clients = [(each.get("sid"), each.get("client")) for each in answer.objects("sessions")]
    return {
        sid
        for sid, client in clients
        if isinstance(sid, str) and isinstance(client, dict) and client.get("user_agent") == name
    }
