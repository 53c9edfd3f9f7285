"""Trusted origins: which can be meant, and which of a browser's they match."""

from typing import Any

import pytest

from asgi_jwt import Settings
from asgi_jwt.settings.origins import is_trusted, origins

SAME = (
    *("https://[::1]:8443", "https://xn--bcher-kva.example", "chrome-extension://abcdefghijklmnopabcdefghijklmnop"),
    *("capacitor://localhost", "tauri://localhost", "https://*.app.example:8443", "http://*.localhost:3000"),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((origin, (origin,)) for origin in SAME),
        ("https://app.example, http://localhost:3000", ("https://app.example", "http://localhost:3000")),
        (["https://App.Example:443/"], ("https://app.example",)),
        (["http://app.example:80", "http://app.example:443"], ("http://app.example", "http://app.example:443")),
        ("https://*.Vercel.app", ("https://*.vercel.app",)),
    ],
)
def test_origins_are_read(value: Any, expected: tuple[str, ...]) -> None:
    """An origin of any scheme is taken in the form that browsers send, and with `*.` for subdomains."""
    assert origins(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("app.example", "https://app.example/path", "https://app.example?x=1", "https://app.example#x"),
        *("https://user@app.example", "https://", "https://app.example:port", "https://app.example:0"),
        *("https://app.example:*", "https://app.example.", "https://app..example", "https://bücher.example"),
        *("https://[::1", "ftp://app.example", "wss://app.example", "file:///app", "data:text/html,x", "null", "*"),
        *("https://*", "*://app.example", "https://*.com", "https://*app.example", "https://app.*.example"),
        *("https://*.*.example", "https://*.192.0.2.1", "chrome-extension://*", "capacitor://*.app.example"),
    ],
)
def test_origins_that_match_nothing_are_refused(value: str) -> None:
    """An origin that no browser sends, or that stands for all sites, is refused."""
    with pytest.raises(ValueError, match=r"^has to hold "):
        origins(value)


WILD = Settings(
    issuer="i",
    audience="a",
    secret="s" * 32,
    trusted_origins=["https://*.vercel.app", "https://*.app.example:8443", "capacitor://localhost"],
).trusted_origins


LONGEST = f"https://{'a.' * 121}vercel.app"
TRUSTED = (
    *("https://orders.vercel.app", "https://orders-git-main_1.team.vercel.app", "https://x.app.example:8443"),
    *("capacitor://localhost", LONGEST),
)
NOT_TRUSTED = (
    *("https://vercel.app", "https://.vercel.app", "https://orders.vercel.app:8443", "http://orders.vercel.app"),
    *("https://orders.vercel.app.evil.example", "https://evil.example/.vercel.app", "https://evil.example?.vercel.app"),
    *("https://user@orders.vercel.app", "https://..vercel.app", "https://ORDERS.vercel.app", "https://evilvercel.app"),
    *("https://evil\n.vercel.app", "https://x.app.example", "capacitor://localhost.evil", "null", ""),
    f"https://{'a.' * 32000}vercel.app",
)


@pytest.mark.parametrize("origin", [*TRUSTED, *NOT_TRUSTED], ids=lambda origin: origin[:50])
def test_trusted(origin: str) -> None:
    """A subdomain of any depth is trusted where `*.` stands for it, with the scheme and the port that are named.

    The site itself, another scheme or port, text that only ends like a trusted origin, and a host that is longer than
    any can be are not.
    """
    assert is_trusted(origin, WILD) is (origin in TRUSTED)
