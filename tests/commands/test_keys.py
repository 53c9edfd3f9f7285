"""`asgi-jwt keygen` and `asgi-jwt keys rotate`, as they are typed."""

import json
import os
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jwt import get_unverified_header
from support.tokens import NOW, ec_key, ed25519_key, private_pem, public_pem, rsa_key

from asgi_jwt import Auth, Identity, KeySet, Settings, cli
from asgi_jwt.commands.keys import KEEP, OVERLAP, SAFE_OVERLAP
from asgi_jwt.http.published_keys import MAX_AGE
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC

SECRETS = "first secret of thirty-two bytes and more", "second secret of thirty-two bytes and more"


EXAMPLES = {"ASGI_JWT_ISSUER": "https://issuer.example", "ASGI_JWT_AUDIENCE": "orders"}


class Command:
    """Runs `asgi-jwt`, and reads what it prints."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.clock = Clock(NOW)

    def __call__(self, *arguments: object) -> str:
        """What it prints when all is well."""
        status = cli.main([str(argument) for argument in arguments], clock=self.clock)
        printed = self._capsys.readouterr()
        assert (status, printed.err) == (0, "")
        return printed.out

    def fails(self, *arguments: object, status: int = 1) -> str:
        """What it complains of."""
        assert cli.main([str(argument) for argument in arguments], clock=self.clock) == status
        printed = self._capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        return printed.err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def file(tmp_path: Path, command: Command) -> Path:
    """A new key file for ES256."""
    path = tmp_path / "keys.json"
    command("keygen", "--alg", "ES256", "--out", path)
    return path


def held(path: Path) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(path.read_text())["keys"]
    return keys


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets variables of the environment, named without their prefix, beside an issuer and an audience."""

    def set_variables(**values: object) -> None:
        for name, value in {"ISSUER": "i", "AUDIENCE": "a", **values}.items():
            monkeypatch.setenv(f"ASGI_JWT_{name}", str(value))

    return set_variables


def environment(printed: str) -> dict[str, str]:
    """The variables of lines for a shell."""
    return dict(shlex.split(line)[0].split("=", 1) for line in printed.splitlines())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("into_file", [False, True])
def test_keygen(algorithm: str, into_file: bool, command: Command, tmp_path: Path) -> None:
    """The lines are ready to be used: by a shell, and by a service, which signs with this algorithm."""
    environ = environment(
        command("keygen", "--alg", algorithm, *(["--out", tmp_path / "the keys"] if into_file else []))
    )
    auth = Auth(Settings.from_env({**environ, "ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a"}))
    assert get_unverified_header(auth.issuer.access_token(Identity("alice")))["alg"] == algorithm
    assert auth.sessions
    if into_file:
        assert environ.keys() == {*EXAMPLES, "ASGI_JWT_KEYS_FILE", "ASGI_JWT_REFRESH_SECRET"}
        assert mode(tmp_path / "the keys") == 0o600
    told = json.loads(command("keygen", "--alg", algorithm, "--json"))
    assert ("ASGI_JWT_SECRET" if algorithm in SYMMETRIC else "ASGI_JWT_KEYS") in told
    assert (set(told.values()) - {*ALGORITHMS, *EXAMPLES.values()}).isdisjoint(environ.values())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, EXAMPLES),
        ({"ASGI_JWT_ISSUER": "https://auth.example"}, {**EXAMPLES, "ASGI_JWT_ISSUER": "https://auth.example"}),
        ({"ASGI_JWT_ISSUER_FILE": "issuer"}, {"ASGI_JWT_AUDIENCE": "orders"}),
        ({"ASGI_JWT_RESOURCE": "https://host/mcp"}, {"ASGI_JWT_ISSUER": "https://issuer.example"}),
    ],
)
def test_keygen_names_an_issuer_and_an_audience(
    given: dict[str, str], told: dict[str, str], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lines name all that is required: as the environment does, which they never replace, else by examples."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    lines = json.loads(command("keygen", "--json"))
    assert {name: lines[name] for name in lines if "SECRET" not in name} == told


def test_keygen_makes_a_file_for_the_refresh_secret(command: Command, tmp_path: Path) -> None:
    """It is as private as the keys, is rotated as they are, and no file is left where one of both can't be made."""
    keys, secret = tmp_path / "keys.json", tmp_path / "refresh.json"
    environ = environment(command("keygen", "--alg", "ES256", "--out", keys, "--refresh-out", secret))
    files = {"ASGI_JWT_KEYS_FILE": str(keys), "ASGI_JWT_REFRESH_SECRET_FILE": str(secret)}
    assert environ == {**EXAMPLES, **files}
    assert mode(secret) == 0o600
    assert Auth(Settings.from_env({**environ, "ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a"})).sessions
    command("keys", "rotate", secret, "--keep", "169h")
    assert [key["alg"] for key in held(secret)] == ["HS256", "HS256"]
    keys.unlink()
    assert f"keys rotate {secret}" in command.fails("keygen", "--out", keys, "--refresh-out", secret)
    assert f"keys rotate {keys}" in command.fails("keygen", "--out", keys, "--refresh-out", keys)
    assert os.listdir(tmp_path) == [secret.name]


def test_keygen_keeps_a_file_that_is_there(file: Path, command: Command) -> None:
    """No key is ever written over."""
    before = file.read_bytes()
    assert f"keys rotate {file}" in command.fails("keygen", "--out", file)
    assert file.read_bytes() == before
    assert "can't be made" in command.fails("keygen", "--out", file.parent / "missing" / "keys")


@pytest.mark.parametrize("name", ["\x1b[2J", "\u202ekeys", "two\nlines", "\udcff"])
@pytest.mark.parametrize("option", ["--out", "--refresh-out"])
def test_keygen_prints_no_name_that_a_terminal_obeys(name: str, option: str, command: Command, tmp_path: Path) -> None:
    """A name that can't be printed is refused: a line that escapes it would name another file."""
    assert "give it another name" in command.fails("keygen", option, tmp_path / name, status=2)
    assert os.listdir(tmp_path) == []


def test_rotate(file: Path, command: Command) -> None:
    """It says what will happen, and does it: the new key is published, then signs; the old one ends."""
    (old,) = held(file)
    printed = command("keys", "rotate", file)
    new, ending = held(file)
    assert (new["alg"], new["nbf"], new.get("exp")) == ("ES256", NOW + OVERLAP, None)
    assert ending == {**old, "exp": NOW + OVERLAP + KEEP}
    assert printed.splitlines() == [
        f'The new ES256 key "{new["kid"]}" is published now, and signs from 2027-01-15 08:10:00 UTC on.',
        f'The key "{old["kid"]}" verifies until 2027-01-15 09:16:00 UTC.',
        "Processes that use it read it again by themselves.",
    ]
    assert mode(file) == 0o600
    assert os.listdir(file.parent) == [file.name]
    assert MAX_AGE < OVERLAP


def test_rotate_again(file: Path, command: Command) -> None:
    """While a key waits to sign no other comes; later the old keys that have ended are removed."""
    command("keys", "rotate", file)
    before = file.read_bytes()
    refused = command.fails("keys", "rotate", file)
    assert "waits to sign from 2027-01-15 08:10:00 UTC on: let it, or give --overlap 0, which drops it" in refused
    assert file.read_bytes() == before
    command.clock.turn(OVERLAP + KEEP)
    printed = command("keys", "rotate", file, "--alg", "EdDSA", "--json")
    told = json.loads(printed)
    assert (told["new"], told["removed"]) == (held(file)[0]["kid"], 1)
    assert [key["alg"] for key in told["keys"]] == ["EdDSA", "ES256"]
    assert all(key.keys() <= {"kid", "alg", "nbf", "exp"} for key in told["keys"])
    command.clock.turn(OVERLAP + KEEP)
    assert "Removed, for they have ended: 1." in command("keys", "rotate", file)


def test_rotate_what_has_ended(file: Path, command: Command) -> None:
    """Where no key is left the new one signs at once; members that are null count as absent, as everywhere."""
    (old,) = held(file)
    file.write_text(json.dumps({"keys": [{**old, "nbf": None, "exp": None}]}))
    command("keys", "rotate", file)
    assert held(file)[1] == {**old, "exp": NOW + OVERLAP + KEEP}
    file.write_text(json.dumps({"keys": [{**old, "exp": NOW - 1}]}))
    printed = command("keys", "rotate", file)
    (new,) = held(file)
    assert (new["alg"], "nbf" in new) == ("ES256", False)
    assert "signs from now on.\nRemoved, for they have ended: 1.\n" in printed


def test_rotate_after_a_theft(file: Path, command: Command) -> None:
    """Without overlap and with nothing kept, the new key is the only one, also where another waits."""
    command("keys", "rotate", file)
    waiting, _ = held(file)
    printed = command("keys", "rotate", file, "--overlap", 0, "--keep", 0)
    (key,) = held(file)
    assert "nbf" not in key
    assert printed.splitlines() == [
        f'The new ES256 key "{key["kid"]}" signs from now on.',
        f'The key "{waiting["kid"]}", which waited to sign, is dropped: there is no token of it.',
        "Removed, for they have ended: 1.",
        "Processes that use it read it again by themselves.",
        "Services that fetch the keys (ASGI_JWT_JWKS_URL) take old ones until they fetch them anew: 5 minutes at most.",
    ]


def test_an_overlap_that_is_too_short(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who gives other services less time than they keep keys for is warned, and it is done all the same.

    No other service has a secret, and nothing is said of any.
    """
    for algorithm, overlap, warned in (("ES256", 359, True), ("ES256", 360, False), ("HS256", 10, False)):
        path = tmp_path / f"{algorithm} {overlap}"
        command("keygen", "--alg", algorithm, "--out", path)
        words = ["keys", "rotate", str(path), "--overlap", str(overlap), "--keep", "1h", "--json"]
        assert cli.main(words, clock=command.clock) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["new"] == held(path)[0]["kid"]
        assert printed.err.count("\n") == ("--overlap 6m is the least that is safe" in printed.err) == warned
    assert "Services" not in command("keys", "rotate", path, "--overlap", 0, "--keep", 0)
    assert SAFE_OVERLAP > MAX_AGE


@pytest.mark.parametrize(
    ("content", "form", "algorithm"),
    [
        (private_pem(ec_key()) + public_pem(rsa_key()), "PEM", "ES256"),
        (",".join(SECRETS).encode(), "secrets", "HS256"),
        (SECRETS[0].encode() + b"\n", "secrets", "HS256"),
        (json.dumps(SECRETS, indent=2).encode(), "secrets", "HS256"),
    ],
)
def test_rotate_other_forms(content: bytes, form: str, algorithm: str, command: Command, tmp_path: Path) -> None:
    """PEM and lists of secrets become JWK Sets, in which the same keys go on."""
    path = tmp_path / "old"
    path.write_bytes(content)
    printed = command("keys", "rotate", path, "--keep", "7d")
    assert f"The file held {form}, and is a JWK Set now." in printed
    assert "The key without a name verifies" in printed
    keys = KeySet.parse(path.read_bytes())
    assert next(iter(keys)).default == algorithm
    old = keys.at(NOW).signing_key()
    assert old is not None
    if form == "PEM":
        assert old.verify("ES256", b"m", next(iter(KeySet.parse(private_pem(ec_key())))).sign("ES256", b"m"))
        assert "verifies as before" in printed
    else:
        assert old.sign("HS256", b"m") == next(iter(KeySet.from_secret(SECRETS[0]))).sign("HS256", b"m")
    assert mode(path) == 0o600


def test_how_long_tokens_live(command: Command, tmp_path: Path, variables: Callable[..., None]) -> None:
    """The service's own variables tell how long the old key is needed; where nothing tells, a secret's is asked for."""
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    command("keygen", "--alg", "HS256", "--out", keys)
    secrets.write_text(SECRETS[0])
    assert f"--keep {KEEP}" in command.fails("keys", "rotate", secrets, status=2)
    assert secrets.read_text() == SECRETS[0]
    variables(KEYS_FILE=keys, REFRESH_SECRET_FILE=secrets, REFRESH_TTL="3d", ACCESS_TTL="5m")
    for path, life in ((secrets, 3 * 86400), (keys, 300)):
        command("keys", "rotate", os.path.relpath(path))
        assert held(path)[1]["exp"] == NOW + OVERLAP + life + 360


def test_the_new_key_signs_as_the_service_allows(
    command: Command, tmp_path: Path, variables: Callable[..., None]
) -> None:
    """Without --alg as the old one signs there, and never with what the service would not take."""
    keys, secrets, another = (tmp_path / name for name in ("keys", "secrets", "another's"))
    keys.write_bytes(private_pem(rsa_key()))
    secrets.write_text(SECRETS[0])
    assert "HS256" in command.fails("keys", "rotate", secrets, "--keep", "7d", "--alg", "HS512", status=2)
    variables(KEYS_FILE=keys, ALGORITHMS="PS256", REFRESH_SECRET_FILE=secrets)
    command("keys", "rotate", secrets)
    assert "HS256" in command.fails("keys", "rotate", secrets, "--overlap", "0", "--alg", "HS512", status=2)
    assert "PS256" in command.fails("keys", "rotate", keys, "--alg", "RS256", status=2)
    assert keys.read_bytes() == private_pem(rsa_key())
    command("keys", "rotate", keys)
    assert held(keys)[0]["alg"] == next(iter(Settings.from_env().key_set)).default == "PS256"
    command("keygen", "--alg", "ES256", "--out", another)
    command("keys", "rotate", another)
    assert held(another)[0]["alg"] == "ES256"


def test_a_secret_of_its_own_is_not_rotated(command: Command, tmp_path: Path, variables: Callable[..., None]) -> None:
    """SECRET_FILE takes one secret, and is read once: rotating it would only break the next start."""
    path = tmp_path / "secret"
    path.write_text(SECRETS[0])
    variables(SECRET_FILE=path)
    assert "asgi-jwt keygen --out" in command.fails("keys", "rotate", path, "--keep", "1h")
    assert path.read_text() == SECRETS[0]


def test_a_rotation_takes_nothing_from_the_next(file: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the file is replaced another may begin: what it has put there stays, or a third would come between."""
    replace = os.replace

    def overtaken(waiting: str, name: str, **directories: int) -> None:
        replace(waiting, name, **directories)
        (file.parent / waiting).touch()

    monkeypatch.setattr(os, "replace", overtaken)
    command("keys", "rotate", file)
    assert sorted(os.listdir(file.parent)) == [".keys.json.rotating", file.name]


def test_times_in_milliseconds(file: Path, command: Command) -> None:
    """A time that no calendar has is told all the same: the file is replaced by then."""
    (key,) = held(file)
    file.write_text(json.dumps({"keys": [key, {**key, "kid": "other", "key_ops": ["verify"], "exp": NOW * 1000}]}))
    assert "verifies until 9999-12-31 23:59:59 UTC" in command("keys", "rotate", file)


@pytest.mark.parametrize("failing", ["fsync", "write", "replace"])
def test_a_disk_that_fails(failing: str, file: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is as it was, and nothing is left beside it."""

    def fail(*arguments: object, **directories: int) -> None:
        raise OSError(28, "No space left on device")

    before = file.read_bytes()
    monkeypatch.setattr(os, failing, fail)
    assert "can't be replaced: No space left" in command.fails("keys", "rotate", file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def linked(file: Path, to: str | Path) -> Path:
    """In a directory of the service's a link to something, and another to the file."""
    directory = file.parent / "of the service"
    directory.mkdir()
    (directory / "chained").symlink_to(file)
    (directory / "keys.json").symlink_to(to)
    return directory / "keys.json"


def hard_link(file: Path) -> Path:
    (file.parent / "other").hardlink_to(file)
    return file


def fifo(file: Path) -> Path:
    os.mkfifo(file.parent / "fifo")
    return file.parent / "fifo"


def large(file: Path) -> Path:
    file.write_bytes(file.read_bytes() + b" " * 2**20)
    return file


def under_way(file: Path) -> Path:
    (file.parent / ".keys.json.rotating").touch()
    return file


def open_to_all(file: Path) -> Path:
    file.parent.chmod(0o777)
    return file


LEAVES = "is a link that leaves its directory"
LEFT: dict[str, tuple[Callable[[Path], Path], str]] = {
    "what is not there": (lambda file: file.parent / "no keys", "asgi-jwt keygen --out "),
    "what is in no directory": (lambda file: file.parent / "missing" / "keys", "can't be replaced"),
    "a directory": (lambda file: file.parent, "can't be read: it is no file"),
    "a FIFO, which would be waited for": (fifo, "can't be read: it is no file"),
    "a file that is too large": (large, "has more than 1024 KiB"),
    "a file with two names": (hard_link, "has another name (hard link)"),
    "a directory that everyone writes to": (open_to_all, "can be written by everyone on this machine: chmod o-w"),
    "a rotation that is under way, or broke off": (under_way, "then remove"),
    # The user of a service, who links its file to another's, has root's rotation write over that.
    "a link to the file": (lambda file: linked(file, file), LEAVES),
    "a link to a link to it": (lambda file: linked(file, "chained"), LEAVES),
    "a link to a directory above": (lambda file: linked(file, ".."), LEAVES),
    "a link to nothing": (lambda file: linked(file, "nowhere"), "does not exist"),
    "a link to itself": (lambda file: linked(file, "keys.json"), "can't be replaced"),
}


@pytest.mark.parametrize(("make", "why"), LEFT.values(), ids=LEFT)
def test_files_that_are_left(make: Callable[[Path], Path], why: str, file: Path, command: Command) -> None:
    """What can't be rotated safely is refused, and nothing is written, made or removed."""
    path = make(file)
    before, names = file.read_bytes(), sorted(file.parent.rglob("*"))
    assert why in command.fails("keys", "rotate", path)
    assert file.read_bytes() == before
    assert sorted(file.parent.rglob("*")) == names


def in_a_volume_of_kubernetes(file: Path) -> Path:
    version = file.parent / "..2027_01_15"
    version.mkdir()
    file.replace(version / file.name)
    (file.parent / "..data").symlink_to(version.name)
    file.symlink_to(f"..data/{file.name}")
    return file


def beside_it(file: Path) -> Path:
    (file.parent / "link").symlink_to(file.name)
    return file.parent / "link"


def above_it(file: Path) -> Path:
    (file.parent / "current").symlink_to(file.parent, target_is_directory=True)
    return file.parent / "current" / file.name


def in_tmp(file: Path) -> Path:
    file.parent.chmod(0o1777)
    return file


@pytest.mark.parametrize("make", [in_a_volume_of_kubernetes, beside_it, above_it, in_tmp])
def test_links_that_are_followed(make: Callable[[Path], Path], file: Path, command: Command) -> None:
    """A link that stays below its directory stays one, as does one above it that nobody else owns, as a deployment's.

    In a directory as /tmp each may remove their own files alone.
    """
    path = make(file)
    links = [each for each in file.parent.rglob("*") if each.is_symlink()]
    command("keys", "rotate", path)
    assert len(held(file)) == 2
    assert [each for each in file.parent.rglob("*") if each.is_symlink()] == links


def test_a_link_that_comes_between(file: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a link after it was looked at is not followed any more."""
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    target = elsewhere / "keys.json"
    target.write_bytes(file.read_bytes())
    before, opened = target.read_bytes(), os.open

    def overtaken(path: Any, flags: int, *more: Any, **directories: int) -> int:
        if path == file.name:
            file.unlink()
            file.symlink_to(target)
        return opened(path, flags, *more, **directories)

    monkeypatch.setattr(os, "open", overtaken)
    assert "can't be read" in command.fails("keys", "rotate", file)
    assert target.read_bytes() == before
    assert sorted(os.listdir(file.parent)) == ["elsewhere", "keys.json"]


class Owners:
    """Gives files to other users, as root alone can: who else runs this sees them as others' all the same."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._owners: dict[tuple[int, int], int] = {}
        self.given: list[tuple[int, int]] = []
        for name in ("lstat", "fstat"):
            monkeypatch.setattr(os, name, self._seen(getattr(os, name)))
        monkeypatch.setattr(Path, "lstat", lambda path: os.lstat(path))
        monkeypatch.setattr(os, "fchown", lambda _, uid, gid: self.given.append((uid, gid)))

    def forget(self) -> None:
        """A new file may have the inode of one that has gone."""
        self._owners.clear()

    def give(self, path: Path, owner: int) -> None:
        status = path.lstat()
        self._owners[status.st_dev, status.st_ino] = owner

    def _seen(self, look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def seen(*arguments: Any, **more: Any) -> os.stat_result:
            status = look(*arguments, **more)
            owner = self._owners.get((status.st_dev, status.st_ino))
            if owner is None:
                return status
            return os.stat_result((*status[:4], owner, owner, *status[6:]))

        return seen


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> Owners:
    return Owners(monkeypatch)


@pytest.mark.parametrize("above", [os.geteuid(), 4711])
def test_the_owner_stays(above: int, file: Path, command: Command, owners: Owners) -> None:
    """After root has rotated, the processes that own the file still read it, in a directory of theirs or of root's."""
    owners.give(file, 4711)
    owners.give(file.parent, above)
    command("keys", "rotate", file)
    assert owners.given == [(4711, 4711)]


def test_a_directory_of_another_user(file: Path, command: Command, owners: Owners) -> None:
    """Who owns the directory, or one above it, could put anyone's file there: such a file is left."""
    before = file.read_bytes()
    for owned, owner, theirs in ((file.parent, 4711, os.geteuid()), (file.parent.parent, 4712, 4711)):
        owners.give(owned, owner)
        owners.give(file, theirs)
        complaint = command.fails("keys", "rotate", file)
        assert f"is of the user {theirs}, and {owned} of the user {owner}, who could" in complaint
        owners.give(owned, os.geteuid())
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_a_link_of_another_user(file: Path, command: Command, owners: Owners) -> None:
    """A link on the way, or one that it leads through, is followed where nobody else made it."""
    first, second = file.parent / "first", file.parent / "second"
    first.symlink_to(second)
    second.symlink_to(file.parent)
    owners.give(second, 4711)
    assert f"{second} of the user 4711" in command.fails("keys", "rotate", first / file.name)
    owners.give(file, 4711)
    command("keys", "rotate", first / file.name)
    assert owners.given == [(4711, 4711)]


BROKEN: dict[str, tuple[bytes, str]] = {
    "public keys": (public_pem(ec_key()), "holds no private key"),
    "broken JSON": (b'{"keys": [', "is broken JSON"),
    "a broken key": (b'{"keys": [{"kty": "EC"}]}', "holds no key that may verify"),
    "cut off": (private_pem(ed25519_key())[:60], "neither a JWK Set, nor PEM"),
    "broken PEM": (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "PEM"),
    "a short secret": (b"hunter2", "secrets of 32 bytes at least"),
    "nothing": (b"", "no private key"),
    "no text": (b"\xff" * 40, "neither a JWK Set"),
}
NO_SECRETS = {
    "/etc/shadow": b"root:$6$c2FsdA$aGFzaCBvZiBhIHBhc3N3b3Jk:19700:0:99999:7:::\n",
    "several accounts": b"root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n",
    "a password file": b"admin:$apr1$c2FsdA$aGFzaCBvZiBhIHBhc3N3b3Jk\n",
    "an environment": b"DATABASE_PASSWORD=hunter2hunter2hunter2hunter2\n",
    "YAML": b"database_password: hunter2hunter2hunter2hunter2\n",
    "settings of ssh": b"PermitRootLogin no\nPasswordAuthentication no\nUsePAM yes\n",
    "an INI file": b"[mysqld]\nuser = mysql\npassword = hunter2hunter2hunter2\n",
    "a script": b"#!/bin/sh -e hunter2hunter2hunter2hunter2\n",
    "a script's line": b"export DATABASE_PASSWORD=hunter2hunter2hunter2hunter2\n",
    "a line of sudoers": b"hunter2 ALL=(ALL) NOPASSWD: /usr/bin/systemctl\n",
    "a line of crontab": b"* * * * * root /usr/local/bin/backup --password hunter2\n",
    "a line of resolv.conf": b"nameserver 192.0.2.1 192.0.2.2 192.0.2.3\n",
    "a URL": b"postgresql://app:hunter2hunter2@db.example/app\n",
    "control characters": b"hunter2hunter2hunter2hunter2hunter2\x00\x1b[2J",
}
NO_KEYS = {**BROKEN, **{name: (content, "holds text that may be anything") for name, content in NO_SECRETS.items()}}


@pytest.mark.parametrize(("content", "why"), NO_KEYS.values(), ids=NO_KEYS)
def test_rotate_what_is_no_key_file(content: bytes, why: str, command: Command, tmp_path: Path) -> None:
    """What can't be rotated stays as it is, and nothing of it is shown.

    So does text of 32 bytes that reads like another kind of file.
    """
    path = tmp_path / "keys"
    path.write_bytes(content)
    complaint = command.fails("keys", "rotate", path, "--keep", "7d")
    assert why in complaint
    assert "hunter2" not in complaint
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["keys"]


@pytest.mark.parametrize("secret", ["Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYg==", "f00d" * 16, "-_~+/" * 8])
def test_text_that_is_a_secret(secret: str, command: Command, tmp_path: Path) -> None:
    """Random text in base64 and its like is rotated."""
    path = tmp_path / "file"
    path.write_text(f"{secret}\n")
    command("keys", "rotate", path, "--keep", "7d")
    old, signed = tuple(KeySet.parse(path.read_bytes()))[1], next(iter(KeySet.from_secret(secret))).sign("HS256", b"m")
    assert old.sign("HS256", b"m") == signed


@pytest.mark.parametrize(
    "other", [b"listen = 443\n", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]
)
def test_pem_beside_something_else(other: bytes, command: Command, tmp_path: Path) -> None:
    """A file that holds more than keys is left, for the rest would be lost."""
    path = tmp_path / "file"
    for content in (private_pem(ec_key()) + other, other + private_pem(ec_key())):
        path.write_bytes(content)
        command.fails("keys", "rotate", path)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--overlap", "-1"), "--overlap: has to be"),
        (("--keep", "soon"), "--keep: has to be"),
        (("--alg", "none"), "invalid choice"),
        (("--alg", "HS256"), "a file of its own"),
    ],
)
def test_wrong_usage(
    arguments: tuple[str, str], why: str, file: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no duration and no algorithm is told so, and secrets and key pairs never share a file."""
    try:
        status: object = cli.main(["keys", "rotate", str(file), *arguments])
    except SystemExit as ended:
        status = ended.code
    assert (status, len(held(file))) == (2, 1)
    assert why in capsys.readouterr().err
