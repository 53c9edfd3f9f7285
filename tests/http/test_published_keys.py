"""GET /.well-known/jwks.json: the public keys, and no private member of any."""

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet as TheirKeySet
from support.app import Service
from support.tokens import NOW

from asgi_jwt import KeySet
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate

pytestmark = pytest.mark.anyio

PATH = "/.well-known/jwks.json"
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


async def test_secrets_are_not_published(service: Service) -> None:
    """Where tokens are signed with a secret there is nothing to publish."""
    answer = await service.get(PATH)
    assert (answer.status, answer.json()) == (200, {"keys": []})


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name not in SYMMETRIC])
async def test_public_members_alone(algorithm: str) -> None:
    """P9: What others need to verify is published, the key that is yet to sign among it, and no private member."""
    jwks = rotate([generate_jwk(algorithm)], generate_jwk(algorithm), now=NOW, overlap=600, keep=3960)
    service = Service(settings={"secret": None, "keys": {"keys": jwks}})
    answer = await service.get(PATH)
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
    assert KeySet.parse((await service.get(PATH)).body.decode()).signing_key() is None
    keys = TheirKeySet.import_key_set((await service.get(PATH)).json())
    token = (await service.login()).json()["access_token"]
    assert jwt.decode(token, keys).claims["sub"] == "alice"
