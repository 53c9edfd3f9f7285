"""GET /.well-known/jwks.json: the public keys, and no private member of any."""

import json

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet as TheirKeySet
from support.app import AUDIENCE, ISSUER, REFRESH_SECRET, Service, ask
from support.tokens import NOW

from asgi_jwt import Auth, AuthApp, Identity, KeySet, Settings
from asgi_jwt.http.published_keys import MAX_AGE
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate

pytestmark = pytest.mark.anyio

PATH = "/.well-known/jwks.json"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


async def test_secrets_are_not_published(service: Service) -> None:
    """Where tokens are signed with a secret there is nothing to publish."""
    answer = await service.ask("GET", PATH)
    assert (answer.status, answer.json()) == (200, {"keys": []})


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in SYMMETRIC])
async def test_public_members_alone(algorithm: str) -> None:
    """What others need to verify is published, the key that is yet to sign among it, and no private member."""
    jwks = rotate([generate_jwk(algorithm)], generate_jwk(algorithm), now=NOW, overlap=600, keep=3960)
    service = Service(settings={"secret": None, "keys": {"keys": jwks}})
    answer = await service.ask("GET", PATH)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/jwk-set+json"
    published = answer.json()["keys"]
    assert [key["kid"] for key in published] == [jwks[1]["kid"], jwks[0]["kid"]]
    assert all(key["alg"] == algorithm and key["use"] == "sig" for key in published)
    for key in published:
        assert PRIVATE.isdisjoint(key)
    private = [jwk[name] for jwk in jwks for name in PRIVATE & jwk.keys()]
    assert private
    assert all(value not in answer.body.decode() for value in private)


async def test_others_verify_with_them() -> None:
    """joserfc verifies our tokens with what is published."""
    service = Service(settings={"secret": None, "keys": generate_jwk("RS256")})
    keys = TheirKeySet.import_key_set((await service.ask("GET", PATH)).json())
    token = (await service.login()).json()["access_token"]
    assert jwt.decode(token, keys).claims["sub"] == "alice"


async def test_caching(service: Service) -> None:
    """The answer may be kept for a while, and what has not changed is not sent again."""
    first = await service.ask("GET", PATH)
    assert first.headers["cache-control"] == f"public, max-age={MAX_AGE}"
    tag = first.headers["etag"]
    for given in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await service.ask("GET", PATH, headers=[("if-none-match", given)])
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == first.headers["cache-control"]
    assert (await service.ask("GET", PATH, headers=[("if-none-match", '"other"')])).status == 200
    assert (await service.ask("HEAD", PATH)).status == 200
    assert (await service.ask("POST", PATH)).status == 405


async def test_needs_no_token_and_no_cookie() -> None:
    """Other services ask for it from anywhere."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys=generate_jwk("ES256"), refresh_secret=REFRESH_SECRET)
    app = AuthApp(Auth(settings), lambda credentials, request: Identity("alice"))
    answer = await ask(app, "GET", PATH, headers=[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")])
    assert answer.status == 200
    assert KeySet.parse(json.dumps(answer.json())).signing_key() is None
