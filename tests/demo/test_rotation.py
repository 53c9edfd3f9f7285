"""The demo's keys are replaced while it is under load."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import httpx2
import pytest
from support.demo import demo_process
from support.outside import program
from support.waiting import PATIENCE

pytestmark = pytest.mark.outside


def load(url: str, token: str, seconds: int) -> "subprocess.Popen[str]":
    header = f"Authorization: Bearer {token}"
    command = [
        program("wrk"),
        "-t1",
        "-c16",
        f"-d{seconds}s",
        "--timeout",
        f"{PATIENCE:g}s",
        "-H",
        header,
        f"{url}/api/me",
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def served(wrk: "subprocess.Popen[str]") -> int:
    """How many requests were answered, every one of them with 200."""
    told, _ = wrk.communicate(timeout=PATIENCE)
    assert "Non-2xx" not in told, told
    assert "Socket errors" not in told, told
    (count,) = re.findall(r"(\d+) requests in", told)
    return int(count)


def test_rotation_under_load() -> None:
    """No request fails while the key file is rotated, with an overlap and again at once, and while new tokens come."""
    program("wrk")
    with demo_process() as (_, told):
        (url,) = re.findall(r"^Open (http\S+[^/\s])", told)
        (rotate,) = re.findall(r"^.* -m asgi_jwt keys rotate .*$", told, re.MULTILINE)
        keys = shlex.split(rotate)[-1]
        (password,) = re.findall(r"^  alice (\w+)$", told, re.MULTILINE)
        tokens = [login(url, password)]
        wrk = load(url, tokens[0], 8)
        for overlap in ("10m", "0", "1s"):
            rotated = [*shlex.split(rotate), "--overlap", overlap]
            subprocess.run(rotated, check=True, capture_output=True, timeout=PATIENCE)
            tokens.append(login(url, password))
        assert served(wrk) > 0
        assert len(json.loads(Path(keys).read_text())["keys"]) == 3
        # Tokens of the old keys and of the new ones hold.
        for token in tokens:
            assert served(load(url, token, 1)) > 0


def login(url: str, password: str) -> str:
    """The access token of a new session."""
    credentials = {"username": "alice", "password": password}
    answered = httpx2.post(f"{url}/auth/login", json=credentials, timeout=PATIENCE, trust_env=False)
    token: str = answered.raise_for_status().json()["access_token"]
    return token
