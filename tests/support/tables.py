"""Tables of short texts."""

import json
from pathlib import Path
from typing import Any


def cells(row: str) -> list[str]:
    """The cells of a row, which ` | ` separates. A cell may be empty, and keeps its spaces."""
    return row.split(" | ")


def headers_of(row: str) -> list[tuple[str, str]]:
    """The headers of a row, as `name: value | name: value`."""
    pairs = [line.partition(":") for line in row.split(" | ") if line]
    return [(name, value.strip(" ")) for name, _, value in pairs]


def tables_of(test: str) -> Any:
    """The tables in the JSON file beside a test, which is given by its `__file__`."""
    return json.loads(Path(test).with_suffix(".json").read_text(encoding="utf-8"))
