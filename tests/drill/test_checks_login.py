"""The login, its cookie and its answers: each fault of a deployment is named, with its mend."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from support.deployments import Headers, Site, answering, caching, changed, deployment, fault

from asgi_jwt.drill.checks_login import _cookie_faults, cookie, cors, other_sites, own_site, transport
from asgi_jwt.drill.checks_login import caching as caches
from asgi_jwt.drill.checks_tokens import api
from asgi_jwt.drill.cookies import Cookie
from asgi_jwt.drill.target import Target

TOKEN = b'{"access_token": "e30.e30.e30"}'


def cookies(old: bytes, new: bytes) -> Callable[[Headers], Headers]:
    """A proxy that changes what stands in Set-Cookie."""
    return lambda headers: [(name, value.replace(old, new)) for name, value in headers]


def without(*names: bytes) -> Callable[[Headers], Headers]:
    return lambda headers: [(name, value) for name, value in headers if name not in names]


def host_without_port(headers: Headers) -> Headers:
    return [(name, value.partition(b":")[0] if name == b"host" else value) for name, value in headers]


@pytest.mark.parametrize(
    ("app", "target", "seen", "mend"),
    [
        (deployment(public=()), {}, "answered 401", "list AuthApp's mount in public="),
        (deployment(dpop="required"), {}, "400 invalid_dpop_proof", "the drill makes no proofs"),
        (None, {"mount": "/nothing"}, "answered 401", "public="),
        (deployment(public=("/*",)), {"mount": "/nothing"}, "answered 404", "the URL of AuthApp's mount"),
        (answering(deployment(), "/auth", 307, location="/x"), {}, "answered 307", "follows no redirect"),
        (answering(deployment(), "/auth", 401, b'{"error": "invalid_grant"}'), {}, "401 invalid_grant", "credentials"),
        (answering(deployment(), "/auth", 400, b'{"error": "wonderland"}'), {}, "answered 400", "authenticate reads"),
        (answering(deployment(), "/auth", 403), {}, "answered 403", "ASGI_JWT_TRUSTED_ORIGINS"),
        (answering(deployment(), "/auth", 429), {}, "answered 429", "throttle"),
        (answering(deployment(), "/auth", 503), {}, "answered 503", "log of the service"),
        (answering(deployment(), "/auth", 200, b"{"), {}, "answered 200", "no access_token"),
    ],
)
def test_login(site: Site, app: ASGIApp | None, target: dict[str, str], seen: str, mend: str) -> None:
    """A login that opens no session is a broken promise, and each cause has its mend."""
    fault(site.check(app=app, **target), seen, mend)


@pytest.mark.parametrize("work", [transport, cookie, own_site, other_sites, cors, caches])
def test_without_a_login(site: Site, work: Any) -> None:
    """Without a login nothing else is tried, and nothing held."""
    result = site.check(work, app=answering(deployment(), "/auth", 404))
    assert (result.holds, result.seen) == (None, "nobody could be logged in")


@pytest.mark.parametrize("work", [transport, cookie, own_site, other_sites, cors, caches])
def test_good(site: Site, work: Any) -> None:
    """A whole deployment keeps each promise."""
    assert site.check(work).holds is True


def test_plain_http(site: Site) -> None:
    """Plain http is for this machine alone, and a Secure cookie is dropped there."""
    fault(site.check(transport, host="127.1"), "plain http", "https")
    result = site.check(cookie, app=deployment(cookie_secure=True), host="127.1")
    fault(result, "browsers drop it over plain http", "serve it by https")


@pytest.mark.parametrize(
    ("old", "new", "seen", "mend"),
    [
        (b"HttpOnly; ", b"", "no HttpOnly", "let no proxy change Set-Cookie"),
        (b"SameSite=Strict", b"SameSite=None", "no SameSite=Strict", "let no proxy"),
        (b"HttpOnly", b"HttpOnly; Domain=example", "Domain", "let no proxy add Domain"),
        (b"Path=/auth", b"Path=/other", "not the one that browsers see", "ASGI_JWT_COOKIE_PATH=/auth"),
        (b"Path=/auth", b"Path=/aut", "not the one that browsers see", "ASGI_JWT_COOKIE_PATH=/auth"),
        (b"Path=/auth", b"Path=/", "wider than the auth routes", "ASGI_JWT_COOKIE_PATH=/auth"),
        (b"refresh_token=", b"refresh_token=" + b"x" * 4096, "more than 4096 bytes", "shorter subject"),
    ],
)
def test_cookie(site: Site, old: bytes, new: bytes, seen: str, mend: str) -> None:
    """Each attribute that a browser would act upon wrongly is named."""
    fault(site.check(cookie, app=changed(deployment(), response=cookies(old, new))), seen, mend)


def test_host_cookie(site: Site) -> None:
    """A cookie with the prefix __Host- has to be sent to all paths."""
    app = deployment(cookie_secure=True, cookie_name="__Host-refresh_token", cookie_path="/")
    assert site.check(cookie, app=app).holds is True


def test_no_cookie(site: Site) -> None:
    """A refresh token in the body, or none, is no browser's."""
    fault(site.check(cookie, app=answering(deployment(), "/auth/login", 200, TOKEN)), "is not given", "HttpOnly")
    body = b'{"access_token": "e30.e30.e30", "refresh_token": "x"}'
    fault(site.check(cookie, app=answering(deployment(), "/auth/login", 200, body)), "in the answer's body", "HttpOnly")


def test_own_site(site: Site) -> None:
    """A proxy that drops the port of Host makes strangers of a deployment's own pages."""
    result = site.check(own_site, app=changed(deployment(), request=host_without_port))
    fault(result, "Host does not arrive", "proxy_set_header Host $http_host")
    result = site.check(own_site, app=answering(deployment(), "/auth/logout", 404))
    assert (result.holds, result.seen) == (None, "POST /logout was answered 404")


def test_other_sites(site: Site) -> None:
    """A proxy that drops what browsers say of a request's page lets other sites in."""
    result = site.check(other_sites, app=changed(deployment(), request=without(b"origin", b"sec-fetch-site")))
    fault(result, "POST /refresh of another site was answered 200", "pass Origin and Sec-Fetch-Site on")
    assert "POST /login of another site was answered 200" in result.seen
    app = answering(deployment(), "/auth/login", 200, b'{"access_token": "a", "refresh_token": "b"}')
    assert "/refresh" not in site.check(other_sites, app=app).seen


def test_cors(site: Site) -> None:
    """CORS for all sites with cookies is named; for a site of one's own it is fine."""
    lax = CORSMiddleware(deployment(), allow_origins=["*"], allow_credentials=True, allow_headers=["*"])
    fault(site.check(cors, app=lax), "lets", "name your pages in allow_origins")
    stars = changed(deployment(), response=lambda headers: [*headers, *STAR])
    fault(site.check(cors, app=stars), "lets all sites read with cookies", "name your pages")
    own = CORSMiddleware(deployment(), allow_origins=["https://app.example"], allow_credentials=True)
    assert site.check(cors, app=own).holds is True


STAR = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true")]


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (changed(deployment(), response=without(b"cache-control")), "/login has no Cache-Control", "Cache-Control"),
        (changed(deployment(), response=lambda headers: [*headers, (b"age", b"3")]), "that it kept", "cache nothing"),
        (caching(deployment(), "/auth/refresh"), "a cache answers with a token", "cache nothing below AuthApp's mount"),
        (
            caching(deployment(), "/api/me"),
            "without a token what a cache kept",
            "nothing that has Authorization",
        ),
        (deployment(api_headers={"Cache-Control": "public, max-age=60"}), "says Cache-Control: public", "private"),
    ],
)
def test_caches(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """An answer that a cache may keep, or did keep, is named."""
    fault(site.check(api, caches, app=app), seen, mend)


def test_https() -> None:
    """Over https nothing is sent in the clear, and a cookie without Secure is named."""
    drill: Any = SimpleNamespace(target=Target("https://app.example", "/auth", "/me"), device=lambda: None)
    assert asyncio.run(transport(drill)) == "https"
    faults = dict(_cookie_faults(Cookie("refresh_token", "x", {"path": "/auth"}), drill.target))
    assert faults["no Secure: the browser sends it by plain http, too"] == "unset ASGI_JWT_COOKIE_SECURE"
