"""The metadata of `AuthApp` for OAuth clients: RFC 8414."""

from typing import Any

import pytest
from support.app import Service, ask
from support.tables import tables_of

from asgi_jwt import ConfigurationError, Settings
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.proof import PROOF_ALGORITHMS

pytestmark = pytest.mark.anyio

PATH = "/.well-known/oauth-authorization-server"


async def told(issuer: str, root_path: str = "", host: str = "inside:8000", **settings: Any) -> Any:
    """The status, and the document where it is 200."""
    service = Service(settings={"issuer": issuer, **settings})
    headers = [("host", host)]
    answer = await ask(service.app, "GET", root_path + PATH, headers=headers, root_path=root_path)
    return answer.json() if answer.status == 200 else answer.status


async def test_what_it_says() -> None:
    """It names the endpoints, and what they take (section 2); any page may read it."""
    keys = {"secret": None, "keys": {"keys": [generate_jwk("ES256")]}}
    service = Service(settings={"issuer": "https://auth.example", "scopes": "a b", **keys})
    answer = await ask(service.app, "GET", PATH)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {
        "issuer": "https://auth.example",
        "token_endpoint": "https://auth.example/token",
        "revocation_endpoint": "https://auth.example/revoke",
        "jwks_uri": "https://auth.example/.well-known/jwks.json",
        "scopes_supported": ["a", "b"],
        "grant_types_supported": ["refresh_token"],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": list(PROOF_ALGORITHMS),
    }


async def test_a_secret_has_no_key_set() -> None:
    """Where tokens are signed with a secret, no `jwks_uri` is named, and without `SCOPES` no scopes."""
    document = await told("https://auth.example")
    assert {"jwks_uri", "scopes_supported"}.isdisjoint(document)


@pytest.mark.parametrize(
    ("issuer", "asked", "base"),
    tables_of(__file__)["where_it_is_the_issuers"],
)
async def test_where_it_is_the_issuers(issuer: str, asked: dict[str, str], base: str) -> None:
    """The mount is the path of `ISSUER`, also behind a proxy that strips it, or lies on the host of `ISSUER`."""
    document = await told(issuer, **asked)
    assert (document["issuer"], document["token_endpoint"]) == (issuer, f"{base}/token")


@pytest.mark.parametrize("issuer", ["my-service", "https://auth.example", "https://auth.example/other", "urn:auth"])
async def test_where_it_is_another_servers(issuer: str) -> None:
    """Where `ISSUER` is no URL, or the mount may not be its own, no endpoints are named."""
    assert await told(issuer, root_path="" if issuer == "my-service" else "/auth") == 404


@pytest.mark.parametrize("scopes", ['a"b', "a\\b", "é", "a\x00b"])
def test_scopes_that_no_challenge_can_hold(scopes: str) -> None:
    """A scope has printable ASCII without blanks, quotes and backslashes (RFC 6749 section 3.3)."""
    with pytest.raises(ConfigurationError, match="SCOPES"):
        Settings(issuer="i", audience="a", secret="s" * 32, scopes=scopes)
