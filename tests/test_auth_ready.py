"""`Auth.ready`: for a readiness route."""

from typing import Any

import anyio
import pytest
from support.app import AUDIENCE, ISSUER, WatchedStore, make_auth
from support.issuers import JWKS, IssuerServer
from support.tokens import ec_key, jwk_of
from support.waiting import PATIENCE

from asgi_jwt import Auth, MemoryStore, Settings
from asgi_jwt.errors import KeysUnavailable, RevocationsUnavailable, StoreUnavailable, Unavailable
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio


async def test_ready() -> None:
    """With keys of its own it is ready, with a store once that answers; nothing is written."""
    await make_auth().ready()
    store = WatchedStore(MemoryStore())
    await make_auth(store=store).ready()
    assert (store.calls["get"], store.calls["read_revocations"], store.writes) == (1, 1, 0)


async def test_a_store_that_is_down() -> None:
    """A store that does not answer, or a log that can't be read, is told each time, and it is ready when both are."""
    store = WatchedStore(MemoryStore())
    auth = make_auth(store=store)
    for down, fault in (("get", StoreUnavailable), ("read_revocations", RevocationsUnavailable)):
        store.down = {down}
        with pytest.raises(fault):
            await auth.ready()
    store.down = set()
    auth.clock.turn(60)  # type: ignore[attr-defined]
    await auth.ready()
    store.down = {"get"}
    with pytest.raises(StoreUnavailable):
        await auth.ready()


async def test_keys_of_a_remote_issuer() -> None:
    """It fetches the keys, and is ready when they are there."""
    with IssuerServer() as server:
        clock = Clock()
        auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, jwks_url=server.jwks_url), clock=clock)
        with pytest.raises(KeysUnavailable):
            await auth.ready()
        server.answer(JWKS, {"keys": [jwk_of(ec_key(), "a")]})
        clock.turn(60)
        await auth.ready()


async def test_what_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that hangs holds no probe up for ever."""
    monkeypatch.setattr("asgi_jwt.auth._READY_TIMEOUT", 0.05)

    class Hanging(MemoryStore):
        async def get(self, key: Any) -> Any:
            await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE), pytest.raises(Unavailable, match="no answer within"):
        await make_auth(store=Hanging()).ready()
