"""Keys that are found through the issuer's metadata, which is read again: a move of the keys is followed."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.issuers import FRESH, HOUR, JWKS, OAUTH, OPENID, IssuerServer, Remote, settled
from support.tables import tables_of
from support.tokens import NOW, ec_key, jwk_of, p384_key, thief_key

from asgi_jwt.errors import KeysUnavailable
from asgi_jwt.events import KeysFetched, KeysNotFetched

pytestmark = pytest.mark.anyio

DAY = 86400
MOVED = "/moved"


def move(server: IssuerServer, kid: str = "b") -> None:
    """From now on the metadata names another place of the keys, with another key; the old place stays up."""
    server.answer(MOVED, {"keys": [jwk_of(thief_key(), kid)]})
    server.describe(jwks_uri=server.issuer + MOVED)


async def known(remote: Remote) -> list[str | None]:
    """The names of all keys that there are now."""
    return [key.kid for key in (await remote.keys.current())]


async def test_discovered_keys(server: IssuerServer) -> None:
    """An issuer's metadata leads to its keys, which are fetched again without it; it is read when they are gone."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows()
    assert server.requests == [OPENID, JWKS]
    remote.clock.turn(FRESH)
    assert await remote.knows()
    assert server.requests == [OPENID, JWKS, JWKS]
    server.answer(JWKS, b"", status=404)
    move(server)
    for moved in (False, True):
        remote.clock.turn(FRESH)
        assert await remote.knows("b") is moved
    assert server.requests[3:] == [JWKS, OPENID, MOVED]
    await wait_all_tasks_blocked()
    assert remote.heard[0] == KeysFetched(server.issuer, 1, ())


async def test_a_move_is_followed_for_an_unknown_kid(server: IssuerServer) -> None:
    """A token of a key at the new place is let in, and the keys of the old place are gone, though it is still up."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    move(server)
    remote.clock.turn(30)
    assert await remote.knows("b")
    assert await known(remote) == ["b"]
    assert server.requests == [OPENID, JWKS, JWKS, OPENID, MOVED]
    assert remote.keys.known_until == remote.clock() + 0.8 * FRESH


async def test_a_key_that_is_at_the_old_place_needs_no_metadata(server: IssuerServer) -> None:
    """Where a new key is found, the metadata is not asked for."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    server.publish(jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b"))
    remote.clock.turn(30)
    assert await remote.knows("b")
    assert server.requests == [OPENID, JWKS, JWKS]


@pytest.mark.parametrize("cache_control", ["", "max-age=86400", "max-age=70000"])
async def test_a_move_is_followed_within_a_day(server: IssuerServer, cache_control: str) -> None:
    """Nobody names a new key, and the old place stays up: after a day its keys are gone all the same."""
    server.publish(jwk_of(ec_key(), "a"), cache_control=cache_control)
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    move(server)
    while server.count(MOVED) == 0:
        remote.clock.turn(FRESH)
        await remote.keys.current()
        await remote.keys._flight.wait()
        assert remote.clock() <= NOW + DAY + FRESH
    assert await known(remote) == ["b"]


@pytest.mark.parametrize(
    ("headers", "read_again"),
    tables_of(__file__)["the_time_of_the_metadata"],
)
async def test_the_time_of_the_metadata(server: IssuerServer, headers: dict[str, Any], read_again: bool) -> None:
    """`Cache-Control` of the metadata counts: once its own time has passed, it is read with the next keys."""
    described = {"issuer": server.issuer, "jwks_uri": server.jwks_url}
    server.answer(OPENID, described, **headers)
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    remote.clock.turn(FRESH)
    assert await remote.knows("a")
    assert server.requests == [OPENID, JWKS, *[OPENID] * read_again, JWKS]


async def test_keys_are_asked_for_again_with_the_metadata(server: IssuerServer) -> None:
    """Keys that may be kept for a day are not, where the metadata says that it may have changed before."""
    server.publish(jwk_of(ec_key(), "a"), cache_control="max-age=86400")
    server.answer(OPENID, {"issuer": server.issuer, "jwks_uri": server.jwks_url}, cache_control="max-age=900")
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    assert remote.keys.known_until == NOW + 900
    move(server)
    remote.clock.turn(900)
    assert await remote.knows("a")
    await remote.keys._flight.wait()
    assert await known(remote) == ["b"]


async def test_the_metadata_is_read_once_in_an_attempt(server: IssuerServer) -> None:
    """Metadata that was read before the keys is not read again after them, though a `kid` stays unknown."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    server.fail(JWKS)
    remote.clock.turn(30)
    assert not await remote.knows("made up")
    server.publish(jwk_of(ec_key(), "a"))
    remote.clock.turn(30)
    assert not await remote.knows("made up")
    assert server.requests[2:] == [JWKS, OPENID, JWKS]


async def test_an_unknown_kid_while_a_fetch_is_under_way(server: IssuerServer) -> None:
    """A token of a key at the new place that comes during a fetch from the old place is let in after it."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    move(server)
    remote.clock.turn(0.8 * FRESH)
    found: list[bool] = []

    async def one() -> None:
        found.append(await remote.knows("b"))

    async with anyio.create_task_group() as group:
        with server.holding():
            assert await remote.knows("a")
            group.start_soon(one)
            await wait_all_tasks_blocked()
            assert remote.keys._flight.waiting == 1
    assert found == [True]


Breaking = Callable[[IssuerServer], None]
BROKEN: dict[str, Breaking] = {
    "404": lambda server: server.answer(OPENID, b"", status=404),
    "500": lambda server: server.fail(OPENID),
    "no JSON": lambda server: server.answer(OPENID, b"<html>"),
    "another issuer": lambda server: server.describe(issuer="https://other.example"),
    "no keys": lambda server: server.describe(jwks_uri=None),
    "keys elsewhere": lambda server: server.describe(jwks_uri="http://keys.example/jwks"),
}


@pytest.mark.parametrize("broken", BROKEN)
async def test_made_up_kids_while_the_metadata_is_broken(server: IssuerServer, broken: str) -> None:
    """Broken metadata takes no keys away within its time: who makes up a `kid` can't hasten its end."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    BROKEN[broken](server)
    for _ in range(3):
        remote.clock.turn(30)
        assert not await remote.knows("made up")
    await wait_all_tasks_blocked()
    assert [type(event) for event in remote.heard[1:]] == [KeysNotFetched] * 3
    remote.clock.turn(FRESH + HOUR)
    assert await remote.knows("a")
    server.publish(jwk_of(ec_key(), "a"), jwk_of(thief_key(), "b"))
    remote.clock.turn(30)
    assert await remote.knows("b")


@pytest.mark.parametrize("broken", BROKEN)
async def test_metadata_that_is_gone_for_good(server: IssuerServer, broken: str) -> None:
    """When its time has passed, keys whose place no metadata names any more serve for an hour past theirs, then 503."""
    server.publish(jwk_of(ec_key(), "a"), cache_control="max-age=86400")
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    BROKEN[broken](server)
    remote.clock.turn(DAY + HOUR - 1)
    assert await remote.knows("a")
    await settled(remote, server, 1, fetches=2)
    remote.clock.turn(30)
    for _ in range(2):
        with pytest.raises(KeysUnavailable):
            await remote.knows("a")
    assert server.count() == 1
    server.describe()
    remote.clock.turn(30)
    assert await remote.knows("a")


async def test_a_new_place_that_does_not_answer(server: IssuerServer) -> None:
    """The old place is not gone back to: its keys serve for an hour, as in any outage, until the new place answers."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    move(server)
    server.fail(MOVED)
    remote.clock.turn(30)
    assert not await remote.knows("b")
    old = server.count()
    for _ in range(2):
        remote.clock.turn(30)
        assert await remote.knows("a")
        await remote.keys._flight.wait()
    assert (server.count(MOVED), server.count()) == (3, old)
    remote.clock.turn(HOUR)
    with pytest.raises(KeysUnavailable):
        await remote.knows("a")
    move(server)
    remote.clock.turn(1)
    assert await remote.knows("b")
    assert await known(remote) == ["b"]


async def test_the_same_name_at_the_new_place(server: IssuerServer) -> None:
    """Keys of two places never stand side by side: a key of the same name at the new place is another key."""
    server.publish(jwk_of(ec_key(), "a"), jwk_of(p384_key(), "c"))
    remote = Remote(issuer=server.issuer)
    before = await remote.keys.current()
    move(server, "a")
    remote.clock.turn(30)
    assert not await remote.knows("made up")
    (key,) = await remote.keys.current()
    assert key.kid == "a"
    assert key not in before


async def test_metadata_that_moves_to_rfc_8414s_place(server: IssuerServer) -> None:
    """Where the metadata is no longer at OpenID's place, RFC 8414's is looked at."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    move(server)
    server.answer(OPENID, b"", status=404)
    server.describe(OAUTH, jwks_uri=server.issuer + MOVED)
    remote.clock.turn(30)
    assert await remote.knows("b")
    assert server.requests[3:] == [OPENID, OAUTH, MOVED]


async def test_a_clock_that_is_set_back(server: IssuerServer) -> None:
    """A clock set back by a month keeps the metadata for no month: it is read again within a day from then on."""
    remote = Remote(issuer=server.issuer)
    assert await remote.knows("a")
    remote.clock.turn(-30 * DAY)
    assert await remote.knows("a")
    await settled(remote, server, 2)
    move(server)
    remote.clock.turn(DAY)
    assert await remote.knows("b")
    assert await known(remote) == ["b"]
