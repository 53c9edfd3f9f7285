"""What an issuer publishes, over HTTP, from an issuer that may be broken or hostile."""

import gzip
import socket
import sys
from contextlib import nullcontext
from typing import Any

import pytest
from support.issuers import JWKS, OAUTH, OPENID, IssuerServer

from asgi_jwt.errors import ConfigurationError, KeysUnavailable
from asgi_jwt.tokens import discovery
from asgi_jwt.tokens.discovery import MAX_DOCUMENT, check_issuer, check_url, discover, fetch

pytestmark = pytest.mark.anyio


async def refused(url: str) -> str:
    with pytest.raises(KeysUnavailable) as why:
        await fetch(url)
    return str(why.value)


@pytest.mark.parametrize(
    "url",
    [
        *("https://issuer.example/jwks", "https://issuer.example:8443/jwks?tenant=a"),
        *("http://127.0.0.1/jwks", "http://localhost:8080/jwks", "http://[::1]:8080/jwks"),
    ],
)
def test_urls_to_fetch_from(url: str) -> None:
    """https from anywhere, http from this machine alone."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://issuer.example/jwks", "http://localhost.issuer.example/jwks", "http://127.0.0.1@issuer.example/jwks"),
        *("https://user:password@issuer.example/jwks", "ftp://127.0.0.1/jwks", "file:///etc/passwd", "https:///jwks"),
        *("https://issuer.example:port/jwks", "https://issuer.example:0/jwks", "https://[::1/jwks"),
        *("https://issuer.example/\n", "issuer.example", ""),
    ],
)
def test_urls_never_to_fetch_from(url: str) -> None:
    """Keys that came over plain http could be anyone's; a URL with credentials would show them in the log."""
    with pytest.raises(ValueError, match="has to be an https URL, or http on this machine alone"):
        check_url(url)


def test_issuers_are_urls_without_query_and_fragment() -> None:
    """RFC 8414 section 2: there would be no place for the well-known path."""
    assert check_issuer("https://issuer.example/tenant/") == "https://issuer.example/tenant/"
    for issuer in ("https://issuer.example?a", "https://issuer.example/#a", "http://issuer.example"):
        with pytest.raises(ValueError, match="has to be"):
            check_issuer(issuer)


async def test_a_document(server: IssuerServer) -> None:
    """A JSON object arrives as it is, and is asked for unpacked."""
    server.answer(JWKS, {"keys": []})
    document = await fetch(server.jwks_url)
    assert (document.content, document.fresh_for) == ({"keys": []}, 600)
    assert server.headers[0]["accept-encoding"] == "identity"


FRESHNESS: dict[int, list[str]] = {
    60: ["max-age=0"],
    120: ['public,Max-Age="120"', "no-cache, max-age=120"],
    600: [
        "s-maxage=900",
        "max-age=-5",
        "max-age=\u0663",
        "no-store",
        "no-cache, max-age=86400",
        "max-age=86400,No-Store",
        "",
    ],
    900: ["max-age=900", 'no-cache="Set-Cookie", max-age=900'],
    3600: ["public, max-age=3600, must-revalidate"],
    86400: ["max-age=999999999999999"],
}


@pytest.mark.parametrize(
    ("cache_control", "fresh_for"), [(each, time) for time in FRESHNESS for each in FRESHNESS[time]]
)
async def test_freshness(server: IssuerServer, cache_control: str, fresh_for: float) -> None:
    """`max-age` says how long a document is fresh, between a minute and a day.

    It is 10 minutes without one, and at most as long where the answer asks not to be kept.
    """
    server.answer(JWKS, {}, cache_control=cache_control.encode().decode("latin-1"))
    assert (await fetch(server.jwks_url)).fresh_for == fresh_for


@pytest.mark.parametrize(
    ("age", "cache_control", "fresh_for"),
    [
        *((age, "max-age=3600", 600) for age in ("3000", " 3000 ")),
        *((age, "max-age=3600", 60) for age in ("3600", "99999999999999999999", "9" * 400)),
        *((age, "max-age=3600", 3600) for age in ("-300", "300.5", "\u0663", "soon, 300", "")),
        ("86400", "max-age=999999999", 86400),
        ("300", "", 300),
        ("300, 3000", "max-age=3600", 3300),
    ],
)
async def test_age(server: IssuerServer, age: str, cache_control: str, fresh_for: float) -> None:
    """`Age`, for which caches have kept the answer, counts against its time; an `Age` that is no number does not."""
    server.answer(JWKS, {}, cache_control=cache_control, age=age.encode().decode("latin-1"))
    assert (await fetch(server.jwks_url)).fresh_for == fresh_for


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 404, 500, 503])
async def test_other_statuses(server: IssuerServer, status: int) -> None:
    """Only 200 counts; a redirect is not followed, wherever it leads."""
    server.answer("/elsewhere", {"keys": []})
    server.answer(JWKS, {"keys": []}, status=status, location=f"{server.issuer}/elsewhere")
    assert await refused(server.jwks_url) == f"{server.jwks_url}: answered {status}"
    assert server.requests == [JWKS]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"keys"', b'{"keys": [}', b'{"a": 1, "a": 2}', b"\xff{}"])
async def test_other_than_a_json_object(server: IssuerServer, body: bytes) -> None:
    """What is no JSON object, or one with repeated names, is refused."""
    server.answer(JWKS, body)
    assert (await refused(server.jwks_url)).startswith(f"{server.jwks_url}: the answer is no JSON object: not ")


async def test_size(server: IssuerServer) -> None:
    """256 KiB are taken, a byte more is not, nor is an answer that never ends."""
    padding = b" " * (MAX_DOCUMENT - 2)
    server.answer(JWKS, b"{}" + padding)
    assert (await fetch(server.jwks_url)).content == {}
    for body, endless in ((b"{}" + padding + b" ", False), (b" " * 1024, True), (b"{}" + b" " * 2**20, False)):
        server.answer(JWKS, body, endless=endless)
        assert await refused(server.jwks_url) == f"{server.jwks_url}: the answer is past 256 KiB"


async def test_packed_answers(server: IssuerServer) -> None:
    """A packed answer is refused: a few bytes of it could become gigabytes."""
    server.answer(JWKS, gzip.compress(b"{}"), content_encoding="gzip")
    assert "packed" in await refused(server.jwks_url)
    server.answer(JWKS, b"{}", content_encoding="Identity")
    assert (await fetch(server.jwks_url)).content == {}


async def test_nobody_answers() -> None:
    """Neither a closed port nor a URL that httpx2 refuses is more than a failed fetch."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/jwks"
        assert (await refused(url)).startswith(f"{url}: ")
    assert (await refused("https://\u2028/jwks")).startswith("https://\u2028/jwks: ")


async def test_this_machine_needs_no_proxy(server: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is plain http never leaves this machine, whatever proxy the environment names."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.answer(JWKS, {})
    assert (await fetch(server.jwks_url)).content == {}


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("", [OPENID]),
        ("/", [OPENID]),
        ("/tenant", [f"/tenant{OPENID}"]),
        ("/tenant/", [f"/tenant{OPENID}"]),
        ("/tenant//", [f"/tenant/{OPENID}"]),
    ],
)
async def test_discovery(server: IssuerServer, path: str, read: list[str]) -> None:
    """The metadata is read below the issuer, less one slash at its end, and names the keys."""
    issuer = server.issuer + path
    server.describe(read[0], issuer=issuer)
    assert await discover(issuer) == server.jwks_url
    assert server.requests == read


async def test_discovery_of_oauth_metadata(server: IssuerServer) -> None:
    """Where there is no OpenID metadata, RFC 8414's is read, put before the issuer's path."""
    issuer = f"{server.issuer}/tenant/"
    server.describe(f"{OAUTH}/tenant", issuer=issuer)
    assert await discover(issuer) == server.jwks_url
    assert server.requests == [f"/tenant{OPENID}", f"{OAUTH}/tenant"]


async def test_neither_metadata(server: IssuerServer) -> None:
    """When there is none, the reason names both places."""
    server.answer(OPENID, b"", status=404)
    with pytest.raises(KeysUnavailable) as why:
        await discover(server.issuer)
    assert str(why.value) == f"{server.issuer}{OPENID}: answered 404; {server.issuer}{OAUTH}: answered 404"


@pytest.mark.parametrize("named", ["https://other.example", "slash", "HTTP", None, 1, "\x1b\n" + "x" * 300])
async def test_metadata_of_another_issuer(server: IssuerServer, named: Any) -> None:
    """The metadata has to name the very issuer, or one could speak for another; nothing else is tried."""
    named = {"slash": server.issuer + "/", "HTTP": server.issuer.upper()}.get(named, named)
    server.describe(issuer=named)
    server.describe(OAUTH)
    with pytest.raises(KeysUnavailable) as why:
        await discover(server.issuer)
    told = f"names another issuer, {named[:200]!r}" if isinstance(named, str) else "names no issuer"
    assert str(why.value) == f"the metadata of {server.issuer} {told}"
    assert server.requests == [OPENID]


@pytest.mark.parametrize("uri", ["http://issuer.example/jwks", "file:///etc/passwd", "/jwks", "", None, 7, ["a"]])
async def test_keys_elsewhere(server: IssuerServer, uri: Any) -> None:
    """`jwks_uri` is followed only where keys may be fetched from."""
    server.describe(jwks_uri=uri)
    with pytest.raises(KeysUnavailable, match=r"jwks_uri in the metadata of .* has to be an https URL"):
        await discover(server.issuer)
    assert server.requests == [OPENID]


@pytest.mark.parametrize(("uri", "followed"), [("https://keys.example/jwks", True), ("http://127.0.0.1/admin", False)])
async def test_an_https_issuer_stays_with_https(monkeypatch: pytest.MonkeyPatch, uri: str, followed: bool) -> None:
    """An issuer out there may not send the service to plain http on its own machine."""
    issuer = "https://issuer.example"

    async def metadata(url: str, *_: object) -> discovery.Document:
        return discovery.Document({"issuer": issuer, "jwks_uri": uri}, 600)

    monkeypatch.setattr(discovery, "fetch", metadata)
    with nullcontext() if followed else pytest.raises(KeysUnavailable, match="has to be an https URL"):
        assert await discover(issuer) == uri


async def test_an_issuer_that_is_no_url() -> None:
    """Discovery takes a URL: any other name of an issuer raises at once."""
    with pytest.raises(ValueError, match="has to be an https URL"):
        await discover("issuer")


@pytest.mark.parametrize("module", ["httpx2", "httpcore2"])
async def test_without_httpx2(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Without the extra, the error says what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match="pip install httpx2"):
        await discover("https://issuer.example")
