"""Which tests are `outside`: those that the README's test command leaves to `.ci/run`, for it takes two minutes."""

from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]

# Long runs of benchmarks, of faults, and of programs in processes of their own.
_OUTSIDE = (
    "benchmarks",
    "demo/test_server.py",
    "faults",
    "servers/test_root_path.py",
    "servers/test_sockets.py",
    "stores/redis/test_faults.py",
    "stores/test_processes.py",
)

# Fixtures that start several servers for one test.
_SEVERAL_SERVERS = {"cluster", "own_cluster", "watched"}

# All is tested on asyncio every day; on trio, these and the stores' conformance.
_ON_TRIO = ("http/test_middleware", "test_tasks.py", "testing/test_conformance.py")


def is_outside(item: pytest.Item) -> bool:
    """Whether a test is `outside` for where it stands, the servers it asks for, or the event loop it runs on."""
    place = item.path.relative_to(TESTS).as_posix()
    return (
        place.startswith(_OUTSIDE)
        or not _SEVERAL_SERVERS.isdisjoint(getattr(item, "fixturenames", ()))
        or (_backend(item) == "trio" and not (place.startswith(_ON_TRIO) or _is_conformance(item)))
    )


def _backend(item: Any) -> object:
    return item.callspec.params.get("anyio_backend") if hasattr(item, "callspec") else None


def _is_conformance(item: Any) -> bool:
    # By its name: an import of asgi_jwt would come before coverage is measured.
    return item.cls is not None and "StoreConformance" in [base.__name__ for base in item.cls.__mro__]
