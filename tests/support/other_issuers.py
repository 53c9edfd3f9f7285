"""Access tokens in the shapes in which other issuers document theirs, and the settings that each of them takes.

They are in other_issuers.json, each with the page that documents it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOW = 1_800_000_000


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """A token as its issuer documents it, and the settings with which it passes.

    `settings` is what the token needs. `also` only keeps others out: without it the token still passes, and so does
    one with the claims or header of `confused`, which is none for this service.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    settings: Mapping[str, str]
    also: Mapping[str, str] = field(default_factory=dict)
    confused: Mapping[str, Any] | None = None
    scopes: Iterable[str] = ()
    roles: Iterable[str] = ()
    subject: str = "alice"
    source: str = ""

    @property
    def sent_in(self) -> str | None:
        """The header of a gateway in which the token is sent. None: Authorization."""
        kind, _, name = self.settings.get("token_sources", "").partition(":")
        return name if kind == "header" else None

    @property
    def row(self) -> dict[str, str]:
        return {**self.settings, **self.also}


_DOCUMENTED = json.loads(Path(__file__).with_suffix(".json").read_text())
ISSUERS = {name: Issuer(**documented) for name, documented in _DOCUMENTED.items()}
