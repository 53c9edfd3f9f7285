"""AuthApp on an SQLite file that can't be used: 503 while it lasts, the cookie kept, nothing lost."""

from pathlib import Path

import pytest
from support.logins import (
    NOW,
    SETTINGS,
    an_app,
    an_auth,
    assert_logged_in,
    assert_unavailable,
    browsing,
    logged_in,
    session_of,
)
from support.sqlite_files import FAULTS
from support.stores import using

from asgi_jwt import Auth, ConfigurationError, Settings
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.testing import Clock


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"no room"}))  # where there is room for what these write
async def test_file_out_of_use(tmp_path: Path, name: str) -> None:
    """P23: While the file can't be used, nobody is logged in or out, and users see their devices where it can be read;
    then the app goes on, with every session as it was."""
    path, fault = tmp_path / "sessions.db", FAULTS[name]
    async with using(SQLiteStore(path)) as store, logged_in(an_auth(store, Clock(NOW))) as alice:
        assert (await alice.refresh()).status_code == 200
    async with using(SQLiteStore(path, timeout=0.05)) as store:
        app = an_app(auth := an_auth(store, Clock(NOW)))
        async with browsing(app, alice.cookie) as here, browsing(app) as bob:
            if not fault.opening:
                assert (await bob.login("bob")).status_code == 200
                before = await session_of(auth, alice.cookie)
            with fault.begins(path):
                for _ in range(2):
                    for route in ("/refresh", "/logout", "/logout-all"):
                        assert_unavailable(await here.post(route))
                    assert_unavailable(await bob.login("bob"))
                if fault.reads:
                    listed = await here.client.get("/sessions", headers=alice.bearer)
                    assert (listed.status_code, len(listed.json()["sessions"])) == (200, 1)
                    before = await session_of(auth, alice.cookie)
            assert (here.cookie, await session_of(auth, alice.cookie)) == (alice.cookie, before)
            await assert_logged_in(auth, here)
            assert (await bob.login("bob")).status_code == 200
            await assert_logged_in(auth, bob)


def test_no_place_for_a_file(tmp_path: Path) -> None:
    """A store that can't be is told of when the app is built, not at the first login."""
    store = f"sqlite:///{tmp_path / 'missing' / 'sessions.db'}"
    with pytest.raises(ConfigurationError, match="missing is not there, or closed: create it"):
        an_app(Auth(Settings(**SETTINGS, store=store)))
