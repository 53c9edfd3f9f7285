"""What a fetch shows in errors and in the logs of the HTTP client: neither a query of a URL nor a proxy's password."""

import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.certificates import Authority
from support.issuers import JWKS, IssuerServer
from support.proxies import proxy

from asgi_jwt.errors import KeysUnavailable
from asgi_jwt.tokens.discovery import fetch

pytestmark = pytest.mark.anyio

PASSWORD = "hunter2"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All that any logger tells, and no proxy in the environment."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IssuerServer]:
    """An https server whose certificate this machine trusts."""
    tls, authority = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Authority(tmp_path)
    authority.certify(tls)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    with IssuerServer(tls) as server:
        yield server


async def refused(url: str) -> str:
    with pytest.raises(KeysUnavailable) as why:
        await fetch(url)
    return str(why.value)


@pytest.mark.parametrize("query", [f"?code={PASSWORD}", f"?a=b&code=%20{PASSWORD}?/\N{SNAKE}"])
async def test_the_query_of_a_url(query: str, secure: IssuerServer, logged: pytest.LogCaptureFixture) -> None:
    """The server gets the query, and no logger does, of whatever library and level."""
    encoded = query.replace("\N{SNAKE}", "%F0%9F%90%8D")
    secure.answer(JWKS + encoded, {"keys": []})
    assert (await fetch(secure.jwks_url + query)).content == {"keys": []}
    assert secure.requests == [JWKS + encoded]
    assert "httpx2" in {record.name for record in logged.records}
    assert PASSWORD not in logged.text
    assert PASSWORD not in await refused(f"{secure.issuer}/nothing{query}")


async def test_through_a_proxy(
    secure: IssuerServer, logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys come through the environment's proxy, which learns the host alone; its password is in no log.

    What a proxy that refuses answers is told, and not the password that it was shown.
    """
    secure.answer(f"{JWKS}?code={PASSWORD}", {"keys": []})
    with proxy(PASSWORD) as tunnel:
        monkeypatch.setenv("HTTPS_PROXY", tunnel.url)
        assert (await fetch(f"{secure.jwks_url}?code={PASSWORD}")).content == {"keys": []}
        assert tunnel.asked == [secure.issuer.removeprefix("https://")]
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}-wrong@{tunnel.address}")
        told = await refused(secure.jwks_url)
    assert "407" in told
    assert PASSWORD not in told + logged.text


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    "value",
    [
        *(f"http://user:{PASSWORD}@[::1", f"http://user:pass@{PASSWORD}:word@proxy.example:3128"),
        *(f"http://user:{PASSWORD}#proxy.example:3128", f"http://user:{PASSWORD}@proxy.example:port"),
        *(f"ftp://user:{PASSWORD}@proxy.example", f"user:{PASSWORD}@proxy.example:99999"),
        f"http://{PASSWORD}\x1b@proxy.example",
    ],
)
async def test_proxies_that_are_none(
    name: str, value: str, logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a proxy's URL, its password is shown to nobody; the variables to correct are named."""
    monkeypatch.setenv(name, value)
    told = await refused("https://127.0.0.1:1/jwks")
    assert told.startswith("https://127.0.0.1:1/jwks: ")
    named = name == "HTTPS_PROXY" and value.startswith("ftp:")
    assert not named or "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or NO_PROXY can't be used" in told
    assert PASSWORD not in told + logged.text


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_socks_without_its_library(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy needs one more distribution, which is named; a fetch on this machine needs neither."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://user:{PASSWORD}@127.0.0.1:1")
    told = await refused("https://issuer.example/jwks")
    assert told == "https://issuer.example/jwks: HTTPS_PROXY or ALL_PROXY is a SOCKS proxy: pip install socksio"
    with IssuerServer() as server:
        server.answer(JWKS, {})
        assert (await fetch(server.jwks_url)).content == {}


async def test_the_password_of_a_socks_proxy(logged: pytest.LogCaptureFixture) -> None:
    """At DEBUG httpcore2 shows the password of a SOCKS proxy in one line, which is left out; all others are there."""
    await refused("https://127.0.0.1:1/jwks")
    logger = logging.getLogger("httpcore2.socks")
    logger.debug(f"setup_socks5_connection.started host='issuer.example' auth=(b'user', b'{PASSWORD}')")
    logger.debug("setup_socks5_connection.complete")
    assert [record.message for record in logged.records if record.name == logger.name] == [
        "setup_socks5_connection.complete"
    ]
