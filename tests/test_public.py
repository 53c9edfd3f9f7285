"""The public face: its names, its types, and that importing it does nothing."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files

import pytest
from support.tables import tables_of
from support.waiting import PATIENCE

import asgi_jwt
from asgi_jwt.stores.base import SessionStore

NAMES = tables_of(__file__)["names"]

# Refuses what importing has no business with, then imports.
WATCH = """
import os, socket, sys
import cryptography.hazmat.bindings._rust, jwt, starlette.requests, starlette.responses, anyio, encodings.idna
class Environment(dict):
    def __getitem__(self, name): raise SystemExit(f"read {name}")
    __contains__ = get = items = __iter__ = keys = values = __getitem__
os.environ = Environment()
def watch(event, arguments):
    code = event == "open" and (str(arguments[0]).endswith(".py") or "__pycache__" in str(arguments[0]))
    if (event == "open" and not code) or event.startswith(("socket.", "sqlite3.", "subprocess.")):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(watch)
import asgi_jwt
for name in ("redis", "sqlite3", "httpx2", "opentelemetry", "uvicorn", "fastapi", "litestar", "django", "quart", "mcp"):
    if name in sys.modules: raise SystemExit(f"imported {name}")
print("quiet")
"""

LOADED = "print([name for name in ('memory', 'redis', 'sqlite') if f'asgi_jwt.stores.{name}' in sys.modules]);"


def test_the_names_exported() -> None:
    """These names and no others are public, in their order, and each is there."""
    assert asgi_jwt.__all__ == NAMES == sorted(NAMES)
    assert all(hasattr(asgi_jwt, name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_everything_public_says_what_it_is(name: str) -> None:
    """Each exported name has a docstring, and so have its public methods and properties; a store's, in the protocol."""
    exported = getattr(asgi_jwt, name)
    assert exported.__doc__
    contract = SessionStore if name.endswith("Store") else object
    for attribute, member in vars(exported).items() if isinstance(exported, type) else ():
        if not attribute.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
            assert member.__doc__ or getattr(contract, attribute).__doc__, attribute


@pytest.mark.parametrize(
    ("name", "module"), [("MemoryStore", "memory"), ("RedisStore", "redis"), ("SQLiteStore", "sqlite")]
)
def test_a_store_is_there_when_it_is_asked_for(name: str, module: str) -> None:
    """The stores are public like the rest, but each comes, with its driver, only at its first use."""
    asked = f"import sys, asgi_jwt; {LOADED} asgi_jwt.{name}.__module__; {LOADED}"
    ran = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.stdout, ran.stderr) == (f"[]\n['{module}']\n", "")
    assert getattr(asgi_jwt, name) is getattr(import_module(f"asgi_jwt.stores.{module}"), name)


def test_the_version() -> None:
    """`__version__` is that of the installed distribution."""
    assert asgi_jwt.__version__ == version("asgi-jwt")


def test_no_other_name_is_there() -> None:
    """A name that does not exist is an AttributeError that says so."""
    name = "MemcacheStore"
    with pytest.raises(AttributeError, match=f"'asgi_jwt' has no attribute '{name}'"):
        getattr(asgi_jwt, name)


def test_the_package_is_typed() -> None:
    """Type checkers find `py.typed` (PEP 561)."""
    assert files("asgi_jwt").joinpath("py.typed").is_file()


def test_importing_does_nothing() -> None:
    """Importing reads no environment, opens no file and no socket, and loads neither a database nor an extra."""
    ran = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ran.stdout, ran.stderr) == ("quiet\n", "")
