"""FastAPI's page of its document, in a real browser."""

from collections.abc import Iterator

import pytest
from frameworks.fastapi_app import create_app
from playwright.sync_api import Browser, Page, Route, expect
from starlette.applications import Starlette
from starlette.routing import Mount
from support import browsers
from support.outside import npm_package
from support.serving import uvicorn_serving

from asgi_jwt import Auth, MemoryStore, Settings

pytestmark = pytest.mark.outside

SETTINGS = Settings(issuer="https://issuer.example", audience="api", secret="a" * 32, refresh_secret="r" * 32)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture(params=["", "/api"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of an app that is served at the root, and of one below a prefix."""
    assets = npm_package("swagger-ui-dist")

    def from_npm(route: Route) -> None:
        route.fulfill(path=assets / route.request.url.rpartition("/")[2])

    app = Starlette(routes=[Mount(request.param, create_app(Auth(SETTINGS, store=MemoryStore())))])
    with uvicorn_serving(app) as address, browsers.profile(browser) as context:
        # FastAPI names a CDN.
        context.route("https://cdn.jsdelivr.net/**", from_npm)
        context.route("https://fastapi.tiangolo.com/**", lambda route: route.abort())
        page = context.new_page()
        page.goto(f"http://{address}{request.param}/docs")
        yield page


def log_in(page: Page, name: str) -> None:
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.locator("#oauth_username").fill(name)
    dialog.locator("#oauth_password").fill("wonderland")
    dialog.locator("button.authorize").click()
    expect(dialog.get_by_text("Authorized")).to_be_visible()
    dialog.locator(".btn-done").click()


def try_out(page: Page, operation: str) -> str | None:
    """The status that the page shows for a request of its own."""
    block = page.locator(f"#operations-default-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table .response-col_status").last.text_content()


def test_the_button_authorize_logs_in(page: Page) -> None:
    """Whoever logs in by the page's button gets 200 where the scopes suffice, and 403 where they don't."""
    log_in(page, "bob")
    assert try_out(page, "orders_orders_get") == "200"
    assert try_out(page, "order_orders_post") == "403"


def test_without_a_login(page: Page) -> None:
    """Whoever does not log in gets 401."""
    assert try_out(page, "orders_orders_get") == "401"
