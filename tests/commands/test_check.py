"""`asgi-jwt check`: each misconfiguration is found, with what to do about it, and nothing secret is printed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from support.command_line import CommandLine
from support.issuers import IssuerServer
from support.tokens import AUDIENCE, jwk_of, jwks, thief_key
from support.waiting import PATIENCE

from asgi_jwt.testing import Clock
from asgi_jwt.tokens import discovery

ROOT = Path(__file__).parents[2]
SECRET = "Jq0wZ3v8Lr5Nd2Xk7Tb9Ys4Hm1Gc6Pf0"


@pytest.fixture
def service(asgi_jwt: CommandLine) -> CommandLine:
    """The command, in a service whose secret is one, today."""
    asgi_jwt.environ |= {"SECRET": SECRET, "DPOP_BASES": "https://api.example"}
    asgi_jwt.clock = Clock(time.time())
    return asgi_jwt


def test_all_is_well(service: CommandLine) -> None:
    """A finding a line, and how many are no good; programs get the same."""
    told = service("check")
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == [
        'ok       settings: issuer "https://issuer.example", audience "https://api.example"',
        "ok       keys: 1 to verify with, a secret (HS256) signs",
        "ok       store: none is configured: tokens are verified without one",
        "0 problems, 0 warnings",
    ]
    read = service("check", "--json").json
    assert read["ok"] is True
    assert [f"{each['level']:<7}  {each['about']}: {each['found']}" for each in read["findings"]] == (
        told.out.splitlines()[:-1]
    )
    assert {each["mend"] for each in read["findings"]} == {None}


def test_a_warning_is_no_failure(service: CommandLine) -> None:
    """What is doubtful is told with its mend, and the check succeeds."""
    service.environ |= {"AUDIENCE": "*", "STORE": "memory://"}
    told = service("check")
    assert told.status == 0
    assert "warning  settings: ASGI_JWT_AUDIENCE=* takes" in told.out
    assert "warning  store: memory:// ends all sessions" in told.out
    assert told.out.endswith("0 problems, 2 warnings\n")
    assert service("check", "--json").json["findings"][1]["mend"] == "name this one"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET", f'"{SECRET}"'),
        ("SECRET", f"{SECRET}\n"),
        ("REFRESH_SECRET", f"{SECRET[:-1]},{SECRET[:8]}"),
        ("AUDIENCE", "orders # this service"),
        ("ISSUER", "https://${HOST}"),
    ],
)
def test_additions_of_env_files(service: CommandLine, name: str, value: str) -> None:
    """A value that holds more than was meant is a problem, and no part of a secret is shown."""
    service.environ[name] = value
    told = service("check")
    assert told.status == 1
    assert told.out.startswith(f"problem  settings: ASGI_JWT_{name} ")
    assert SECRET[:8] not in told.out


def test_faulty_settings(service: CommandLine) -> None:
    """All faults are found at once, each a problem with the mend that it comes with."""
    service.environ = {"SECRET": "short", "ISSUR": "x", "LEEWAY": "-1", "KEYS_FILE": "/no/such/file"}
    told = service("check")
    assert (told.status, told.err) == (1, "")
    lines = told.out.splitlines()
    assert all(line.startswith("problem  settings: ASGI_JWT_") for line in lines[:-1])
    for fault in ("SECRET has 5 bytes", "ISSUR is unknown: did you mean", "LEEWAY has to be", "KEYS_FILE names a file"):
        assert told.out.count(fault) == 1
    assert lines[-1] == f"{len(lines) - 1} problems, 0 warnings"
    read = service("check", "--json").json
    assert read["ok"] is False
    assert len(read["findings"]) == len(lines) - 1


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SECRET": "", "KEYS": json.dumps(jwks())}, "ASGI_JWT_KEYS holds no private key: tokens can't be issued"),
        ({"AUDIENCE": "*"}, "tokens can only be issued for a named audience"),
        ({"STORE": "redis://:hush-hush@host:port/"}, "the Redis URL names no host, or a port that is no number"),
        ({"STORE": "sqlite:////missing/s.db"}, "the store's directory /missing is not there, or closed: create it"),
        ({"STORE": "mongodb://:hush-hush@host"}, "a store of the scheme 'mongodb' does not exist: use one of"),
    ],
)
def test_what_keeps_users_from_logging_in(service: CommandLine, variables: dict[str, str], told: str) -> None:
    """With a secret for refresh tokens there are logins: what those need is asked for."""
    service.environ |= {"REFRESH_SECRET": SECRET[::-1], "STORE": "memory://", **variables}
    found = service("check")
    assert found.status == 1
    assert found.out.count(told) == 1
    assert found.out.count("problem  ") == 1
    assert "ok       settings: " in found.out
    assert "ok       keys: " in found.out
    assert "hush" not in found.out


def test_key_files(service: CommandLine, tmp_path: Path) -> None:
    """Keys from a file are those that it holds now, and everyone who can read it is told of."""
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(jwks()))
    service.environ |= {"SECRET": "", "KEYS_FILE": str(path)}
    assert "ok       keys: 4 to verify with, none signs, for all are public" in service("check").out
    path.chmod(0o666)
    assert "problem  keys: the file of ASGI_JWT_KEYS_FILE can be written by everyone" in service("check").out


def test_a_store_that_is_down(service: CommandLine) -> None:
    """Nothing of the log is printed beside the finding."""
    service.environ["STORE"] = "redis://user:hush-hush@127.0.0.1:1/0"
    told = service("check")
    assert (told.status, told.err) == (1, "")
    assert "problem  store: redis://127.0.0.1:1/0 can't be used: ConnectionError" in told.out
    assert "hush" not in told.out


def test_remote_issuers(service: CommandLine, server: IssuerServer) -> None:
    """Each is looked at, in its order; one that is down is a problem, and the clock is compared with the other's."""
    with IssuerServer() as other:
        other.publish(jwk_of(thief_key(), "b"))
        other.describe()
        issuers = f"{server.issuer},{other.issuer}"
        service.environ = {"ISSUER": issuers, "AUDIENCE": AUDIENCE, "DISCOVERY": "true", "DPOP": "off"}
        told = service("check")
        assert (told.status, told.err) == (0, "")
        found = [line.split()[1] for line in told.out.splitlines()]
        assert found == ["settings:", "issuer:", "issuer:", "store:", "problems,"]
        assert told.out.index(server.issuer + " has 1 key") < told.out.index(other.issuer + " has 1 key")
        server.fail()
        told = service("check")
        assert (told.status, told.err) == (1, "")
        assert f"problem  issuer: the keys of {server.issuer} can't be had" in told.out
        assert f"ok       issuer: {other.issuer} has 1 key to verify with" in told.out


def test_an_issuer_that_hangs(service: CommandLine, server: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer that never answers is given up."""
    monkeypatch.setattr(discovery, "FETCH_TIMEOUT", 0.1)
    service.environ = {"ISSUER": server.issuer, "AUDIENCE": AUDIENCE, "DISCOVERY": "true", "DPOP": "off"}
    with server.holding():
        told = service("check")
    assert told.status == 1
    assert f"the keys of {server.issuer} can't be had: no whole answer within 0.1 s" in told.out


def test_interrupted(server: IssuerServer) -> None:
    """Ctrl-C ends a check that waits at once, without a word."""
    environ = {"ISSUER": server.issuer, "AUDIENCE": AUDIENCE, "DISCOVERY": "true", "DPOP": "off"}
    with server.holding():
        process = subprocess.Popen(
            [sys.executable, "-m", "asgi_jwt", "check"],
            env={f"ASGI_JWT_{name}": value for name, value in environ.items()} | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        anyio.run(server.request)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 130
