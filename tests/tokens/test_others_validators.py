"""Access tokens issued here, as OAuth libraries that others wrote validate them: RFC 9068 section 4."""

import json
import subprocess
from typing import Any

import pytest
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc.jwk import KeySet as TheirKeySet
from starlette.types import Receive, Scope, Send
from support.app import AUDIENCE, ISSUER
from support.outside import NPM, npm_package, program
from support.serving import uvicorn_serving
from support.waiting import PATIENCE

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
    made: list[AuthApp] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "uvicorn goes on without a lifespan"
        await made[0](scope, receive, send)

    with uvicorn_serving(app) as address:
        issuer = f"http://{address}"
        auth = auth_of(issuer)
        made.append(AuthApp(auth, lambda credentials, request: None))
        asked = {"issuer": issuer, "audience": AUDIENCE, "token": auth.issuer.access_token(Identity("alice"))}
        command = [program("node"), str(NPM / "access-token.mjs")]
        told = subprocess.run(
            command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
        )
    assert json.loads(told.stdout) == {"oauth4webapi": "alice", "express": "alice"}
