"""Files of keys and secrets: read as JWKs, and replaced as a whole."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


class KeysRead(NamedTuple):
    """What a file holds: its JWKs, the keys they are, and its form: `JWK Set`, `PEM` or `secrets`."""

    jwks: list[dict[str, Any]]
    keys: KeySet
    form: str


def read_keys(path: Path) -> KeysRead:
    """The keys in a JWK Set, a JWK, PEM, or a list of secrets. Raises `CommandError`."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CommandError(f"{path} does not exist: asgi-jwt keygen --out {path} makes it") from None
    except OSError as error:
        raise CommandError(f"{path} can't be read: {error.strerror}") from None
    try:
        if content.lstrip().startswith(b"{"):
            keys = KeySet.parse(content)
            document = parse_object(content)
            listed = document.get("keys", [document])
            # A member that is null is one that is not there.
            jwks = [{name: member for name, member in jwk.items() if member is not None} for jwk in listed]
            return KeysRead(jwks, keys, "JWK Set")
        if b"-----BEGIN " in content:
            return KeysRead([pem_jwk(block) for block in pem_blocks(content)], KeySet.parse(content), "PEM")
        secrets = split_secrets(trim(content.decode()))
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
        with _made(path) as descriptor:
            _fill(descriptor, jwks)
        _sync(path.parent)
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
def replacing(path: Path) -> Iterator[Callable[[Sequence[dict[str, Any]]], None]]:
    """What puts keys in the place of the file's, and has to: at once, with mode 600, and for its owner.

    What is read from the file within is what gets replaced: a second rotation has to wait for the first, whose key it
    would lose. Raises `CommandError`, and then nothing has happened.
    """
    path = path.resolve()
    waiting = path.with_name(f".{path.name}.rotating")
    try:
        with _made(waiting) as descriptor:

            def replace(jwks: Sequence[dict[str, Any]]) -> None:
                _give(descriptor, path)
                _fill(descriptor, jwks)
                waiting.replace(path)

            # Once it has, the name is free for the next rotation, and what is there then is no longer this one's.
            yield replace
        _sync(path.parent)
    except FileExistsError:
        raise CommandError(f"another rotation is under way, or broke off: then remove {waiting}") from None
    except OSError as error:
        raise CommandError(f"{path} can't be replaced: {error.strerror}") from None


@contextmanager
def _made(path: Path) -> Iterator[int]:
    """A file that was not there, and is gone again when what follows fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        yield descriptor
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _give(descriptor: int, path: Path) -> None:
    owner, made = path.stat(), os.fstat(descriptor)
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


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
