"""`cost`: for how long a request that anyone may send holds the event loop, and how many signatures it has checked."""

import asyncio
import statistics
import time
from typing import Any

from benchmarks.costly import Costly, costly_requests
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort

MOST = 1000.0
"""Microseconds of the event loop."""
CHECKS = 4


def run_cost(effort: Effort) -> Report:
    """Each request's time on the event loop's thread, the median of the rounds, and its signature checks."""
    report = Report(command="cost")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "starlette", "cryptography")}
    checks = 0.0
    for title, requests in costly_requests().items():
        rows = {name: asyncio.run(_measure(costly, effort.rounds)) for name, costly in requests.items()}
        report.tables[f"By {title}"] = rows
        worst = max(rows, key=lambda name: rows[name]["µs"])
        report.promises.append(Promise(f"µs of the loop, by {title}: {worst}", rows[worst]["µs"], MOST))
        checks = max([checks, *(row["signature checks"] for row in rows.values())])
    report.promises.append(Promise("signature checks of one request", checks, CHECKS))
    return report


async def _measure(costly: Costly, rounds: int) -> dict[str, float]:
    taken = []
    before = _checks(costly)
    for _ in range(rounds):
        start = time.thread_time()
        await answered(costly)
        taken.append((time.thread_time() - start) * 1e6)
    checks = (_checks(costly) - before) / rounds
    return {"µs": statistics.median(taken), "signature checks": checks}


async def answered(costly: Costly) -> int:
    """The status that the request is answered with; 101 for a WebSocket that is accepted, 403 for one that is not."""
    statuses: list[int] = []
    waiting = list(costly.chunks)
    waiting.reverse()

    async def receive() -> dict[str, Any]:
        if costly.scope["type"] == "websocket":
            return {"type": "websocket.connect"}
        chunk = waiting.pop() if waiting else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 403 if message["type"] == "websocket.close" else 101))

    # Routers write into the scope: each request has its own.
    await costly.app({**costly.scope, "state": {}}, receive, send)
    return statuses[0]


def _checks(costly: Costly) -> int:
    return costly.auth.verifier.signature_checks + costly.auth.sessions._refresh_verifier.signature_checks
