"""Keys of one's own that change while they are used: with their file, and with the time."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from support.tokens import NOW, ec_key, ed25519_key, p384_key, rsa_key
from support.waiting import PATIENCE

from asgi_jwt.errors import ConfigurationError, KeysUnavailable, UnknownKey
from asgi_jwt.events import Event, EventSink, KeysNotRead, KeysRead
from asgi_jwt.testing import Clock
from asgi_jwt.tokens import local_keys
from asgi_jwt.tokens.key_source import candidates
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.local_keys import KeyFile, LocalKeys

pytestmark = pytest.mark.anyio

VARIABLE = "ASGI_JWT_KEYS_FILE"


def jwk(kid: str, key: Any = None, form: Any = ECAlgorithm, **members: Any) -> dict[str, Any]:
    return {**form.to_jwk(key or ec_key(), as_dict=True), "kid": kid, **members}


class Local:
    """A file with keys, the `LocalKeys` that follow it, a clock to turn, and the events that were told."""

    def __init__(self, folder: Path, *jwks: dict[str, Any], **settings: Any) -> None:
        self.path = folder / "keys.json"
        self.clock = Clock(NOW)
        self.heard: list[Event] = []
        self.reads = 0
        self.failing = False
        self.stalled = threading.Event()
        self.stalled.set()
        self.write(*jwks)
        file = KeyFile(VARIABLE, self.path, self.read)
        self.keys = LocalKeys(self.read(), file=file, clock=self.clock, events=EventSink(self.heard.append), **settings)
        self.reads = 0

    def write(self, *jwks: dict[str, Any]) -> None:
        """As rotations do: the file is another one at once."""
        new = self.path.with_name("new")
        new.write_text(json.dumps({"keys": jwks}))
        new.replace(self.path)

    def read(self) -> KeySet:
        self.reads += 1
        assert self.stalled.wait(PATIENCE)
        if self.failing:
            raise ConfigurationError("names a file that can't be read: Too many open files")
        try:
            return KeySet.parse(self.path.read_text())
        except OSError:
            raise ConfigurationError("names a file that can't be read") from None

    async def kids(self) -> list[str | None]:
        return [key.kid for key in (await self.keys.current())]

    async def looked(self) -> None:
        """A second later, and after the look that the next question sets off."""
        self.clock.turn(1)
        await self.keys.current()
        await self.keys._flight.wait()
        await wait_all_tasks_blocked()


async def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Within a second of being asked the keys are those of the new file, and an event says so, once.

    A file that stays is looked at once a second while someone asks, and read twice: two writes can share a time stamp.
    """
    local = Local(tmp_path, jwk("a"))
    for _ in range(5):
        await local.looked()
        for _ in range(3):
            await local.keys.current()
    assert (local.reads, local.heard) == (2, [])
    kept = tuple(await local.keys.current())
    os.utime(local.path, ns=(1, 1))
    await local.looked()
    assert (local.reads, local.heard) == (3, [])
    assert next(iter(await local.keys.current())) is kept[0]
    local.write(jwk("b"), jwk("a"))
    assert await local.kids() == ["a"]
    for _ in range(2):
        await local.looked()
        assert await local.kids() == ["b", "a"]
    assert local.heard == [KeysRead(VARIABLE, 2)]


async def test_writes_that_share_a_time_stamp(tmp_path: Path) -> None:
    """What was written between a look and the end of its time stamp's tick is found by the next look."""
    local = Local(tmp_path, jwk("a"))
    await local.looked()
    told = local.path.stat()
    await local.looked()
    content = local.path.read_bytes().replace(b'"a"', b'"b"')
    os.utime(local.path, ns=(told.st_atime_ns, told.st_mtime_ns))
    await local.looked()  # sees another ctime
    with local.path.open("r+b") as file:
        file.write(content)
    os.utime(local.path, ns=(told.st_atime_ns, told.st_mtime_ns))
    await local.looked()
    assert await local.kids() == ["b"]


@pytest.mark.parametrize("seconds", [10, 3600, -3600])
async def test_all_who_come_after_a_quiet_time_wait(tmp_path: Path, seconds: float) -> None:
    """None of the requests that come together is let in by a key that was withdrawn since somebody asked.

    The first of all waits, and so do they when the clock was set back.
    """
    local = Local(tmp_path, jwk("a"))
    local.write(jwk("b"))
    assert await local.kids() == ["b"]
    local.write(jwk("c"))
    local.clock.turn(seconds)
    found: list[list[str | None]] = []

    async def ask() -> None:
        found.append(await local.kids())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert found == [["c"]] * 3


BROKEN: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_text('{"keys": [{"kty": "E'),
    "empty": lambda path: path.write_text(""),
    "gone": lambda path: path.unlink(),
    "no keys": lambda path: path.write_text('{"keys": []}'),
    "a broken key": lambda path: path.write_text(json.dumps({"keys": [jwk("b"), {"kty": "EC", "crv": "P-256"}]})),
    "bytes": lambda path: path.write_bytes(b"\x00\x01"),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_keeps_the_old_keys(breaking: Callable[[Path], object], tmp_path: Path) -> None:
    """Nobody notices but operators, whom one event tells; the file is taken once it is mended."""
    local = Local(tmp_path, jwk("a"))
    await local.looked()
    breaking(local.path)
    for _ in range(3):
        await local.looked()
        assert await local.kids() == ["a"]
    (heard,) = local.heard
    assert isinstance(heard, KeysNotRead)
    assert heard.source == VARIABLE
    assert heard.why
    local.write(jwk("b"))
    await local.looked()
    assert await local.kids() == ["b"]
    assert local.heard[1:] == [KeysRead(VARIABLE, 1)]
    breaking(local.path)
    await local.looked()
    assert len(local.heard) == 3


@pytest.mark.parametrize(("trouble", "kids"), [("emptied", ["a"]), ("unmounted", ["a"]), ("no descriptor", ["b"])])
async def test_a_file_that_is_as_it_was_again(
    trouble: str, kids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was told that a file can't be used is told when it can, though its keys are those that are in force.

    One that could not be read for want of a descriptor, say, is read when it can be, though it stays as it is.
    """
    local = Local(tmp_path, jwk("a"))
    for _ in range(3):
        await local.looked()
    with monkeypatch.context() as patched:
        if trouble == "emptied":
            local.path.write_text("")
        elif trouble == "unmounted":
            patched.setattr(local_keys, "_stamp", lambda _: None)
        else:
            local.write(jwk("b"))
        local.failing = trouble != "emptied"
        for _ in range(3):
            await local.looked()
    local.failing = False
    if trouble == "emptied":
        local.write(jwk("a"))
    for _ in range(3):
        await local.looked()
    assert await local.kids() == kids
    assert [type(event) for event in local.heard] == [KeysNotRead, KeysRead]
    assert local.heard[1] == KeysRead(VARIABLE, 1)


@pytest.mark.parametrize("anyio_backend", ["none"])
def test_a_look_that_ends_with_its_event_loop(anyio_backend: str, tmp_path: Path) -> None:
    """Where each request has an event loop of its own, what one of them began to read is not lost for the others."""
    local = Local(tmp_path, jwk("a"))

    async def ask() -> None:
        await local.keys.current()
        await wait_all_tasks_blocked()

    anyio.run(ask)
    local.write(jwk("b"))
    for _ in range(3):
        local.clock.turn(1)
        local.stalled.clear()
        anyio.run(ask)
        local.stalled.set()
    local.clock.turn(10)
    anyio.run(ask)
    assert [key.kid for key in local.keys.known] == ["b"]


async def test_a_file_system_that_stalls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes after a quiet time waits a moment and goes on with the keys that are there; nobody else waits."""
    monkeypatch.setattr(local_keys, "_CHECK_WAIT", 0.01)
    local = Local(tmp_path, jwk("a"))
    local.stalled.clear()
    assert await local.kids() == ["a"]
    local.clock.turn(1)
    assert await local.kids() == ["a"]
    assert local.reads <= 1
    local.stalled.set()
    await local.keys._flight.wait()


async def test_an_unknown_kid_waits_for_a_look_that_is_under_way(tmp_path: Path) -> None:
    """A key of which another process knows already is not refused; a made-up name costs a look a second at most."""
    local = Local(tmp_path, jwk("a"))
    await local.looked()
    local.write(jwk("b"))
    local.clock.turn(1)
    assert [key.kid for key in await candidates(local.keys, "b", "ES256")] == ["b"]
    reads = local.reads
    for _ in range(100):
        with pytest.raises(UnknownKey):
            await candidates(local.keys, "made up", "ES256")
    assert local.reads == reads


async def test_cancelling_one_who_waits_leaves_the_look_to_the_others(tmp_path: Path) -> None:
    """A request that goes away takes nothing from those that wait for the same look."""
    local = Local(tmp_path, jwk("a"))
    local.write(jwk("b"))
    local.stalled.clear()
    found: list[list[str | None]] = []

    async def ask() -> None:
        found.append(await local.kids())

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert found == []
    local.stalled.set()
    await local.keys._flight.wait()
    assert await local.kids() == ["b"]


async def test_keys_begin_and_end_by_the_clock(tmp_path: Path) -> None:
    """A key signs from its `nbf` on and is gone at its `exp`, to the second, and without a look at the file."""
    local = Local(tmp_path, jwk("new", p384_key(), nbf=NOW + 100), jwk("old", exp=NOW + 200))
    changes: list[list[str | None]] = []
    local.keys.on_change(lambda keys: changes.append([key.kid for key in keys]))
    await local.looked()
    assert local.keys.known_until == NOW + 2
    for now, kids, algorithms in (
        (NOW + 99.9, ["old", "new"], {"ES256", "ES384"}),
        (NOW + 100, ["new", "old"], {"ES256", "ES384"}),
        (NOW + 199.9, ["new", "old"], {"ES256", "ES384"}),
        (NOW + 200, ["new"], {"ES384"}),
        (NOW + 150, ["new", "old"], {"ES256", "ES384"}),
    ):
        local.clock.now = now
        assert [key.kid for key in local.keys.known] == kids
        assert set(local.keys.known.allowed or ()) == algorithms
    assert changes == [["new", "old"], ["new"], ["new", "old"]]


async def test_keys_without_a_file() -> None:
    """Those of a variable end too, and hold unquestioned until then; when all have ended none is in reach."""
    clock = Clock(NOW)
    keys = KeySet.parse(json.dumps({"keys": [jwk("a", exp=NOW + 10)]}))
    local = LocalKeys(keys, clock=clock, events=EventSink())
    assert local.known_until == NOW + 10
    local.warm_up()
    assert [key.kid for key in (await local.current())] == ["a"]
    clock.turn(10)
    with pytest.raises(KeysUnavailable, match="all keys have ended"):
        await local.current()


@pytest.mark.parametrize(
    ("algorithms", "allowed"),
    [((), {"RS256", "EdDSA", "Ed25519"}), (("PS256", "Ed25519"), {"PS256", "EdDSA", "Ed25519"})],
)
def test_keys_are_for_what_is_allowed(algorithms: tuple[str, ...], allowed: set[str]) -> None:
    """Each key is for what it is made for, or for what the settings allow it."""
    jwks = [jwk("rsa", rsa_key(), RSAAlgorithm, key_ops=None), jwk("ed", ed25519_key(), OKPAlgorithm)]
    keys, _ = KeySet.from_jwks({"keys": jwks})
    local = LocalKeys(keys, algorithms=algorithms, clock=Clock(NOW), events=EventSink())
    assert set(local.known.allowed or ()) == allowed
    assert {name for key in local.known for name in key.algorithms} == set(allowed)


@pytest.mark.parametrize("anyio_backend", ["none"])
def test_looks_without_waiting(anyio_backend: str, tmp_path: Path) -> None:
    """Who can't wait sets off a look in the background.

    It needs an event loop: where none runs it is not counted as done, and the next loop begins it.
    """
    local = Local(tmp_path, jwk("a"))

    async def warmed_up(kid: str) -> list[str | None]:
        local.write(jwk(kid))
        local.clock.turn(1)
        local.keys.warm_up()
        await local.keys._flight.wait()
        return [key.kid for key in local.keys.known]

    local.write(jwk("b"))
    with pytest.raises(anyio.NoEventLoopError):
        local.keys.warm_up()
    assert local.reads == 0
    assert anyio.run(local.kids) == ["b"]
    assert anyio.run(warmed_up, "c") == ["c"]


async def test_a_thread_that_was_overtaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that takes the keys of the time while a new file is taken leaves no key of the old one in force."""
    local = Local(tmp_path, jwk("a"), jwk("old", exp=NOW + 100))
    await local.looked()
    local.clock.now = NOW + 100
    at, overtaking = KeySet.at, KeySet.parse(json.dumps({"keys": [jwk("b")]}))

    def overtaken(keys: KeySet, now: float) -> KeySet:
        found = at(keys, now)
        if keys is not overtaking:
            local.keys._given = overtaking
            local.keys._use(now)
        return found

    monkeypatch.setattr(KeySet, "at", overtaken)
    _ = local.keys.known
    assert tuple(local.keys.known) == tuple(overtaking)
