"""Events turned into metrics, read back through OpenTelemetry's own SDK."""

import re
import sys
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked
from opentelemetry.sdk.metrics.export import Gauge, Sum
from support.app import NOW, Guarded, Service, WatchedStore, authorization, bearer, form_body, make_auth, make_token
from support.issuers import IssuerServer
from support.metering import metered
from support.tokens import AUDIENCE, ISSUER, ec_key, genuine_token, token_by

from asgi_jwt import Auth, ConfigurationError, MemoryStore, Settings, errors, events
from asgi_jwt.errors import AuthError, InvalidToken, RefusedToken, RevocationsUnavailable
from asgi_jwt.events import (
    Event,
    LoginRefused,
    ReuseDetected,
    RevocationsReadAgain,
    RevocationsRebuilt,
    SocketClosed,
    TokenRefused,
)
from asgi_jwt.telemetry import COUNTED, OBSERVED, OTHER, instrument
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.claims import Claims

pytestmark = pytest.mark.anyio

EVENTS = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


class OnLeave(RefusedToken):
    reason = "on_leave"


def test_every_event_is_counted() -> None:
    """Each kind of event is counted, and in one metric alone, but for the one that says that all is well again."""
    counted = [kind for metric in COUNTED for kind in metric.attributes] + [RevocationsReadAgain]
    assert sorted(kind.name for kind in counted) == sorted(kind.name for kind in EVENTS)


def test_names_keep_to_the_conventions() -> None:
    """Names have one namespace and no unit; units are seconds or what is counted, in the singular."""
    for metric in (*COUNTED, *OBSERVED):
        assert re.fullmatch(r"asgi_jwt(\.[a-z]+(_[a-z]+)*)+", metric.name), metric.name
        assert metric.unit == "s" or re.fullmatch(r"\{[a-z]+[a-rt-z]\}", metric.unit), metric.unit
        assert not re.search(r"total|count|seconds", metric.name), metric.name
        assert metric.description
        assert not metric.description.endswith(".")


async def test_each_metric_is_of_its_kind(server: IssuerServer) -> None:
    """What only grows is a monotonic sum, an age is a gauge, and each has its unit and its description."""
    settings = Settings(issuer="https://issuer.example", audience="api", jwks_url=server.jwks_url)
    auth = Auth(settings, store=MemoryStore())
    await auth.revocations.current()
    with metered(auth) as meter:
        with pytest.raises(AuthError):
            await auth.verify(token_by(ec_key(), "a", aud="other"))
        for event in (TokenRefused("x", 401, "http"), LoginRefused("x"), ReuseDetected()):
            await auth.events.emit(event)
        found = meter.metrics()
    for metric in (*COUNTED, *OBSERVED):
        if metric.name in found:
            read = found[metric.name]
            assert (read.unit, read.description) == (metric.unit, metric.description)
            assert isinstance(read.data, Gauge if metric.unit == "s" else Sum)
            assert isinstance(read.data, Gauge) or read.data.is_monotonic
    assert {metric.name for metric in OBSERVED} <= found.keys()


async def test_refusals_by_reason() -> None:
    """Refused requests and sockets are counted by their reason, those of the host's own errors too.

    So are connections that were closed here. What is no event of ours passes.
    """

    class Alarm(Event):
        name = "alarm"

    def validate(claims: Claims, scope: Any) -> bool:
        raise OnLeave

    auth = make_auth()
    guarded, strict = Guarded(auth), Guarded(auth, validate=validate)
    with metered(auth) as meter:
        await guarded.request()
        await guarded.connect()
        await guarded.request(headers=authorization(auth))
        await strict.request(headers=authorization(auth))
        await guarded.request(headers={"authorization": f"Bearer {genuine_token()}"})
        for reason in ("token_expired", "token_revoked", "token_revoked"):
            await auth.events.emit(SocketClosed(reason, 3000))
        await auth.events.emit(Alarm())
        assert meter.series("asgi_jwt.token.refusals") == {
            (("error.type", "token_missing"),): 2,
            (("error.type", "on_leave"),): 1,
            (("error.type", "algorithm_not_allowed"),): 1,
        }
        assert meter.series("asgi_jwt.websocket.closes") == {
            (("error.type", "token_expired"),): 1,
            (("error.type", "token_revoked"),): 2,
        }


async def test_a_reason_made_up_for_a_request_is_no_series() -> None:
    """A reason that no class of error has, be it someone's name, is counted among the others."""
    auth = make_auth()
    with metered(auth) as meter:
        for number in range(1000):
            await auth.events.emit(TokenRefused(f"user-{number}", 401, "http"))
            await auth.events.emit(LoginRefused(f"user-{number}"))
        assert meter.series("asgi_jwt.token.refusals") == {(("error.type", OTHER),): 1000}
        assert meter.series("asgi_jwt.logins") == {(("error.type", OTHER),): 1000}


async def test_alerts_find_series_that_begin_at_zero() -> None:
    """What alerts look at is there from the start: the first of many would else be taken for none."""
    with metered(make_auth()) as meter:
        found = meter.metrics()
        points: Any = found["asgi_jwt.token.refusals"].data.data_points
        tree = {
            kind.reason for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InvalidToken)
        }
        assert tree <= {point.attributes["error.type"] for point in points}
        points = found["asgi_jwt.token.reuses"].data.data_points
        assert [(dict(point.attributes), point.value) for point in points] == [({}, 0)]


async def test_sessions_from_login_to_theft() -> None:
    """Logins by outcome, refreshes by verdict, reuse, ends by cause, and errors of the store by what was asked."""
    service = Service()
    with metered(service.auth) as meter:
        login = await service.login()
        first = login.cookie()
        await service.post("/login", form_body({"username": "alice", "password": "guess"}))
        second = (await service.refresh(first)).cookie()
        service.clock.turn(61)
        await service.refresh(second)
        await service.refresh(first)
        await service.login()
        await service.post("/logout", None, bearer((await service.login()).json()["access_token"]))
        service.store.down = {"get", "update"}
        await service.refresh(second)
        await service.login()
        assert meter.series("asgi_jwt.logins") == {
            (): 3,
            (("error.type", "credentials_invalid"),): 1,
            (("error.type", "store_unavailable"),): 1,
        }
        assert meter.series("asgi_jwt.refreshes") == {
            (("asgi_jwt.refresh.verdict", "ROTATED"),): 2,
            (("asgi_jwt.refresh.verdict", "REUSED"),): 1,
        }
        assert meter.series("asgi_jwt.token.reuses") == {(): 1}
        assert meter.series("asgi_jwt.session.ends") == {
            (("asgi_jwt.session.end.cause", "reuse"),): 1,
            (("asgi_jwt.session.end.cause", "ended"),): 1,
        }
        assert meter.series("asgi_jwt.store.errors") == {
            (("asgi_jwt.store.operation", "get"),): 1,
            (("asgi_jwt.store.operation", "update"),): 1,
        }


async def test_revocations() -> None:
    """What was revoked by its kind, what befell the copy of the log, and how old the copy is: nothing before it is."""
    clock = Clock(NOW)
    store = WatchedStore(MemoryStore())
    auth, without = make_auth(clock=clock, store=store), make_auth()
    token = make_token(auth)
    with metered(auth, without) as meter:
        assert meter.series("asgi_jwt.revocation.mirror.age") == {}
        await auth.verify(token)
        clock.turn(0.5)
        assert meter.series("asgi_jwt.revocation.mirror.age") == {(): 0.5}
        await auth.revoke_token(token)
        await auth.revoke_subject("alice")
        await auth.revoke_subject("bob")
        assert meter.series("asgi_jwt.token.revocations") == {
            (("asgi_jwt.revocation.kind", "jti"),): 1,
            (("asgi_jwt.revocation.kind", "sub"),): 2,
        }
        store.down = {"read_revocations"}
        clock.turn(10)
        with pytest.raises(RevocationsUnavailable):
            await auth.verify(make_token(auth, "carol"))
        await wait_all_tasks_blocked()
        assert meter.series("asgi_jwt.revocation.mirror.age") == {(): 10.5}
        await auth.events.emit(RevocationsRebuilt())
        assert meter.series("asgi_jwt.revocation.mirror.faults") == {
            (("error.type", "not_read"),): 1,
            (("error.type", "rebuilt"),): 1,
            (("error.type", "stale"),): 1,
        }


async def test_verified_and_cached_tokens() -> None:
    """Tokens verified and cache hits are the verifier's own counts, read when somebody asks."""
    auth = make_auth()
    guarded = Guarded(auth)
    headers = authorization(auth)
    with metered(auth) as meter:
        assert meter.series("asgi_jwt.token.verifications") == meter.series("asgi_jwt.token.cache.hits") == {}
        for _ in range(5):
            await guarded.request(headers=headers)
        assert meter.series("asgi_jwt.token.verifications") == {(): 1}
        assert meter.series("asgi_jwt.token.cache.hits") == {(): 4}


async def test_remote_keys(server: IssuerServer) -> None:
    """Fetches by their source, those that failed apart, and how old the keys are: nothing before there are any."""
    clock = Clock(NOW)
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, jwks_url=server.jwks_url), clock=clock)
    source = ("asgi_jwt.jwks.source", server.jwks_url)
    with metered(auth) as meter:
        assert meter.series("asgi_jwt.jwks.age") == {}
        await auth.verify(token_by(ec_key(), "a"))
        clock.turn(100)
        assert meter.series("asgi_jwt.jwks.age") == {(source,): 100}
        server.fail()
        clock.turn(500)
        await auth.verify(token_by(ec_key(), "a", jti="another"))
        await wait_all_tasks_blocked()
        assert meter.series("asgi_jwt.jwks.fetches") == {
            (source,): 1,
            (source, ("error.type", "keys_unavailable")): 1,
        }
        assert meter.series("asgi_jwt.jwks.age") == {(source,): 600}
        clock.turn(-1000)
        assert meter.series("asgi_jwt.jwks.age") == {}


async def test_several_auths_of_a_process(server: IssuerServer) -> None:
    """With several `Auth`s counts are added up, and of the ages of the same keys the highest is told."""
    clock, url = Clock(NOW), server.jwks_url
    auths = [Auth(Settings(issuer=f"https://{n}.example", audience="a", jwks_url=url), clock=clock) for n in "ab"]
    with metered(*auths) as meter:
        for auth in auths:
            await auth.verify(token_by(ec_key(), "a", iss=auth.settings.issuer[0], aud="a"))
            await auth.events.emit(ReuseDetected())
            clock.turn(10)
        assert meter.series("asgi_jwt.token.verifications") == {(): 2}
        assert meter.series("asgi_jwt.token.reuses") == {(): 2}
        assert meter.series("asgi_jwt.jwks.age") == {(("asgi_jwt.jwks.source", url),): 20}


async def test_without_an_sdk_nothing_happens() -> None:
    """With the API alone, as where the host has set up nothing, events are counted nowhere and nothing fails."""
    auth = make_auth()
    instrument(auth)
    await auth.events.emit(ReuseDetected())


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    with pytest.raises(ConfigurationError, match="pip install opentelemetry-api"):
        instrument(make_auth())
