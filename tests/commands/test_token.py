"""`asgi-jwt token`: what it prints is an access token that is let in here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.command_line import CommandLine
from support.tokens import AUDIENCE, ISSUER, NOW, SECRET, ec_key, jwks, private_pem
from support.waiting import PATIENCE

from asgi_jwt import cli
from asgi_jwt.auth import Auth
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.claims import Claims


def verify(token: str, **settings: Any) -> Claims:
    auth = Auth(Settings(**{"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, **settings}), clock=Clock(NOW))
    return anyio.run(auth.verify, token)


def test_it_prints_the_token_alone(asgi_jwt: CommandLine) -> None:
    """`$(asgi-jwt token alice)` is a token that the service takes."""
    told = asgi_jwt("token", "alice")
    assert (told.status, told.err, told.out.count("\n")) == (0, "", 1)
    claims = verify(told.out.strip())
    assert (claims.subject, claims.scopes, claims.expires_at) == ("alice", frozenset(), NOW + 900)


def test_all_that_can_be_said_of_its_subject(asgi_jwt: CommandLine) -> None:
    """Scopes, roles and claims, each as often as wanted, a client and a life."""
    words = ["--scope", "orders:read orders:write", "--scope", "x", "--role", "clerk", "--role", "key holder"]
    for claim in ("email=a=b", "n=1", 'o={"a": [true]}', "t=NaN", "e="):
        words += ["--claim", claim]
    claims = verify(asgi_jwt("token", "żółw", *words, "--client-id", "app", "--ttl", "2m").out.strip())
    assert (claims.subject, claims.expires_at) == ("żółw", NOW + 120)
    assert claims.scopes == {"orders:read", "orders:write", "x"}
    assert claims.roles == {"clerk", "key holder"}
    said = {"email": "a=b", "n": 1, "o": {"a": [True]}, "t": "NaN", "e": "", "client_id": "app"}
    assert claims.to_dict().items() >= said.items()


def test_json(asgi_jwt: CommandLine, tmp_path: Path) -> None:
    """Programs get the answer of RFC 6749 section 5.1, also where the store is out of reach; no file is left behind."""
    asgi_jwt.environ |= {"REFRESH_SECRET": "r" * 32, "STORE": f"sqlite:///{tmp_path}/sessions.db"}
    told = asgi_jwt("token", "alice", "--scope", "a b", "--json").json
    assert verify(told.pop("access_token")).scopes == {"a", "b"}
    assert told == {"token_type": "Bearer", "expires_in": 900, "scope": "a b"}
    assert list(tmp_path.iterdir()) == []


def test_it_signs_with_the_private_key(asgi_jwt: CommandLine) -> None:
    """Keys of one's own sign as the service does."""
    pem = private_pem(ec_key()).decode()
    asgi_jwt.environ = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS": pem}
    assert verify(asgi_jwt("token", "alice").out.strip(), secret=None, keys=pem).subject == "alice"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["alice", "--claim", "sub=bob"], "the issuer sets sub"),
        (["alice", "--claim", "a=1", "--claim", "a=2"], "the claim a is given twice: keep one"),
        (["alice", "--claim", "a=1e400"], "the claim a is inf, which JSON can't hold"),
        (["alice", "--claim", "a"], "'a' is not NAME=VALUE"),
        (["alice", "--claim", "=a"], "'=a' is not NAME=VALUE"),
        (["alice", "--claim", f"a={'x' * 9000}"], "past MAX_TOKEN_SIZE: fewer claims are needed"),
        (["alice", "--claim", f"a={'[' * 100_000}"], "past MAX_TOKEN_SIZE"),
        (["alice", "--claim", f"a={'[' * 70}{']' * 70}"], "nested more than 64 deep"),
        (["alice", "--ttl", "2h"], "has to be 1 second at least and 3600 at most"),
        (["alice", "--ttl", "soon"], "has to be a duration"),
        (["alice", "--ttl", "0"], "has to be 1 second at least"),
        (["\udcff"], "a token holds UTF-8 text alone"),
        ([""], "needs a subject"),
        ([], "the following arguments are required: subject"),
    ],
)
def test_wrong_usage(asgi_jwt: CommandLine, words: list[str], told: str) -> None:
    """What no token can be made of ends with 2, and prints none."""
    ended = asgi_jwt("token", *words)
    assert (ended.status, ended.out) == (2, "")
    assert told in ended.err


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"JWKS_URL": "https://issuer.example/jwks"}, f"is the issuer's alone: ask {ISSUER} for a token"),
        (
            {"KEYS": json.dumps(jwks())},
            "ASGI_JWT_KEYS holds public keys alone: make the token where the private key is",
        ),
        ({"SECRET": SECRET, "AUDIENCE": "*"}, "tokens can only be issued for a named audience"),
        ({"SECRET": "short", "ISSUR": "x"}, "ASGI_JWT_SECRET has 5 bytes"),
        ({"SECRET": "short", "ISSUR": "x"}, "did you mean ASGI_JWT_ISSUER?"),
    ],
)
def test_where_no_token_can_be_made(asgi_jwt: CommandLine, variables: dict[str, str], told: str) -> None:
    """A service that can't sign says why, each fault in a line."""
    asgi_jwt.environ = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, **variables}
    ended = asgi_jwt("token", "alice")
    assert (ended.status, ended.out) == (1, "")
    assert told in ended.err
    assert all(line.startswith("asgi-jwt: ") for line in ended.err.splitlines())


def test_a_token_that_lacks_what_is_required(asgi_jwt: CommandLine) -> None:
    """The token is printed, and the standard error says why it would be refused."""
    asgi_jwt.environ["REQUIRED_CLAIMS"] = "email,tier=gold"
    ended = asgi_jwt("token", "alice", "--claim", "email=a", "--claim", "tier=tin")
    assert (ended.status, ended.out.count("\n")) == (1, 1)
    assert ended.err == (
        'asgi-jwt: the token would be refused here: tier is "tin", ASGI_JWT_REQUIRED_CLAIMS asks for "gold": '
        "send the token of one who has it\n"
    )
    assert asgi_jwt("token", "alice", "--claim", "email=a", "--claim", "tier=gold").status == 0


def test_in_a_shell() -> None:
    """The real process reads the real environment and clock."""
    environ = {"ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a", "ASGI_JWT_SECRET": SECRET}
    environ["PYTHONPATH"] = str(Path(cli.__file__).parents[1])
    words = [sys.executable, "-m", "asgi_jwt", "token", "alice"]
    printed = subprocess.check_output(words, env=environ, text=True, timeout=PATIENCE)
    auth = Auth(Settings(issuer="i", audience="a", secret=SECRET))
    assert anyio.run(auth.verify, printed.strip()).subject == "alice"
