"""The keys of a remote issuer, against a real server: when they are fetched, and how long they are relied on."""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest
from anyio import wait_all_tasks_blocked
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import RSAAlgorithm
from support.issuers import FRESH, HOUR, JWKS, IssuerServer, Remote, settled
from support.tokens import NOW, ec_key, jwk_of, p384_key, rsa_key, thief_key

from asgi_jwt.errors import ConfigurationError, KeysUnavailable, UnknownKey, UnsuitableKey
from asgi_jwt.events import Event, EventSink, KeysFetched, KeysNotFetched
from asgi_jwt.testing import Clock
from asgi_jwt.tokens import discovery, remote_keys
from asgi_jwt.tokens.algorithms import thumbprint
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_source import candidates
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.remote_keys import MAX_KEYS, RemoteKeySet

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "a"))
        yield server


async def test_keys_are_fetched_when_they_are_needed(server: IssuerServer) -> None:
    """Making a set fetches nothing; the first who asks waits for the keys, the next finds them there."""
    remote = Remote(server.jwks_url)
    assert server.requests == []
    first = await remote.keys.current()
    assert [key.kid for key in first.keys] == ["a"]
    assert await remote.keys.current() is first
    assert await remote.knows()
    assert server.requests == [JWKS]
    await wait_all_tasks_blocked()
    assert remote.heard == [KeysFetched(server.jwks_url, 1, ())]


async def test_a_thousand_on_a_cold_set_cause_one_fetch(server: IssuerServer) -> None:
    """However many come before there are keys, one request goes to the issuer, and all of them are served."""
    remote = Remote(server.jwks_url)
    served = 0

    async def one() -> None:
        nonlocal served
        known = await remote.knows()
        served += known

    async with anyio.create_task_group() as group:
        with server.holding():
            for _ in range(1000):
                group.start_soon(one)
            await wait_all_tasks_blocked()
            assert (remote.keys._flight.waiting, served) == (1000, 0)
    assert (served, server.count()) == (1000, 1)


async def test_a_cancelled_request_takes_nothing_from_the_others(server: IssuerServer) -> None:
    """The request that began the fetch goes away: the fetch goes on, and those who wait get its keys."""
    remote = Remote(server.jwks_url)
    served: list[bool] = []

    async def one() -> None:
        served.append(await remote.knows())

    async with anyio.create_task_group() as staying:
        with server.holding():
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(one)
                await server.request()
                staying.start_soon(one)
                await wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
            assert (served, remote.keys._flight.under_way) == ([], True)
    assert (served, server.count()) == ([True], 1)


async def test_all_requests_cancelled_leave_the_fetch(server: IssuerServer) -> None:
    """When nobody waits any more, the keys arrive all the same."""
    remote = Remote(server.jwks_url)
    with server.holding():
        async with anyio.create_task_group() as leaving:
            leaving.start_soon(remote.knows)
            await server.request()
            leaving.cancel_scope.cancel()
    await settled(remote, server, 1)
    with anyio.CancelScope(deadline=-1):
        await remote.keys.current()
    assert server.count() == 1


@pytest.mark.parametrize(
    ("cache_control", "fresh_for"), [("", 600), ("max-age=900", 900), ("max-age=5", 60), ("max-age=9999999", 86400)]
)
async def test_refreshed_ahead(server: IssuerServer, cache_control: str, fresh_for: int) -> None:
    """After 80 % of their time keys are fetched anew, once, while the old ones serve whoever asks."""
    server.publish(jwk_of(ec_key(), "a"), cache_control=cache_control)
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    assert remote.keys.unquestioned_until == NOW + 0.8 * fresh_for
    remote.clock.turn(0.8 * fresh_for - 0.1)
    assert await remote.knows()
    assert server.count() == 1
    server.publish(jwk_of(thief_key(), "b"), cache_control=cache_control)
    remote.clock.turn(0.1)
    with server.holding():
        for _ in range(5):
            assert await remote.knows("a")
        await server.request()
    await settled(remote, server, 2)
    assert (await remote.knows("a"), await remote.knows("b")) == (False, True)
    assert server.count() == 2


async def test_a_slow_issuer_delays_no_known_kid(server: IssuerServer) -> None:
    """While a fetch hangs, be it ahead of time or for a kid made up, tokens with a known kid don't wait."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    remote.clock.turn(31)
    async with anyio.create_task_group() as group:
        with server.holding():
            group.start_soon(remote.knows, "made up")
            await settled_requests(server, 2)
            with anyio.CancelScope() as at_once:
                group.start_soon(cancel_when_blocked, at_once)
                for _ in range(10):
                    assert await remote.knows()
            assert not at_once.cancelled_caught
    remote.clock.turn(0.8 * FRESH)
    with server.holding():
        assert await remote.knows()
        await settled_requests(server, 3)
        remote.clock.turn(FRESH)
        assert await remote.knows()
    await settled(remote, server, 3)


async def settled_requests(server: IssuerServer, count: int) -> None:
    while server.count() < count:
        await server.request()


async def cancel_when_blocked(scope: anyio.CancelScope) -> None:
    await wait_all_tasks_blocked()
    scope.cancel()


async def test_after_a_quiet_time_the_first_request_waits(server: IssuerServer) -> None:
    """Past their time, with nobody having asked since they were due, keys are fetched first: one was withdrawn."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.publish(jwk_of(thief_key(), "b"))
    remote.clock.turn(FRESH)
    known: list[bool] = []

    async def one() -> None:
        known.append(await remote.knows("a"))

    async with anyio.create_task_group() as group:
        with server.holding():
            for _ in range(3):
                group.start_soon(one)
            await server.request()
            await wait_all_tasks_blocked()
            assert known == []
    assert (known, server.count()) == ([False] * 3, 2)


async def test_a_new_kid_is_fetched_and_let_in(server: IssuerServer) -> None:
    """A key that the issuer began to use is there for the first token that names it, when half a minute has passed."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.publish(jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b"))
    remote.clock.turn(30)
    assert await remote.knows("b")
    assert server.count() == 2


async def test_made_up_kids_cause_one_fetch_in_half_a_minute(server: IssuerServer) -> None:
    """Counted from the last attempt: in between each is refused at once, and nothing is fetched."""
    remote = Remote(server.jwks_url)
    for seconds, fetches in ((0, 1), (29.9, 1), (0.1, 2), (29.9, 2), (0.2, 3)):
        remote.clock.turn(seconds)
        for number in range(5):
            assert not await remote.knows(f"made up {number}")
        assert server.count() == fetches


@pytest.mark.outside
async def test_ten_thousand_made_up_kids(server: IssuerServer) -> None:
    """Of a flood at once a thousand wait for the one fetch it causes, and all others are refused without waiting."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    remote.clock.turn(30)
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        known = await remote.knows(f"made up {number}")
        refused += not known

    async with anyio.create_task_group() as group:
        with server.holding():
            for number in range(10_000):
                group.start_soon(one, number)
            await wait_all_tasks_blocked()
            assert (remote.keys._flight.waiting, refused) == (remote_keys.MAX_WAITING, 9_000)
            assert await remote.knows("a")
    assert (refused, server.count()) == (10_000, 2)
    for number in range(100):
        assert not await remote.knows(f"made up anew {number}")
    assert server.count() == 2


async def test_those_who_come_while_it_is_pending_wait_for_the_new_key(server: IssuerServer) -> None:
    """Made-up kids keep nobody out: a token of the new key that comes during their fetch is let in after it."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    remote.clock.turn(30)
    server.publish(jwk_of(thief_key(), "new"))
    known: dict[str, bool] = {}

    async def one(kid: str) -> None:
        known[kid] = await remote.knows(kid)

    async with anyio.create_task_group() as group:
        with server.holding():
            group.start_soon(one, "made up")
            await wait_all_tasks_blocked()
            group.start_soon(one, "new")
            await wait_all_tasks_blocked()
            assert known == {}
    assert (known, server.count()) == ({"made up": False, "new": True}, 2)


async def test_no_fetch_for_a_key_that_does_not_fit(server: IssuerServer) -> None:
    """A known kid with another algorithm is refused, and the issuer isn't asked."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    remote.clock.turn(60)
    with pytest.raises(UnsuitableKey):
        await candidates(remote.keys, "a", "ES384")
    assert server.count() == 1


async def test_an_outage_of_59_minutes_is_not_noticed(server: IssuerServer) -> None:
    """The issuer is down past the keys' time: known kids are served for an hour, tried again every half minute."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.fail()
    remote.clock.turn(0.8 * FRESH)
    for fetches in (2, 3, 4):
        assert await remote.knows()
        await settled(remote, server, fetches)
        remote.clock.turn(29)
        assert await remote.knows()
        assert server.count() == fetches
        remote.clock.turn(1)
    remote.clock.now = NOW + FRESH + 59 * 60
    assert await remote.knows()
    await settled(remote, server, 5)
    assert remote.keys.unquestioned_until == remote.clock() + 30
    assert remote.heard[1:] == [KeysNotFetched(server.jwks_url, f"{server.jwks_url}: answered 500")] * 4


async def test_after_an_hour_of_outage_keys_are_unavailable(server: IssuerServer) -> None:
    """60 minutes past their time keys are no longer relied on, until the issuer is back."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.fail()
    remote.clock.turn(FRESH + HOUR - 1)
    assert await remote.knows()
    await settled(remote, server, 2)
    assert remote.keys.unquestioned_until == NOW + FRESH + HOUR
    remote.clock.turn(1)
    with pytest.raises(KeysUnavailable) as why:
        await remote.knows()
    assert (why.value.status, str(why.value)) == (503, f"{server.jwks_url}: answered 500")
    server.publish(jwk_of(ec_key(), "a"))
    remote.clock.turn(1)
    assert await remote.knows()


async def test_an_issuer_that_is_down_at_the_start(server: IssuerServer) -> None:
    """Without any keys a request is answered 503, and the next second's asks the issuer again."""
    server.fail()
    remote = Remote(server.jwks_url)
    for _ in range(3):
        with pytest.raises(KeysUnavailable):
            await remote.keys.current()
    assert server.count() == 1
    server.publish(jwk_of(ec_key(), "a"))
    remote.clock.turn(1)
    assert await remote.knows()
    assert server.count() == 2


async def test_warming_up(server: IssuerServer) -> None:
    """A warm-up begins the first fetch and waits for nothing; later ones change nothing while the keys are fresh."""
    remote = Remote(server.jwks_url)
    with server.holding():
        remote.keys.warm_up()
        remote.keys.warm_up()
        await server.request()
    await settled(remote, server, 1)
    remote.keys.warm_up()
    assert await remote.knows()
    assert server.count() == 1


Breaking = Callable[[IssuerServer], None]
BROKEN: dict[str, Breaking] = {
    "an empty set": lambda server: server.publish(),
    "1 MB": lambda server: server.answer(JWKS, b" " * 2**20),
    "no JSON": lambda server: server.answer(JWKS, b"<html>maintenance</html>"),
    "no JWK Set": lambda server: server.answer(JWKS, {"error": "maintenance"}),
    "a redirect": lambda server: server.answer(JWKS, b"", status=302, location="/elsewhere"),
    "no end": lambda server: server.answer(JWKS, b" " * 1024, endless=True),
    "no answer": lambda server: server.fail(),
    "too many keys": lambda server: server.publish(*(jwk_of(ec_key(), f"{n}") for n in range(MAX_KEYS + 1))),
    "broken keys alone": lambda server: server.publish({"kty": "EC"}, 7),
    "encryption alone": lambda server: server.publish(jwk_of(ec_key(), "a", use="enc")),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_answer_keeps_the_old_set(server: IssuerServer, broken: str) -> None:
    """Nothing that the issuer may answer takes known keys away, but another set of keys."""
    remote = Remote(server.jwks_url)
    server.answer("/elsewhere", {"keys": [jwk_of(thief_key(), "thief")]})
    before = await remote.keys.current()
    BROKEN[broken](server)
    remote.clock.turn(FRESH)
    assert await remote.keys.current() is before
    assert server.count() == 2
    await wait_all_tasks_blocked()
    assert isinstance(remote.heard[-1], KeysNotFetched)


async def test_a_never_ending_wait_keeps_the_old_set(server: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that takes the request and never answers is given up after 5 s, discovery and keys together."""
    server.describe()
    remote = Remote(issuer=server.issuer)
    before = await remote.keys.current()
    monkeypatch.setattr(discovery, "TIMEOUT", 0.1)
    remote.clock.turn(FRESH)
    with server.holding():
        assert await remote.keys.current() is before
    await wait_all_tasks_blocked()
    told = remote.heard[-1]
    assert isinstance(told, KeysNotFetched)
    assert told.source == server.issuer
    assert told.why.endswith("no whole answer within 0.1 s")


async def test_a_set_that_mixes_all_kinds(server: IssuerServer) -> None:
    """The good keys of a mixed set are used; what is wrong with each of the others is told, without its material."""
    rsa = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    del rsa["key_ops"]
    server.publish(
        jwk_of(ec_key(), "a"),
        {"kty": "AKP", "alg": "ML-DSA-44", "kid": "new kind"},
        jwk_of(thief_key(), "enc", use="enc"),
        {"kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA"},
        {"kty": "EC", "crv": "secp256k1", "kid": "curve", "x": "AA", "y": "AA"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0" * 8},
        "no object",
        {**rsa, "kid": "rsa"},
        {**rsa, "kid": "oaep", "use": "enc", "alg": "RSA-OAEP"},
        jwk_of(p384_key(), "p384"),
    )
    remote = Remote(server.jwks_url, algorithms=["ES256", "RS512"])
    keys = await remote.keys.current()
    assert [key.kid for key in keys.keys] == ["a", "enc", "rsa", "p384"]
    for kid, algorithm in (("a", "ES256"), ("rsa", "RS512")):
        (key,) = await candidates(remote.keys, kid, algorithm)
        assert key.algorithms == (algorithm,)
    for kid, algorithm in (("enc", "ES256"), ("rsa", "RS256"), ("p384", "ES384")):
        with pytest.raises(UnsuitableKey):
            await candidates(remote.keys, kid, algorithm)
    for kid in ("secret", "new kind", "broken", "curve", "oaep"):
        with pytest.raises(UnknownKey):
            await candidates(remote.keys, kid, "ES256")
    await wait_all_tasks_blocked()
    (heard,) = remote.heard
    assert isinstance(heard, KeysFetched)
    assert (heard.keys, len(heard.left_out)) == (4, 8)
    assert remote.keys.left_out == heard.left_out
    assert "c2VjcmV0" not in str(heard)
    for told in ("key 2 ", "key 4 ", "key 5 ", "key 6 ", "key 7 ", "key 9 ", "'enc'", "'p384'"):
        assert sum(told in why for why in heard.left_out) == 1, told


async def test_a_key_of_small_order_is_left_out(server: IssuerServer) -> None:
    """Anyone can sign for such an Ed25519 key: it is reported, and the issuer's other keys are used."""
    weak = {"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
    server.publish(weak, jwk_of(ec_key(), "a"))
    remote = Remote(server.jwks_url)
    keys = await remote.keys.current()
    assert [key.kid for key in keys.keys] == ["a"]
    assert remote.keys.left_out == (
        "key 1 of the JWK Set can't be used: is an Ed25519 key of small order: anyone can sign for it",
    )


async def test_keys_without_a_name_that_are_too_many(server: IssuerServer) -> None:
    """Of six keys without `kid` four are used, and the other two are reported; keys that have a `kid` stay."""
    nameless = [jwk_of(ec.generate_private_key(ec.SECP256R1())) for _ in range(6)]
    server.publish(*nameless, jwk_of(ec_key(), "a"), jwk_of(p384_key(), "p384"))
    remote = Remote(server.jwks_url)
    keys = await remote.keys.current()
    assert [key.kid for key in keys.keys] == [*map(thumbprint, nameless[:4]), "a", "p384"]
    await wait_all_tasks_blocked()
    (heard,) = remote.heard
    assert isinstance(heard, KeysFetched)
    assert heard.left_out == remote.keys.left_out
    for jwk, why in zip(nameless[4:], heard.left_out, strict=True):
        assert thumbprint(jwk) in why
        assert "more than 4 keys of one algorithm" in why


async def test_what_is_told_of_keys_is_short(server: IssuerServer) -> None:
    """As many keys as are taken, each with a `kid` of kilobytes: what operators read of them stays short."""
    long = (jwk_of(thief_key(), f"{n} {'x' * 2000}", use="enc") for n in range(MAX_KEYS - 1))
    server.publish(jwk_of(ec_key(), "a"), *long)
    remote = Remote(server.jwks_url)
    assert await remote.knows()
    await wait_all_tasks_blocked()
    (heard,) = remote.heard
    assert isinstance(heard, KeysFetched)
    assert (heard.keys, len(heard.left_out)) == (MAX_KEYS, MAX_KEYS - 1)
    assert max(map(len, heard.left_out)) < 210


@pytest.mark.parametrize(
    ("algorithms", "alg", "allowed"),
    [
        ([], None, {"RS256"}),
        ([], "PS384", {"PS384"}),
        (["PS256", "RS256"], None, {"PS256", "RS256"}),
        (["PS256", "ES256"], None, {"PS256"}),
        (["HS256", "RS256"], None, {"RS256"}),
    ],
)
async def test_what_a_key_is_good_for(
    server: IssuerServer, algorithms: list[str], alg: str | None, allowed: set[str]
) -> None:
    """A key is used for what it is made for, an RSA key without `alg` for RS256, or for what is allowed."""
    rsa = RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True)
    del rsa["key_ops"]
    server.publish({**rsa, "kid": "rsa"} | ({"alg": alg} if alg else {}))
    remote = Remote(server.jwks_url, algorithms=algorithms)
    (key,) = (await remote.keys.current()).keys
    assert set(key.algorithms) == allowed


async def test_keys_that_stay_are_the_same_objects(server: IssuerServer) -> None:
    """A key that is there again is the very object; one whose use or material changed is another."""
    remote = Remote(server.jwks_url)
    changes: list[KeySet] = []
    remote.keys.on_change(changes.append)
    server.publish(jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b"))
    await remote.keys.current()
    a, b = changes[0].keys
    rounds: list[tuple[list[dict[str, Any]], list[Key | None]]] = [
        ([jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b")], []),
        ([jwk_of(p384_key(), "c"), jwk_of(ec_key(), "a")], [None, a]),
        ([jwk_of(ec_key(), "a", use="enc"), jwk_of(thief_key(), "a")], [None, None]),
    ]
    for published, expected in rounds:
        before = len(changes)
        server.publish(*published)
        remote.clock.turn(FRESH)
        await remote.keys.current()
        assert len(changes) == before + bool(expected)
        if expected:
            assert [key if key in (a, b) else None for key in changes[-1].keys] == expected
    assert server.count() == 4


async def test_a_clock_that_is_set_back(server: IssuerServer) -> None:
    """A clock set back by a day, as by NTP at start-up, keeps nobody from fetching for that day."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.publish(jwk_of(thief_key(), "b"))
    remote.clock.turn(-86400)
    assert await remote.knows("a")
    await settled(remote, server, 2)
    assert await remote.knows("b")
    assert remote.keys.unquestioned_until == NOW - 86400 + 0.8 * FRESH


async def test_a_slow_listener_delays_nobody(server: IssuerServer) -> None:
    """`on_event` may take its time: the keys are there, and the next fetch goes on."""
    gate = anyio.Event()
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        await gate.wait()
        heard.append(event)

    clock = Clock(NOW)
    keys = RemoteKeySet(server.jwks_url, clock=clock, events=EventSink(hear))
    for _ in range(2):
        await keys.current()
        clock.turn(FRESH)
    assert (server.count(), heard) == (2, [])
    gate.set()
    await wait_all_tasks_blocked()
    assert len(heard) == 2


@pytest.mark.parametrize("query", ["?code=hunter2", "#code=hunter2", "?code=hunter2#hunter2"])
async def test_no_secret_of_the_url_is_told(query: str, server: IssuerServer) -> None:
    """A URL's query and fragment are in no event and no error, whether the fetch fails or not."""
    path = JWKS + query.partition("#")[0]
    server.answer(path, {"keys": [jwk_of(ec_key(), "a")]})
    remote = Remote(f"{server.jwks_url}{query}")
    await remote.keys.current()
    server.fail()
    remote.clock.turn(FRESH + HOUR)
    with pytest.raises(KeysUnavailable) as why:
        await remote.keys.current()
    await wait_all_tasks_blocked()
    failure = f"{server.jwks_url}: answered 500"
    assert str(why.value) == failure
    assert remote.heard == [KeysFetched(server.jwks_url, 1, ()), KeysNotFetched(server.jwks_url, failure)]


async def test_what_takes_long_leaves_the_event_loop(server: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client is made and the answer parsed in other threads: requests go on meanwhile."""
    threads: dict[str, int] = {}

    def watch(where: object, name: str) -> None:
        original = getattr(where, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            threads[name] = threading.get_ident()
            return original(*arguments, **options)

        monkeypatch.setattr(where, name, watched)

    remote = Remote(server.jwks_url)
    watch(httpx2, "AsyncClient")
    watch(discovery, "parse_document")
    watch(remote_keys, "_public_key")
    await remote.keys.current()
    assert threads.keys() == {"AsyncClient", "parse_document", "_public_key"}
    assert threading.get_ident() not in threads.values()


async def test_without_a_listener(server: IssuerServer) -> None:
    """Clock and events are optional: the system's time, and the log alone."""
    assert (await RemoteKeySet(server.jwks_url).current()).keys


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "one of the two"),
        ({"url": "https://issuer.example/jwks", "issuer": "https://issuer.example"}, "one of the two"),
        ({"url": "http://issuer.example/jwks"}, "has to be an https URL"),
        ({"issuer": "http://issuer.example"}, "has to be an https URL"),
        ({"issuer": "https://issuer.example?a"}, "without query and fragment"),
    ],
)
def test_what_it_takes(given: dict[str, Any], told: str) -> None:
    """A URL or an issuer that keys may be fetched from, at construction and not at the first request."""
    with pytest.raises(ConfigurationError, match=told):
        RemoteKeySet(**given)


def test_without_httpx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, construction says what to install."""
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(ConfigurationError, match="pip install httpx2"):
        RemoteKeySet("https://issuer.example/jwks")
