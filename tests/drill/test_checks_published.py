"""What a deployment publishes, and its clock: each fault is named, with its mend."""

import json
import time
from typing import Any

import pytest
from starlette.types import ASGIApp
from support.deployments import Headers, Site, answering, changed, deployment, fault, in_turn, untried

from asgi_jwt.drill.checks_published import clock, jwks, metadata
from asgi_jwt.tokens.key_rotation import generate_jwk

PATH, METADATA = "/auth/.well-known/jwks.json", "/auth/.well-known/oauth-authorization-server"
PRIVATE = generate_jwk("ES256")
LEAKED = json.dumps({"keys": [PRIVATE]}).encode()


def with_keys(**more: Any) -> ASGIApp:
    return deployment(secret=None, keys={"keys": [generate_jwk("ES256")]}, **more)


def typed(kind: bytes) -> Any:
    def response(headers: Headers) -> Headers:
        return [(name, kind if name == b"content-type" else value) for name, value in headers]

    return response


def test_good(site: Site) -> None:
    """A whole deployment publishes its keys, or none with a secret, and its clock is right."""
    assert site.check(jwks, app=with_keys()).seen == "1 public, as application/jwk-set+json"
    assert site.check(jwks).seen == "none, because a secret signs"
    assert site.check(clock).holds is True
    assert site.check(metadata, app=deployment(issuer=f"{site.origin}/auth")).holds is True


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (changed(with_keys(), response=typed(b"text/plain"), path=PATH), 'served as "text/plain"', "keep Content-Type"),
        (answering(with_keys(), PATH, 200, LEAKED), "published with its secret", "replace this key"),
        (in_turn(with_keys(), with_keys()), "no published key verifies", "give all processes the same keys"),
        (answering(with_keys(), PATH, 200, b"<html>"), "is no JWK Set", "pass this path on"),
        (answering(with_keys(), PATH, 401), "answered 401", "list it in public="),
        (
            answering(with_keys(), "/auth/login", 200, b'{"access_token": "eyJhbGciOiJFUzI1NiJ9.e30.!"}'),
            "no published key verifies",
            "the same keys",
        ),
    ],
)
def test_jwks(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """Keys that no client would take are named."""
    fault(site.check(jwks, app=app), seen, mend)


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (answering(deployment(), METADATA, 200, b"<html>"), "is no metadata", "pass this path on"),
        (deployment(issuer="http://elsewhere.example/auth"), "token_endpoint is", "set ASGI_JWT_ISSUER to the URL"),
        (answering(deployment(), METADATA, 200, b'{"issuer": "x"}'), "issuer is another", "the same ASGI_JWT_ISSUER"),
    ],
)
def test_metadata(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """Metadata that would send a client elsewhere is named, and not followed."""
    fault(site.check(metadata, app=app), seen, mend)


def test_not_there(site: Site) -> None:
    """What a deployment does not publish is not tried."""
    untried(site.check(jwks, app=answering(deployment(), PATH, 404)), "publishes no keys")
    untried(site.check(metadata), "404: it is served where ISSUER is the URL")


@pytest.mark.parametrize(("off", "seen"), [(600, "600 s ahead"), (-600, "600 s behind")])
def test_clock(site: Site, off: int, seen: str) -> None:
    """A clock that is ten minutes off is named, with its direction."""
    fault(site.check(clock, app=deployment(clock=lambda: time.time() + off)), f"iat of a new token is {seen}", "NTP")
