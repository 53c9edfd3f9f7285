"""`asgi-jwt check`: all that is wrong with how this service is set up, and the mend."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio

from asgi_jwt.auth import Auth
from asgi_jwt.commands.check_issuers import check_issuer
from asgi_jwt.commands.check_settings import check_keys, check_settings
from asgi_jwt.commands.check_store import check_store
from asgi_jwt.commands.findings import PROBLEM, WARNING, Finding, problem
from asgi_jwt.commands.output import count, run, say, say_json
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.events import printable
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.remote_keys import RemoteKeySet

Clock = Callable[[], float]


def check(*, as_json: bool, clock: Clock) -> int:
    """Prints a finding a line: of the settings, and if they can be used, of keys, store and issuers."""
    findings = _find(clock)
    problems, warnings = (sum(finding.level == level for finding in findings) for level in (PROBLEM, WARNING))
    if as_json:
        told = [
            {"level": each.level, "about": each.about, "found": each.found, "mend": each.mend or None}
            for each in findings
        ]
        say_json({"ok": not problems, "findings": told})
    else:
        for finding in findings:
            say(str(finding))
        say(f"{count(problems, 'problem')}, {count(warnings, 'warning')}")
    return 1 if problems else 0


def _find(clock: Clock) -> list[Finding]:
    try:
        settings = Settings.from_env()
        auth = Auth(settings, clock=clock)
    except ConfigurationError as error:
        return _faults(error)
    return [*check_settings(settings), *_check_own_keys(auth, clock()), *run(partial(_look_around, auth, clock))]


def _check_own_keys(auth: Auth, now: float) -> Iterator[Finding]:
    if not auth.settings.is_remote:
        yield from check_keys(auth.settings, auth.verifier.trusts[0].keys.known, now)
    if auth.settings.refresh_secret:
        try:
            _ = auth.issuer  # without one nobody logs in
        except ConfigurationError as error:
            yield from _faults(error)


async def _look_around(auth: Auth, clock: Clock) -> list[Finding]:
    """What is found outside of the process, at all places at once; each look bounds its own time."""
    trusts = auth.verifier.trusts
    looks = [partial(check_issuer, policy, keys) for keys, policy in trusts if isinstance(keys, RemoteKeySet)]
    found: dict[int, list[Finding]] = {}

    async def look(place: int, ask: Callable[[], Awaitable[list[Finding]]]) -> None:
        found[place] = await ask()

    async with anyio.create_task_group() as tasks:
        for place, ask in enumerate([*looks, partial(check_store, auth, clock)]):
            tasks.start_soon(look, place, ask)
    return [finding for _, findings in sorted(found.items()) for finding in findings]


def _faults(error: ConfigurationError) -> list[Finding]:
    return [problem("settings", printable(fault)) for fault in error.faults]
