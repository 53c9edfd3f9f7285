"""Checks of the sessions: every process knows them, and a logout ends their access tokens within a second or two."""

import anyio

from asgi_jwt.drill.client import Answer
from asgi_jwt.drill.cookies import cookies_of
from asgi_jwt.drill.devices import Device, told
from asgi_jwt.drill.drill import ONE_STORE, Drill
from asgi_jwt.drill.outcome import Broken, Untried

SEEN_WITHIN = 2.0
"""Seconds in which a logout must be seen: `REVOCATION_INTERVAL` by default, and a second for the way."""
_GIVEN_UP = 60.0
_BURST = 4
_KNOWN_BURSTS = 3


async def one_store(drill: Drill) -> str:
    """Every process knows a session that another one has opened."""
    device, path = drill.device(), f"{drill.target.mount}/sessions"
    answers = []
    for _ in range(_KNOWN_BURSTS):
        answers += await drill.client.burst(2 * _BURST, "GET", path, device.bearer)
    statuses = {answer.status for answer in answers}
    if statuses & {404, 405} or not device.sid:
        raise Untried("the deployment lists no sessions")
    if statuses != {200}:
        named = ", ".join(sorted({told(answer) for answer in answers if not answer.is_good}))
        raise Broken(f"GET /sessions was answered {named}", "give all processes the same keys and the same store")
    unknown = sum(not _lists(answer, device) for answer in answers)
    drill.is_split = unknown > 0
    if drill.is_split:
        raise Broken(f"{unknown} of {len(answers)} answers did not know a session of a moment ago", ONE_STORE)
    return f"{len(answers)} of {len(answers)} answers know the session"


def _lists(answer: Answer, device: Device) -> bool:
    return any(each.get("sid") == device.sid for each in answer.objects("sessions"))


async def logout(drill: Drill) -> str:
    """A logout ends the session's access tokens in every process within a moment."""
    device = drill.guarded()
    answer = await drill.devices.end(device)
    if not answer.is_good:
        raise Broken(f"POST /logout was answered {told(answer)}", "look into the log of the service")
    if device.cookie is not None and not _clears(answer, device):
        raise Broken("the logout does not delete the cookie", "let no proxy change Set-Cookie")
    if (await drill.devices.refresh(device)).is_good:
        raise Broken("a session that was logged out refreshes", ONE_STORE)
    seen = await seen_after(drill, device, answer.received)
    if seen is None:
        raise Broken(
            f"{_GIVEN_UP:g} s after the logout the API takes the access token",
            drill.mend("give the API the store of the login: ASGI_JWT_STORE"),
        )
    if seen > SEEN_WITHIN:
        raise Broken(
            f"the API took the access token for {seen:.1f} s after the logout",
            drill.mend("set ASGI_JWT_REVOCATION_INTERVAL to 1, its default"),
        )
    return f"seen by the API after {seen:.1f} s"


async def seen_after(drill: Drill, device: Device, since: float) -> float | None:
    """How long (s) after the moment `since` the API took the access token. None: for as long as it was tried."""
    last = since
    refused = 0
    while refused < 3:
        answers = await drill.client.burst(_BURST, "GET", drill.target.api, device.bearer)
        taken = [answer.sent for answer in answers if answer.is_good]
        refused = 0 if taken else refused + 1
        last = max([last, *taken])
        waited = anyio.current_time() - since
        if taken and (waited > _GIVEN_UP or drill.patience_is_over):
            return None
        await anyio.sleep(0.1 if waited < SEEN_WITHIN else 2.0 if taken else 0.5)
    return last - since


async def left_behind(drill: Drill) -> str:
    """The drill's own sessions are ended, of all that the user has."""
    drill.device()
    left = await drill.devices.end_all()
    if left:
        named = ", ".join(sorted({each.seen if isinstance(each, Broken) else told(each) for each in left}))
        raise Broken(f"{len(left)} of the drill's sessions could not be ended: {named}", "let AuthApp answer /logout")
    return f"{len(drill.devices.opened)} of {len(drill.devices.opened)} sessions of the drill are ended"


def _clears(answer: Answer, device: Device) -> bool:
    """Whether the answer has the browser delete the device's cookie: of the same name and path."""
    given = device.cookie
    named = [
        each for each in cookies_of(answer) if given is not None and (each.name, each.path) == (given.name, given.path)
    ]
    return any(not each.value or each.attributes.get("max-age") == "0" for each in named)
