"""Auth's store and sessions: opened at their first use, shared, and closed by whom they belong to."""

from pathlib import Path
from typing import Any

import pytest
from support.app import AUDIENCE, ISSUER, REFRESH_SECRET, SECRET, payload

from asgi_jwt import Auth, ConfigurationError, Identity, MemoryStore, Settings, SQLiteStore
from asgi_jwt.errors import InvalidGrant, StoreUnavailable
from asgi_jwt.stores.records import SessionKey
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

ENVIRON = {"ASGI_JWT_ISSUER": ISSUER, "ASGI_JWT_AUDIENCE": AUDIENCE, "ASGI_JWT_SECRET": SECRET}
NOBODY = SessionKey("nobody", "s1")


def an_auth(**settings: Any) -> Auth:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "secret": SECRET, "refresh_secret": REFRESH_SECRET}
    return Auth(Settings(**{**given, **settings}), clock=Clock())


async def test_store_of_the_settings(tmp_path: Path) -> None:
    """The store is opened at its first use, once, and nothing before."""
    path = tmp_path / "sessions.db"
    auth = an_auth(store=f"sqlite:///{path}")
    store = auth.store
    assert isinstance(store, SQLiteStore)
    assert auth.store is store
    assert not path.exists()
    assert await store.get(NOBODY) is None
    assert path.exists()
    await auth.aclose()


async def test_closes_what_it_opened(tmp_path: Path) -> None:
    """`aclose` closes the store that it opened, twice without harm, and opens another when it is used again."""
    auth = an_auth(store=f"sqlite:///{tmp_path}/sessions.db")
    pair = await auth.sessions.open(Identity("alice"))
    first = auth.store
    await auth.aclose()
    await auth.aclose()
    with pytest.raises(StoreUnavailable):
        await first.get(NOBODY)
    assert auth.store is not first
    assert payload((await auth.sessions.refresh(pair.refresh_token)).refresh_token)["gen"] == 1
    await auth.aclose()


async def test_leaves_a_store_of_the_hosts_open() -> None:
    """A store that was handed in is its owner's to close, stays in use, and its sessions are one."""
    store = MemoryStore()
    auth = Auth(an_auth().settings, store=store)
    async with auth as entered:
        assert entered is auth
        assert auth.store is store
        await auth.sessions.open(Identity("alice"))
    assert await store.get(NOBODY) is None
    assert len(await auth.sessions.list("alice")) == 1
    assert auth.sessions is auth.sessions


async def test_context_manager_closes() -> None:
    """Leaving it, by an error too, closes what it opened."""
    auth = an_auth(store="memory://")
    store = auth.store

    async def fail_within() -> None:
        async with auth:
            raise RuntimeError("within")

    with pytest.raises(RuntimeError, match="within"):
        await fail_within()
    with pytest.raises(StoreUnavailable):
        await store.get(NOBODY)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"refresh_secret": None, "store": "memory://"}, "REFRESH_SECRET is missing"),
        ({"audience": "*", "store": "memory://"}, "AUDIENCE is `*`"),
        ({"store": "mysql://root:hunter2@host"}, "a store of the scheme 'mysql' does not exist"),
    ],
)
def test_what_is_missing(settings: dict[str, Any], told: str) -> None:
    """What sessions lack is said when they are asked for, without the password of a store's URL."""
    with pytest.raises(ConfigurationError, match=told) as refused:
        an_auth(**settings).sessions  # noqa: B018
    assert "hunter2" not in str(refused.value)


def test_no_store() -> None:
    """Without a store, and without the refresh secret that brings one, there is none."""
    with pytest.raises(ConfigurationError, match="STORE is missing"):
        an_auth(refresh_secret=None).store  # noqa: B018


async def test_from_env_with_a_store(tmp_path: Path) -> None:
    """`from_env` takes a store, or the URL of one, above the environment's."""
    environ = {**ENVIRON, "ASGI_JWT_REFRESH_SECRET": REFRESH_SECRET, "ASGI_JWT_STORE": f"sqlite:///{tmp_path}/x.db"}
    own = MemoryStore()
    assert Auth.from_env(environ, store=own).store is own
    by_url = Auth.from_env(environ, store="memory://")
    assert isinstance(by_url.store, MemoryStore)
    assert by_url.store is not own
    by_environ = Auth.from_env(environ)
    assert isinstance(by_environ.store, SQLiteStore)
    await by_environ.aclose()


async def test_from_env_opens_sessions() -> None:
    """The variables alone make sessions: log in and refresh; `on_event` hears of both."""
    heard: list[Any] = []
    environ = {**ENVIRON, "ASGI_JWT_REFRESH_SECRET": REFRESH_SECRET, "ASGI_JWT_STORE": "memory://"}
    async with Auth.from_env(environ, on_event=heard.append, grace=0) as auth:
        pair = await auth.sessions.open(Identity("alice"))
        await auth.sessions.refresh(pair.refresh_token)
        with pytest.raises(InvalidGrant):
            await auth.sessions.refresh(pair.refresh_token)
    theft = ["refreshed", "reuse_detected", "session_ended"]
    assert [event.name for event in heard] == ["session_opened", "refreshed", *theft]


async def test_neither_token_passes_for_the_other() -> None:
    """A refresh token is no access token, and an access token no refresh token."""
    auth = an_auth(store="memory://")
    pair = await auth.sessions.open(Identity("alice"))
    assert (await auth.verify(pair.access_token)).subject == "alice"
    assert auth.verify_cached(pair.refresh_token) is None
    with pytest.raises(InvalidGrant):
        await auth.sessions.refresh(pair.access_token)


def test_repr_shows_no_secret() -> None:
    """Nothing of the settings' secrets is in the repr."""
    auth = an_auth(store="redis://user:hunter2@host")
    shown = repr(auth) + repr(auth.store) + repr(auth.sessions) + repr(auth.issuer)
    assert not [secret for secret in (SECRET, REFRESH_SECRET, "hunter2") if secret in shown]


@pytest.mark.parametrize("store", ["memory://", MemoryStore])
def test_what_is_no_store_is_refused_at_once(store: Any) -> None:
    """A URL or a class in the place of a store is a fault at the start, which says what belongs there."""
    with pytest.raises(ConfigurationError, match="takes a store, as MemoryStore"):
        Auth(an_auth().settings, store=store)
