"""DPoP at AuthApp and at a resource: RFC 9449 sections 5 and 7."""

from typing import Any

import pytest
from support.app import HOST, Answer, Guarded, Header, Service, payload
from support.proofs import Holder

pytestmark = pytest.mark.anyio

ORIGIN = f"http://{HOST}"
ALGS = 'algs="ES256 ES384 ES512 Ed25519 EdDSA PS256 PS384 PS512 RS256 RS384 RS512"'


class Bound:
    """A client with a key, at an AuthApp and at a resource beside it."""

    def __init__(self, dpop: str = "on", **settings: Any) -> None:
        self.service = Service(settings={"dpop": dpop, **settings})
        self.holder = Holder(self.service.clock)
        self.api = Guarded(self.service.auth, public=["/auth/*"])

    def proof(self, path: str, method: str = "POST", **changes: Any) -> Header:
        return "dpop", self.holder.proof(ORIGIN + path, method, **changes)

    async def login(self, *headers: Header, **more: Any) -> Answer:
        return await self.service.login("alice", *(headers or [self.proof("/auth/login")]), **more)

    async def refresh(self, token: str, *headers: Header) -> Answer:
        return await self.service.refresh(token, *(headers or [self.proof("/auth/refresh")]))

    async def get(self, token: str, scheme: str = "DPoP", *, holder: Holder | None = None, **changes: Any) -> Answer:
        """Ask the resource with a proof."""
        proof = (holder or self.holder).proof(f"{ORIGIN}/orders", "GET", token, **changes)
        shown = [("host", HOST), ("authorization", f"{scheme} {token}"), ("dpop", proof)]
        return await self.api.request("/orders", headers=shown)


async def test_login_refresh_and_resource() -> None:
    """A login with a proof is bound: its tokens say so, and work only with proofs of the same key."""
    client = Bound()
    login = await client.login()
    assert login.status == 200
    assert login.json()["token_type"] == "DPoP"
    access = login.json()["access_token"]
    for token in (access, login.cookie()):
        assert payload(token)["cnf"] == {"jkt": client.holder.thumbprint}
    assert (await client.service.kept(access)).jkt == client.holder.thumbprint
    assert (await client.get(access)).status == 200
    client.service.clock.turn(100)
    refreshed = await client.refresh(login.cookie())
    assert (refreshed.status, refreshed.json()["token_type"]) == (200, "DPoP")
    assert payload(refreshed.cookie())["cnf"] == payload(refreshed.json()["access_token"])["cnf"]
    assert (await client.get(refreshed.json()["access_token"])).status == 200
