"""`asgi-jwt drill`: tries a deployment from outside, and prints which promises hold there."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from asgi_jwt.commands.findings import OK, PROBLEM, Finding
from asgi_jwt.commands.output import CommandError, counted, run, say, say_json
from asgi_jwt.drill.run import Report, run_drill
from asgi_jwt.drill.target import Target

_LEVELS = {True: OK, False: PROBLEM, None: "untried"}
_WIDTH = 24
_ERASE = "\r\x1b[K"


def drill(url: str, *, api: str, login: Sequence[tuple[str, str]], as_json: bool, clock: Callable[[], float]) -> int:
    """Print a line for each check of the deployment at `url`, with the mend of each fault.

    Returns 1 if a promise is broken, else 0. `login` are the fields of the login. Raises `CommandError` for wrong
    usage, without httpx2, and if the environment's proxy is unusable.
    """
    try:
        target, credentials = Target.parse(url, api), _credentials(login)
    except ValueError as fault:
        raise CommandError(str(fault), status=2) from None
    return _print(run(partial(_with_progress, target, credentials, clock)), as_json)


async def _with_progress(target: Target, credentials: dict[str, str], clock: Callable[[], float]) -> Report:
    """The report. While the drill runs, a terminal shows a progress bar."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    progress = _show_progress if is_terminal else _show_nothing
    try:
        return await run_drill(target, credentials, clock=clock, progress=progress)
    finally:
        if is_terminal:
            sys.stderr.write(_ERASE)


def _credentials(login: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The fields of the login. `@FILE` reads the value from a file. Raises `ValueError`."""
    credentials: dict[str, str] = {}
    for name, value in login:
        if name in credentials:
            raise ValueError(f"--login has {name} twice")
        credentials[name] = _from_file(name, value[1:]) if value.startswith("@") else value
    return credentials


def _from_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError):
        raise ValueError(f"the file of {name} in --login can't be read as text") from None


def _show_nothing(ended: int, of: int, seconds: float) -> None:
    pass


def _show_progress(ended: int, of: int, seconds: float) -> None:
    done = _WIDTH * ended // of
    sys.stderr.write(f"{_ERASE}[{'#' * done}{'.' * (_WIDTH - done)}] {ended} of {of} checks, {seconds:.0f} s")
    sys.stderr.flush()


def _print(report: Report, as_json: bool) -> int:
    """Print the report. Returns the exit status."""
    if as_json:
        _print_json(report)
    else:
        _print_text(report)
    return 0 if report.holds else 1


def _print_text(report: Report) -> None:
    for each in report.results:
        say(str(Finding(_LEVELS[each.holds], f"{each.promise} {each.name}", each.seen, each.mend)))
    ok, problems, untried = (sum(each.holds is holds for each in report.results) for holds in (True, False, None))
    effort = f"{counted(report.requests, 'request')} in {report.seconds:.0f} s"
    say(f"{counted(problems, 'problem')}, {ok} ok, {untried} untried; {effort}")


def _print_json(report: Report) -> None:
    checks = [
        {"promise": each.promise, "name": each.name, "holds": each.holds, "seen": each.seen, "mend": each.mend or None}
        for each in report.results
    ]
    say_json(
        {
            "url": report.target.url,
            "api": report.target.api,
            "holds": report.holds,
            "requests": report.requests,
            "seconds": round(report.seconds, 1),
            "checks": checks,
        }
    )
