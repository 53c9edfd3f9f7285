"""The keys of an OpenID provider that others wrote: oidc-provider from npm, which signs the tokens too."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from anyio import wait_all_tasks_blocked
from support.app import Answer, Guarded
from support.oidc_provider import OidcProvider

from asgi_jwt.auth import Auth
from asgi_jwt.events import Event, KeysFetched
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.remote_keys import RemoteKeySet

pytestmark = [pytest.mark.anyio, pytest.mark.outside]

JWKS, OPENID = "/jwks", "/.well-known/openid-configuration"
RESOURCE = "https://api.example"
FRESH = 600
AHEAD = 0.8 * FRESH
BETWEEN_ATTEMPTS = 30

SIGNED = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
OLD, NEW = ("old", "RS256"), ("new", "ES256")


@pytest.fixture(scope="module", name="provider")
def provider_() -> Iterator[OidcProvider]:
    provider = OidcProvider()
    try:
        yield provider
    finally:
        provider.close()


class Service(Guarded):
    """An app that takes the provider's tokens, with a clock to turn, and the events it told."""

    def __init__(self, provider: OidcProvider, **settings: str) -> None:
        given = {"ISSUER": provider.issuer, "AUDIENCE": RESOURCE, "DISCOVERY": "true"} | settings
        self.clock = Clock()
        self.heard: list[Event] = []
        self.provider = provider
        self.fetched_before = provider.count()
        variables = {f"ASGI_JWT_{name}": value for name, value in given.items()}
        super().__init__(Auth.from_env(variables, clock=self.clock, on_event=self.heard.append))

    async def answer(self, token: str) -> Answer:
        return await self.request(headers={"authorization": f"Bearer {token}"})

    async def status(self, token: str) -> int:
        return (await self.answer(token)).status

    @property
    def fetches(self) -> int:
        """How often the provider was asked for its keys since this service began."""
        return self.provider.count() - self.fetched_before

    async def settled(self) -> None:
        """Until the fetch that goes on behind the requests is done, and told of."""
        keys = self.auth.verifier.trusts[0].keys
        assert isinstance(keys, RemoteKeySet)
        while keys._flight.under_way:
            await keys._flight.wait()
        await wait_all_tasks_blocked()


def header_of(token: str) -> dict[str, Any]:
    segment = token.partition(".")[0]
    header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return header


@pytest.mark.parametrize("alg", SIGNED)
async def test_a_token_of_each_algorithm(provider: OidcProvider, alg: str) -> None:
    """With the issuer's name alone its tokens are let in, whatever it signs with: RFC 9068's profile as it is."""
    provider.publish((alg, alg))
    token = provider.token()
    assert header_of(token) == {"alg": alg, "typ": "at+jwt", "kid": alg}
    service = Service(provider, TYP="at+jwt", REQUIRE_TYP="true", REQUIRED_CLAIMS="client_id=machine,jti")
    assert await service.status(token) == 200
    claims = service.app.calls[-1][0]["claims"]
    assert (claims.subject, claims.issuer, claims.scopes) == ("machine", provider.issuer, {"orders:read"})
    forged = token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8)
    assert await service.status(forged) == 401
    assert service.fetches == 1


async def test_tokens_for_another_resource_and_of_narrower_algorithms(provider: OidcProvider) -> None:
    """A token of the same provider is refused where it is for another resource, or of an algorithm not allowed."""
    provider.publish(OLD)
    token = provider.token()
    for settings, status in (({}, 200), ({"AUDIENCE": "https://b.example"}, 401), ({"ALGORITHMS": "PS256"}, 401)):
        assert await Service(provider, **settings).status(token) == status


async def test_discovery(provider: OidcProvider) -> None:
    """The provider's metadata is read once and leads to its keys; what they can't be used for is told."""
    provider.publish(OLD, ("enc", "RSA-OAEP-256"), ("agreement", "ECDH-ES"), NEW)
    before, service = provider.count(OPENID), Service(provider)
    for _ in range(2):
        assert await service.status(provider.token()) == 200
        service.clock.turn(FRESH)
    assert (service.fetches, provider.count(OPENID) - before) == (2, 1)
    await service.settled()
    fetched = service.heard[0]
    assert isinstance(fetched, KeysFetched)
    assert (fetched.source, fetched.keys, len(fetched.left_out)) == (provider.issuer, 2, 2)
    assert all("alg is not one for signatures" in why for why in fetched.left_out)


async def test_rotation_with_overlap(provider: OidcProvider) -> None:
    """A new key that is published before it signs is there when it does, and no token of either key is refused.

    When the old one is withdrawn, its tokens are refused within the freshness, and leave the cache.
    """
    provider.publish(OLD)
    service, of_old = Service(provider), provider.token()
    assert await service.status(of_old) == 200

    provider.publish(OLD, NEW, sign=OLD)
    service.clock.turn(AHEAD)
    assert await service.status(of_old) == 200
    await service.settled()

    provider.publish(OLD, NEW, sign=NEW)
    of_new = provider.token()
    assert header_of(of_new)["kid"] == "new"
    for token in (of_new, of_old):
        assert await service.status(token) == 200
    assert service.fetches == 2

    provider.publish(NEW)
    service.clock.turn(AHEAD)
    for token in (of_new, of_old):
        assert await service.status(token) == 200
    await service.settled()
    for token in (of_new, of_old):
        assert (service.auth.verify_cached(token) is None) == (token == of_old)
    assert [await service.status(token) for token in (of_new, of_old)] == [200, 401]
    assert (service.fetches, len(service.auth.verifier._cache)) == (3, 1)


async def test_rotation_without_overlap(provider: OidcProvider) -> None:
    """A key that takes the other's place from one second to the next: its first token is let in, the old one's not."""
    provider.publish(OLD)
    service, of_old = Service(provider), provider.token()
    assert await service.status(of_old) == 200
    provider.publish(NEW)
    of_new = provider.token()
    service.clock.turn(BETWEEN_ATTEMPTS)
    assert await service.status(of_new) == 200
    assert service.auth.verify_cached(of_old) is None
    assert await service.status(of_old) == 401
    assert await service.status(of_new) == 200
    assert (service.fetches, len(service.auth.verifier._cache)) == (2, 1)
