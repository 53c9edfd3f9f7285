"""`asgi-jwt check`: prints what is wrong with the setup of this service, and how to mend it."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio

from asgi_jwt.auth import Auth
from asgi_jwt.commands.check_introspection import check_introspection
from asgi_jwt.commands.check_issuers import check_issuer, check_tenant
from asgi_jwt.commands.check_settings import check_keys, check_settings
from asgi_jwt.commands.check_store import check_store
from asgi_jwt.commands.findings import PROBLEM, WARNING, Finding, problem
from asgi_jwt.commands.output import counted, run, say, say_json
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.events import printable
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.remote_keys import RemoteKeySet

Clock = Callable[[], float]
Check = Callable[[], Awaitable[list[Finding]]]

_CHECKED_AT_ONCE = 20
"""The most issuers that are asked at the same time."""


def check(*, as_json: bool, sql: bool, clock: Clock) -> int:
    """Print a line for each finding about the settings and, if the settings are usable, about keys, store and issuers.

    Returns 1 if there is a problem, else 0. `clock` returns seconds since the epoch. `sql`: print only the statements
    that make the tables of the PostgreSQL store, for a role that may not.
    """
    if sql:
        from asgi_jwt.stores.postgres.schema import SQL

        for line in SQL.splitlines():
            say(line)
        return 0
    findings = _find(clock)
    problems, warnings = (sum(finding.level == level for finding in findings) for level in (PROBLEM, WARNING))
    if as_json:
        listed = [
            {"level": each.level, "about": each.about, "found": each.found, "mend": each.mend or None}
            for each in findings
        ]
        say_json({"ok": not problems, "findings": listed})
    else:
        for finding in findings:
            say(str(finding))
        say(f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}")
    return 1 if problems else 0


def _find(clock: Clock) -> list[Finding]:
    try:
        settings = Settings.from_env()
        auth = Auth(settings, clock=clock)
    except ConfigurationError as error:
        return _faults(error)
    return [*check_settings(settings), *_check_own_keys(auth, clock()), *run(partial(_check_outside, auth, clock))]


def _check_own_keys(auth: Auth, now: float) -> Iterator[Finding]:
    if auth.settings.key_set:
        yield from check_keys(auth.settings, auth.verifier.trusts[0].keys.known, now)
    if auth.settings.refresh_secret:
        try:
            _ = auth.issuer  # raises if no key can sign the tokens of a login
        except ConfigurationError as error:
            yield from _faults(error)


async def _check_outside(auth: Auth, clock: Clock) -> list[Finding]:
    """The findings about issuers and the store, which are checked at the same time. Each check has a time limit."""
    verifier, opaque = auth.verifier, auth.opaque_tokens
    introspection = None if opaque is None else opaque.introspection
    checks: list[Check] = [
        *(partial(check_issuer, policy, keys) for keys, policy in verifier.trusts if isinstance(keys, RemoteKeySet)),
        *(partial(check_tenant, verifier, iss) for pattern in verifier.patterns for iss in pattern.issuers),
        *([] if introspection is None else [partial(check_introspection, introspection)]),
        partial(check_store, auth, clock),
    ]
    found: dict[int, list[Finding]] = {}
    few = anyio.CapacityLimiter(_CHECKED_AT_ONCE)

    async def run_check(position: int, check: Check) -> None:
        async with few:
            found[position] = await check()

    async with anyio.create_task_group() as tasks:
        for position, each in enumerate(checks):
            tasks.start_soon(run_check, position, each)
    return [finding for _, findings in sorted(found.items()) for finding in findings]


def _faults(error: ConfigurationError) -> list[Finding]:
    return [problem("settings", printable(fault)) for fault in error.faults]
