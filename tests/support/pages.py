"""The documentation taken apart: for each page its sections, with their fenced blocks and tables."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "asgi_jwt" / "docs"
QUICKSTART = DOCS / "quickstart.md"
README = ROOT / "README.md"
PAGES = sorted(DOCS.glob("*.md"))
PATHS = [README, *PAGES]
SKILL = ROOT / "asgi_jwt" / ".agents" / "skills" / "asgi-jwt" / "SKILL.md"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
_TEXT_LANGUAGES = ("sh", "pycon", "html", "js", "env", "nginx", "caddyfile", "haproxy", "dockerfile", "yaml")


@dataclass(slots=True)
class Section:
    """The text under one heading of a page.

    `files` are the Python blocks, whose first line names them. `main` is the nearest `main.py` of the page, its own or
    one above. `steps` are the commands of the console blocks and their output. `blocks` are all others by language.
    """

    page: Path
    title: str
    files: dict[str, str] = field(default_factory=dict)
    main: str = ""
    steps: list[tuple[str, str]] = field(default_factory=list)
    blocks: dict[str, list[str]] = field(default_factory=dict)
    table: list[list[str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page.stem}: {self.title}"

    def take(self, language: str, block: str) -> None:
        """Raises `ValueError` for a block that no test would run."""
        name = re.match(r"# (\w+\.py)\n", block)
        if language == "python" and name and name[1] not in self.files:
            self.files[name[1]] = block
            self.main = self.files.get("main.py", self.main)
        elif language == "console" and block.startswith("$ "):
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = step.partition("\n")
                self.steps.append((command, output))
        elif language in _TEXT_LANGUAGES:
            self.blocks.setdefault(language, []).append(block)
        else:
            raise ValueError(f"{self}: a block that no test runs:\n{block}")


@cache
def sections_of(path: Path) -> list[Section]:
    found = [Section(path, "")]
    parts = re.split(r"^```(\w*)\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for prose, language, block in zip(parts[::3], [*parts[1::3], None], [*parts[2::3], None], strict=True):
        for line in prose.splitlines():
            if line.startswith("#"):
                found.append(Section(path, line.lstrip("# "), main=found[-1].main))
            elif line.startswith("| "):
                found[-1].table.append([cell.strip() for cell in line.strip("|").split("|")])
        if language is not None and block is not None:
            found[-1].take(language, block)
    return found


def section_of(page: Path, title: str) -> Section:
    (section,) = [each for each in sections_of(page) if each.title == title]
    return section


def table_of(page: str, title: str) -> list[list[str]]:
    """The rows of the table under a heading of the documentation, without its head."""
    return section_of(DOCS / f"{page}.md", title).table[1:]


SECTIONS = [section for path in PATHS for section in sections_of(path)]


def blocks(language: str) -> list[tuple[Section, str]]:
    return [(section, block) for section in SECTIONS for block in section.blocks.get(language, [])]


def blocks_of(page: Path, title: str, language: str = "sh") -> list[str]:
    return section_of(page, title).blocks[language]


@cache
def workplace(page: Path) -> TemporaryDirectory[str]:
    """A folder with the files of a page, and those of the index where the page belongs to one; `main.py` is left out.

    The exports of the page have run there.
    """
    folder = TemporaryDirectory()
    for each in dict.fromkeys([page.with_stem(page.stem.partition("-")[0]), page]):
        for section in sections_of(each) if each.exists() else []:
            for name, text in section.files.items():
                if name != "main.py":
                    Path(folder.name, name).write_text(text)
    return folder


@cache
def environment(page: Path = QUICKSTART) -> Mapping[str, str]:
    """The environment of a shell after the exports of the quickstart and those of the page."""
    shells = [block for path in dict.fromkeys([QUICKSTART, page]) for block in _shells(path)]
    exports = "".join(block for block in shells if block.startswith("export "))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    told = subprocess.run(
        ["/bin/sh", "-euc", exports + "python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"],
        env={**os.environ, "PATH": path, "PYTHONPATH": paths, "NO_PROXY": "*"},
        cwd=workplace(page).name,
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )
    read: dict[str, str] = json.loads(told.stdout)
    return read


def _shells(path: Path) -> list[str]:
    return [block for section in sections_of(path) for block in section.blocks.get("sh", [])]


def fits(shown: str, answered: str) -> bool:
    """Whether the answer is what the page shows; `...` stands for text that differs each time."""
    return re.fullmatch(re.escape(shown).replace(r"\.\.\.", ".+"), answered) is not None
