"""Whether another site's page sent a request."""

import pytest
from support.app import http_scope

from asgi_jwt.errors import CrossSite
from asgi_jwt.http.cross_site import check_cross_site

TRUSTED = ("https://app.example", "http://localhost:3000", "https://*.preview.example")
OWN = [("host", "api.example")]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("sec-fetch-site", "same-origin")],
        [("sec-fetch-site", "none")],
        [("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        [("sec-fetch-site", "cross-site"), ("origin", "https://app.example")],
        [("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000")],
        [("origin", "https://app.example")],
        [("origin", "https://branch.preview.example")],
        [("sec-fetch-site", "cross-site"), ("origin", "https://branch.preview.example")],
        [("origin", "https://api.example")],
        [("origin", "http://api.example")],
        [("origin", "https://API.example")],
        [("origin", "https://api.example:443")],
        [("origin", "http://api.example:80")],
    ],
)
def test_own_and_trusted(headers: list[tuple[str, str]]) -> None:
    """The site's own pages pass, and those trusted, and what is no browser; schemes are not compared."""
    check_cross_site(http_scope(headers=[*OWN, *headers]), TRUSTED)


@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "Same-Origin ")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-origin, cross-site")],
        # The own origin is no excuse: a browser that sends the header knows better.
        [("sec-fetch-site", "cross-site"), ("origin", "https://api.example")],
        [("origin", "https://evil.example")],
        [("origin", "https://preview.example")],
        [("origin", "https://evil.example/.preview.example")],
        [("origin", "null")],
        [("origin", "")],
        [("origin", "api.example")],
        [("origin", "ftp://api.example")],
        [("origin", "https://api.example.evil.example")],
        [("origin", "https://evil-api.example")],
        [("origin", "https://api.example:8443")],
        [("origin", "https://api.example@evil.example")],
        [("origin", "https://evil.example://api.example")],
        [("origin", "https://app.example.evil.example")],
        [("origin", "http://app.example")],
        [("origin", "https://app.example"), ("origin", "https://evil.example")],
        [("origin", "https://api.example"), ("origin", "https://api.example")],
        [("origin", "https://\xe4pi.example")],
    ],
)
def test_another_site(headers: list[tuple[str, str]]) -> None:
    """Every other site's pages are refused, as is whatever can't be told apart from them."""
    with pytest.raises(CrossSite):
        check_cross_site(http_scope(headers=[*OWN, *headers]), TRUSTED)


@pytest.mark.parametrize(
    ("host", "origin"), [("api.example:8000", "http://api.example:8000"), ("api.example:443", "https://api.example")]
)
def test_port_counts(host: str, origin: str) -> None:
    """Host and port together are what is compared, the scheme's own port being none."""
    check_cross_site(http_scope(headers=[("host", host), ("origin", origin)]), ())
    with pytest.raises(CrossSite):
        check_cross_site(http_scope(headers=[("host", "api.example:9000"), ("origin", origin)]), ())


@pytest.mark.parametrize("hosts", [[], ["api.example", "evil.example"], ["api.example", "api.example"]])
def test_host_has_to_be_one(hosts: list[str]) -> None:
    """With no `Host`, or several, an origin can't be known to be the site's own."""
    headers = [("origin", "https://api.example"), *(("host", host) for host in hosts)]
    with pytest.raises(CrossSite):
        check_cross_site(http_scope(headers=headers), ())


def test_nobody_is_trusted_by_default() -> None:
    """Without trusted origins, no other origin passes, the empty one neither."""
    for origin in ("https://app.example", "", "null"):
        with pytest.raises(CrossSite):
            check_cross_site(http_scope(headers=[*OWN, ("origin", origin)]), ())
