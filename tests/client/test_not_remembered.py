"""A browser that is closed and started again, with the profile of its user on disk."""

from pathlib import Path
from typing import Any

import pytest
from support.browsers import started_with, tab
from support.sites import PASSWORDS, Site, serving

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("remember", [True, False])
def test_browser_is_closed(remember: bool, tmp_path: Path) -> None:
    """A login that is not remembered ends with the browser, also after a refresh; a remembered one does not."""
    login: dict[str, Any] = {"username": "alice", "password": PASSWORDS["alice"]}
    if not remember:
        login["forget"] = "yes"
    with serving(Site({"access_cookie": "access_token", "cookie_secure": False, "grace": 0})) as site:
        with started_with(tmp_path) as context:
            page = tab(context, site.url)
            page.evaluate("login => auth.login(login)", login)
            page.reload()
            page.wait_for_function("window.auth?.session?.subject === 'alice'")
            assert {cookie["name"] for cookie in context.cookies()} == {"refresh_token", "access_token"}
        with started_with(tmp_path) as context:
            kept = {"refresh_token", "access_token"} if remember else set()
            assert {cookie["name"] for cookie in context.cookies()} == kept
            session = tab(context, site.url).evaluate("auth.ready.then(() => auth.session?.subject ?? null)")
            assert session == ("alice" if remember else None)
    assert site.verdicts[0] == "ROTATED"
