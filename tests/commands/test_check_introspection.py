"""`asgi-jwt check` and `asgi-jwt inspect` ask a real authorization server about opaque tokens."""

from typing import Any

import pytest
from support.command_line import CommandLine
from support.issuers import IssuerServer
from support.tokens import AUDIENCE, ISSUER, NOW

TOKEN = "opaque-token-of-alice"
ALICE = {"active": True, "sub": "alice", "aud": AUDIENCE, "exp": NOW + 600}


@pytest.fixture(autouse=True)
def _introspecting(asgi_jwt: CommandLine, server: IssuerServer) -> None:
    asgi_jwt.environ = {
        "ISSUER": ISSUER,
        "AUDIENCE": AUDIENCE,
        "DPOP": "off",
        "INTROSPECTION_URL": f"{server.issuer}/introspect",
        "INTROSPECTION_CLIENT_ID": "orders",
        "INTROSPECTION_CLIENT_SECRET": "hunter2-hunter2",
    }


def says(server: IssuerServer, content: Any, **more: Any) -> None:
    server.answer("/introspect", content, content_type="application/json", **more)


PROBLEMS = "problem  introspection: "


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        ({"active": False}, 200, "ok       introspection: {0} is asked about opaque tokens, and answers"),
        ({"active": True}, 200, PROBLEMS + "{0} does not call a made-up token inactive: see that ASGI_JWT_INTRO"),
        ({}, 200, PROBLEMS + "{0} does not call a made-up token inactive: see that ASGI_JWT_INTROSPECTION_URL"),
        ({}, 401, PROBLEMS + "opaque tokens can't be asked about: {0}: answered 401: see that ASGI_JWT_INTRO"),
    ],
)
def test_check(asgi_jwt: CommandLine, server: IssuerServer, content: Any, status: int, told: str) -> None:
    """The answer about a made-up token shows whether URL and credentials are right; no keys are missed."""
    says(server, content, status=status)
    done = asgi_jwt("check")
    lines = done.out.splitlines()
    assert lines[1].startswith(told.format(f"{server.issuer}/introspect"))
    assert (done.status, "hunter2" in done.out, "keys" in done.out) == (int(told.startswith("problem")), False, False)
    assert server.forms == [{"token": "asgi-jwt-check", "token_type_hint": "access_token"}]


def test_inspect(asgi_jwt: CommandLine, server: IssuerServer) -> None:
    """An accepted token is shown as the server tells of it."""
    says(server, {**ALICE, "groups": ["a"]})
    assert asgi_jwt("inspect", TOKEN).out.splitlines() == [
        f'accepted: issued by "{ISSUER}" for "alice", exp 2027-01-15 08:10:00 UTC, in 10 minutes',
        "header: can't be read",
        "claims (by introspection)",
        "  active: true",
        '  sub: "alice"',
        f'  aud: "{AUDIENCE}"',
        "  exp: 1800000600  2027-01-15 08:10:00 UTC, in 10 minutes",
        '  groups: ["a"]',
        f'  iss: "{ISSUER}"',
    ]
    says(server, {"active": True, "sub": "alice", "aud": AUDIENCE})
    assert asgi_jwt("inspect", TOKEN).out.startswith(f'accepted: issued by "{ISSUER}" for "alice", without an end')


REFUSED = [
    (
        TOKEN,
        {"active": False},
        200,
        "token_inactive",
        "it is opaque, and the server at ASGI_JWT_INTROSPECTION_URL does",
    ),
    (TOKEN, {**ALICE, "aud": "x"}, 200, "audience_invalid", f'aud is "x", ASGI_JWT_AUDIENCE is "{AUDIENCE}": ask for'),
    (
        TOKEN,
        {**ALICE, "typ": "Refresh"},
        200,
        "type_invalid",
        "it is a refresh token, as its token_type, token_use or typ",
    ),
    (TOKEN, {}, 500, "verifier_unavailable", "its authorization server can't be asked, "),
    ("a|b", {}, 200, "token_malformed", "it is opaque, one part where a signed JWT has three: ask the issuer for JWT"),
]


@pytest.mark.parametrize(("token", "content", "status", "reason", "told"), REFUSED)
def test_inspect_a_refused_token(
    asgi_jwt: CommandLine, server: IssuerServer, token: str, content: Any, status: int, reason: str, told: str
) -> None:
    """The server's answer is explained as the claims of a JWT are."""
    says(server, content, status=status)
    done = asgi_jwt("inspect", token)
    assert (done.status, done.out.splitlines()[0][: len(told) + 12 + len(reason)]) == (1, f"refused ({reason}): {told}")
