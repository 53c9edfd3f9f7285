"""The recipe for the assertion of AWS ALB takes what a load balancer sends, and nothing that is a little different."""

import json
import sys
from base64 import urlsafe_b64encode
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.app import Guarded
from support.issuers import IssuerServer
from support.pages import DOCS, section_of
from support.tokens import NOW, ec_key, ecdsa, public_pem, thief_key

from asgi_jwt import Auth
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

KEYS = "https://public-keys.auth.elb.eu-west-1.amazonaws.com"
KID = "12345678-1234-1234-1234-123456789012"
HEAD: dict[str, Any] = {
    "typ": "JWT",
    "kid": KID,
    "alg": "ES256",
    "iss": "https://cognito-idp.eu-west-1.amazonaws.com/POOL",
    "client": "CLIENT-ID",
    "signer": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/shop/0123456789abcdef",
    "exp": NOW + 120,
}
CLAIMS = {"sub": "alice", "email": "alice@example.com", "username": "alice"}


def assertion(key: Any = None, *, padded: bool = True, claims: Any = CLAIMS, **head: Any) -> str:
    """What a load balancer sends: base64url with padding, which is signed, too."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()) for part in ({**HEAD, **head}, claims)]
    message = b".".join(parts if padded else [part.rstrip(b"=") for part in parts])
    return f"{message.decode()}.{urlsafe_b64encode(ecdsa(key or ec_key())(message)).decode()}"


@pytest.fixture
def guarded(server: IssuerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Guarded:
    """The code of the page, with the keys of a server on this machine."""
    files = section_of(DOCS / "opaque-tokens.md", "The assertion of AWS ALB").files
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace(KEYS, server.issuer))
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    server.answer(f"/{KID}", public_pem(ec_key()))
    made = import_module("behind_alb")
    return Guarded(Auth(made.settings, verifiers=[made.balancer], clock=Clock(NOW)))


async def ask(guarded: Guarded, token: str) -> int:
    return (await guarded.request(headers={"x-amzn-oidc-data": token})).status


async def test_an_assertion(guarded: Guarded, server: IssuerServer) -> None:
    """It is its user's until its `exp`, whatever the length of its segments, by one fetch of the key."""
    for more in ("", "a", "ab"):
        assert await ask(guarded, assertion(typ=f"JWT{more}", claims={**CLAIMS, "name": more})) == 200
        assert guarded.app.subject == "alice"
    assert server.requests == [f"/{KID}"]
    token = assertion()
    assert await ask(guarded, token) == 200
    guarded.auth.clock.turn(151)  # type: ignore[attr-defined]
    assert await ask(guarded, token) == 401


FORGED: dict[str, dict[str, Any]] = {
    "another key": {"key": thief_key()},
    "another load balancer": {"signer": HEAD["signer"][:-1] + "0"},
    "another client": {"client": "OTHER"},
    "another algorithm": {"alg": "none"},
    "a path for its kid": {"kid": "../other-bucket/key-0123456789abcdef"},
    "a kid that is no text": {"kid": 7},
    "expired": {"exp": NOW - 30},
    "no user": {"claims": {}},
    "no padding": {"padded": False},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
async def test_a_forged_assertion(guarded: Guarded, changes: dict[str, Any]) -> None:
    """Each is a 401."""
    assert await ask(guarded, assertion(**changes)) == 401


@pytest.mark.parametrize(
    "token", ["a.b.c==", f"W10=.W10=.{'A' * 86}==", f"e30=.e30=.{'A' * 86}==", f"e30.e30.{'A' * 86}=="]
)
async def test_what_is_no_assertion(guarded: Guarded, token: str) -> None:
    """Each is a 401."""
    assert await ask(guarded, token) == 401


async def test_a_changed_assertion(guarded: Guarded) -> None:
    """Without its padding, with other claims, or with another signature, a 401; with a key that can't be had, a 503."""
    header, payload, signature = assertion().split(".")
    other = assertion(claims={"sub": "bob"}).split(".")[1]
    for token in (
        f"{header.rstrip('=')}.{payload.rstrip('=')}.{signature}",
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.{'A' * 86}==",
        f"{header}.{payload}.{signature}!!",
    ):
        assert await ask(guarded, token) == 401
    assert await ask(guarded, assertion(kid=KID[::-1])) == 503
