"""Checks of rotation: tabs that race, lost and late answers, replay and theft."""

import anyio

from asgi_jwt.drill.client import Answer, together
from asgi_jwt.drill.devices import Device, new_refresh_token, told
from asgi_jwt.drill.drill import ONE_STORE, Drill
from asgi_jwt.drill.outcome import Broken, Untried

TABS = 6
_GRACE = "set ASGI_JWT_GRACE to 30 and ASGI_JWT_RECOVERY to 24h, their defaults"
_LOG = "look into the log of the service"


class Rotation:
    """The checks of rotation, and the devices that they share."""

    def __init__(self, drill: Drill) -> None:
        self._drill = drill
        self._devices = drill.devices
        self._tabs: tuple[Device, str] | None = None
        self._owner: Device | None = None
        self._parent = ""

    async def race(self) -> str:
        """Tabs that refresh with the same token at the same time all get a new access token."""
        self._drill.device()
        device = await self._devices.another()
        shared, answers = device.refresh, list[Answer]()

        async def tab() -> None:
            answers.append(await self._devices.refresh(device, shared))

        await together(*[tab] * TABS)
        good = [answer for answer in answers if answer.is_good]
        if any(answer.status == 429 for answer in answers):
            raise Untried("a throttle refused refreshes with 429")
        if len(good) < TABS:
            await self._say_why(device, good, sum(answer.status >= 500 for answer in answers))
        self._tabs = device, shared
        return f"{TABS} of {TABS} tabs that refresh at once stay logged in"

    async def _say_why(self, device: Device, good: list[Answer], failed: int) -> None:
        """Raises `Broken` with the likely cause of a lost race."""
        seen = f"{TABS - len(good)} of {TABS} tabs that refreshed at once were refused"
        if failed:
            raise Broken(seen, _LOG)
        tokens = [token for answer in good if (token := new_refresh_token(device, answer))]
        alive = [(await self._devices.refresh(device, token)).is_good for token in tokens[:1] * TABS]
        if any(alive):
            raise Broken(f"{seen}, though the session lives in other processes", ONE_STORE)
        raise Broken(f"{seen}, and the session has ended", self._drill.mend(_GRACE))

    async def forged(self) -> str:
        """A forged refresh token is refused, and ends nothing."""
        device = self._drill.device()
        if device.refresh.count(".") != 2:
            raise Untried("the refresh token is no JWT")
        head, payload, signature = device.refresh.split(".")
        forged = f"{head}.{payload}.{'B' if signature.startswith('A') else 'A'}{signature[1:]}"
        answer = await self._devices.refresh(device, forged)
        if answer.is_good:
            raise Broken("a refresh token with another signature is accepted", "give the URL of an AuthApp")
        after = await self._devices.refresh(device)
        self._devices.adopt(device, after)
        if not after.is_good:
            raise Broken(f"after a forged refresh token the user's own was answered {told(after)}", ONE_STORE)
        return f"{answer.status}, and the session lives on"

    async def late(self) -> str:
        """An answer that comes late puts no older refresh token into the browser."""
        self._drill.device()
        device = await self._devices.another()
        self._owner, self._parent = device, device.refresh
        first = await self._devices.refresh(device)
        if not first.is_good:
            raise Broken(f"the first refresh was answered {told(first)}", ONE_STORE)
        if not self._devices.adopt(device, first):
            raise Broken("a refresh does not rotate the refresh token, so that a stolen copy is never found", _ROTATE)
        again = await self._devices.refresh(device)
        if not again.is_good:
            raise Broken(f"the new refresh token was answered {told(again)}", ONE_STORE)
        if self._devices.adopt(device, again):
            raise Broken(
                "the new refresh token rotated again at once, so that a late answer overtakes it",
                self._drill.mend(_GRACE),
            )
        return "a token that is new stays as it is"

    async def theft(self) -> str:
        """A thief who keeps step with the owner is found, and the session ends for both."""
        owner = self._owner
        if owner is None or owner.refresh == self._parent:
            raise Untried("the refresh token did not rotate")
        thief = await self._devices.refresh(owner, self._parent)
        stolen = new_refresh_token(owner, thief) or self._parent
        started = anyio.current_time()
        if thief.is_good:
            await self._until_it_rotates(owner)
            thief = await self._devices.refresh(owner, stolen)
        if thief.is_good:
            raise Broken("a thief who keeps step gets tokens though the owner was handed two new ones", _ROTATE)
        if (await self._devices.refresh(owner)).is_good:
            raise Broken("the thief's token was refused, and the session went on", ONE_STORE)
        return f"found after {anyio.current_time() - started:.0f} s, and the session ended"

    async def replay(self) -> str:
        """A refresh token that is two generations old ends the session of the OAuth client."""
        self._drill.device()
        device = await self._devices.another(("transport", "body"))
        old = device.refresh
        first = await self._devices.refresh(device)
        if not first.is_good:
            raise Broken(f"the first refresh at /token was answered {told(first)}", ONE_STORE)
        self._devices.adopt(device, first)
        await self._until_it_rotates(device)
        answer = await self._devices.refresh(device, old)
        if answer.is_good:
            raise Broken("a refresh token that was rotated twice is accepted", _ROTATE)
        if (await self._devices.refresh(device)).is_good:
            raise Broken("an old refresh token was refused, and the session went on", ONE_STORE)
        return f"{answer.status}, and the session ended"

    async def lost(self) -> str:
        """A browser whose answers were all lost, and that slept longer than the grace, is logged in yet."""
        if self._tabs is None:
            raise Untried("the race of the tabs had ended the session")
        device, shared = self._tabs
        await self._drill.rotation_is_over.wait()
        if not self._drill.has_rotated:
            raise Untried("no new refresh token was old enough to rotate, so that the grace could not be outwaited")
        answer = await self._devices.refresh(device, shared)
        if not answer.is_good:
            raise Broken(
                f"after a lost answer and a sleep the refresh was answered {told(answer)}", self._drill.mend(_GRACE)
            )
        self._devices.adopt(device, answer)
        return "logged in yet, after lost answers and a sleep"

    async def _until_it_rotates(self, device: Device) -> None:
        """Refresh until the device's token is old enough to rotate. Raises `Untried` if that takes too long."""
        started = anyio.current_time()
        while not self._devices.adopt(device, answer := await self._devices.refresh(device)):
            waited = anyio.current_time() - started
            if not answer.is_good:
                raise Broken(f"the owner's refresh was answered {told(answer)}", ONE_STORE)
            if self._drill.patience_is_over:
                raise Untried(f"no rotation within {waited:.0f} s: GRACE is longer than half of it")
            await anyio.sleep(min(max(waited / 10, 0.1), 2.0))
        self._drill.has_rotated = True
        self._drill.rotation_is_over.set()


_ROTATE = "let each refresh rotate the refresh token, and end the session when an old one comes back"
