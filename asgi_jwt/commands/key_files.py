"""Files of keys and secrets: read as JWKs, and replaced as a whole."""

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from asgi_jwt.commands.output import CommandError
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings.key_values import split_secrets
from asgi_jwt.settings.text import trim
from asgi_jwt.tokens.compact import parse_object
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import pem_jwk, secret_jwk
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.pem import pem_blocks

_MOST_READ = 2**20
_PEM = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.DOTALL)
# A comment, a name before a value, fields, as /etc/shadow has them, or a command, which has blanks between more than
# words; = at the end is base64's.
_NO_SECRET = re.compile(r"#|[\w.-]+\s*(?::|=\s*[^\s=])|(?=.*[^,] ).*[^\w, -]")


class KeysRead(NamedTuple):
    """What a file holds: its JWKs, the keys they are, and its form: `JWK Set`, `PEM` or `secrets`."""

    jwks: list[dict[str, Any]]
    keys: KeySet
    form: str


def read_keys(path: Path, content: bytes) -> KeysRead:
    """The keys in the `content` of `path`: a JWK Set, a JWK, PEM, or a list of secrets. Raises `CommandError`.

    Any text of 32 bytes may be a secret, so that a secret's text has to look like one: a rotation writes over it.
    """
    try:
        if content.lstrip().startswith(b"{"):
            keys = KeySet.parse(content)
            document = parse_object(content)
            listed = document.get("keys", [document])
            # A member that is null is one that is not there.
            jwks = [{name: member for name, member in jwk.items() if member is not None} for jwk in listed]
            return KeysRead(jwks, keys, "JWK Set")
        if b"-----BEGIN " in content:
            read = KeysRead([pem_jwk(block) for block in pem_blocks(content)], KeySet.parse(content), "PEM")
            if _PEM.sub(b"", content).strip():
                raise CommandError(f"{path} holds more than PEM, which would be lost: take the rest out of it")
            return read
        text = trim(content.decode())
        is_list = text.startswith("[") and text.endswith("]")
        if not is_list and (not text.isprintable() or _NO_SECRET.match(text)):
            raise CommandError(
                f"{path} holds text that may be anything: secrets stand in one line, which does not begin with #, or "
                f"with a name before : or =, and has no blanks between more than words; asgi-jwt keygen --refresh-out "
                f"makes a file that is rotated for sure"
            )
        secrets = split_secrets(text)
        keys = KeySet(Key.from_secret(secret) for secret in secrets)
        return KeysRead([secret_jwk(secret.encode()) for secret in secrets], keys, "secrets")
    except ConfigurationError as error:
        raise CommandError("; ".join(f"{path} {fault}" for fault in error.faults)) from None
    except ValueError:
        # Its text may be of the secret.
        raise CommandError(f"{path} holds neither a JWK Set, nor PEM, nor secrets of 32 bytes at least") from None


def make_file(path: Path, jwks: Sequence[dict[str, Any]]) -> None:
    """A new file of mode 600 with these keys. Raises `CommandError` when there is one."""
    try:
        with _opened(path.parent) as directory:
            with _made(path.name, directory) as descriptor:
                _fill(descriptor, jwks)
            os.fsync(directory)
    except FileExistsError:
        raise CommandError(f"{path} exists: asgi-jwt keys rotate {path} gives it a new key") from None
    except OSError as error:
        raise CommandError(f"{path} can't be made: {error.strerror}") from None


def make_files(files: Iterable[tuple[Path, Sequence[dict[str, Any]]]]) -> None:
    """The same for each, or for none."""
    with ExitStack() as undoing:
        for path, jwks in files:
            make_file(path, jwks)
            undoing.callback(path.unlink)
        undoing.pop_all()


@contextmanager
def replacing(path: Path) -> Iterator[tuple[KeysRead, Callable[[Sequence[dict[str, Any]]], None]]]:
    """The keys in the file, and a function that puts others in their place: at once, with mode 600, for its owner.

    Nobody else rotates the file meanwhile: a second rotation would lose the key of the first. Raises `CommandError`,
    and then nothing has happened; so it does where another user could have led it to this file.
    """
    try:
        file, way = _followed(path), list(_way(path.absolute()))
        waiting = f".{file.name}.rotating"
        with _opened(file.parent) as directory, _made(waiting, directory) as made:
            content, status = _read(path, file.name, directory)
            _check_way(path, [*way, (file.parent, os.fstat(directory))], status.st_uid)

            def replace(jwks: Sequence[dict[str, Any]]) -> None:
                _give(made, status)
                _fill(made, jwks)
                os.replace(waiting, file.name, src_dir_fd=directory, dst_dir_fd=directory)

            # Once it has, the name is free for the next rotation, and what is there then is no longer this one's.
            yield read_keys(path, content), replace
            os.fsync(directory)
    except FileExistsError:
        raise CommandError(
            f"another rotation is under way, or broke off: then remove {file.with_name(waiting)}"
        ) from None
    except OSError as error:
        raise CommandError(f"{path} can't be replaced: {error.strerror}") from None


def _followed(path: Path) -> Path:
    """The file that `path` leads to, in the same directory or below. Raises `CommandError` and `OSError`."""
    directory = os.path.realpath(path.absolute().parent, strict=True)
    try:
        file = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist: asgi-jwt keygen --out {path} makes it") from None
    if not file.is_relative_to(directory):
        raise CommandError(f"{path} is a link that leaves its directory: name the file that it leads to, {file}")
    return file


def _way(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each directory and each link on the way to the file, wherever the links lead, and the file."""
    for place in (*reversed(path.parents), path):
        status = place.lstat()
        yield place, status
        if stat.S_ISLNK(status.st_mode):
            yield from _way(place.parent / place.readlink())


def _check_way(path: Path, way: Iterable[tuple[Path, os.stat_result]], owner: int) -> None:
    """Raises `CommandError` where another user than the file's `owner` may lead a rotation to any file of root's.

    That user owns a directory or a link on the way. A directory of the user's on the way stays one, whatever the user
    puts into it between this check and the replacing.
    """
    for place, status in way:
        if status.st_uid not in (0, os.geteuid(), owner):
            raise CommandError(
                f"{path} is of the user {owner}, and {place} of the user {status.st_uid}, who could have it lead to "
                f"another's file: give both to one user"
            )
        if stat.S_ISDIR(status.st_mode) and status.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise CommandError(f"{place} can be written by everyone on this machine: chmod o-w {place}")


def _read(path: Path, name: str, directory: int) -> tuple[bytes, os.stat_result]:
    """What the file of that name in the directory holds, and whose it is. Raises `CommandError`."""
    try:
        # No link is followed from here on, and no FIFO waited for.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CommandError(f"{path} can't be read: it is no file")
        if status.st_nlink > 1:
            raise CommandError(f"{path} has another name (hard link), which would keep the old keys: remove it")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(_MOST_READ + 1)
    finally:
        os.close(descriptor)
    if len(content) > _MOST_READ:
        raise CommandError(f"{path} is no key file: it has more than {_MOST_READ // 1024} KiB")
    return content, status


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """The directory, which stays the same whatever comes to be at its path."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _made(name: str, directory: int) -> Iterator[int]:
    """A file in the directory that was not there, and is gone again when what follows fails."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
    try:
        yield descriptor
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def _give(descriptor: int, owner: os.stat_result) -> None:
    made = os.fstat(descriptor)
    if (owner.st_uid, owner.st_gid) != (made.st_uid, made.st_gid):
        # Else the processes that read it could not, after root has rotated.
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _fill(descriptor: int, jwks: Sequence[dict[str, Any]]) -> None:
    text = json.dumps({"keys": jwks}, indent=2) + "\n"
    KeySet.parse(text)  # what can't be read is never written
    os.fchmod(descriptor, 0o600)
    content = memoryview(text.encode())
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
