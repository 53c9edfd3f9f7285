"""StoreFile: creates the file of an embedded store, and notices when it is gone or replaced."""

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from asgi_jwt.errors import ConfigurationError, StoreUnavailable

_making = Lock()


class StoreFile:
    """The store's file. It is created once, readable for its owner alone. The constructor creates nothing.

    `path` becomes absolute. Raises ConfigurationError if `path` is a directory, or its directory is missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self._made_by = 0
        if not os.path.isdir(self.path.parent):
            raise ConfigurationError(f"the store's directory {self.path.parent} is not there, or closed: create it")
        if os.path.isdir(self.path):
            raise ConfigurationError(f"the store {self.path} is a directory: name a file in it")

    def make(self) -> None:
        """Create the file with mode 600, unless it exists or was created before. Call this before each open.

        Closing a file drops all POSIX locks of the process on it, also those of SQLite's connections. So an existing
        file is never opened here.

        Raises OSError if the file can't be created. Raises StoreUnavailable in a process that was forked after the
        first call (see BatchThread).
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
        """Device and inode, which change when the file is replaced. Raises FileNotFoundError if the file is gone."""
        status = self.path.stat()
        return status.st_dev, status.st_ino
