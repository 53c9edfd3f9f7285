"""Imports point one way: http, auth, sessions, stores; and what touches the world stands in one place."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import asgi_jwt

HOUSE = Path(asgi_jwt.__file__).parent
GROUND = frozenset({"errors", "events", "callbacks", "tasks", "background"})
FRAMEWORKS = ("django", "fastapi", "litestar", "mcp", "quart")
EVERYTHING = frozenset({"__init__", "__main__", "cli", "commands", "demo", "drill", "testing"})
BELOW: dict[str, set[str]] = {
    # `Require` asks for its signature there, once FastAPI is loaded.
    "http": {"auth", "fastapi", "settings", "sessions", "stores", "tokens"},
    **{framework: {"http", "auth", "tokens"} for framework in FRAMEWORKS},
    "auth": {"settings", "sessions", "stores", "tokens"},
    "settings": {"tokens"},
    "sessions": {"stores", "tokens"},
    "stores": set(),
    "tokens": set(),
    "telemetry": set(),
}
ALONE: dict[str, str | tuple[str, ...]] = {
    "redis": "stores/redis/",
    "sqlite3": "stores/sqlite/",
    "asyncpg": "stores/postgres/",
    "httpx2": "tokens/discovery.py",
    "jwt": "tokens/",
    **{framework: f"{framework}.py" for framework in FRAMEWORKS},
    "fastmcp": "mcp.py",
    "rest_framework": "django.py",
    "werkzeug": "quart.py",
    "starlette": ("http/", *(f"{framework}.py" for framework in FRAMEWORKS)),
    "opentelemetry": "telemetry.py",
}
FILES = sorted(path.relative_to(HOUSE).as_posix() for path in HOUSE.rglob("*.py"))


def layer_of(path: str) -> str:
    return path.split("/")[0].removesuffix(".py")


@cache
def nodes(path: str) -> list[ast.AST]:
    """The syntax tree of a file, flat."""
    return list(ast.walk(ast.parse((HOUSE / path).read_text())))


def imports(path: str) -> Iterator[str]:
    """Every module that the file imports, wherever in it; `from asgi_jwt import auth` imports `asgi_jwt.auth`."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES)
def test_imports_point_one_way(path: str) -> None:
    """A layer sees itself, those below it and the ground, and the ground sees only itself."""
    layer = layer_of(path)
    if layer not in EVERYTHING:
        seen = GROUND if layer in GROUND else GROUND | {layer} | BELOW[layer]
        own = {module.split(".")[1] for module in imports(path) if module.split(".")[0] == "asgi_jwt"}
        assert own <= seen


@pytest.mark.parametrize("path", FILES)
def test_what_touches_the_world_stands_in_one_place(path: str) -> None:
    """What touches the world is imported each in its place alone, and settings alone reads variables."""
    for module, place in ALONE.items():
        if not path.startswith(place) and layer_of(path) not in EVERYTHING:
            assert module not in {name.split(".")[0] for name in imports(path)}
    names = {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}
    imported = {name for name in imports(path) if name.startswith("os.")}
    if layer_of(path) != "settings":
        assert not {"environ", "environb", "getenv"} & (names | {name.removeprefix("os.") for name in imported})


@pytest.mark.parametrize("path", FILES)
def test_the_demo_is_reached_by_its_command_alone(path: str) -> None:
    """The demo replays stolen tokens: nothing but its own files and the command line imports it."""
    if layer_of(path) not in ("demo", "cli"):
        assert not [module for module in imports(path) if module.startswith("asgi_jwt.demo")]
