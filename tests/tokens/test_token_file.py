"""Keys behind a bearer token, as a cluster's own, and keys over plain http within it: against real servers."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.issuers import JWKS, OPENID, IssuerServer
from support.tokens import AUDIENCE, ISSUER, NOW, ec_key, jwk_of, jwks, token_by

from asgi_jwt import Auth, ConfigurationError, Settings
from asgi_jwt.errors import KeysUnavailable
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

SECRETS = ("first-secret", "second-secret==")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{SECRETS[0]}\n")
    return path


@pytest.fixture
def elsewhere() -> Iterator[IssuerServer]:
    """A server of another origin, with the same key."""
    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "a"))
        yield server


def write(path: Path, content: str) -> None:
    path.write_text(content)


def auth_of(clock: Clock | None = None, **settings: Any) -> Auth:
    given = {"issuer": ISSUER, "audience": AUDIENCE, **settings}
    return Auth(Settings(**given), clock=clock or Clock(NOW))


async def test_a_token_that_its_issuer_replaces(
    server: IssuerServer, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each fetch sends the token that the file holds then. No log of any library, and no repr, has it."""
    caplog.set_level(logging.DEBUG)
    clock = Clock(NOW)
    auth = auth_of(clock, jwks_url=server.jwks_url, jwks_token_file=str(secret))
    await auth.verify(token_by(ec_key(), "a"))
    write(secret, SECRETS[1])
    clock.turn(2 * 3600)
    await auth.verify(token_by(ec_key(), "a", exp=NOW + 4 * 3600))
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {secret}" for secret in SECRETS]
    assert not [secret for secret in SECRETS if secret in caplog.text + repr(auth.settings)]


async def test_a_token_is_for_one_origin(server: IssuerServer, elsewhere: IssuerServer, secret: Path) -> None:
    """The issuer's metadata may name keys of another origin, or redirect there: no token goes there."""
    auth = auth_of(issuer=server.issuer, discovery=True, jwks_token_file=secret)
    server.describe(jwks_uri=elsewhere.jwks_url)
    await auth.verify(token_by(ec_key(), "a", iss=server.issuer))
    assert (server.requests, "authorization" in server.headers[0]) == ([OPENID], True)
    assert (elsewhere.requests, "authorization" in elsewhere.headers[0]) == ([JWKS], False)
    elsewhere.fail(JWKS)
    with pytest.raises(KeysUnavailable, match=f"answered 500; .*JWKS_TOKEN_FILE is sent to {server.issuer} alone"):
        await auth_of(issuer=server.issuer, discovery=True, jwks_token_file=secret).ready()
    server.answer(JWKS, b"", status=307, location=elsewhere.jwks_url)
    with pytest.raises(KeysUnavailable, match=r"answered 307$"):
        await auth_of(jwks_url=server.jwks_url, jwks_token_file=secret).ready()
    assert elsewhere.count() == 2


@pytest.mark.parametrize("content", ["", "two words", "secr\x00et", "\N{SNOWMAN}"])
async def test_a_file_without_a_token(server: IssuerServer, secret: Path, content: str) -> None:
    """It is refused at the start. Later no request is made without the token, and nothing of the file is told."""
    auth = auth_of(jwks_url=server.jwks_url, jwks_token_file=secret)
    write(secret, content)
    with pytest.raises(KeysUnavailable, match="ASGI_JWT_JWKS_TOKEN_FILE names a file that") as away:
        await auth.ready()
    with pytest.raises(ConfigurationError, match="ASGI_JWT_JWKS_TOKEN_FILE names a file that") as refused:
        auth_of(jwks_url=server.jwks_url, jwks_token_file=secret)
    assert not content or content not in f"{away.value} {refused.value}"
    assert server.requests == []


@pytest.mark.parametrize("file", [Path("/no\0path"), "eyJhbGciOiJSUzI1NiJ9.secret.secret"])
def test_a_token_in_the_place_of_its_file(file: str | Path) -> None:
    """A token that was put into the variable itself is not shown."""
    with pytest.raises(ConfigurationError, match="names a file that can't be read") as refused:
        auth_of(jwks_url="https://issuer.example/jwks", jwks_token_file=file)
    assert str(file) not in str(refused.value)


@pytest.mark.parametrize("settings", [{"keys": jwks()}, {"discovery": True, "issuer": ["https://a", "https://b"]}])
def test_a_token_of_no_issuer(secret: Path, settings: dict[str, Any]) -> None:
    """A token needs the one issuer whose keys it fetches: keys of this service need none, and others would get it."""
    with pytest.raises(ConfigurationError, match="ASGI_JWT_JWKS_TOKEN_FILE is ") as refused:
        auth_of(jwks_token_file=secret, **settings)
    assert len(refused.value.faults) == 1


async def test_plain_http_inside_a_cluster(server: IssuerServer) -> None:
    """The hosts of JWKS_ALLOW_HTTP may give their keys over plain http, and no other host may."""
    url = server.jwks_url.replace("127.0.0.1", "127.1")
    with pytest.raises(ConfigurationError, match=r"ASGI_JWT_JWKS_URL has to be an https URL.*ASGI_JWT_JWKS_ALLOW_HTTP"):
        auth_of(jwks_url=url, jwks_allow_http="127.2,jwks.auth.svc")
    auth = auth_of(jwks_url=url, jwks_allow_http=["127.1"])
    assert (await auth.verify(token_by(ec_key(), "a"))).subject == "alice"
