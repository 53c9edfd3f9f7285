"""What a check finds: each thing that is well, that is doubtful, or that is wrong, with what to do about it."""

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`about` is the part that was looked at; `mend` says what to do, and is empty where all is well."""

    level: str
    about: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level:<7}  {self.about}: {self.found}" + (f": {self.mend}" if self.mend else "")


def ok(about: str, found: str) -> Finding:
    return Finding(OK, about, found)


def warning(about: str, found: str, mend: str) -> Finding:
    return Finding(WARNING, about, found, mend)


def problem(about: str, found: str, mend: str = "") -> Finding:
    return Finding(PROBLEM, about, found, mend)
