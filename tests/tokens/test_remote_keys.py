"""The keys of a remote issuer, against a real server: when they are fetched, and how long they are relied on."""

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import anyio
import httpx2
import pytest
from anyio import wait_all_tasks_blocked
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from support.issuers import FRESH, HOUR, JWKS, OPENID, IssuerServer, Remote, settled
from support.tables import tables_of
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
    assert remote.keys.known_until == NOW + 0.8 * fresh_for
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


async def test_made_up_kids_cause_one_fetch_in_half_a_minute(server: IssuerServer) -> None:
    """Metadata and keys are read once in 30 s, counted from the last attempt, and all in between refused at once."""
    remote = Remote(issuer=server.issuer)
    for seconds, attempts in ((0, 1), (29.9, 1), (0.1, 2), (29.9, 2), (0.2, 3)):
        remote.clock.turn(seconds)
        for number in range(50):
            assert not await remote.knows(f"made up {number}")
        assert (server.count(OPENID), server.count()) == (attempts, attempts)
    assert await remote.knows("a")


async def test_an_outage_of_59_minutes_is_not_noticed(server: IssuerServer) -> None:
    """P5: The issuer is down past the keys' time: known kids are served for an hour, tried again every half minute.

    60 minutes past their time keys are no longer relied on, until the issuer is back.
    """
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
    for now, fetches, until in ((59 * 60, 5, NOW + FRESH + 59 * 60 + 30), (HOUR - 1, 6, NOW + FRESH + HOUR)):
        remote.clock.now = NOW + FRESH + now
        assert await remote.knows()
        await settled(remote, server, fetches)
        assert remote.keys.known_until == until
    failure = f"{server.jwks_url}: answered 500"
    assert remote.heard[1:] == [KeysNotFetched(server.jwks_url, failure)] * 5
    remote.clock.turn(1)
    with pytest.raises(KeysUnavailable) as why:
        await remote.knows()
    assert (why.value.status, str(why.value)) == (503, failure)
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
    "published with its secret": lambda server: server.publish(ECAlgorithm.to_jwk(thief_key(), as_dict=True)),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_answer_keeps_the_old_set(server: IssuerServer, broken: str) -> None:
    """Nothing that the issuer may answer takes known keys away, but another set of keys; its mistake is an event."""
    remote = Remote(server.jwks_url)
    server.answer("/elsewhere", {"keys": [jwk_of(thief_key(), "thief")]})
    before = await remote.keys.current()
    BROKEN[broken](server)
    remote.clock.turn(FRESH)
    assert await remote.keys.current() is before
    assert server.count() == 2
    await wait_all_tasks_blocked()
    assert isinstance(remote.heard[-1], KeysNotFetched)
    assert broken != "published with its secret" or broken in remote.heard[-1].why


@pytest.mark.parametrize("stalls", [False, True])
async def test_a_never_ending_wait_keeps_the_old_set(
    server: IssuerServer, monkeypatch: pytest.MonkeyPatch, stalls: bool
) -> None:
    """An issuer that never answers, or whose last byte never comes, is given up after 5 s, here a tenth of one.

    Discovery and keys have that time together.
    """
    remote = Remote(issuer=server.issuer)
    before = await remote.keys.current()
    monkeypatch.setattr(discovery, "FETCH_TIMEOUT", 0.1)
    server.answer(JWKS, {"keys": [jwk_of(thief_key(), "b")]}, stalls=stalls)
    remote.clock.turn(FRESH)
    with nullcontext() if stalls else server.holding():
        assert await remote.keys.current() is before
    await wait_all_tasks_blocked()
    heard = remote.heard[-1]
    assert isinstance(heard, KeysNotFetched)
    assert heard.source == server.issuer
    assert heard.why.endswith("no whole answer within 0.1 s")


async def test_a_set_that_mixes_all_kinds(server: IssuerServer) -> None:
    """The good keys of a mixed set are used, for what is allowed or else for what each is made for.

    What is wrong with each of the others is in the event, without its material.
    """
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
        # Of small order: anyone can sign for it.
        {"kty": "OKP", "crv": "Ed25519", "kid": "weak", "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    )
    remote = Remote(server.jwks_url, algorithms=["ES256", "RS512"])
    keys = await remote.keys.current()
    assert [(key.kid, key.algorithms) for key in keys if key.verifies and key.algorithms] == [
        ("a", ("ES256",)),
        ("rsa", ("RS512",)),
    ]
    assert [key.kid for key in keys] == ["a", "enc", "rsa", "p384"]
    for kid, algorithm in (("enc", "ES256"), ("rsa", "RS256"), ("p384", "ES384")):
        with pytest.raises(UnsuitableKey):
            await candidates(remote.keys, kid, algorithm)
    for kid in ("secret", "new kind", "broken", "curve", "oaep", "weak"):
        with pytest.raises(UnknownKey):
            await candidates(remote.keys, kid, "ES256")
    await wait_all_tasks_blocked()
    (heard,) = remote.heard
    assert isinstance(heard, KeysFetched)
    assert (heard.keys, len(heard.left_out)) == (4, 9)
    assert remote.keys.left_out == heard.left_out
    assert "c2VjcmV0" not in str(heard)
    for position in ("key 2 ", "key 4 ", "key 5 ", "key 6 ", "key 7 ", "key 9 ", "key 11 ", "'enc'", "'p384'"):
        assert sum(position in why for why in heard.left_out) == 1, position
    made_for = await Remote(server.jwks_url).keys.current()
    assert [key.algorithms for key in made_for] == [("ES256",), ("ES256",), ("RS256",), ("ES384",)]


async def test_keys_without_a_name_that_are_too_many(server: IssuerServer) -> None:
    """Of six keys without `kid` four are used, and the other two are reported; keys that have a `kid` stay."""
    nameless = [jwk_of(ec.generate_private_key(ec.SECP256R1())) for _ in range(6)]
    server.publish(*nameless, jwk_of(ec_key(), "a"), jwk_of(p384_key(), "p384"))
    remote = Remote(server.jwks_url)
    keys = await remote.keys.current()
    assert [key.kid for key in keys] == [*map(thumbprint, nameless[:4]), "a", "p384"]
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


async def test_keys_that_stay_are_the_same_objects(server: IssuerServer) -> None:
    """A key that is there again is the very object; one whose use or material changed is another."""
    remote = Remote(server.jwks_url)
    changes: list[KeySet] = []
    remote.keys.on_change(changes.append)
    server.publish(jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b"))
    await remote.keys.current()
    a, b = changes[0]
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
            assert [key if key in (a, b) else None for key in changes[-1]] == expected
    assert server.count() == 4


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


@pytest.mark.parametrize(
    ("given", "told"),
    tables_of(__file__)["what_it_takes"],
)
def test_what_it_takes(given: dict[str, Any], told: str) -> None:
    """A URL or an issuer that keys may be fetched from, at construction and not at the first request."""
    with pytest.raises(ConfigurationError, match=told):
        RemoteKeySet(**given)
