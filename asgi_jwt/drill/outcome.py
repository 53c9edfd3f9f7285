"""How a check ends: it returns what it has seen, or raises `Broken` or `Untried`."""

from dataclasses import dataclass


class Broken(Exception):
    """The deployment does not keep the promise. `seen`: what was seen. `mend`: what to do."""

    def __init__(self, seen: str, mend: str) -> None:
        super().__init__(seen)
        self.seen = seen
        self.mend = mend


class Untried(Exception):
    """The check could not be made. The message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one check. `promise`: its number in docs/promises.md. `holds`: None if it was not tried."""

    promise: str
    name: str
    holds: bool | None
    seen: str
    mend: str = ""


def broken_if(faults: list[tuple[str, str]]) -> None:
    """Raises `Broken` with all `faults`, each what was seen and its mend."""
    if faults:
        raise Broken("; ".join(seen for seen, _ in faults), "; ".join(dict.fromkeys(mend for _, mend in faults)))
