"""The page of promises: each has its price, its faults and its test, and no number is named that is not there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from support.pages import DOCS, ROOT, table_of

_ENTRY = re.compile(
    r"^\*\*(P\d+)\.\*\* (.+?) \*Price:\* (.+?) \*Survives:\* (.+?) \*Test:\* `(\S+)::(\w+)`\.$",
    re.MULTILINE | re.DOTALL,
)
PAGE = (DOCS / "promises.md").read_text(encoding="utf-8")
PROMISES = [match.groups() for match in _ENTRY.finditer(re.sub(r"(?<=\S)\n(?=\S)", " ", PAGE))]
NUMBERS = [number for number, *_ in PROMISES]


@cache
def docstrings(path: Path) -> dict[str, str]:
    """The docstring of each test of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {test.name: ast.get_docstring(test) or "" for test in tests if test.name.startswith("test_")}


def test_numbers() -> None:
    """The promises are numbered in their order, and all of the page's text that begins as one is one."""
    assert [f"P{number}" for number in range(1, len(NUMBERS) + 1)] == NUMBERS
    assert len(re.findall(r"^\*\*", PAGE, re.MULTILINE)) == len(NUMBERS)
    assert len(PAGE.encode()) <= 12 * 1024


@pytest.mark.parametrize("promise", PROMISES, ids=NUMBERS)
def test_each_has_its_test(promise: tuple[str, ...]) -> None:
    """The test that a promise names is there, and its docstring begins with the promise's number."""
    number, *_, file, name = promise
    numbers, _, sentence = docstrings(ROOT / "tests" / file)[name].partition(": ")
    assert number in numbers.split(", ")
    assert sentence


def test_each_number_exists() -> None:
    """The docstrings of tests, the drill and the scenarios name no other numbers than the page's."""
    named = {
        number
        for path in (ROOT / "tests").rglob("test_*.py")
        for docstring in docstrings(path).values()
        if (match := re.match(r"(P\d+(?:, P\d+)*): ", docstring))
        for number in match[1].split(", ")
    }
    assert named == set(NUMBERS)
    assert {row[1] for row in table_of("drill", "What it tries")} <= set(NUMBERS)
    assert {number for row in table_of("promises", "What happens when") for number in row[2].split(", ")} <= set(
        NUMBERS
    )
