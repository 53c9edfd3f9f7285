"""Every link of the documentation leads somewhere, no page is too long, and all of them are in the wheel."""

import ast
import re
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
from support.examples import run
from support.pages import BENCHMARKS, DOCS, PAGES, README, ROOT, SKILL, environment, sections_of

from benchmarks.__main__ import EVIDENCE
from benchmarks.commands import COMMANDS

# Bytes at most, as people read them.
SIZES = {
    README: 12 * 1024,
    **dict.fromkeys(PAGES, 15 * 1024),
    BENCHMARKS: 15 * 1024,
}


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = (re.sub(r"\[(.*?)\]\(.*?\)", r"\1", section.title) for section in sections_of(path))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_links(path: Path) -> None:
    """Each link to a file of the repository names one that is there, and each anchor a heading of its page."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", link
            continue
        target = (path.parent / parts.path).resolve() if parts.path else path
        assert target.is_file(), link
        if parts.fragment:
            assert parts.fragment in anchors(target), link


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_sizes(path: Path) -> None:
    """A page is short enough to be read, and begins with a heading and what it is for."""
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) <= SIZES[path]
    if path.parent == DOCS:
        assert re.match(r"# .+\n\nThis page ", text)


def test_skill() -> None:
    """The skill is short, its code compiles and imports what there is, and the pages that it names are there."""
    text = SKILL.read_text(encoding="utf-8")
    assert len(text.encode()) <= 4 * 1024
    assert re.match(r"---\nname: asgi-jwt\ndescription: .{50,}\n---\n", text)
    named = {name for cell in re.findall(r"^\|[^|]+\|([^|]+)\|$", text, re.MULTILINE)[2:] for name in cell.split(",")}
    assert {name.strip() for name in named} <= {page.stem for page in PAGES}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        tree = ast.parse(block)
        imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert imports
        for node in imports:
            exec(compile(ast.Module([node], []), SKILL.name, "exec"), {})  # noqa: S102


@pytest.mark.outside
def test_wheel(tmp_path: Path) -> None:
    """A wheel has the pages, the pictures and the skill."""
    built = run(tmp_path, environment(), "/bin/sh", "-c", f"pip3 wheel -q --no-deps {ROOT}")
    assert built.returncode == 0, built.stdout
    (wheel,) = tmp_path.glob("*.whl")
    expected = [path.relative_to(ROOT).as_posix() for path in [*PAGES, *DOCS.rglob("*.svg"), SKILL]]
    assert set(expected) <= set(ZipFile(wheel).namelist())


def test_benchmarks() -> None:
    """The page of figures names every command that measures, and no other."""
    named = re.findall(r"`python -m benchmarks (\w+)`", BENCHMARKS.read_text(encoding="utf-8"))
    assert set(named) == {*COMMANDS, *EVIDENCE}
