"""The file of an embedded store, as the directory sees it."""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from asgi_jwt.errors import ConfigurationError, StoreUnavailable

_making = Lock()


class StoreFile:
    """A file that is made once, for its owner alone, and missed when it goes. Constructing it makes nothing.

    `path` is made absolute. Raises ConfigurationError when no file can be there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._made_by = 0
        if not os.path.isdir(self.path.parent):
            raise ConfigurationError(f"the store's directory {self.path.parent} is not there, or closed: create it")
        if os.path.isdir(self.path):
            raise ConfigurationError(f"the store {self.path} is a directory: name a file in it")

    def make(self) -> None:
        """Make the file, mode 600, unless it is there or was. To be called before each opening.

        Raises OSError when that fails, StoreUnavailable in a process forked from one that called it: see BatchThread.
        Closing a file drops the process's POSIX locks on it, those of a database's connections too: so none that is
        there is opened, and none is used in between.
        """
        with _making:
            if not self._made_by:
                with suppress(FileExistsError):
                    os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
                self._made_by = os.getpid()
        if self._made_by != os.getpid():
            raise StoreUnavailable(
                f"{self.path} was in use before this process was forked: let each process open its own"
            )

    def identity(self) -> tuple[int, int]:
        """What tells the file from another put in its place; FileNotFoundError when it has gone."""
        status = self.path.stat()
        return status.st_dev, status.st_ino
