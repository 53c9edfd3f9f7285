"""Reads files of keys and secrets as JWKs, and replaces such a file atomically."""

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

_LARGEST_FILE = 2**20
_PEM = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.DOTALL)
# The text of another file: it begins with a comment, or with a name before : or =, as an env file or /etc/shadow does,
# or has blanks between more than words, as a command does. A = at the end of the text is base64's padding.
_NO_SECRET = re.compile(r"#|[\w.-]+\s*(?::|=\s*[^\s=])|(?=.*[^,] ).*[^\w, -]")


class KeyFileContent(NamedTuple):
    """The content of a key file: its JWKs, the keys of these JWKs, and its form: `JWK Set`, `PEM` or `secrets`."""

    jwks: list[dict[str, Any]]
    keys: KeySet
    form: str


def read_keys(path: Path, content: bytes) -> KeyFileContent:
    """The keys in the `content` of the file `path`: a JWK Set, a JWK, PEM, or a list of secrets.

    Any text of 32 bytes might be a secret, and a rotation overwrites the file. So a text that looks like another file's
    raises. Raises `CommandError`.
    """
    try:
        if content.lstrip().startswith(b"{"):
            keys = KeySet.parse(content)
            document = parse_object(content)
            listed = document.get("keys", [document])
            # A null member counts as missing.
            jwks = [{name: member for name, member in jwk.items() if member is not None} for jwk in listed]
            return KeyFileContent(jwks, keys, "JWK Set")
        if b"-----BEGIN " in content:
            read = KeyFileContent([pem_jwk(block) for block in pem_blocks(content)], KeySet.parse(content), "PEM")
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
        return KeyFileContent([secret_jwk(secret.encode()) for secret in secrets], keys, "secrets")
    except ConfigurationError as error:
        raise CommandError("; ".join(f"{path} {fault}" for fault in error.faults)) from None
    except ValueError:
        # The text of the exception may show a part of the secret.
        raise CommandError(f"{path} holds neither a JWK Set, nor PEM, nor secrets of 32 bytes at least") from None


def make_file(path: Path, jwks: Sequence[dict[str, Any]]) -> None:
    """Create a file with mode 600 and these keys. Raises `CommandError` if the file exists or can't be created."""
    try:
        with _opened(path.parent) as directory:
            with _new_file(path.name, directory) as descriptor:
                _write_keys(descriptor, jwks)
            os.fsync(directory)
    except FileExistsError:
        raise CommandError(f"{path} exists: asgi-jwt keys rotate {path} gives it a new key") from None
    except OSError as error:
        raise CommandError(f"{path} can't be made: {error.strerror}") from None


def make_files(files: Iterable[tuple[Path, Sequence[dict[str, Any]]]]) -> None:
    """Create all files, or none. Raises `CommandError` as `make_file` does."""
    with ExitStack() as undoing:
        for path, jwks in files:
            make_file(path, jwks)
            undoing.callback(path.unlink)
        undoing.pop_all()


@contextmanager
def replacing(path: Path) -> Iterator[tuple[KeyFileContent, Callable[[Sequence[dict[str, Any]]], None]]]:
    """The keys in the file, and a function that replaces the file by one with other keys, atomically.

    The new file has mode 600 and the owner of the old one. A second rotation of the file raises meanwhile, because it
    would lose the key of the first. Raises `CommandError`, also if another user could have chosen the file by a link or
    a directory on its path. The file is then unchanged.
    """
    try:
        file, places = _followed(path), list(_places_along(path.absolute()))
        waiting = f".{file.name}.rotating"
        with _opened(file.parent) as directory, _new_file(waiting, directory) as new_file:
            content, status = _read(path, file.name, directory)
            _check_places(path, [*places, (file.parent, os.fstat(directory))], status.st_uid)

            def replace(jwks: Sequence[dict[str, Any]]) -> None:
                _give(new_file, status)
                _write_keys(new_file, jwks)
                os.replace(waiting, file.name, src_dir_fd=directory, dst_dir_fd=directory)

            # After `replace` the name `waiting` is free, and a file of that name belongs to the next rotation.
            yield read_keys(path, content), replace
            os.fsync(directory)
    except FileExistsError:
        raise CommandError(
            f"another rotation is under way, or broke off: then remove {file.with_name(waiting)}"
        ) from None
    except OSError as error:
        raise CommandError(f"{path} can't be replaced: {error.strerror}") from None


def _followed(path: Path) -> Path:
    """The file to which `path` leads. Raises `CommandError` if a link leads out of the directory, and `OSError`."""
    directory = os.path.realpath(path.absolute().parent, strict=True)
    try:
        file = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist: asgi-jwt keygen --out {path} makes it") from None
    if not file.is_relative_to(directory):
        raise CommandError(f"{path} is a link that leaves its directory: name the file that it leads to, {file}")
    return file


def _places_along(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Each directory and each link along `path`, those of the links' targets too, and the file."""
    for place in (*reversed(path.parents), path):
        status = place.lstat()
        yield place, status
        if stat.S_ISLNK(status.st_mode):
            yield from _places_along(place.parent / place.readlink())


def _check_places(path: Path, places: Iterable[tuple[Path, os.stat_result]], owner: int) -> None:
    """Raises `CommandError` if another user than the file's `owner` could lead a rotation by root to another file.

    Such a user owns a directory or a link along the path, or may write a directory there. Later changes by that user
    make no difference, because the directory or link itself is refused.
    """
    for place, status in places:
        if status.st_uid not in (0, os.geteuid(), owner):
            raise CommandError(
                f"{path} is of the user {owner}, and {place} of the user {status.st_uid}, who could have it lead to "
                f"another's file: give both to one user"
            )
        if stat.S_ISDIR(status.st_mode) and status.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            raise CommandError(f"{place} can be written by everyone on this machine: chmod o-w {place}")


def _read(path: Path, name: str, directory: int) -> tuple[bytes, os.stat_result]:
    """The content and the status of the file `name` in the directory. Raises `CommandError`."""
    try:
        # A link that was put here meanwhile is not followed, and a FIFO does not block.
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
            content = file.read(_LARGEST_FILE + 1)
    finally:
        os.close(descriptor)
    if len(content) > _LARGEST_FILE:
        raise CommandError(f"{path} is no key file: it has more than {_LARGEST_FILE // 1024} KiB")
    return content, status


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """An open directory. It stays the same directory, even if another one takes its path."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _new_file(name: str, directory: int) -> Iterator[int]:
    """A new, open file in the directory. It is removed if the block raises. Raises `FileExistsError`."""
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
    """Give the file to the owner and group in `owner`, so that the service can read it after a rotation by root."""
    own = os.fstat(descriptor)
    if (owner.st_uid, owner.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write_keys(descriptor: int, jwks: Sequence[dict[str, Any]]) -> None:
    text = json.dumps({"keys": jwks}, indent=2) + "\n"
    KeySet.parse(text)  # raises for keys that could not be read again
    os.fchmod(descriptor, 0o600)
    content = memoryview(text.encode())
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
