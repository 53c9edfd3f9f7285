"""The sources of settings: variables, keywords, and the files that some of them name."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from asgi_jwt.errors import ConfigurationError
from asgi_jwt.settings.text import unquote

VARIABLE_PREFIX = "ASGI_JWT_"

# Kubernetes injects these variables for a Service called asgi-jwt.
_INJECTED = re.compile(r"PORT(_.*)?|SERVICE_(HOST|PORT(_.*)?)")
# Some readers of env files leave a byte order mark or `export` in the name of a variable.
_VARIABLE = re.compile(rf"\ufeff?\s*(?:export\s+)?{VARIABLE_PREFIX}(.+?)\s*")
_SAME_WORD = 0.66

Fault = tuple[str | tuple[str, ...], str]
"""One or several settings, and a sentence without its subject about them, such as `("issuer", "is missing")`."""


@dataclass(frozen=True, slots=True)
class Source:
    """The settings that were given.

    `given`: the text or the value of each, by name. `files`: the file of each setting that was read from a file.
    """

    given: Mapping[str, Any]
    files: Mapping[str, Path]

    def variable(self, name: str) -> str:
        """The variable of the setting `name`, with `_FILE` if the setting was read from a file."""
        return f"{VARIABLE_PREFIX}{name.upper()}{'_FILE' if name in self.files else ''}"

    def naming_file(self, name: str) -> dict[str, Any]:
        """The keywords for the same settings, in which `name` is read from its file again."""
        return {**self.given, name: None, f"{name}_file": self.files[name]}


class Faults:
    """Collects the faults of settings from `source`, as sentences that begin with the variable that was set.

    `broken` has the names of settings with a fault.
    """

    def __init__(self, source: Source, found: Iterable[Fault]) -> None:
        self._source = source
        self._sentences: list[str] = []
        self.broken: set[str] = set()
        self.add(found)

    def add(self, found: Iterable[Fault]) -> None:
        """Add the faults."""
        for about, sentence in found:
            names = (about,) if isinstance(about, str) else about
            self.broken.update(name.removesuffix("_file") for name in names)
            *first, last = map(self._source.variable, names)
            subject = f"{', '.join(first)} and {last}" if first else last
            self._sentences.append(f"{subject} {sentence}")

    def raise_any(self) -> None:
        """Raises `ConfigurationError` with all faults, if there are any."""
        if self._sentences:
            raise ConfigurationError(self._sentences)


def read_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The text of each `ASGI_JWT_*` variable, by the name of its setting. An empty variable counts as absent."""
    read: dict[str, str] = {}
    for variable, value in environ.items():
        named = _VARIABLE.fullmatch(variable)
        if named and unquote(value) and not _INJECTED.fullmatch(named[1]):
            read[named[1].lower()] = value
    return read


def override(read: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`read`, overridden by `given`. In both, `secret` and `secret_file` are the same setting."""
    above = {name.removesuffix("_file") for name in given}
    return {**{name: value for name, value in read.items() if name.removesuffix("_file") not in above}, **given}


def read_source(keywords: Mapping[str, Any], known: Collection[str]) -> tuple[Source, list[Fault]]:
    """The source of the settings in `known`, and the faults. A `<name>_file` is replaced by the content of its file."""
    given = dict(keywords)
    files: dict[str, Path] = {}
    faults: list[Fault] = []
    for name in keywords:
        target = name.removesuffix("_file")
        if target == name or target not in known:
            continue
        path = given.pop(name)
        if path is None:
            continue
        if given.get(target) is not None:
            faults.append(((target, name), "are both set: keep one"))
            continue
        try:
            files[target], given[target] = _read_file(path)
        except ValueError as fault:
            faults.append((name, f"names a file that {fault}"))
    faults += [(name, _describe_unknown(name, known)) for name in given if name not in known]
    return Source(given, files), faults


def _read_file(path: str) -> tuple[Path, str]:
    """The absolute path and the content of a file. Raises `ValueError`.

    The path is absolute, because the process may change its directory before it reads the file again.
    """
    try:
        file = Path(unquote(path) if isinstance(path, str) else path).absolute()
        content = file.read_bytes()
    except (OSError, ValueError, TypeError) as fault:
        # The path is not shown, because a user may have put the secret itself into NAME_FILE.
        raise ValueError(f"can't be read: {getattr(fault, 'strerror', None) or 'it is no path'}") from None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("can't be read: it is no UTF-8 text, as keys in DER and PKCS#12: write those as PEM") from None
    if not text.strip():
        # An empty file, as of a secret that was not mounted, does not count as an absent setting.
        raise ValueError("is empty: write the value into it, or leave the variable out")
    return file, text


def _describe_unknown(name: str, known: Collection[str]) -> str:
    near = suggest(name, known)
    return f"is unknown: did you mean {VARIABLE_PREFIX}{near.upper()}?" if near else "is unknown: remove it"


def suggest(name: str, known: Collection[str]) -> str | None:
    """The name in `known` that is nearest to `name`, or None.

    All words of one of the two names must be, or resemble, words of the other.
    """
    suffix = "_file" if "_file" in name else ""
    words = _words(name)
    likely = [each for each in known if _are_among(_words(each), words) or _are_among(words, _words(each))]
    near = get_close_matches(name.partition("_file")[0], likely, n=1)
    return near[0] + suffix if near else None


def _words(name: str) -> list[str]:
    return [word for word in name.split("_") if word not in ("", "file", "files")]


def _are_among(words: list[str], others: list[str]) -> bool:
    return all(get_close_matches(word, others, n=1, cutoff=_SAME_WORD) for word in words)
