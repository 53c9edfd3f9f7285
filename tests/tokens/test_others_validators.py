"""Access tokens issued here, as OAuth libraries that others wrote validate them: RFC 9068 section 4."""

import json
from typing import Any

import pytest
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet as TheirKeySet
from support.app import AUDIENCE, ISSUER
from support.outside import answer_of, npm_package
from support.serving import serving_made

from asgi_jwt import Auth, AuthApp, Identity, MemoryStore, Settings
from asgi_jwt.tokens.key_rotation import generate_jwk

LIBRARIES = ["oauth4webapi", "express-oauth2-jwt-bearer"]


def auth_of(issuer: str) -> Auth:
    keys = {"keys": [generate_jwk("ES256")]}
    return Auth(Settings(issuer=issuer, audience=AUDIENCE, keys=keys, refresh_secret="r" * 32), store=MemoryStore())


@pytest.mark.anyio
async def test_authlib() -> None:
    """Authlib's validator takes a token of an identity that names no client."""
    auth = auth_of(ISSUER)
    keys = TheirKeySet.import_key_set(json.loads(json.dumps(await auth.published_keys())))
    untyped: Any = JWTBearerTokenValidator

    class Validator(untyped):  # type: ignore[misc]
        def get_jwks(self) -> TheirKeySet:
            return keys

    validator = Validator(ISSUER, AUDIENCE)
    claims = validator.authenticate_token(auth.issuer.access_token(Identity("alice")))
    validator.validate_token(claims, [], None)
    assert claims["sub"] == "alice"


@pytest.mark.outside
def test_libraries_of_npm() -> None:
    """oauth4webapi finds the keys through `AuthApp`'s metadata; it and express-oauth2-jwt-bearer take the token."""
    for library in LIBRARIES:
        npm_package(library)
    made: list[Auth] = []

    def app(address: str) -> AuthApp:
        made.append(auth_of(f"http://{address}"))
        return AuthApp(made[0], lambda credentials, request: None)

    with serving_made(app) as address:
        token = made[0].issuer.access_token(Identity("alice"))
        told = answer_of("access-token.mjs", {"issuer": f"http://{address}", "audience": AUDIENCE, "token": token})
    assert told == {"oauth4webapi": "alice", "express": "alice"}
