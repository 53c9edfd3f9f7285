"""Drill: what the checks of one run share."""

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any

import anyio

from asgi_jwt.commands.output import shown
from asgi_jwt.drill.client import Answer, Client
from asgi_jwt.drill.devices import Device, Devices, Pairs
from asgi_jwt.drill.outcome import Untried
from asgi_jwt.drill.target import Target

if TYPE_CHECKING:
    import httpx2

FOREIGN = "https://drill.invalid"
"""The origin of a page of another site. No host has this name (RFC 6761 section 6.4)."""

ONE_STORE = "give all processes one store, as ASGI_JWT_STORE=redis://...; memory:// is for one process alone"
"""The mend of processes that don't know each other's sessions."""

PATIENCE = 200.0
"""How long (s) after the start a check may still wait. The rest of the drill's time is for what follows."""


@dataclass
class Drill:
    """One run. `clock` returns seconds since the epoch.

    `first`: the device of the first login. `page`: the API's answer to its token, once it was good.
    `is_public`: the API answers without a token. `is_split`: a process does not know the
    sessions of another. `has_rotated`: a new refresh token was old enough to rotate.
    `rotation_is_over`: set then, or when no check waits for it any more.
    """

    target: Target
    credentials: Mapping[str, str]
    clock: Callable[[], float]
    started: float
    http: InitVar["httpx2.AsyncClient"]
    devices: Devices = field(init=False)
    first: Device | None = None
    page: Answer | None = None
    is_public: bool = False
    is_split: bool = False
    jwks: dict[str, Any] = field(default_factory=dict)
    has_rotated: bool = False
    rotation_is_over: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self, http: "httpx2.AsyncClient") -> None:
        self.devices = Devices(self.target, self.credentials, http)

    @property
    def client(self) -> Client:
        return self.devices.client

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return anyio.current_time() - self.started

    @property
    def patience_is_over(self) -> bool:
        return self.seconds > PATIENCE

    def device(self) -> Device:
        """The device of the first login. Raises `Untried` without a login."""
        if self.first is None:
            raise Untried("nobody could be logged in")
        return self.first

    def guarded(self) -> Device:
        """The device of the first login, whose token the API takes. Raises `Untried` if the API is not guarded."""
        device = self.device()
        if self.page is None or self.is_public:
            why = "answers without a token" if self.is_public else "did not take the token of the login"
            raise Untried(f"{self.target.api} {why}")
        return device

    def mend(self, otherwise: str) -> str:
        """The mend of a session that ended: one store if the processes have several, else `otherwise`."""
        return ONE_STORE if self.is_split else otherwise

    async def ask(self, headers: Pairs, method: str = "GET", path: str | None = None) -> Answer:
        """The API's answer."""
        return await self.client.send(method, self.target.api if path is None else path, headers)

    def quoted(self, text: str) -> str:
        """A text of the server for the report, without tokens and passwords that the server may have put into it."""
        tokens = [token for each in self.devices.opened for token in (each.access, each.refresh)]
        for secret in sorted(filter(None, [*tokens, *self.credentials.values()]), key=len, reverse=True):
            text = text.replace(secret, "[...]")
        return shown(text)
