"""Runs the drill: all checks within the time limit, and the end of the sessions that they have opened."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from asgi_jwt.drill import checks_login, checks_published, checks_revocation, checks_tokens
from asgi_jwt.drill.checks_rotation import Rotation
from asgi_jwt.drill.client import http_client
from asgi_jwt.drill.drill import Drill
from asgi_jwt.drill.outcome import Broken, Result, Untried
from asgi_jwt.drill.target import Target

TIME_LIMIT = 240.0
_CLEAN_UP = 15.0
"""The part (s) of the time limit for ending the sessions."""

Progress = Callable[[int, int, float], None]
"""Is called with the number of checks that have ended, the number of all, and the seconds since the start."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check. `promise`: its number in docs/promises.md. `work` returns what was seen, or raises."""

    promise: str
    name: str
    work: Callable[[], Awaitable[str]]


Lane = list[Check]
RunLane = Callable[[Lane], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Report:
    """What a drill has found."""

    target: Target
    results: tuple[Result, ...]
    requests: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether no check found a broken promise."""
        return all(result.holds is not False for result in self.results)


async def run_drill(
    target: Target, credentials: Mapping[str, str], *, clock: Callable[[], float], progress: Progress
) -> Report:
    """Try the deployment, for 240 s at most.

    `credentials` are the fields of the login. `clock` returns seconds since the epoch. Raises `CommandError` if httpx2
    is not installed, or the environment's proxy is unusable.
    """
    started = anyio.current_time()
    async with http_client(target.is_https) as http:
        return await _run(Drill(target, credentials, clock, started, http), progress)


async def _run(drill: Drill, progress: Progress) -> Report:
    first, lanes, last = _checks(drill)
    checks = [*first, *(check for lane in lanes for check in lane), last]
    results: dict[str, Result] = {}

    async def run_lane(lane: Lane) -> None:
        for check in lane:
            results[check.name] = await run_check(check)

    over = anyio.Event()

    async def show_progress() -> None:
        while not over.is_set():
            progress(len(results), len(checks), drill.seconds)
            with anyio.move_on_after(0.5):
                await over.wait()

    async with anyio.create_task_group() as shown:
        shown.start_soon(show_progress)
        try:
            with anyio.move_on_after(TIME_LIMIT - _CLEAN_UP):
                await run_lane(first)
                await _run_lanes(drill, lanes, run_lane)
        finally:
            with anyio.move_on_after(_CLEAN_UP, shield=True):
                await run_lane([last])
            over.set()
    in_order = tuple(
        results.get(check.name) or _result_of(check, None, "the drill's time was over") for check in checks
    )
    return Report(drill.target, in_order, drill.client.requests, drill.seconds)


def _checks(drill: Drill) -> tuple[Lane, tuple[Lane, ...], Check]:
    """The login and the check of one store, the checks behind them in lanes, and the end of the drill's sessions.

    The lanes run at the same time. The first lane has all checks that need not wait. The last of them ends the session
    of the first login.
    """
    rotation = Rotation(drill)

    def check(promise: str, name: str, work: Callable[[Drill], Awaitable[str]]) -> Check:
        return Check(promise, name, partial(work, drill))

    quick = [
        check("P6", "transport", checks_login.transport),
        check("P6", "refresh cookie", checks_login.cookie),
        check("P2", "public paths", checks_tokens.public_paths),
        check("P5", "API with a good token", checks_tokens.api),
        check("P9", "published keys", checks_published.jwks),
        check("P9", "metadata", checks_published.metadata),
        check("P1", "forged access tokens", checks_tokens.forged),
        check("P1", "tokens in other places", checks_tokens.places),
        check("P4", "tokens of the other kind", checks_tokens.kinds),
        check("P7", "own site", checks_login.own_site),
        check("P7", "other sites", checks_login.other_sites),
        check("P7", "CORS", checks_login.cors),
        check("P8", "caches", checks_login.caching),
        check("P24", "clock", checks_published.clock),
        Check("P15", "forged refresh tokens", rotation.forged),
        check("P18", "logout", checks_revocation.logout),
    ]
    lanes = (
        quick,
        [Check("P10", "racing tabs", rotation.race), Check("P11", "lost answers", rotation.lost)],
        [Check("P12", "late answers", rotation.late), Check("P13", "theft", rotation.theft)],
        [Check("P14", "replay", rotation.replay)],
    )
    first = [check("P6", "login", checks_login.login), check("P20", "one store", checks_revocation.one_store)]
    return first, lanes, check("P19", "the drill's sessions", checks_revocation.left_behind)


async def _run_lanes(drill: Drill, lanes: tuple[Lane, ...], run_lane: RunLane) -> None:
    *_, theft, replay = lanes

    async def wait_for_rotation() -> None:
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(run_lane, theft)
            waiting.start_soon(run_lane, replay)
        drill.rotation_is_over.set()

    async with anyio.create_task_group() as tasks:
        for lane in lanes[:-2]:
            tasks.start_soon(run_lane, lane)
        tasks.start_soon(wait_for_rotation)


async def run_check(check: Check) -> Result:
    """Make one check."""
    try:
        return _result_of(check, True, await check.work())
    except Broken as broken:
        return _result_of(check, False, broken.seen, broken.mend)
    except Untried as why:
        return _result_of(check, None, str(why))


def _result_of(check: Check, holds: bool | None, seen: str, mend: str = "") -> Result:
    return Result(check.promise, check.name, holds, seen, mend)
