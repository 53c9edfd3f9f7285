"""A sibling subdomain that sets cookies for the whole domain: what Chromium lets it do, and what that leads to."""

import json

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.app import COOKIE
from support.browsers import profile, tab
from support.sites import PASSWORDS, REFRESH, Site, login, serving

pytestmark = pytest.mark.outside

HOST_COOKIE = "__Host-refresh_token"
SUBJECT = "auth.session?.subject ?? null"
OUTCOME = ".then(() => 200, (error) => error.status)"


def at(site: Site, name: str) -> str:
    """The site's address at a subdomain, which browsers look for on loopback and take Secure cookies from."""
    return site.url.replace("localhost", f"{name}.site.localhost")


def attackers_token(browser: Browser, site: Site) -> str:
    """A refresh token of a session that the attacker has opened for itself."""
    body = json.dumps({"username": "bob", "password": PASSWORDS["bob"], "transport": "body"})
    ask = "(body) => fetch('/auth/login', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })"
    with profile(browser) as device:
        page = tab(device, at(site, "evil") + "/?manual")
        token: str = page.evaluate(f"{ask}.then((answer) => answer.json())", body)["refresh_token"]
        return token


def toss(context: BrowserContext, site: Site, name: str, token: str, path: str) -> None:
    """The victim visits the sibling's page, which sets a cookie for all subdomains."""
    evil = tab(context, at(site, "evil") + "/?manual")
    evil.evaluate(
        "(cookie) => { document.cookie = cookie }", f"{name}={token}; Domain=site.localhost; Path={path}; Secure"
    )
    evil.close()


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_function("window.loaded")
    page.evaluate("auth.ready")


def test_a_tossed_cookie_keeps_nobody_out(browser: Browser, context: BrowserContext, site: Site) -> None:
    """Beside a tossed cookie a refresh is a 400 that uses neither, and the user logs in all the same."""
    token = attackers_token(browser, site)
    page = tab(context, at(site, "app"))
    page.evaluate(login())
    toss(context, site, COOKIE, token, "/auth")
    reload(page)
    assert page.evaluate(SUBJECT) is None
    assert page.evaluate("auth.refresh()" + OUTCOME) == 400
    assert site.seen[-1].headers["cookie"].count(f"{COOKIE}=") == 2
    assert page.evaluate(login() + OUTCOME) == 200
    assert page.evaluate(SUBJECT) == "alice"
    assert page.evaluate("me()") == 200
    assert site.verdicts == []


def test_a_cookie_of_the_host_alone_is_not_tossed(browser: Browser, context: BrowserContext) -> None:
    """With `COOKIE_NAME=__Host-refresh_token` and `COOKIE_PATH=/` the browser keeps no cookie that a sibling sets."""
    with serving(Site({"cookie_name": HOST_COOKIE, "cookie_path": "/"})) as site:
        token = attackers_token(browser, site)
        for path in ("/", REFRESH):
            toss(context, site, HOST_COOKIE, token, path)
        page = tab(context, at(site, "app"))
        assert page.evaluate(SUBJECT) is None
        page.evaluate(login())
        for path in ("/", REFRESH):
            toss(context, site, HOST_COOKIE, token, path)
        reload(page)
        assert page.evaluate(SUBJECT) == "alice"
        page.evaluate("auth.logout()")
        assert context.cookies() == []


def test_a_cookie_that_may_be_tossed_is_another_login(browser: Browser, context: BrowserContext, site: Site) -> None:
    """With the standard name a cookie that a sibling tosses to a user who is not logged in logs in the sibling's user.

    This is the reason to use `__Host-refresh_token` where subdomains are others'.
    """
    toss(context, site, COOKIE, attackers_token(browser, site), "/auth")
    assert tab(context, at(site, "app")).evaluate(SUBJECT) == "bob"
