"""A store's file is made once, and is not made again."""

import os
import stat
from pathlib import Path

import pytest

from asgi_jwt.errors import StoreUnavailable
from asgi_jwt.stores.sqlite.file import StoreFile


def test_present_file_is_left_as_it_is(tmp_path: Path) -> None:
    """A file that is there keeps its content and its mode, which its owner may have chosen."""
    path = tmp_path / "store.db"
    path.write_bytes(b"content")
    path.chmod(0o640)
    StoreFile(path).make()
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_forked_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process had open is not safe to open again in its child."""
    file = StoreFile(tmp_path / "store.db")
    file.make()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(StoreUnavailable, match="was in use before this process was forked"):
        file.make()
