"""What was measured, as JSON and as text."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.rounds import Result

INSTALL = "pip install '.[bench]'"


def installed(distribution: str) -> str:
    """The version of an installed distribution, else `not installed`; ours may be used from where it lies."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "this checkout" if distribution == "asgi_jwt" else "not installed"


@dataclass(frozen=True)
class Promise:
    """`measured` is to be `bound` at most, or at the `least`."""

    what: str
    measured: float
    bound: float
    least: bool = field(default=False, kw_only=True)

    @property
    def kept(self) -> bool:
        return self.measured >= self.bound if self.least else self.measured <= self.bound


@dataclass(kw_only=True)
class Report:
    """`tables`: by their titles, rows by contender, of columns by their names. `left_out`: the module each lacks."""

    command: str
    tables: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    promises: list[Promise] = field(default_factory=list)
    accepts: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    python: str = field(default_factory=platform.python_version)
    machine: str = field(default_factory=platform.platform)

    def add(self, results: Mapping[str, Result], left_out: Mapping[str, str]) -> None:
        """What the contenders said of themselves."""
        self.left_out.update(left_out)
        for name, result in results.items():
            self.versions.update(result.versions)
            self.notes[name] = list(dict.fromkeys([*self.notes.get(name, ()), *result.notes]))
            self.accepts[name] = list(dict.fromkeys([*self.accepts.get(name, ()), *result.accepts]))

    def to_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return asdict(self) | {
            "promises": [asdict(promise) | {"kept": promise.kept} for promise in self.promises],
            "install": INSTALL,
        }

    def __str__(self) -> str:
        parts = [f"{self.command}: {self.date}, Python {self.python}, {self.machine}", _listed(self.versions)]
        parts += [f"{title}\n{_table(rows)}" for title, rows in self.tables.items()]
        if self.promises:
            parts.append("Promised\n" + "\n".join(map(_promise, self.promises)))
        if self.accepts:
            lines = [f"  {name}: {', '.join(found) or 'none'}" for name, found in self.accepts.items()]
            parts.append("Bad tokens and requests that get in\n" + "\n".join(lines))
        if notes := [f"  {name}: {'; '.join(said)}" for name, said in self.notes.items() if said]:
            parts.append("Notes\n" + "\n".join(notes))
        if self.left_out:
            lines = [f"  {name}: there is no module {module}" for name, module in self.left_out.items()]
            parts.append(f"Left out ({INSTALL})\n" + "\n".join(lines))
        return "\n\n".join(parts)


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {version}" for name, version in sorted(versions.items(), key=lambda each: each[0].lower())
    )


def _table(rows: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    width = max(map(len, rows))
    lines = [" ".join([" " * (width + 2), *(f"{column:>16}" for column in columns)])]
    for name, row in rows.items():
        lines.append(" ".join([f"  {name:<{width}}", *(_cell(row.get(column)) for column in columns)]))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'' if value is None else f'{value:,.2f}':>16}"


def _promise(promise: Promise) -> str:
    relation = "at least" if promise.least else "at most"
    outcome = "kept" if promise.kept else "MISSED"
    return f"  {promise.what}: {promise.measured:.3f}, {relation} {promise.bound:.3f}: {outcome}"
