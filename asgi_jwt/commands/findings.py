"""The findings of `asgi-jwt check`. Each is fine, doubtful or wrong, and has its mend."""

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `about` is the part that was checked, `mend` what to do about it. The mend of an `ok` is empty."""

    level: str
    about: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level:<7}  {self.about}: {self.found}" + (f": {self.mend}" if self.mend else "")


def ok(about: str, found: str) -> Finding:
    """A finding that is fine."""
    return Finding(OK, about, found)


def warning(about: str, found: str, mend: str) -> Finding:
    """A finding that is doubtful."""
    return Finding(WARNING, about, found, mend)


def problem(about: str, found: str, mend: str = "") -> Finding:
    """A finding that is wrong: `asgi-jwt check` then exits with 1."""
    return Finding(PROBLEM, about, found, mend)
