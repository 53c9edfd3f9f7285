"""The public face: its names, its types, and that importing it does nothing."""

import subprocess
import sys
from importlib.resources import files

import asgi_jwt

NAMES = [
    "Auth",
    "AuthError",
    "Claims",
    "ConfigurationError",
    "Identity",
    "JWTMiddleware",
    "KeySet",
    "RequireMiddleware",
    "Settings",
    "TokenIssuer",
    "TokenPolicy",
    "TokenVerifier",
    "require",
]

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
for name in ("redis", "sqlite3", "httpx2", "opentelemetry", "uvicorn"):
    if name in sys.modules: raise SystemExit(f"imported {name}")
print("quiet")
"""


def test_the_names_exported() -> None:
    """These names and no others are public, in their order, and each is there."""
    assert asgi_jwt.__all__ == NAMES == sorted(NAMES)
    assert all(hasattr(asgi_jwt, name) for name in NAMES)


def test_everything_public_says_what_it_is() -> None:
    """Each exported name has a docstring, and so has each of its public methods and properties."""
    for name in NAMES:
        exported = getattr(asgi_jwt, name)
        assert exported.__doc__, name
        for attribute, member in vars(exported).items() if isinstance(exported, type) else ():
            if not attribute.startswith("_") and (callable(member) or isinstance(member, property | classmethod)):
                assert member.__doc__, f"{name}.{attribute}"


def test_the_package_is_typed() -> None:
    """Type checkers find `py.typed` (PEP 561)."""
    assert files("asgi_jwt").joinpath("py.typed").is_file()


def test_importing_does_nothing() -> None:
    """Importing reads no environment, opens no file and no socket, and loads neither a database nor an extra."""
    ran = subprocess.run([sys.executable, "-c", WATCH], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("quiet\n", "")
