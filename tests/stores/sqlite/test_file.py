"""A store's file is made once, for its owner alone."""

import os
import stat
from pathlib import Path

import pytest

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.sqlite.file import StoreFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_made_for_its_owner_alone(path: Path) -> None:
    """Whatever the umask, nobody else can read the file."""
    before = os.umask(0)
    try:
        StoreFile(path).make()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_present_file_is_left_as_it_is(path: Path) -> None:
    """A file that is there keeps its content and its mode, which its owner may have chosen."""
    path.write_bytes(b"content")
    path.chmod(0o640)
    StoreFile(path).make()
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_lost_file_is_not_made_again(path: Path) -> None:
    """A file that went is missed: an empty one in its place would log everybody out."""
    file = StoreFile(path)
    file.make()
    path.unlink()
    file.make()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        file.identity()


def test_forked_process_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process had open is not safe to open again in its child."""
    file = StoreFile(path)
    file.make()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(StoreUnavailable, match="was in use before this process was forked"):
        file.make()


def test_identity_tells_a_file_from_its_replacement(path: Path, tmp_path: Path) -> None:
    """Writing to a file leaves its identity; another file in its place has another."""
    file = StoreFile(path)
    file.make()
    first = file.identity()
    path.write_bytes(b"content")
    assert file.identity() == first

    other = tmp_path / "other.db"
    other.touch()
    other.replace(path)
    assert file.identity() != first


def test_constructing_makes_nothing(path: Path) -> None:
    """The file appears when it is made, not before."""
    StoreFile(path)
    assert not path.exists()


def test_missing_directory(tmp_path: Path) -> None:
    """A path in a directory that isn't there is said at once, with its mend."""
    with pytest.raises(ConfigurationError, match="nowhere is not there, or closed: create it"):
        StoreFile(tmp_path / "nowhere" / "store.db")


def test_directory_as_path(tmp_path: Path) -> None:
    """A directory is no file."""
    with pytest.raises(ConfigurationError, match="is a directory: name a file in it"):
        StoreFile(tmp_path)
