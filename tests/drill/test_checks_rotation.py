"""Rotation, tried from outside: each fault of a deployment is named, with its mend."""

from collections.abc import Awaitable, Callable

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from support.deployments import Site, answering, deployment, fault, in_turn, untried

from asgi_jwt.drill import drill as shared
from asgi_jwt.drill.checks_rotation import Rotation
from asgi_jwt.drill.drill import Drill

Work = Callable[[Drill], Awaitable[str]]


def works(*names: str) -> list[Work]:
    """Checks of one rotation, by their names."""
    made: list[Rotation] = []

    def work(name: str) -> Work:
        async def check(drill: Drill) -> str:
            made[:] = made or [Rotation(drill)]
            result: str = await getattr(made[0], name)()
            return result

        return check

    return [work(name) for name in names]


async def over(drill: Drill) -> str:
    """Nothing waits for a rotation any more."""
    drill.rotation_is_over.set()
    return ""


def refreshing(*answers: tuple[int, str]) -> ASGIApp:
    """A deployment whose `/refresh` and `/token` give these answers in turn, the last one for ever.

    Each is a status and the new refresh token; `*` stands for one that is new each time.
    """
    app, asked = deployment(), [0]

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        status, token = answers[min(asked[0], len(answers) - 1)]
        path = next((path for path in ("/auth/refresh", "/auth/token") if scope["path"] == path), None)
        if path is None:
            return await app(scope, receive, send)
        asked[0] += 1
        token = token.replace("*", f"new-{asked[0]}")
        body = b'{"access_token": "a", "refresh_token": "%s"}' % token.encode()
        headers = {"set_cookie": f"refresh_token={token}; Path=/auth"} if token else {}
        return await answering(app, path, status, body, **headers)(scope, receive, send)

    return routed


OLD, NEW, NO = (200, ""), (200, "*"), (401, "")


@pytest.mark.parametrize("grace", [0, 1])
def test_theft(site: Site, grace: int) -> None:
    """Without grace, too, theft and replay end the session."""
    app = deployment(grace=grace)
    for names in (("late", "theft"), ("replay",)):
        assert site.check(*works(*names), app=app).holds is True


@pytest.mark.parametrize(
    ("name", "app", "seen", "mend"),
    [
        ("race", deployment(grace=0), "and the session has ended", "set ASGI_JWT_GRACE to 30"),
        ("race", in_turn(deployment(), deployment()), "lives in other processes", "give all processes one store"),
        ("race", refreshing((500, "")), "6 of 6 tabs", "log of the service"),
        ("forged", refreshing(NEW), "another signature is accepted", "URL of an AuthApp"),
        ("forged", refreshing(NO), "the user's own was answered 401", "one store"),
        ("late", refreshing(NO), "the first refresh was answered 401", "one store"),
        ("late", refreshing(OLD), "does not rotate", "let each refresh rotate"),
        ("late", refreshing(NEW, NO), "the new refresh token was answered 401", "one store"),
        ("late", deployment(grace=0), "rotated again at once", "set ASGI_JWT_GRACE to 30"),
        ("theft", refreshing(NEW, OLD, NEW), "a thief who keeps step gets tokens", "let each refresh rotate"),
        ("theft", refreshing(NEW, OLD, NO, OLD), "the session went on", "one store"),
        ("theft", refreshing(NEW, OLD, NEW, NO), "the owner's refresh was answered 401", "one store"),
        ("replay", refreshing(NO), "the first refresh at /token was answered 401", "one store"),
        ("replay", refreshing(NEW), "rotated twice is accepted", "let each refresh rotate"),
        ("replay", refreshing(NEW, NEW, NO, OLD), "the session went on", "one store"),
    ],
)
def test_faults(site: Site, name: str, app: ASGIApp, seen: str, mend: str) -> None:
    """Each way in which rotation logs users out, or lets a thief stay, is named."""
    before = ["late"] if name == "theft" else []
    fault(site.check(*works(*before, name), app=app), seen, mend)


def test_lost(site: Site) -> None:
    """Without recovery a lost answer and a sleep log the user out; with it they don't."""
    lost = ("race", "late", "theft", "lost")
    assert site.check(*works(*lost), app=deployment(grace=1)).holds is True
    fault(
        site.check(*works(*lost), app=deployment(grace=1, recovery=0)), "a lost answer and a sleep", "RECOVERY to 24h"
    )


@pytest.mark.parametrize(
    ("names", "app", "seen"),
    [
        (["race"], refreshing((429, "")), "a throttle refused refreshes"),
        (["lost"], deployment(), "the race of the tabs had ended the session"),
        (["race", "lost"], deployment(), "could not be outwaited"),
        (["theft"], deployment(), "did not rotate"),
        (["replay"], refreshing(NEW, OLD), "no rotation within"),
        (["race"], answering(deployment(), "/auth/login", 200, b'{"access_token": "a"}'), "gives no refresh token"),
        (["forged"], answering(deployment(), "/auth/login", 200, b'{"access_token": "a"}'), "is no JWT"),
    ],
)
def test_untried(site: Site, monkeypatch: pytest.MonkeyPatch, names: list[str], app: ASGIApp, seen: str) -> None:
    """A check that can't be made says why."""
    monkeypatch.setattr(shared, "PATIENCE", 0.0)
    untried(site.check(over, *works(*names), app=app), seen)


def test_throttled(site: Site) -> None:
    """A throttle that refuses another login leaves the check untried."""

    async def throttle(drill: Drill) -> str:
        site.app = answering(deployment(), "/auth/login", 429)
        return ""

    untried(site.check(throttle, *works("race")), "another login was answered 429")
