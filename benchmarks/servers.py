"""A PostgreSQL server for a benchmark, started as the tests start theirs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmarks.rounds import ROOT


@contextmanager
def postgres(*options: str) -> Iterator[Any]:
    """A server on loopback with these settings, and `fsync=on` unless they say otherwise."""
    sys.path.append(str(ROOT / "tests"))
    support = import_module("support.postgres")
    server = support.Postgres(support.bundled(), "fsync=on", *options)
    try:
        yield server
    finally:
        server.remove()
