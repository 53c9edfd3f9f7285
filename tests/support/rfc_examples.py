"""The examples of RFC 7515 appendix A, RFC 8037 appendix A and RFC 7638 section 3.1, letter for letter."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Example:
    """A key and what it signed; `thumbprint` where the RFC gives one."""

    jwk: dict[str, str]
    algorithm: str
    token: str | None = None
    thumbprint: str | None = None


_EXAMPLES = json.loads(Path(__file__).with_suffix(".json").read_text())
EXAMPLES = {name: Example(**example) for name, example in _EXAMPLES.items()}
