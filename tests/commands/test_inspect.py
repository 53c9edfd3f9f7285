"""`asgi-jwt inspect`: the verdict is the service's own, and each refusal is explained in a line."""

import io
import json
import math
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import CommandLine
from support.issuers import IssuerServer
from support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    claims,
    ec_key,
    genuine,
    genuine_token,
    head,
    hs256,
    jwks,
    jws,
    secret_token,
    token_by,
)

from asgi_jwt import cli
from asgi_jwt.auth import Auth
from asgi_jwt.commands.inspect import MOST_READ
from asgi_jwt.testing import Clock

KEYS = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS": json.dumps(jwks())}


@pytest.fixture
def remote(asgi_jwt: CommandLine, server: IssuerServer) -> IssuerServer:
    asgi_jwt.environ = {"ISSUER": server.issuer, "AUDIENCE": AUDIENCE, "DISCOVERY": "true"}
    return server


def test_a_token_that_is_let_in(asgi_jwt: CommandLine) -> None:
    """Who issued it for whom and how long it holds, and all that it says; its times in words, and no signature."""
    token = secret_token()
    told = asgi_jwt("inspect", token)
    assert (told.status, told.err) == (0, "")
    assert told.out.splitlines() == [
        'accepted: issued by "https://issuer.example" for "alice", exp 2027-01-15 08:10:00 UTC, in 10 minutes',
        "header (signature verified)",
        '  alg: "HS256"',
        '  typ: "at+jwt"',
        "claims (signature verified)",
        '  iss: "https://issuer.example"',
        '  aud: "https://api.example"',
        '  sub: "alice"',
        "  exp: 1800000600  2027-01-15 08:10:00 UTC, in 10 minutes",
        "  iat: 1800000000  2027-01-15 08:00:00 UTC, now",
        '  jti: "1"',
        '  type: "access"',
        '  scope: "orders:read"',
    ]
    assert asgi_jwt("inspect", token, "--json").json == {
        "accepted": True,
        "reason": None,
        "explanation": None,
        "signature_verified": True,
        "header": {"alg": "HS256", "typ": "at+jwt"},
        "claims": claims(),
    }


@pytest.mark.parametrize("words", [[], ["-"]])
@pytest.mark.parametrize("around", ["{}", "Bearer {}\r\n"])
def test_a_token_through_a_pipe(asgi_jwt: CommandLine, words: list[str], around: str) -> None:
    """From the standard input, a token leaves no trace in the shell's history."""
    assert asgi_jwt("inspect", *words, stdin=around.format(secret_token()).encode()).status == 0


def test_a_token_from_the_keyboard(asgi_jwt: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is waited for is told so, and not on the standard output."""
    terminal = io.TextIOWrapper(io.BytesIO(secret_token().encode()))
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    told = asgi_jwt("inspect")
    assert (told.status, told.err) == (0, "Paste the token, then press Enter and Ctrl-D:\n")
    assert told.out.startswith("accepted")


def test_no_token(asgi_jwt: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, or the scheme alone, is wrong usage."""
    for nothing in (b"", b" \n"):
        told = asgi_jwt("inspect", stdin=nothing)
        assert (told.status, told.out) == (2, "")
        assert told.err == "asgi-jwt: there is no token: give it as the argument, or through a pipe\n"
    monkeypatch.setattr(sys, "stdin", None)
    assert asgi_jwt("inspect").status == 2


def test_what_has_no_end(asgi_jwt: CommandLine) -> None:
    """No more is read than it takes to see that it is no token."""
    told = asgi_jwt("inspect", stdin=b"x" * (MOST_READ + 10))
    assert told.status == 1
    assert told.out.startswith(
        f"refused (token_too_large): it has {MOST_READ} bytes, ASGI_JWT_MAX_TOKEN_SIZE is 8192: "
    )


def test_unverified_is_marked(asgi_jwt: CommandLine) -> None:
    """What a stranger may have written is told from what a trusted key signed, also where both are refused."""
    asgi_jwt.environ = KEYS
    for token, verified in ((genuine_token(exp=0), True), (jws(head(), claims(exp=0), lambda _: b""), False)):
        told = asgi_jwt("inspect", token).out.splitlines()
        mark = "signature verified" if verified else "unverified: anyone may have written this"
        assert told.count(f"header ({mark})") == told.count(f"claims ({mark})") == 1
        assert asgi_jwt("inspect", token, "--json").json["signature_verified"] is verified


def test_a_token_is_no_way_into_the_terminal(asgi_jwt: CommandLine) -> None:
    """Names and values of any kind are printed as one line each, and none of them moves a cursor."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\naccepted: \u202etxt\x9b"
    times = {"iat": math.inf, "nbf": "x", "exp": -(10**90)}
    named = {evil: {evil: [evil]}, "iss": evil, "sub": evil, **times, "n" * 300: 1}
    payload = json.dumps(claims(**named)).replace("Infinity", "1e400").encode()
    token = jws(head(kid=evil, alg=evil, **{evil: 1}), payload, genuine)
    for words in (["inspect", token], ["inspect", "--json", token]):
        told = asgi_jwt(*words)
        assert told.status == 1
        assert all(line.isprintable() for line in told.out.splitlines())
        assert not any(line.startswith("accepted") for line in told.out.splitlines())
    assert told.json["claims"]["iat"] == "inf"
    assert told.json["claims"][evil] == {evil: [evil]}


def test_times_of_any_kind(asgi_jwt: CommandLine) -> None:
    """What is no date is said to be none."""
    told = asgi_jwt("inspect", secret_token(auth_time="noon", updated_at=1e300, nbf=NOW - 60)).out
    assert '  auth_time: "noon"  no date\n' in told
    assert "  updated_at: 1e+300  no date\n" in told
    assert "  nbf: 1799999940  2027-01-15 07:59:00 UTC, 60 seconds ago\n" in told


def test_a_token_of_a_remote_issuer(asgi_jwt: CommandLine, remote: IssuerServer) -> None:
    """Its keys are fetched, and it is let in."""
    assert asgi_jwt("inspect", stdin=token_by(ec_key(), "a", iss=remote.issuer)).status == 0


def test_keys_from_a_file(asgi_jwt: CommandLine, tmp_path: Any) -> None:
    """The variable that names the file is the one that is told."""
    (tmp_path / "keys.json").write_text(KEYS["KEYS"])
    asgi_jwt.environ = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS_FILE": str(tmp_path / "keys.json")}
    told = asgi_jwt("inspect", "--json", stdin=token_by(ec_key(), "x")).json
    assert "the kids of ASGI_JWT_KEYS_FILE are" in told["explanation"]


def test_faulty_settings(asgi_jwt: CommandLine) -> None:
    """Without settings there is no verdict: their faults are told, a line each."""
    asgi_jwt.environ = {"SECRET": "short"}
    told = asgi_jwt("inspect", secret_token())
    assert (told.status, told.out, told.err.count("\n")) == (1, "", 3)
    assert "asgi-jwt: ASGI_JWT_ISSUER is missing" in told.err


def test_revoked(asgi_jwt: CommandLine, tmp_path: Path) -> None:
    """What the service would refuse as revoked is told so; a store's file that is not there is not made for it."""
    token = secret_token()
    asgi_jwt.environ |= {"STORE": f"sqlite:///{tmp_path}/sessions.db"}
    assert asgi_jwt("inspect", token).status == 0
    assert list(tmp_path.iterdir()) == []

    async def revoke() -> None:
        environ = {f"ASGI_JWT_{name}": value for name, value in asgi_jwt.environ.items()}
        async with Auth.from_env(environ, clock=Clock(NOW)) as auth:
            await auth.revoke_token(token)

    anyio.run(revoke)
    told = asgi_jwt("inspect", "--json", token)
    assert (told.status, told.json["reason"]) == (1, "token_revoked")


@pytest.mark.parametrize(
    ("fault", "ends"),
    [(KeyboardInterrupt(), (130, "", "")), (OSError(5, "I/O error"), (1, "", "asgi-jwt: I/O error\n"))],
)
def test_input_that_ends(
    asgi_jwt: CommandLine, monkeypatch: pytest.MonkeyPatch, fault: BaseException, ends: tuple[int, str, str]
) -> None:
    """Ctrl-C ends it without a word, as the shell expects it; what is wrong with the input is told in a line."""
    broken = io.BytesIO()
    broken_in = Mock(wraps=broken, read=Mock(side_effect=fault))
    monkeypatch.setattr(sys, "stdin", Mock(buffer=broken_in, isatty=lambda: False))
    told = asgi_jwt("inspect")
    assert (told.status, told.out, told.err) == ends


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]) | st.text(), ANYTHING, max_size=4)
CLAIMS = st.dictionaries(st.sampled_from([*sorted(claims()), "nbf", "nonce"]) | st.text(), ANYTHING, max_size=4)


@given(header=HEADERS, changes=CLAIMS, garbled=st.binary(max_size=8), signed=st.booleans())
def test_nothing_breaks_it(header: dict[str, Any], changes: dict[str, Any], garbled: bytes, signed: bool) -> None:
    """Whatever a token holds, the verdict comes with one line for each thing that is shown, and all can be printed."""
    payload = json.dumps(claims() | changes).replace("Infinity", "1e400").encode()
    head = json.dumps({"alg": "HS256"} | header).replace("Infinity", "1e400").encode()
    token = jws(head, payload, hs256(SECRET if signed else "another")).encode() + garbled
    environ = {"ASGI_JWT_ISSUER": ISSUER, "ASGI_JWT_AUDIENCE": AUDIENCE, "ASGI_JWT_SECRET": SECRET}
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(told):
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(token)))
        status = cli.main(["inspect"], clock=Clock(NOW))
    first, *rest = told.getvalue().split("\n")
    assert first.startswith("accepted: " if status == 0 else "refused (")
    assert all(line.isprintable() for line in [first, *rest])
    assert all(line.startswith(("header", "claims", "  ")) for line in rest[:-1])


def test_a_bound_token(asgi_jwt: CommandLine) -> None:
    """A token that is bound to a key is accepted with a proof of the key, unless it was revoked."""
    asgi_jwt.environ["STORE"] = "memory://"
    told = asgi_jwt("inspect", secret_token(cnf={"jkt": "x"}))
    assert told.status == 0
    assert 'bound to a key: only with the scheme DPoP, and a proof of the key with the thumbprint "x"' in told.out
