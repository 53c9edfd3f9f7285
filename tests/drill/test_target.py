"""The address of a deployment, as the command's arguments give it."""

import pytest

from asgi_jwt.drill.target import Target


@pytest.mark.parametrize(
    ("url", "api", "origin", "mount"),
    [
        ("https://App.Example:443/api/auth/", "/api/me?a=1", "https://app.example", "/api/auth"),
        ("http://localhost:80", "/", "http://localhost", ""),
        ("http://[::1]:8000/auth", "/me", "http://[::1]:8000", "/auth"),
    ],
)
def test_target(url: str, api: str, origin: str, mount: str) -> None:
    """The origin is spelled as browsers spell it, and the paths stay as they are."""
    target = Target.parse(url, api)
    assert (target.origin, target.mount, target.api) == (origin, mount, api)
    assert target.url == origin + mount
    assert target.is_local is not target.is_https is origin.startswith("https")


@pytest.mark.parametrize(
    ("url", "api"),
    [
        *(
            (url, "/me")
            for url in ("app.example", "ftp://a", "https://", "https://u:p@a", "https://a?b", "https://a/#")
        ),
        *((url, "/me") for url in ("https://a:99999/", "https://[a", "https://a/ü", "https://ü", "https://a/ b")),
        *(("https://a", api) for api in ("me", "//b/me", "https://b/me", "/me#x", "/m e", "/mü", "", "/a\r\nb")),
    ],
)
def test_usage(url: str, api: str) -> None:
    """An address that names no path of one server, or that a browser would encode, is wrong usage."""
    with pytest.raises(ValueError, match=r"URL|--api"):
        Target.parse(url, api)
