"""The README taken apart: its fenced blocks and its tables."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from support.waiting import PATIENCE

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(slots=True)
class Section:
    """What stands under one heading. `files` are the Python blocks, whose first line names them; `steps` what the
    console block shows: commands and their output. `main` is the app they are about, its own or the one above it."""

    title: str
    main: str = ""
    files: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)
    shell: list[str] = field(default_factory=list)
    doctests: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)

    def take(self, language: str, block: str) -> None:
        """Raises `ValueError` for a block that no test would run."""
        name = re.match(r"# (\w+\.py)\n", block)
        if language == "python" and name:
            self.files[name[1]] = block
            self.main = self.files.get("main.py", self.main)
        elif language == "console" and block.startswith("$ ") and not self.steps:
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = step.partition("\n")
                self.steps.append((command, output))
        elif language == "sh":
            self.shell.append(block)
        elif language == "pycon":
            self.doctests.append(block)
        elif language == "html":
            self.pages.append(block)
        else:
            raise ValueError(f"a block under {self.title!r} that no test runs:\n{block}")


def sections(text: str) -> list[Section]:
    found = [Section("")]
    parts = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    for prose, language, block in zip(parts[::3], [*parts[1::3], None], [*parts[2::3], None], strict=True):
        for line in prose.splitlines():
            if line.startswith("#"):
                found.append(Section(line.lstrip("# "), found[-1].main))
            elif line.startswith("| "):
                found[-1].table.append([cell.strip() for cell in line.strip("|").split("|")])
        if language is not None and block is not None:
            found[-1].take(language, block)
    return found


SECTIONS = {section.title: section for section in sections(TEXT)}


@cache
def environment() -> Mapping[str, str]:
    """What the README's exports make of the environment."""
    exports = "".join(block for section in SECTIONS.values() for block in section.shell if block.startswith("export "))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    told = subprocess.run(
        ["/bin/sh", "-euc", exports + "python3 -c 'import json, os; print(json.dumps(dict(os.environ)))'"],
        env={**os.environ, "PATH": path, "PYTHONPATH": paths, "NO_PROXY": "*"},
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    read: dict[str, str] = json.loads(told.stdout)
    return read


def fits(shown: str, answered: str) -> bool:
    return re.fullmatch(re.escape(shown).replace(r"\.\.\.", ".+"), answered) is not None
