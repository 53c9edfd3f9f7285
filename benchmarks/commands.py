"""The commands of `python -m benchmarks`: what each measures and promises."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from benchmarks import instructions, middleware, verify
from benchmarks.cost import run_cost
from benchmarks.dpop import run_dpop
from benchmarks.fixture import Fixture
from benchmarks.frameworks import run_frameworks
from benchmarks.growth import run_growth
from benchmarks.postgres import run_postgres
from benchmarks.refresh import run_refresh
from benchmarks.remote import run_remote
from benchmarks.report import Promise, Report, installed
from benchmarks.revocations import run_revocations
from benchmarks.rounds import Effort, Result, Worker, compare, worker

OURS = "asgi_jwt"
STARLETTE = "Starlette AuthenticationMiddleware + PyJWT"
CONNECTIONS = 32


def run_verify(effort: Effort) -> Report:
    """Tokens new, forged, and past the size limit, at each library; the memory of the cache."""
    report = Report(command="verify")
    for algorithm, to_pyjwt, to_raw in (("HS256", 3.0, 6.5), ("RS256", 1.9, 2.0)):
        fixture = Fixture.make(algorithm, effort.tokens)
        results = _compare(report, "verify", verify.CONTENDERS, fixture, effort)
        ours, pyjwt, raw = (results[name] for name in (OURS, "PyJWT", "the signature alone"))
        report.tables[f"{algorithm}, tokens of {len(fixture.tokens[0])} bytes, µs"] = {
            name: {case: result.median(case) for case in result.times}
            | {"new, times ours": result.median("new") / ours.median("new")}
            for name, result in results.items()
        }
        new, forged = ours.median("new"), ours.median("forged") - raw.median("forged")
        report.promises += [
            Promise(
                f"{algorithm}: PyJWT's time for a new token, in ours", pyjwt.median("new") / new, to_pyjwt, least=True
            ),
            Promise(
                f"{algorithm}: our time for a new token, in bare signature checks", new / raw.median("new"), to_raw
            ),
            Promise(f"{algorithm}: a forged token, µs over the bare signature check", forged, 15),
            Promise(f"{algorithm}: a token past the size limit, µs", ours.median("oversized"), 2),
        ]
    setup = {"fixture": asdict(Fixture.make("HS256", 2)), "cache_size": effort.cache_size}
    with worker("memory", setup) as memory:
        weight = {name: value / 1024 for name, value in memory.introduction.items()}
    report.tables[f"Memory of {effort.cache_size} cached tokens, KiB for each"] = {OURS: weight}
    report.promises.append(Promise("KiB for each cached token, after a flood", weight["after a flood"], 2.5))
    return report


def run_middleware(effort: Effort) -> Report:
    """What each protection adds to a request, made in the process to the same app with and without it."""
    report = Report(command="middleware")
    for algorithm, to_starlette in (("HS256", 25.0), ("RS256", 30.0)):
        fixture = Fixture.make(algorithm, effort.tokens)
        results = _compare(report, "middleware", middleware.CONTENDERS, fixture, effort)
        ours = results[OURS].added()
        added = {name: result.added() for name, result in results.items()}
        report.tables[f"{algorithm}, tokens of {len(fixture.tokens[0])} bytes, µs added to a request"] = {
            name: {"bare app": result.median("bare"), "added": added[name], "added, times ours": added[name] / ours}
            | ({"added, new token": result.added("new")} if "new" in result.times else {})
            for name, result in results.items()
        }
        bounds = {STARLETTE: to_starlette, "authx": 100.0, "fastapi-users": 100.0}
        report.promises += [
            Promise(f"{algorithm}: what {name} adds, in ours", added[name] / ours, bound, least=True)
            for name, bound in bounds.items()
            if name in added
        ]
    if effort.counts:
        _add_instructions(report)
    return report


def _add_instructions(report: Report) -> None:
    """The same in instructions, which swing with no other work of the machine, where valgrind is installed."""
    if instructions.VALGRIND is None:
        report.left_out["instructions"] = "valgrind"
        return
    counts = instructions.count()
    ours, with_store = counts[OURS], counts["asgi_jwt with a store"]
    least, least_with_store = (counts[name] for name in ("the same checks, by hand", "with revocation, by hand"))
    report.tables["HS256, a token seen before, instructions added to a request"] = {
        name: {"added": added, "added, times ours": added / ours} for name, added in counts.items()
    }
    report.promises += [
        Promise("instructions: ours, in the same checks fused by hand", ours / least, 1.05),
        Promise("instructions: ours with a store, in the same", with_store / least_with_store, 1.05),
        Promise("instructions: Starlette + PyJWT, in ours", counts[STARLETTE] / ours, 15.0, least=True),
    ]


def run_server(effort: Effort) -> Report:
    """Requests per second under uvicorn, of the bare app and of the protected one, tokens seen before."""
    report = Report(command="server")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "uvicorn", "uvloop", "httptools")}
    for algorithm in ("HS256", "RS256"):
        fixture = asdict(Fixture.make(algorithm, effort.tokens))
        rates: dict[str, list[float]] = {"bare": [], "protected": []}
        with ExitStack() as stack:
            load = stack.enter_context(worker("load", {"fixture": fixture, "connections": CONNECTIONS}))
            ports = {
                app: stack.enter_context(worker("serving", {"app": app, "fixture": fixture})).introduction["port"]
                for app in rates
            }
            for app in rates:
                _rate(load, ports[app], effort.seconds)
            for _ in range(effort.rounds):
                for app, taken in rates.items():
                    taken.append(_rate(load, ports[app], effort.seconds))
        medians = {app: statistics.median(taken) for app, taken in rates.items()}
        share = medians["protected"] / medians["bare"]
        report.tables[f"{algorithm}, {CONNECTIONS} connections, requests per second"] = {
            app: {"rate": rate, "of the bare app's": rate / medians["bare"]} for app, rate in medians.items()
        }
        report.promises.append(Promise(f"{algorithm}: of the bare app's requests per second", share, 0.88, least=True))
    return report


def _compare(
    report: Report, group: str, contenders: Mapping[str, Any], fixture: Fixture, effort: Effort
) -> dict[str, Result]:
    results, left_out = compare(group, contenders, fixture, rounds=effort.rounds, seconds=effort.seconds)
    report.add(results, left_out)
    return results


def _rate(load: Worker, port: int, seconds: float) -> float:
    answered = load.ask({"port": port, "seconds": seconds})
    rate: float = answered["requests"] / answered["seconds"]
    return rate


COMMANDS: dict[str, Callable[[Effort], Report]] = {
    "verify": run_verify,
    "middleware": run_middleware,
    "server": run_server,
    "refresh": run_refresh,
    "postgres": run_postgres,
    "growth": run_growth,
    "revocations": run_revocations,
    "remote": run_remote,
    "cost": run_cost,
    "dpop": run_dpop,
    "frameworks": run_frameworks,
}
