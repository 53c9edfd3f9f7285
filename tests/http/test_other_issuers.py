"""Tokens of other issuers pass with the settings that the documentation gives for each, and fail without."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact
from support.app import Recorder, exchange, http_scope
from support.other_issuers import ISSUERS, NOW, Issuer

from asgi_jwt import Auth, JWTMiddleware, Settings
from asgi_jwt.testing import Clock
from asgi_jwt.testing.issuer import using
from asgi_jwt.tokens.keys import KeySet

pytestmark = pytest.mark.anyio

EACH_SETTING = [(name, setting) for name, issuer in ISSUERS.items() for setting in issuer.settings]
KEPT_APART = [name for name, issuer in ISSUERS.items() if issuer.also]


@cache
def signing_key() -> RSAKey:
    """RS256, which all of them sign with unless told otherwise."""
    return RSAKey.generate_key(2048, {"kid": "2026-01", "use": "sig", "alg": "RS256"})


@cache
def ec_signing_key() -> ECKey:
    """ES256, which some of them sign with."""
    return ECKey.generate_key("P-256", {"kid": "2026-02", "use": "sig", "alg": "ES256"})


def jwks() -> dict[str, Any]:
    """An issuer's key set: the two keys that sign, and one for encryption."""
    signs = signing_key().as_dict(private=False)
    also = ec_signing_key().as_dict(private=False)
    return {"keys": [also, signs, {**signs, "kid": "enc", "use": "enc", "alg": "RSA-OAEP"}]}


def token_of(issuer: Issuer, changes: Mapping[str, Any] | None = None) -> str:
    """The issuer's token, with `changes` to its claims, or to its header where that has the name; None: left out."""
    header = {"alg": "RS256", "kid": "2026-01", **issuer.header}
    claims = {"iat": NOW, "exp": NOW + 3600, **issuer.claims}
    for name, value in (changes or {}).items():
        (header if name in issuer.header and name not in issuer.claims else claims)[name] = value
    members = {name: value for name, value in claims.items() if value is not None}
    key = signing_key() if header["alg"] == "RS256" else ec_signing_key()
    return serialize_compact(header, json.dumps(members), key, registry=JWSRegistry(strict_check_header=False))


async def ask(issuer: Issuer, settings: Mapping[str, str], token: str) -> tuple[int, Any]:
    """The status of a request with the token to a service with these settings, and the claims that its app found."""
    environ = {f"ASGI_JWT_{name.upper()}": value for name, value in settings.items()}
    keys = KeySet.parse(json.dumps(jwks()))
    found_by: Any = {"discovery": True} if "tenants" in settings else {"keys": keys}
    app, auth = Recorder(), Auth(Settings.from_env(environ, **found_by), clock=Clock(NOW))
    sent = {"authorization": f"Bearer {token}"} if issuer.sent_in is None else {issuer.sent_in.lower(): token}
    scope = http_scope(headers=sent)
    with using(auth, keys.limited_to(())):
        answer = await exchange(JWTMiddleware(app, auth), scope)
    return answer.status, scope.get("claims")


@pytest.mark.parametrize("name", ISSUERS)
async def test_passes(name: str) -> None:
    """With its row of settings, the issuer's token passes, and subject, scopes and roles are found where they are."""
    issuer = ISSUERS[name]
    status, claims = await ask(issuer, issuer.row, token_of(issuer))
    assert status == 200
    assert claims.subject == issuer.subject
    assert claims.credentials.scopes == tuple(issuer.scopes)
    assert claims.roles == set(issuer.roles)


@pytest.mark.parametrize(("name", "setting"), EACH_SETTING)
async def test_fails_without(name: str, setting: str) -> None:
    """Without any one of its settings, the token is refused, or its scopes or roles are not found."""
    issuer = ISSUERS[name]
    others = {"issuer": "https://issuer.example", "audience": "another"}
    if "tenants" in issuer.settings:
        others |= {"issuer": "https://issuer.example/{tenant}", "tenants": "another"}
    settings = {each: value for each, value in issuer.row.items() if each != setting}
    if setting in others:
        settings[setting] = others[setting]
    status, claims = await ask(issuer, settings, token_of(issuer))
    if setting == "scope_claim":
        assert claims.credentials.scopes != tuple(issuer.scopes)
    elif setting == "roles_claim":
        assert claims.roles != set(issuer.roles)
    else:
        assert (status, claims) == (401, None)


@pytest.mark.parametrize("name", KEPT_APART)
async def test_kept_apart(name: str) -> None:
    """What the rest of the row asks for keeps out a token of the same issuer that is not for this service."""
    issuer = ISSUERS[name]
    confused = token_of(issuer, issuer.confused)
    assert (await ask(issuer, issuer.settings, confused))[0] == 200
    assert await ask(issuer, issuer.row, confused) == (401, None)


@pytest.mark.parametrize("name", ISSUERS)
async def test_fails_with_other_settings(name: str) -> None:
    """It is refused with nothing but an issuer and an audience set, which is enough for tokens of one's own. The
    issuer's name is taken as it is written: a slash more or less is another issuer."""
    issuer = ISSUERS[name]
    written = issuer.settings["issuer"]
    other = written.removesuffix("/") if written.endswith("/") else f"{written}/"
    bare = {setting: issuer.settings[setting] for setting in ("issuer", "audience")}
    # The tokens of tenants need no type: the keys of all tenants are remote.
    for settings in (*([] if "tenants" in issuer.row else [bare]), {**issuer.row, "issuer": other}):
        assert await ask(issuer, settings, token_of(issuer)) == (401, None)


@pytest.mark.parametrize("name", ISSUERS)
async def test_refused_all_the_same(name: str) -> None:
    """No row switches a check off that keeps forgeries out: signature, expiry, issuer and audience hold."""
    issuer = ISSUERS[name]
    header, payload, signature = token_of(issuer).split(".")
    other = token_of(issuer, {"sub": "admin"}).split(".")[1]
    audience_claim = issuer.row.get("audience_claim", "aud")
    for forged in (
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.",
        token_of(issuer, {"exp": NOW - 60}),
        token_of(issuer, {"iss": "https://thief.example"}),
        token_of(issuer, {audience_claim: "another"}),
        token_of(issuer, {audience_claim: None}),
        token_of(issuer, {"sub": None}),
    ):
        assert await ask(issuer, issuer.row, forged) == (401, None)


KINDS = [("Keycloak", {"typ": "ID"}), ("Keycloak", {"typ": "Refresh"}), ("Amazon Cognito", {"token_use": "id"})]


@pytest.mark.parametrize(("name", "kind"), KINDS)
async def test_kind_of_token(name: str, kind: dict[str, str]) -> None:
    """Where the issuer says what kind a token is, an ID or a refresh token of its own is refused."""
    issuer = ISSUERS[name]
    members = json.dumps({"iat": NOW, "exp": NOW + 3600, **issuer.claims, **kind})
    forged = serialize_compact({"alg": "RS256", "kid": "2026-01"}, members, signing_key())
    assert await ask(issuer, issuer.row, forged) == (401, None)
