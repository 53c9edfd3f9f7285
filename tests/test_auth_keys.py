"""Auth's own keys replaced while it is in use: nobody's token is refused, nobody is logged out."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from anyio import to_thread, wait_all_tasks_blocked
from jwt import get_unverified_header
from support.app import AUDIENCE, ISSUER, NOW, REFRESH_SECRET, SECRET
from support.waiting import PATIENCE

from asgi_jwt import Auth, AuthError, ConfigurationError, Identity, KeySet, MemoryStore, Settings
from asgi_jwt.errors import AlgorithmNotAllowed, InvalidGrant, UnknownKey
from asgi_jwt.events import Event, KeysNotRead, KeysRead
from asgi_jwt.testing import Clock, fake_issuer
from asgi_jwt.tokens import local_keys
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate, secret_jwk
from asgi_jwt.tokens.local_keys import KeyFile, LocalKeys

pytestmark = pytest.mark.anyio

OVERLAP, KEEP = 600, 3960
DAY = 86400


class Service:
    """An `Auth` with key files, as one of any number of processes that share them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.keys, self.secrets = folder / "keys.json", folder / "secrets"
        self.clock = Clock(NOW)
        self.heard: list[Event] = []
        if not self.keys.exists():
            self.write(generate_jwk("ES256"))
            self.secrets.write_text(REFRESH_SECRET)
        given = {"keys_file": str(self.keys), "refresh_secret_file": str(self.secrets), "refresh_ttl": 7 * DAY}
        self.auth = Auth(
            Settings(issuer=ISSUER, audience=AUDIENCE, **{**given, **settings}),
            store=MemoryStore(),
            on_event=self.heard.append,
            clock=self.clock,
        )

    def write(self, *jwks: Any) -> None:
        self.keys.write_text(json.dumps({"keys": jwks}))

    def rotate(self, algorithm: str = "ES256", *, overlap: int = OVERLAP, keep: int = KEEP) -> None:
        old = json.loads(self.keys.read_text())["keys"]
        new = generate_jwk(algorithm)
        self.write(*rotate(old, new, now=int(self.clock()), overlap=overlap, keep=keep))

    async def look(self) -> None:
        for keys in (self.auth._own.access, self.auth._own.refresh):
            if isinstance(keys, LocalKeys):
                await keys._flight.wait()  # one that had begun before may have seen the old file
        self.clock.turn(10)
        await self.auth.published_keys()
        await wait_all_tasks_blocked()  # the events are told behind it


def named(token: str) -> Any:
    return get_unverified_header(token).get("kid")


async def test_rotation(tmp_path: Path) -> None:
    """Through a rotation to another algorithm every token holds, and the new key signs after the overlap."""
    service = Service(tmp_path)
    auth = service.auth
    issuer = auth.issuer
    old = issuer.access_token(Identity("alice"))
    await auth.verify(old)
    service.rotate("EdDSA")
    await service.look()
    assert [event for event in service.heard if isinstance(event, KeysRead)] == [KeysRead("ASGI_JWT_KEYS_FILE", 2)]
    published = [key["kid"] for key in (await auth.published_keys())["keys"]]
    assert published[0] == named(old)
    during = issuer.access_token(Identity("alice"))
    service.clock.now = NOW + OVERLAP
    await auth.verify(old)
    after = issuer.access_token(Identity("alice"))
    assert (named(during), named(after)) == (named(old), published[1])
    assert get_unverified_header(after)["alg"] == "EdDSA"
    assert auth.issuer is issuer
    for token in (old, during, after):
        assert (await auth.verify(token)).subject == "alice"
    service.clock.now = NOW + OVERLAP + KEEP
    with pytest.raises(AuthError):
        await auth.verify(old)
    assert [key["kid"] for key in (await auth.published_keys())["keys"]] == [published[1]]


async def test_a_key_withdrawn_takes_what_it_verified_with_it(tmp_path: Path) -> None:
    """After a theft its tokens are refused within seconds, those that were remembered too."""
    service = Service(tmp_path)
    stolen = service.auth.issuer.access_token(Identity("alice")).encode()
    await service.auth.verify(stolen)
    assert service.auth.verify_cached(stolen) is not None
    service.rotate(overlap=0, keep=0)
    service.clock.turn(1)
    assert service.auth.verify_cached(stolen) is None
    await service.look()
    assert service.auth.verify_cached(stolen) is None
    with pytest.raises(UnknownKey):
        await service.auth.verify(stolen)


async def test_a_key_withdrawn_in_a_quiet_time(tmp_path: Path) -> None:
    """Of the requests that come together after it, none is let in by the old key, its header known or not."""
    service = Service(tmp_path)
    stolen = [service.auth.issuer.access_token(Identity("alice")) for _ in range(3)]
    await service.auth.verify(stolen[0])
    service.rotate(overlap=0, keep=0)
    service.clock.turn(600)
    refused: list[type[AuthError]] = []

    async def verify(token: str) -> None:
        try:
            await service.auth.verify(token)
        except AuthError as error:
            refused.append(type(error))

    async with anyio.create_task_group() as group:
        for token in stolen:
            group.start_soon(verify, token)
    assert refused == [UnknownKey] * 3


async def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    """The file is looked at all the same: the old time of the last look does not put the next one off."""
    service = Service(tmp_path)
    stolen = [service.auth.issuer.access_token(Identity("alice"), ends_at=NOW + 60) for _ in range(2)]
    await service.auth.verify(stolen[0])
    service.rotate(overlap=0, keep=0)
    service.clock.turn(-20)
    with pytest.raises(UnknownKey):
        await service.auth.verify(stolen[1])


async def test_a_look_that_began_before_a_quiet_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that read the old file is not taken for the look that the first request after a quiet time waits for."""
    service = Service(tmp_path)
    stolen = [service.auth.issuer.access_token(Identity("alice")) for _ in range(2)]
    has_read, rotated = threading.Event(), threading.Event()
    read_again = LocalKeys._read_again

    def slow(keys: LocalKeys, file: KeyFile) -> Any:
        found = read_again(keys, file)
        has_read.set()
        rotated.wait(PATIENCE)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(LocalKeys, "_read_again", slow)
        patched.setattr(local_keys, "_CHECK_WAIT", 0.01)
        await service.auth.verify(stolen[0])
        assert await to_thread.run_sync(has_read.wait, PATIENCE)
    service.rotate(overlap=0, keep=0)
    service.clock.turn(600)
    monkeypatch.setattr(local_keys, "_CHECK_WAIT", PATIENCE)
    rotated.set()
    with pytest.raises(UnknownKey):
        await service.auth.verify(stolen[1])


async def test_a_key_withdrawn_by_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync endpoint that mints may end a key by the clock while a token is verified: nothing of the key stays."""
    service = Service(tmp_path)
    service.write({**generate_jwk("ES256"), "exp": NOW + OVERLAP}, {**generate_jwk("ES256"), "nbf": NOW + OVERLAP})
    service = Service(tmp_path)
    issuer = service.auth.issuer
    stolen = [issuer.access_token(Identity("alice")) for _ in range(2)]
    verify = Key.verify

    def overtaken(key: Key, algorithm: str, message: bytes, signature: bytes) -> bool:
        holds = verify(key, algorithm, message, signature)
        service.clock.now = NOW + OVERLAP
        thread = Thread(target=issuer.access_token, args=(Identity("bob"),))
        thread.start()
        thread.join(PATIENCE)
        return holds

    with monkeypatch.context() as patched:
        patched.setattr(Key, "verify", overtaken)
        await service.auth.verify(stolen[0])
    for token in stolen:
        with pytest.raises(UnknownKey):
            await service.auth.verify(token)


async def test_what_mints_alone_follows_its_file(tmp_path: Path) -> None:
    """In an event loop each access token sets off a look that is due, so that a service that never verifies follows."""
    service = Service(tmp_path)
    issuer = service.auth.issuer
    old = issuer.access_token(Identity("alice"))
    service.rotate(overlap=0)
    service.clock.turn(1)
    issuer.access_token(Identity("alice"))
    assert isinstance(service.auth._own.access, LocalKeys)
    await service.auth._own.access._flight.wait()
    assert named(issuer.access_token(Identity("alice"))) not in (None, named(old))


@pytest.mark.parametrize("anyio_backend", ["none"])
def test_what_mints_without_an_event_loop(anyio_backend: str, tmp_path: Path) -> None:
    """Where no event loop runs, the keys begin and end by the clock, and the file waits for one that does."""
    service = Service(tmp_path)
    service.rotate()
    service = Service(tmp_path)
    issuer = service.auth.issuer
    old = issuer.access_token(Identity("alice"))
    service.clock.now = NOW + OVERLAP
    new = issuer.access_token(Identity("alice"))
    assert named(new) not in (None, named(old))
    assert service.heard == []


async def test_a_new_algorithm_comes_and_an_old_one_goes_with_its_key(tmp_path: Path) -> None:
    """What tokens may be signed with follows the keys, unless ALGORITHMS says."""
    service = Service(tmp_path)
    old = service.auth.issuer.access_token(Identity("alice"))
    assert service.auth.verifier.policy.algorithms == {"ES256"}
    service.rotate("EdDSA", overlap=0, keep=0)
    await service.look()
    assert service.auth.verifier.policy.algorithms == {"EdDSA", "Ed25519"}
    with pytest.raises(AlgorithmNotAllowed):
        await service.auth.verify(old)
    with fake_issuer(service.auth) as issue:
        assert (await service.auth.verify(issue.token("bob"))).subject == "bob"
    assert (await service.auth.verify(service.auth.issuer.access_token(Identity("alice")))).subject == "alice"


def public_keys() -> list[Any]:
    return KeySet.parse(json.dumps({"keys": [generate_jwk("ES256")]})).public_jwks()["keys"]


ENDED = {"exp": NOW - 1}
NOT_TAKEN: dict[str, tuple[str, Callable[[Service], None], str]] = {
    "a key for none of ALGORITHMS": ("ES256", lambda service: service.write(generate_jwk("EdDSA")), "names ES256"),
    # It would leave the issuer with the old one when that ends.
    "one that begins later": (
        "ES256",
        lambda service: service.rotate("EdDSA"),
        "names none for which the first private",
    ),
    "private keys that have ended": (
        "",
        lambda service: service.write({**generate_jwk("ES256"), **ENDED}, *public_keys()),
        "holds no private key any more, and tokens are issued",
    ),
    "public keys alone": (
        "",
        lambda service: service.write(*public_keys()),
        "holds no private key any more, and tokens are issued",
    ),
    "keys that have all ended": (
        "",
        lambda service: service.write({**generate_jwk("ES256"), **ENDED}),
        "ASGI_JWT_KEYS_FILE holds keys that have all ended",
    ),
}


@pytest.mark.parametrize(("algorithms", "change", "why"), NOT_TAKEN.values(), ids=NOT_TAKEN)
async def test_files_that_are_not_taken(
    algorithms: str, change: Callable[[Service], None], why: str, tmp_path: Path
) -> None:
    """Where tokens are issued a file that can't sign is not taken, be it an old copy, put back: nothing ends."""
    service = Service(tmp_path, algorithms=algorithms)
    issuer = service.auth.issuer
    old = named(issuer.access_token(Identity("alice")))
    change(service)
    await service.look()
    (heard,) = service.heard
    assert isinstance(heard, KeysNotRead)
    assert why in heard.why
    service.clock.now = NOW + OVERLAP + KEEP
    token = issuer.access_token(Identity("alice"))
    assert ((await service.auth.verify(token)).subject, named(token)) == ("alice", old)


async def test_a_file_without_private_keys_is_taken_where_none_are_issued(tmp_path: Path) -> None:
    """A service that only verifies takes public keys in the place of private ones, and can't issue from then on."""
    service, verifying = Service(tmp_path), Service(tmp_path)
    token = service.auth.issuer.access_token(Identity("alice"))
    await verifying.auth.verify(token)
    service.keys.write_text(json.dumps(await service.auth.published_keys()))
    await verifying.look()
    assert (await verifying.auth.verify(token)).subject == "alice"
    assert [type(event) for event in verifying.heard] == [KeysRead]
    with pytest.raises(ConfigurationError, match="ASGI_JWT_KEYS_FILE holds no private key"):
        _ = verifying.auth.issuer


async def test_a_file_whose_keys_have_all_ended_is_not_taken(tmp_path: Path) -> None:
    """An old copy, put back, stops no service, one that only verifies neither."""
    service = Service(tmp_path)
    token = Service(tmp_path).auth.issuer.access_token(Identity("alice"))
    await service.auth.verify(token)
    await service.look()
    service.write({**generate_jwk("ES256"), **ENDED})
    service.secrets.write_text(json.dumps({**generate_jwk("HS256"), **ENDED}))
    await service.look()
    for event, name in zip(service.heard, ("KEYS", "REFRESH_SECRET"), strict=True):
        assert isinstance(event, KeysNotRead)
        assert f"ASGI_JWT_{name}_FILE holds keys that have all ended, as their exp says: asgi-jwt keys" in event.why
    assert (await service.auth.verify(token)).subject == "alice"


async def test_a_refresh_secret_that_only_verifies(tmp_path: Path) -> None:
    """Where refresh tokens are issued, a file that can't sign them is not taken, and it is said of secrets."""
    service = Service(tmp_path)
    pair = await service.auth.sessions.open(Identity("alice"))
    service.secrets.write_text(json.dumps({**generate_jwk("HS256"), "key_ops": ["verify"]}))
    await service.look()
    (heard,) = [event for event in service.heard if isinstance(event, KeysNotRead)]
    assert "REFRESH_SECRET_FILE holds no secret to sign with any more, and refresh tokens are issued" in heard.why
    assert (await service.auth.sessions.refresh(pair.refresh_token)).verdict == "ROTATED"


async def test_private_keys_that_have_ended_at_the_start(tmp_path: Path) -> None:
    """It is told that they have, and how to come by another, and not that there were none."""
    service = Service(tmp_path)
    service.write({**generate_jwk("ES256"), "exp": NOW - 1})
    with pytest.raises(ConfigurationError, match="KEYS_FILE holds private keys that have all ended"):
        _ = Service(tmp_path).auth.issuer


async def test_the_last_private_key_ends(tmp_path: Path) -> None:
    """With public keys alone left, the issuer goes on, and what it signs is refused."""
    service = Service(tmp_path)
    service.write({**generate_jwk("ES256"), "exp": NOW + 100}, *public_keys())
    await service.look()
    issuer = service.auth.issuer
    service.clock.now = NOW + 100
    await service.look()
    with pytest.raises(UnknownKey):
        await service.auth.verify(issuer.access_token(Identity("alice")))


async def test_a_quiet_process_signs_with_the_new_key(tmp_path: Path) -> None:
    """A login hours after a rotation that this process slept through is signed with the key that holds."""
    service = Service(tmp_path)
    old = (await service.auth.sessions.open(Identity("alice"))).access_token
    service.rotate()
    service.clock.now = NOW + OVERLAP + KEEP + 1
    new = (await service.auth.sessions.open(Identity("alice"))).access_token
    assert named(new) not in (None, named(old))
    assert (await service.auth.verify(new)).subject == "alice"


async def test_refresh_secrets_rotate(tmp_path: Path) -> None:
    """Refresh tokens of the old secret are exchanged until they end, and nobody is logged out between processes."""
    service, other = Service(tmp_path), Service(tmp_path)
    other.auth._store = service.auth.store
    pair = await service.auth.sessions.open(Identity("alice"))
    sleeper = await service.auth.sessions.open(Identity("alice"))
    assert named(pair.refresh_token) is None
    old, new = secret_jwk(REFRESH_SECRET.encode()), generate_jwk("HS256")
    keep = 7 * DAY + 360
    rotated = rotate([old], new, now=NOW, overlap=OVERLAP, keep=keep)
    service.secrets.write_text(json.dumps({"keys": rotated}))
    for each in (service, other):
        await each.look()
    assert [event for event in service.heard if isinstance(event, KeysRead)] == [
        KeysRead("ASGI_JWT_REFRESH_SECRET_FILE", 2)
    ]
    service.clock.now = other.clock.now = NOW + OVERLAP
    pair = await service.auth.sessions.refresh(pair.refresh_token)
    assert named(pair.refresh_token) == new["kid"]
    service.clock.turn(61)
    other.clock.turn(61)
    pair = await other.auth.sessions.refresh(pair.refresh_token)
    assert (await service.auth.sessions.refresh(sleeper.refresh_token)).verdict == "ROTATED"
    service.clock.now = NOW + OVERLAP + keep
    with pytest.raises(InvalidGrant):
        await service.auth.sessions.read(sleeper.refresh_token)


async def test_secrets_of_a_list_are_read_again(tmp_path: Path) -> None:
    """The plain list works as well: the first signs, all verify."""
    service = Service(tmp_path)
    pair = await service.auth.sessions.open(Identity("alice"))
    service.secrets.write_text(f"{'n' * 32},{REFRESH_SECRET}")
    await service.look()
    pair = await service.auth.sessions.refresh(pair.refresh_token)
    service.secrets.write_text("n" * 32)
    await service.look()
    assert (await service.auth.sessions.refresh(pair.refresh_token)).verdict == "SAME"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (json.dumps(generate_jwk("ES256")), "holds a key that is none for HS256"),
        (json.dumps(secret_jwk(SECRET.encode())), "is a key of access tokens too"),
        ('{"keys": []}', "holds no key"),
        ("{", "is broken JSON"),
    ],
)
async def test_secrets_that_are_none(content: str, why: str, tmp_path: Path) -> None:
    """What a refresh secret must not be is refused at the start, and later when the file is read again."""
    with pytest.raises(ConfigurationError, match=f"ASGI_JWT_REFRESH_SECRET {why}"):
        Settings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, refresh_secret=content)
    service = Service(tmp_path, keys_file=None, secret=SECRET)
    pair = await service.auth.sessions.open(Identity("alice"))
    service.secrets.write_text(content)
    await service.look()
    (heard,) = [event for event in service.heard if isinstance(event, KeysNotRead)]
    assert f"ASGI_JWT_REFRESH_SECRET_FILE {why}" in heard.why
    assert SECRET not in heard.why
    assert (await service.auth.sessions.refresh(pair.refresh_token)).verdict == "ROTATED"


async def test_keys_of_a_variable_begin_and_end_too() -> None:
    """Times count without a file as well, and keys that don't sign yet are published."""
    keys = rotate([generate_jwk("ES256")], generate_jwk("ES256"), now=NOW, overlap=OVERLAP, keep=KEEP)
    clock = Clock(NOW)
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, keys={"keys": keys}), clock=clock)
    assert [key["kid"] for key in (await auth.published_keys())["keys"]] == [keys[1]["kid"], keys[0]["kid"]]
    issuer = auth.issuer
    assert named(issuer.access_token(Identity("alice"))) == keys[1]["kid"]
    clock.turn(OVERLAP)
    token = auth.issuer.access_token(Identity("alice"))
    assert named(token) == keys[0]["kid"]
    assert (await auth.verify(token)).subject == "alice"


async def test_what_has_nothing_to_publish() -> None:
    """Secrets have no public half, and a remote issuer publishes its own keys."""
    for settings in ({"secret": SECRET}, {"jwks_url": "https://issuer.example/jwks"}):
        auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, **settings))
        assert await auth.published_keys() == {"keys": []}


async def test_keys_from_a_pipe(tmp_path: Path) -> None:
    """It gives them once, and is not opened again: that would wait for a writer, for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=(json.dumps(generate_jwk("ES256")),))
    writer.start()
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys_file=str(pipe))
    writer.join(PATIENCE)
    auth = Auth(settings)
    assert isinstance(auth.verifier.trusts[0].keys, KeySet)
    assert (await auth.verify(auth.issuer.access_token(Identity("alice")))).subject == "alice"


async def test_files_are_found_again_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the directory in which the settings were read."""
    monkeypatch.chdir(tmp_path)
    service = Service(Path())
    assert service.auth.settings.files == {"keys": tmp_path / "keys.json", "refresh_secret": tmp_path / "secrets"}
    monkeypatch.chdir("/")
    await service.auth.published_keys()
    assert service.heard == []
