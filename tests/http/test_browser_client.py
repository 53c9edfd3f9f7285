"""GET /asgi-jwt.js: the browser client as AuthApp serves it."""

from pathlib import Path

import pytest
from support.app import Service

import asgi_jwt

pytestmark = pytest.mark.anyio

MODULE = (Path(asgi_jwt.__file__).parent / "client" / "asgi-jwt.js").read_bytes()


async def test_the_module_of_the_package() -> None:
    """The module is served as it stands in the package, as what a browser takes for a module and nothing else."""
    answer = await Service().ask("GET", "/asgi-jwt.js")
    assert (answer.status, answer.body) == (200, MODULE)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["content-length"] == str(len(MODULE))


async def test_head() -> None:
    """HEAD answers with the headers of GET and no body."""
    service = Service()
    got, head = await service.ask("GET", "/asgi-jwt.js"), await service.ask("HEAD", "/asgi-jwt.js")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == got.headers


async def test_who_has_it_is_not_sent_it_again() -> None:
    """A browser may keep it for ten minutes, and then asks whether it has changed."""
    service = Service()
    answer = await service.ask("GET", "/asgi-jwt.js")
    assert answer.headers["cache-control"] == "public, max-age=600"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await service.ask("GET", "/asgi-jwt.js", headers=[("if-none-match", known)])
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag), known
    for other in ('"other"', tag.strip('"'), ""):
        assert (await service.ask("GET", "/asgi-jwt.js", headers=[("if-none-match", other)])).status == 200


async def test_needs_nobody() -> None:
    """Other sites' pages may ask for it as well: it is public, and no cookie changes it."""
    answer = await Service().ask("GET", "/asgi-jwt.js", headers=[("sec-fetch-site", "cross-site"), ("cookie", "a=b")])
    assert (answer.status, answer.set_cookies) == (200, [])
