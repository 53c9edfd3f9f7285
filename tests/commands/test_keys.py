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


EXAMPLES = {"ASGI_JWT_ISSUER": "https://issuer.example", "ASGI_JWT_AUDIENCE": "orders"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("into_file", [False, True])
def test_keygen(algorithm: str, into_file: bool, command: Command, tmp_path: Path) -> None:
    """The lines are ready to be used: by a shell, and by a service, which signs with this algorithm."""
    out = ["--out", tmp_path / "the keys"] if into_file else []
    printed = command("keygen", "--alg", algorithm, *out)
    environ = dict(shlex.split(line)[0].split("=", 1) for line in printed.splitlines())
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
    printed = command("keygen", "--alg", "ES256", "--out", keys, "--refresh-out", secret)
    environ = dict(shlex.split(line)[0].split("=", 1) for line in printed.splitlines())
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
    """Where no key is left the new one signs at once."""
    (old,) = held(file)
    file.write_text(json.dumps({"keys": [{**old, "exp": NOW - 1}]}))
    printed = command("keys", "rotate", file)
    (new,) = held(file)
    assert (new["alg"], "nbf" in new) == ("ES256", False)
    assert "signs from now on.\nRemoved, for they have ended: 1.\n" in printed


def test_rotate_members_that_are_null(file: Path, command: Command) -> None:
    """They count as absent, as everywhere."""
    (old,) = held(file)
    file.write_text(json.dumps({"keys": [{**old, "nbf": None, "exp": None}]}))
    command("keys", "rotate", file)
    assert held(file)[1] == {**old, "exp": NOW + OVERLAP + KEEP}


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
    """Who gives other services less time than they keep keys for is warned, and it is done all the same."""
    for algorithm, overlap, warned in (("ES256", 359, True), ("ES256", 360, False), ("HS256", 10, False)):
        path = tmp_path / f"{algorithm} {overlap}"
        command("keygen", "--alg", algorithm, "--out", path)
        words = ["keys", "rotate", str(path), "--overlap", str(overlap), "--keep", "1h", "--json"]
        assert cli.main(words, clock=command.clock) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["new"] == held(path)[0]["kid"]
        assert printed.err.count("\n") == warned
        assert ("--overlap 6m is the least that is safe" in printed.err) is warned
    assert SAFE_OVERLAP > MAX_AGE


def test_nothing_kept_of_a_secret(command: Command, tmp_path: Path) -> None:
    """No other service has it, and nothing is said of any."""
    command("keygen", "--out", tmp_path / "keys")
    assert "Services" not in command("keys", "rotate", tmp_path / "keys", "--overlap", 0, "--keep", 0)


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
    assert keys.keys[0].default == algorithm
    old = keys.at(NOW).signing_key()
    assert old is not None
    if form == "PEM":
        assert old.verify("ES256", b"m", KeySet.parse(private_pem(ec_key())).keys[0].sign("ES256", b"m"))
        assert "verifies as before" in printed
    else:
        assert old.sign("HS256", b"m") == KeySet.from_secret(SECRETS[0]).keys[0].sign("HS256", b"m")
    assert mode(path) == 0o600


def test_how_long_tokens_live(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own variables tell how long the old key is needed; where nothing tells, a secret's is asked for."""
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    command("keygen", "--alg", "HS256", "--out", keys)
    secrets.write_text(SECRETS[0])
    asked = command.fails("keys", "rotate", secrets, status=2)
    assert f"--keep {KEEP}" in asked
    assert secrets.read_text() == SECRETS[0]
    for name, value in {"ISSUER": "i", "AUDIENCE": "a", "KEYS_FILE": keys, "REFRESH_SECRET_FILE": secrets}.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", str(value))
    monkeypatch.setenv("ASGI_JWT_REFRESH_TTL", "3d")
    monkeypatch.setenv("ASGI_JWT_ACCESS_TTL", "5m")
    monkeypatch.chdir(tmp_path)
    command("keys", "rotate", "secrets")
    assert held(secrets)[1]["exp"] == NOW + OVERLAP + 3 * 86400 + 360
    command("keys", "rotate", "keys")
    assert held(keys)[1]["exp"] == NOW + OVERLAP + 300 + 360


def test_the_new_key_signs_as_the_service_allows(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --alg as the old one signs there, and never with what the service would not take."""
    keys, secrets = tmp_path / "keys", tmp_path / "secrets"
    keys.write_bytes(private_pem(rsa_key()))
    secrets.write_text(SECRETS[0])
    assert "HS256" in command.fails("keys", "rotate", secrets, "--keep", "7d", "--alg", "HS512", status=2)
    environ = {"ISSUER": "i", "AUDIENCE": "a", "KEYS_FILE": keys, "ALGORITHMS": "PS256", "REFRESH_SECRET_FILE": secrets}
    for name, value in environ.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", str(value))
    command("keys", "rotate", secrets)
    assert "HS256" in command.fails("keys", "rotate", secrets, "--overlap", "0", "--alg", "HS512", status=2)
    assert "PS256" in command.fails("keys", "rotate", keys, "--alg", "RS256", status=2)
    assert keys.read_bytes() == private_pem(rsa_key())
    command("keys", "rotate", keys)
    assert held(keys)[0]["alg"] == "PS256"
    assert Settings.from_env().key_set.keys[0].default == "PS256"
    command("keygen", "--alg", "ES256", "--out", tmp_path / "another's")
    command("keys", "rotate", tmp_path / "another's")
    assert held(tmp_path / "another's")[0]["alg"] == "ES256"


def test_a_secret_of_its_own_is_not_rotated(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECRET_FILE takes one secret, and is read once: rotating it would only break the next start."""
    path = tmp_path / "secret"
    path.write_text(SECRETS[0])
    for name, value in {"ISSUER": "i", "AUDIENCE": "a", "SECRET_FILE": path}.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", str(value))
    assert "asgi-jwt keygen --out" in command.fails("keys", "rotate", path, "--keep", "1h")
    assert path.read_text() == SECRETS[0]


BROKEN: dict[str, tuple[bytes, str]] = {
    "public keys": (public_pem(ec_key()), "holds no private key"),
    "broken JSON": (b'{"keys": [', "is broken JSON"),
    "a broken key": (b'{"keys": [{"kty": "EC"}]}', "holds no key that may verify"),
    "cut off": (private_pem(ed25519_key())[:60], "neither a JWK Set, nor PEM"),
    "a short secret": (b"hunter2", "secrets of 32 bytes at least"),
    "nothing": (b"", "no private key"),
    "no text": (b"\xff" * 40, "neither a JWK Set"),
}


@pytest.mark.parametrize(("content", "why"), BROKEN.values(), ids=BROKEN)
def test_rotate_what_is_no_key_file(content: bytes, why: str, command: Command, tmp_path: Path) -> None:
    """What can't be rotated stays as it is, and nothing of it is shown."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    complaint = command.fails("keys", "rotate", path)
    assert why in complaint
    assert "hunter2" not in complaint
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["keys"]


def test_rotate_what_is_not_there(command: Command, tmp_path: Path) -> None:
    """The complaint says how to make one."""
    assert f"asgi-jwt keygen --out {tmp_path}/keys" in command.fails("keys", "rotate", tmp_path / "keys")
    assert "can't be replaced" in command.fails("keys", "rotate", tmp_path / "missing" / "keys")
    assert "can't be read" in command.fails("keys", "rotate", tmp_path)
    assert os.listdir(tmp_path) == []


def test_rotate_to_the_other_family(file: Path, command: Command) -> None:
    """Secrets and key pairs never share a file."""
    assert "a file of its own" in command.fails("keys", "rotate", file, "--alg", "HS256", status=2)


def test_two_rotations_at_a_time(file: Path, command: Command) -> None:
    """The second is refused, so that no key is lost; one that broke off says what to remove."""
    (file.parent / ".keys.json.rotating").touch()
    assert "then remove" in command.fails("keys", "rotate", file)
    assert len(held(file)) == 1


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


def test_links_are_followed(file: Path, command: Command) -> None:
    """A link to a file of the same directory stays one."""
    link = file.parent / "link"
    link.symlink_to(file.name)
    command("keys", "rotate", link)
    assert link.is_symlink()
    assert len(held(file)) == 2


def test_a_volume_of_kubernetes(file: Path, command: Command) -> None:
    """Links that stay below the directory, through a link to another directory there, are followed."""
    version = file.parent / "..2027_01_15"
    version.mkdir()
    real = file.replace(version / file.name)
    (file.parent / "..data").symlink_to(version.name)
    file.symlink_to(f"..data/{file.name}")
    command("keys", "rotate", file)
    assert file.is_symlink()
    assert len(held(real)) == 2


@pytest.mark.parametrize("to", ["the file", "a link to it", "a directory above", "nothing", "itself"])
def test_links_that_leave_the_directory(to: str, file: Path, command: Command) -> None:
    """The user of a service, who links its file to another's, has root's rotation write over that: it is refused."""
    before = file.read_bytes()
    directory = file.parent / "of the service"
    directory.mkdir()
    link, chained = directory / "keys.json", directory / "chained"
    chained.symlink_to(file)
    paths: dict[str, str | Path] = {
        "the file": file,
        "a link to it": chained,
        "a directory above": "..",
        "nothing": "nowhere",
        "itself": link,
    }
    link.symlink_to(paths[to])
    complaint = command.fails("keys", "rotate", link)
    told = {"nothing": "does not exist", "itself": "can't be replaced"}.get(to, "is a link that leaves its directory")
    assert told in complaint
    assert file.read_bytes() == before
    assert sorted(os.listdir(directory)) == ["chained", "keys.json"]
    assert sorted(os.listdir(file.parent)) == sorted([file.name, directory.name])


def test_a_directory_may_be_a_link(file: Path, command: Command) -> None:
    """A link above the file, as that of a deployment to its release, is followed where nobody else owns it."""
    link = file.parent / "current"
    link.symlink_to(file.parent, target_is_directory=True)
    command("keys", "rotate", link / file.name)
    assert len(held(file)) == 2


def test_hard_links(file: Path, command: Command) -> None:
    """A file with two names is left: one of them would keep the old keys, or is somebody else's."""
    (file.parent / "other").hardlink_to(file)
    before = file.read_bytes()
    assert "has another name (hard link)" in command.fails("keys", "rotate", file)
    assert file.read_bytes() == before


def test_what_is_no_file(file: Path, command: Command) -> None:
    """A FIFO, which would be waited for, a device and a directory are refused."""
    fifo, directory = file.parent / "fifo", file.parent / "directory"
    os.mkfifo(fifo)
    directory.mkdir()
    for path in (fifo, directory):
        assert "can't be read: it is no file" in command.fails("keys", "rotate", path)


def test_a_file_that_is_too_large(file: Path, command: Command) -> None:
    """It is not read to its end."""
    file.write_bytes(file.read_bytes() + b" " * 2**20)
    assert "has more than 1024 KiB" in command.fails("keys", "rotate", file)


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


def test_a_directory_that_everyone_writes_to(file: Path, command: Command) -> None:
    """There anyone could put any file in the place of the keys, unless each may remove their own alone, as in /tmp."""
    file.parent.chmod(0o777)
    assert f"{file.parent} can be written by everyone on this machine: chmod o-w" in command.fails(
        "keys", "rotate", file
    )
    file.parent.chmod(0o1777)
    command("keys", "rotate", file)


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


@pytest.mark.parametrize("content", NO_SECRETS.values(), ids=NO_SECRETS)
def test_text_that_is_no_secret(content: bytes, command: Command, tmp_path: Path) -> None:
    """Text of 32 bytes that reads like another kind of file is left, and nothing of it is shown."""
    path = tmp_path / "file"
    path.write_bytes(content)
    complaint = command.fails("keys", "rotate", path, "--keep", "7d")
    assert "holds text that may be anything" in complaint
    assert "hunter2" not in complaint
    assert path.read_bytes() == content


@pytest.mark.parametrize("secret", ["Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYg==", "f00d" * 16, "-_~+/" * 8])
def test_text_that_is_a_secret(secret: str, command: Command, tmp_path: Path) -> None:
    """Random text in base64 and its like is rotated."""
    path = tmp_path / "file"
    path.write_text(f"{secret}\n")
    command("keys", "rotate", path, "--keep", "7d")
    assert KeySet.parse(path.read_bytes()).keys[1].sign("HS256", b"m") == KeySet.from_secret(secret).keys[0].sign(
        "HS256", b"m"
    )


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


@pytest.mark.parametrize("arguments", [("--overlap", "-1"), ("--keep", "soon"), ("--alg", "none")])
def test_wrong_usage(arguments: tuple[str, str], file: Path, command: Command) -> None:
    """What is no duration and no algorithm is told so."""
    with pytest.raises(SystemExit) as ended:
        command("keys", "rotate", file, *arguments)
    assert ended.value.code == 2
