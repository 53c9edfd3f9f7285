"""The exchange of old tokens, as the documentation gives it to users: once, by whatever spelling, however many ask."""

import time
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import jwt
import pytest
from support.pages import DOCS, section_of

SECRET = "the old secret, which signs no new token"
CLAIMS = {"sub": "alice", "type": "refresh", "exp": int(time.time()) + 3600}
KIND = {"type": "refresh"}


@pytest.fixture
def exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    module: dict[str, Any] = {}
    exec(section_of(DOCS / "migrating.md", "The exchange").files["exchange.py"], module)  # noqa: S102
    return module["exchanged"]


def test_one_of_many(exchanged: Any) -> None:
    """Of many that exchange a token at once one is let in."""
    token = jwt.encode(CLAIMS, SECRET)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: exchanged(token, SECRET, kind=KIND), range(16)))
    assert sorted(results, key=str) == [None] * 15 + ["alice"]


def test_another_spelling(exchanged: Any) -> None:
    """A token whose signature is spelled in another way, with the same bytes, is the same token."""
    token = jwt.encode(CLAIMS, SECRET)
    signed, _, signature = token.rpartition(".")
    spellings = (f"{signature[:-1]}{last}" for last in ascii_letters + digits + "-_")
    same = [each for each in spellings if urlsafe_b64decode(f"{each}=") == urlsafe_b64decode(f"{signature}=")]
    assert len(same) == 4
    results = [exchanged(f"{signed}.{each}", SECRET, kind=KIND) for each in same]
    assert sorted(results, key=str) == [None] * 3 + ["alice"]


@pytest.mark.parametrize(
    ("claims", "secret"),
    [
        ({**CLAIMS, "exp": 1}, SECRET),
        ({"sub": "alice", "type": "refresh"}, SECRET),
        ({**CLAIMS, "type": "access"}, SECRET),
        ({**CLAIMS, "aud": "another service"}, SECRET),
        (CLAIMS, "another secret, of the same length as that"),
    ],
)
def test_others(exchanged: Any, claims: dict[str, Any], secret: str) -> None:
    """A token that has expired, that never does, of another kind, audience or signer is exchanged for nothing."""
    assert exchanged(jwt.encode(claims, secret), SECRET, kind=KIND) is None
    assert exchanged("", SECRET, kind=KIND) is None
