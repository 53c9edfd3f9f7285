"""A process that serves AuthApp, and at a point of its first refresh dies or waits: what the tests start.

    python serving_process.py SOCKET STORE NOW [POINT ACT]

`SOCKET` is the number of an inherited listening socket, `STORE` a URL, `NOW` what its clock stands at. `POINT` is one
of `POINTS`, `ACT` is `die`, or `wait` for a line of input. Each event is written as a line.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import uvicorn
from logins import an_app, an_auth
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asgi_jwt.events import Event, Refreshed
from asgi_jwt.stores.base import Change, LogPage, Outcome, SessionStore
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.urls import open_store

T = TypeVar("T")

POINTS = (
    "before the read",
    "after the read",
    "before the change",
    "within it",
    "after the commit",
    "before the answer",
)


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait() -> None:
    write("waits")
    sys.stdin.readline()


class Interruption:
    """Acts once, when its point is reached."""

    def __init__(self, point: str | None, act: Callable[[], None]) -> None:
        self.point = point
        self.act = act

    def reach(self, point: str) -> None:
        if point == self.point:
            self.point = None
            self.act()


class InterruptedStore:
    """A store that reaches the points on its way."""

    def __init__(self, store: SessionStore, interruption: Interruption) -> None:
        self.store = store
        self.reach = interruption.reach

    async def get(self, key: SessionKey) -> Session | None:
        self.reach("before the read")
        found = await self.store.get(key)
        self.reach("after the read")
        return found

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        def interrupted(stored: Session | None) -> Outcome[T]:
            changed = change(stored)
            self.reach("within it")
            return changed

        self.reach("before the change")
        result = await self.store.update(key, interrupted)
        self.reach("after the commit")
        return result

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        return await self.store.list(subject, now)

    async def sweep(self, now: int) -> int:
        return await self.store.sweep(now)

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        await self.store.append_revocations(revocations, now)

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        return await self.store.read_revocations(cursor)

    async def aclose(self) -> None:
        await self.store.aclose()


def interrupted_answers(app: ASGIApp, interruption: Interruption) -> ASGIApp:
    async def interrupted(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if scope["type"] == "http":
                interruption.reach("before the answer")
            await send(message)

        await app(scope, receive, answer)

    return interrupted


def main(number: str, url: str, now: str, point: str | None = None, act: str = "die") -> None:
    def tell(event: Event) -> None:
        write(event.verdict if isinstance(event, Refreshed) else event.name)

    interruption = Interruption(point, {"die": die, "wait": wait}[act])
    auth = an_auth(InterruptedStore(open_store(url), interruption), lambda: float(now), tell)
    config = uvicorn.Config(interrupted_answers(an_app(auth), interruption), log_level="error", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(number))])


if __name__ == "__main__":
    main(*sys.argv[1:])
