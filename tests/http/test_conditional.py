"""The documents that anybody may have, and who need not be sent them again: RFC 9110 section 13.1.2."""

import pytest
from support.app import Service

from asgi_jwt.http.published_keys import MAX_AGE

pytestmark = pytest.mark.anyio

DOCUMENTS = {
    "/asgi-jwt.js": "public, max-age=600",
    "/asgi-jwt-dpop.js": "public, max-age=600",
    "/.well-known/jwks.json": f"public, max-age={MAX_AGE}",
}
# The lines of If-None-Match; `T` stands for the document's tag.
KNOWN = [["T"], ["W/T"], ['"a" , T'], ['"a"', "T"], ["*"], ["," * 900 + "T"]]
UNKNOWN = [[], [""], ['"a"'], ["U"], ["W/W/T"], ["," * 10_000]]
TOO_LONG = [["," * 65_000 + "T"], ["T", '"a"' * 400], ["T"] * 40]


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_anybody_may_have_it(path: str) -> None:
    """Other sites' pages and services may ask for it: no cookie changes it; HEAD has GET's headers."""
    headers = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example"), ("cookie", "a=b")]
    service = Service()
    answer, head = await service.get(path, *headers), await service.ask("HEAD", path)
    assert (answer.status, answer.set_cookies, head.status) == (200, [], 200)
    assert head.headers == answer.headers
    assert (await service.post(path)).status == 405


@pytest.mark.parametrize("lines", KNOWN + UNKNOWN + TOO_LONG, ids=lambda lines: str(lines)[:20])
@pytest.mark.parametrize("path", DOCUMENTS)
async def test_who_has_it_is_not_sent_it_again(path: str, lines: list[str]) -> None:
    """It may be kept for a while. Whoever has it, by a tag that is weak or strong, in a list or a second header, or by
    `*`, is told so alone. A list of more than 1,024 characters costs no search: the document is sent whole."""
    service = Service()
    first = await service.get(path)
    assert first.headers["cache-control"] == DOCUMENTS[path]
    tag = first.headers["etag"]
    assert tag[0] == tag[-1] == '"'
    known = [("if-none-match", line.replace("T", tag).replace("U", tag.strip('"'))) for line in lines]
    again = await service.get(path, *known)
    if lines in KNOWN:
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["cache-control"] == DOCUMENTS[path]
    else:
        assert (again.status, again.body) == (200, first.body)


async def test_the_tag_is_the_documents_own() -> None:
    """Another document has another tag."""
    service = Service()
    assert len({(await service.get(path)).headers["etag"] for path in DOCUMENTS}) == len(DOCUMENTS)
