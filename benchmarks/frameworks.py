"""`frameworks`: a route that asks `require`, beside the same route with an empty check of the framework's own."""

import asyncio
import statistics
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from litestar import Litestar, get

from asgi_jwt import Auth, Identity, JWTMiddleware, Settings, require
from asgi_jwt.litestar import JWTPlugin
from benchmarks.asgi import PATH, Requests
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort

MOST = 1.2


def run_frameworks(effort: Effort) -> Report:
    """Microseconds of a request whose token was seen before, the medians of rounds taken by turns."""
    auth = Auth(Settings(issuer="https://issuer.example", audience="api", secret="s" * 32))
    identities = [Identity(f"user-{number}", scopes="orders:read") for number in range(effort.tokens)]
    tokens = [auth.issuer.access_token(identity) for identity in identities]
    report = Report(command="frameworks")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "fastapi", "litestar", "starlette")}
    for title, apps in {"FastAPI": _fastapi(auth), "Litestar": _litestar(auth)}.items():
        times = asyncio.run(_measure({name: Requests(app, tokens) for name, app in apps.items()}, effort))
        medians = {name: statistics.median(taken) for name, taken in times.items()}
        shares = [ours / empty for ours, empty in zip(times["require"], times["empty"], strict=True)]
        report.tables[f"{title}, µs a request"] = {name: {"µs": median} for name, median in medians.items()}
        report.promises.append(Promise(f"{title}: require, in an empty check's", statistics.median(shares), MOST))
    return report


async def _measure(apps: dict[str, Requests], effort: Effort) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(effort.rounds):
        for name, requests in apps.items():
            times[name].append(await requests.take(effort.seconds))
    return times


def _fastapi(auth: Auth) -> dict[str, Any]:
    async def empty() -> None: ...

    def app(check: Any) -> JWTMiddleware:
        made = FastAPI()

        @made.get(PATH)
        async def orders(checked: Annotated[object, Depends(check)]) -> dict[str, str]:
            return {"hello": "world"}

        return JWTMiddleware(made, auth)

    return {"empty": app(empty), "require": app(require("orders:read"))}


def _litestar(auth: Auth) -> dict[str, Any]:
    async def empty(connection: Any, handler: Any) -> None: ...

    def app(check: Any) -> Litestar:
        @get(PATH, guards=[check])
        async def orders() -> dict[str, str]:
            return {"hello": "world"}

        return Litestar([orders], plugins=[JWTPlugin(auth)])

    return {"empty": app(empty), "require": app(require("orders:read"))}
