"""What neither a hostile issuer, nor a clock, nor the end of an event loop can do to the keys of a remote issuer."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.certificates import Authority
from support.issuers import FRESH, HOUR, JWKS, OPENID, IssuerServer, Remote, settled
from support.tokens import NOW, ec_key, ed25519_key, jwk_of, rsa_key, thief_key

from asgi_jwt.errors import KeysUnavailable, UnknownKey
from asgi_jwt.events import KeysFetched, KeysNotFetched
from asgi_jwt.tokens import discovery, remote_keys
from asgi_jwt.tokens.key_source import candidates
from asgi_jwt.tokens.remote_keys import RemoteKeySet

pytestmark = pytest.mark.anyio

DAY = 86400


async def fetch_again(remote: Remote) -> None:
    """The keys' time passes, and the fetch that follows has ended."""
    remote.clock.turn(FRESH)
    await remote.keys.current()
    await remote.keys._flight.wait()


PRIVATE: dict[str, Callable[[], dict[str, Any]]] = {
    "RSA": lambda: RSAAlgorithm.to_jwk(rsa_key(), as_dict=True),
    "RSA without primes": lambda: {
        name: member for name, member in PRIVATE["RSA"]().items() if name in ("kty", "n", "e", "d")
    },
    "EC": lambda: ECAlgorithm.to_jwk(thief_key(), as_dict=True),
    "Ed25519": lambda: OKPAlgorithm.to_jwk(ed25519_key(), as_dict=True),
    "a secret": lambda: {"kty": "oct", "k": "c2VjcmV0" * 8},
}


@pytest.mark.parametrize("kind", PRIVATE)
async def test_a_key_published_with_its_secret(server: IssuerServer, kind: str) -> None:
    """A private key in the set is no key: everyone could sign with it. It is told of without its members."""
    private = {name: member for name, member in PRIVATE[kind]().items() if name != "key_ops"}
    server.publish({**private, "kid": "private"}, jwk_of(ec_key(), "a"))
    remote = Remote(server.jwks_url)
    for algorithm in ("RS256", "ES256", "EdDSA", "HS256"):
        with pytest.raises(UnknownKey):
            await candidates(remote.keys, "private", algorithm)
    await wait_all_tasks_blocked()
    told = "key 1 of the JWK Set can't be used: it is published with its secret, so that everyone could sign with it"
    assert remote.heard == [KeysFetched(server.jwks_url, 1, (told,))]


async def test_members_that_are_the_issuers_own(server: IssuerServer) -> None:
    """`exp` and `nbf` of a published key, in whatever form, and members that are null change nothing."""
    lacking = dict.fromkeys(["d", "k", "oth", "alg", "use", "key_ops", "x5c"])
    server.publish(
        jwk_of(ec_key(), "a", exp=NOW - 1, nbf="2030-01-01"), jwk_of(thief_key(), "b", nbf=NOW + DAY, **lacking)
    )
    remote = Remote(server.jwks_url)
    assert (await remote.knows("a"), await remote.knows("b")) == (True, True)
    await wait_all_tasks_blocked()
    assert remote.heard == [KeysFetched(server.jwks_url, 2, ())]


@pytest.mark.parametrize("kid", ["", " ", "a" * 100_000, "a\n\x1b[2J", "\ud800", "a\0"])
async def test_any_kid(server: IssuerServer, kid: str) -> None:
    """Whatever an issuer calls its key, it is found by that name alone, which reaches the log short and quoted."""
    server.publish(jwk_of(ec_key(), kid), jwk_of(thief_key(), kid, use="enc"))
    remote = Remote(server.jwks_url)
    assert await remote.knows(kid)
    for other in ("a", kid + "a", kid.strip() + "  "):
        assert not await remote.knows(other)
    await wait_all_tasks_blocked()
    (heard,) = remote.heard
    assert isinstance(heard, KeysFetched)
    (told,) = heard.left_out
    assert (len(told) < 210, told.isprintable()) == (True, True)


async def test_what_a_server_answers_is_told_in_short(server: IssuerServer) -> None:
    """A server may answer with as much as it likes: a thousand characters of what is wrong reach the log."""
    server.publish(*({"kty": "x" * 500} for _ in range(100)))
    remote = Remote(server.jwks_url)
    with pytest.raises(KeysUnavailable) as why:
        await remote.keys.current()
    await wait_all_tasks_blocked()
    assert remote.heard == [KeysNotFetched(server.jwks_url, str(why.value))]
    assert len(str(why.value)) < 1010


@pytest.mark.parametrize("moved", ["http://keys.example/jwks", "ftp://127.0.0.1/jwks", "/elsewhere"])
async def test_keys_that_move_to_where_nothing_is_fetched(server: IssuerServer, moved: str) -> None:
    """Metadata that leads to plain http, or nowhere, is not followed, and the old set stays."""
    server.describe()
    server.answer("/elsewhere", {"keys": [jwk_of(thief_key(), "thief")]})
    remote = Remote(issuer=server.issuer)
    before = await remote.keys.current()
    server.fail(JWKS)
    server.describe(jwks_uri=moved)
    for _ in range(2):
        await fetch_again(remote)
        assert await remote.keys.current() is before
    assert server.requests == [OPENID, JWKS, JWKS, OPENID]
    await wait_all_tasks_blocked()
    assert remote.heard[-1] == KeysNotFetched(
        server.issuer,
        f"jwks_uri in the metadata of {server.issuer} has to be an https URL, or http on this machine alone",
    )


async def test_those_who_leave_make_room_for_others(server: IssuerServer) -> None:
    """A flood of made-up kids whose senders hang up fills the places of those who wait for no longer than that."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    remote.clock.turn(30)
    server.publish(jwk_of(thief_key(), "new"))
    known: list[bool] = []

    async def one() -> None:
        known.append(await remote.knows("new"))

    async with anyio.create_task_group() as staying:
        with server.holding():
            async with anyio.create_task_group() as leaving:
                for number in range(remote_keys.MAX_WAITING):
                    leaving.start_soon(remote.knows, f"made up {number}")
                await wait_all_tasks_blocked()
                assert remote.keys._flight.waiting == remote_keys.MAX_WAITING
                assert not await remote.knows("new")
                leaving.cancel_scope.cancel()
            staying.start_soon(one)
            await wait_all_tasks_blocked()
            assert (known, remote.keys._flight.waiting) == ([], 1)
    assert (known, server.count()) == ([True], 2)


async def test_a_clock_set_back_while_the_issuer_is_down(server: IssuerServer) -> None:
    """Keys don't grow younger: without the issuer they serve for as long as if they had come at that moment."""
    remote = Remote(server.jwks_url)
    await remote.keys.current()
    server.fail()
    remote.clock.turn(-30 * DAY)
    assert await remote.knows()
    await settled(remote, server, 2)
    assert remote.keys.known_until == remote.clock() + 30
    remote.clock.turn(FRESH + HOUR - 1)
    assert await remote.knows()
    await settled(remote, server, 3)
    remote.clock.turn(1)
    with pytest.raises(KeysUnavailable):
        await remote.knows()


def test_a_fetch_that_ended_with_its_event_loop(server: IssuerServer, anyio_backend: str) -> None:
    """A fetch cut off, as by the end of a test or a server's reload, counts as none: the next loop begins another."""
    remote = Remote(server.jwks_url)

    async def leave() -> None:
        remote.keys.warm_up()
        await server.request()

    async def come() -> None:
        assert await remote.knows()

    with server.holding():
        anyio.run(leave, backend=anyio_backend)
        assert not remote.keys._flight.waiting
    anyio.run(come, backend=anyio_backend)
    assert server.count() == 2


class Secure:
    """An https server, whom it is certified by, and the file of those whom this machine trusts."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.trusted, self.other = Authority(home, "trusted"), Authority(home, "other")
        self.file = home / "certificates.pem"
        self.trust(self.trusted)
        self.trusted.certify(self.tls)
        monkeypatch.setenv("SSL_CERT_FILE", str(self.file))

    def trust(self, *authorities: Authority) -> None:
        self.file.write_bytes(b"".join(authority.path.read_bytes() for authority in authorities))


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secure:
    return Secure(tmp_path, monkeypatch)


async def test_https(secure: Secure) -> None:
    """Keys come from a server that is certified by one whom the machine trusts, to be where the URL says."""
    with IssuerServer(secure.tls) as server:
        server.publish(jwk_of(ec_key(), "a"))
        server.describe()
        assert server.issuer.startswith("https://")
        assert tuple(await RemoteKeySet(issuer=server.issuer).current())
        for authority, address in ((secure.other, "127.0.0.1"), (secure.trusted, "127.0.0.2")):
            authority.certify(secure.tls, address)
            with pytest.raises(KeysUnavailable, match="certificate verify failed"):
                await RemoteKeySet(server.jwks_url).current()
        assert server.requests == [OPENID, JWKS]


async def test_certificates_are_read_once(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the system's certificates takes long: it is done once, however often keys are fetched."""
    read: list[bool] = []

    def watched() -> ssl.SSLContext:
        read.append(True)
        return discovery.system_certificates()

    monkeypatch.setattr(remote_keys, "system_certificates", watched)
    with IssuerServer(secure.tls) as server:
        server.publish(jwk_of(ec_key(), "a"))
        server.describe()
        remote = Remote(issuer=server.issuer)
        for fetches in range(1, 6):
            assert await remote.knows()
            assert (server.count(), len(read)) == (fetches, 1)
            remote.clock.turn(FRESH)


async def test_certificates_that_change(secure: Secure) -> None:
    """An authority that came to be trusted is known after a failure, one that is trusted no more after a day."""
    with IssuerServer(secure.tls) as server:
        server.publish(jwk_of(ec_key(), "a"))
        remote = Remote(server.jwks_url)
        assert await remote.knows()
        secure.other.certify(secure.tls)
        secure.trust(secure.other, secure.trusted)
        for fetches in (1, 2):
            await fetch_again(remote)
            assert server.count() == fetches
        secure.trust(secure.trusted)
        await fetch_again(remote)
        assert server.count() == 3
        remote.clock.turn(DAY)
        with pytest.raises(KeysUnavailable, match="certificate verify failed"):
            await remote.keys.current()
