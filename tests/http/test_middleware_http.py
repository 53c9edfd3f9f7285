"""The middleware before an HTTP app: which token of a request counts, and every answer of the table of errors."""

import pytest
from starlette.applications import Starlette
from support.app import (
    AUDIENCE,
    ISSUER,
    NO_TOKEN,
    SECRET,
    Guarded,
    Recorder,
    authorization,
    exchange,
    http_scope,
    make_auth,
    make_token,
)

from asgi_jwt import Auth, ConfigurationError, JWTMiddleware
from asgi_jwt.testing import Clock

pytestmark = pytest.mark.anyio

CHALLENGE = 'Bearer realm="api"'
COOKIE = "__Host-access_token"


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


async def test_good_token(guarded: Guarded) -> None:
    """A verified token's request reaches the app, and its answer comes back as it is."""
    answer = await guarded.request(headers=authorization(guarded.auth))
    assert (answer.status, answer.body, answer.headers) == (200, b"app", {"x-app": "1"})
    assert guarded.app.subject == "alice"


async def test_token_seen_before(guarded: Guarded) -> None:
    """A token's signature is checked once, however often it comes."""
    headers = authorization(guarded.auth)
    for _ in range(3):
        assert (await guarded.request(headers=headers)).status == 200
    verifier = guarded.auth.verifier
    assert (verifier.signature_checks, verifier.verified, verifier.cache_hits) == (1, 1, 2)


async def test_a_server_without_raw_path_and_root_path(guarded: Guarded) -> None:
    """ASGI lets a server leave both out: a token, seen before or not, is let in all the same, and its lack refused."""
    scope = http_scope("/orders", headers=authorization(guarded.auth))
    bare = {name: value for name, value in scope.items() if name not in ("raw_path", "root_path")}
    for _ in range(2):
        assert (await exchange(guarded.middleware, dict(bare))).status == 200
    assert (await exchange(guarded.middleware, {**bare, "headers": []})).status == 401


async def test_token_expires_in_the_cache(guarded: Guarded) -> None:
    """A token that was let in before is refused once it expired."""
    assert isinstance(guarded.auth.clock, Clock)
    headers = authorization(guarded.auth)
    assert (await guarded.request(headers=headers)).status == 200
    guarded.auth.clock.turn(900 + 31)
    answer = await guarded.request(headers=headers)
    assert (answer.status, answer.json()["error_description"]) == (401, "The access token expired")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic dTpw"}, {"authorization": ""}, {"cookie": "token=x"}])
async def test_no_token(guarded: Guarded, headers: dict[str, str]) -> None:
    """No token, or another scheme: 401, and no error code in the challenge or in the body (RFC 6750 section 3.1)."""
    answer = await guarded.request(headers=headers)
    assert (answer.status, answer.challenge, answer.json()) == (401, CHALLENGE, NO_TOKEN)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json"
    assert guarded.app.calls == []


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
async def test_every_method_needs_a_token(guarded: Guarded, method: str) -> None:
    """OPTIONS is a request like any other: letting preflights through would call handlers that ignore the method."""
    assert (await guarded.request(method=method)).status == 401
    assert guarded.app.calls == []


@pytest.mark.parametrize(
    ("values", "description"),
    [
        (["Bearer a.b.c", "Bearer a.b.c"], "The request bears more than one token"),
        (["Basic dTpw", "Bearer a.b.c"], "The request bears more than one token"),
        (["Bearer"], "The scheme Bearer takes exactly one token"),
        (["Bearer a.b.c rubbish"], "The scheme Bearer takes exactly one token"),
    ],
)
async def test_invalid_request(guarded: Guarded, values: list[str], description: str) -> None:
    """Two Authorization headers, no or several credentials: 400 `invalid_request`."""
    answer = await guarded.request(headers=[("authorization", value) for value in values])
    assert answer.status == 400
    assert answer.challenge == f'{CHALLENGE}, error="invalid_request", error_description="{description}"'
    assert answer.json() == {"error": "invalid_request", "error_description": description}
    assert guarded.app.calls == []


async def test_trailing_rubbish_on_a_good_token(guarded: Guarded) -> None:
    """A good token with anything behind it, by a space or without, is not a good token."""
    good = make_token(guarded.auth)
    for rubbish, status in ((" x", 400), (", Bearer x", 400), (".x", 401), ("x", 401), (",", 401), ("=", 401)):
        assert (await guarded.request(headers={"authorization": f"Bearer {good}{rubbish}"})).status == status
    assert guarded.app.calls == []


async def test_bytes_outside_ascii(guarded: Guarded) -> None:
    """Bytes that are no ASCII are refused as malformed, wherever they stand in the token."""
    good = make_token(guarded.auth).encode()
    for value in (b"\xff" + good, good[:40] + b"\xc3\xa9" + good[41:], good + b"\xa0", "\u212a".encode() + good):
        answer = await guarded.request(headers={"authorization": b"Bearer " + value})
        assert (answer.status, answer.json()["error"]) == (401, "invalid_token")
    assert guarded.app.calls == []


async def test_invalid_token(guarded: Guarded) -> None:
    """A token that fails any check: 401 `invalid_token` with what is wrong, in the challenge and in the body."""
    header, payload, _ = make_token(guarded.auth).split(".")
    _, _, signature = make_token(guarded.auth, "bob").split(".")
    answer = await guarded.request(headers={"authorization": f"Bearer {header}.{payload}.{signature}"})
    description = "The access token's signature is invalid"
    assert answer.status == 401
    assert answer.challenge == f'{CHALLENGE}, error="invalid_token", error_description="{description}"'
    assert answer.json() == {"error": "invalid_token", "error_description": description}
    assert answer.headers["cache-control"] == "no-store"
    assert guarded.app.calls == []


async def test_realm() -> None:
    """The challenge names the realm of the settings."""
    assert (await Guarded(make_auth(realm="my shop")).request()).challenge == 'Bearer realm="my shop"'


async def test_cookie_from_another_site() -> None:
    """A token cookie relied on from another site: 403 `cross_site` in the body, and no challenge."""
    guarded = Guarded(make_auth(token_sources=f"cookie:{COOKIE}"))
    headers = {"cookie": f"{COOKIE}={make_token(guarded.auth)}", "sec-fetch-site": "cross-site"}
    answer = await guarded.request(method="POST", headers=headers)
    assert (answer.status, answer.challenge) == (403, None)
    assert answer.json() == {"error": "cross_site", "error_description": "The request comes from another site"}
    assert guarded.app.calls == []


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("TRACE", 200)])
async def test_safe_method_from_another_site(method: str, status: int) -> None:
    """A link from another site may be followed: methods that change nothing are not asked where they come from."""
    guarded = Guarded(make_auth(token_sources=f"cookie:{COOKIE}"))
    headers = {"cookie": f"{COOKIE}={make_token(guarded.auth)}", "sec-fetch-site": "cross-site"}
    assert (await guarded.request(method=method, headers=headers)).status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "get", "PROPFIND", ""])
async def test_every_other_method_from_another_site(method: str) -> None:
    """Any other method is, and passes from the site itself or from a trusted origin alone."""
    guarded = Guarded(make_auth(token_sources=f"cookie:{COOKIE}", trusted_origins="https://app.example"))
    cookie = {"cookie": f"{COOKIE}={make_token(guarded.auth)}", "host": "api.example"}
    for origin, status in (("https://evil.example", 403), ("https://app.example", 200), ("https://api.example", 200)):
        assert (await guarded.request(method=method, headers={**cookie, "origin": origin})).status == status


async def test_header_is_no_other_sites_doing() -> None:
    """A token in the header is not asked where it comes from: no page of another site can put it there."""
    guarded = Guarded(make_auth(token_sources=f"cookie:{COOKIE},header"))
    headers = {**authorization(guarded.auth), "cookie": f"{COOKIE}=x", "sec-fetch-site": "cross-site"}
    assert (await guarded.request(method="POST", headers=headers)).status == 200


async def test_two_token_cookies() -> None:
    """Two cookies of the token's name: 400, and neither is used, though one of them is good."""
    guarded = Guarded(make_auth(token_sources=f"header,cookie:{COOKIE}"))
    good = f"{COOKIE}={make_token(guarded.auth)}"
    for cookies in ([f"{good}; {COOKIE}=x"], [good, f"{COOKIE}=x"], [good, good]):
        answer = await guarded.request(headers=[("cookie", cookie) for cookie in cookies])
        assert (answer.status, answer.json()["error"]) == (400, "invalid_request")
    assert guarded.app.calls == []


async def test_cookies_split_by_http2() -> None:
    """The token's cookie is found in whichever of the headers that HTTP/2 made of one."""
    guarded = Guarded(make_auth(token_sources=f"cookie:{COOKIE}"))
    headers = [("cookie", "a=1"), ("cookie", f"{COOKIE}={make_token(guarded.auth)}"), ("cookie", "b=2")]
    assert (await guarded.request(headers=headers)).status == 200


@pytest.mark.parametrize("sources", ["header,cookie:token", "cookie:token,header"])
@pytest.mark.parametrize(
    ("header", "cookie", "found"),
    [
        ("alice", None, "alice"),
        (None, "bob", "bob"),
        ("alice", "bob", "alice"),
        (None, None, 401),
        ("bad", "bob", 401),
        ("alice", "bad", "alice"),
    ],
)
async def test_header_wins(sources: str, header: str | None, cookie: str | None, found: str | int) -> None:
    """Where there is a Bearer token in the Authorization header, it alone counts, wherever the header is listed."""
    guarded = Guarded(make_auth(token_sources=sources))
    values = {name: make_token(guarded.auth, name) for name in ("alice", "bob")} | {"bad": "a.b.c"}
    headers = {}
    if header is not None:
        headers["authorization"] = f"Bearer {values[header]}"
    if cookie is not None:
        headers["cookie"] = f"token={values[cookie]}"
    answer = await guarded.request(headers=headers)
    assert (guarded.app.subject if answer.status == 200 else answer.status) == found


@pytest.mark.parametrize("sources", ["header,cookie:token", "cookie:token,header"])
@pytest.mark.parametrize("credentials", ["Basic dTpw", "Digest username=u", "Negotiate YII=", "DPoP a.b.c", ""])
async def test_another_scheme_hides_no_cookie(sources: str, credentials: str) -> None:
    """Beside a proxy's credentials in the Authorization header the cookie's token counts, for a bad one too."""
    guarded = Guarded(make_auth(token_sources=sources))
    headers = {"authorization": credentials, "cookie": f"token={make_token(guarded.auth, 'bob')}"}
    assert (await guarded.request(headers=headers)).status == 200
    assert guarded.app.subject == "bob"
    assert (await guarded.request(headers={**headers, "cookie": "token=a.b.c"})).status == 401
    cross_site = {**headers, "sec-fetch-site": "cross-site"}
    assert (await guarded.request(headers=cross_site, method="POST")).status == 403


async def test_two_authorization_headers_beside_a_cookie() -> None:
    """Two Authorization headers are a 400 whatever their schemes, and the cookie's token is not used."""
    guarded = Guarded(make_auth(token_sources="header,cookie:token"))
    cookie = ("cookie", f"token={make_token(guarded.auth)}")
    for second in ("Basic dTpw", "Bearer a.b.c"):
        headers = [("authorization", "Basic dTpw"), ("authorization", second), cookie]
        assert (await guarded.request(headers=headers)).status == 400
    assert not guarded.app.calls


async def test_first_cookie_with_a_token() -> None:
    """Several cookie sources are tried in their order."""
    guarded = Guarded(make_auth(token_sources="cookie:a,cookie:b"))
    alice, bob = (make_token(guarded.auth, name) for name in ("alice", "bob"))
    for cookie, found in ((f"b={bob}; a={alice}", "alice"), (f"b={bob}; a=", "bob"), (f"b={bob}", "bob")):
        assert (await guarded.request(headers={"cookie": cookie})).status == 200
        assert guarded.app.subject == found


async def test_sources_not_configured() -> None:
    """A token is read only from where the settings say: a cookie or a header that none of them names is nothing."""
    auth = make_auth(token_sources="cookie:token")
    assert (await Guarded(auth).request(headers=authorization(auth))).status == 401
    auth = make_auth()
    assert (await Guarded(auth).request(headers={"cookie": f"token={make_token(auth)}"})).status == 401
    auth = make_auth(token_sources="subprotocol")
    assert (await Guarded(auth).request(subprotocols=["bearer", make_token(auth)])).status == 401


async def test_forged_tokens_are_not_remembered(guarded: Guarded) -> None:
    """A flood of forged tokens leaves nothing behind in the cache of verified ones."""
    good = make_token(guarded.auth)
    for number in range(20):
        assert (await guarded.request(headers={"authorization": f"Bearer {good[:-4]}{number:04}"})).status == 401
    assert guarded.auth.verifier.cache_hits == 0
    assert guarded.auth.verifier.verified == 0
    assert (await guarded.request(headers={"authorization": f"Bearer {good}"})).status == 200


async def test_oversized_token_costs_no_check(guarded: Guarded) -> None:
    """Past the size limit, nothing of a token is looked at."""
    for size in (8193, 9 * 1024, 60 * 1024):
        answer = await guarded.request(headers={"authorization": f"Bearer {'a' * size}"})
        assert (answer.status, answer.json()["error_description"]) == (401, "The access token is too large")
    assert guarded.auth.verifier.signature_checks == 0


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an `auth`, the middleware reads `ASGI_JWT_*` itself, and refuses to be built on what is wrong there."""
    with pytest.raises(ConfigurationError, match="ASGI_JWT_ISSUER is missing"):
        JWTMiddleware(Guarded().app)
    for name, value in {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SECRET": SECRET}.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", value)
    middleware = JWTMiddleware(Guarded().app)
    assert middleware.app is not None


async def test_environments_own_auth(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Auth that the environment gives protects as one that is handed in."""
    for name, value in {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SECRET": SECRET}.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", value)
    guarded = Guarded()
    guarded.middleware = JWTMiddleware(guarded.app)
    assert (await guarded.request()).status == 401
    assert (await guarded.request(headers=authorization(Auth.from_env()))).status == 200


@pytest.mark.parametrize("store", ["memory://", "MEMORY://"])
async def test_a_store_that_nobody_else_has(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `auth=` the middleware would look for logouts in a memory store of its own: it says what to pass."""
    environ = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SECRET": SECRET, "STORE": store}
    for name, value in environ.items():
        monkeypatch.setenv(f"ASGI_JWT_{name}", value)
    app = Starlette()
    app.add_middleware(JWTMiddleware)
    with pytest.raises(ConfigurationError, match=r"memory://.*JWTMiddleware\(app, auth=auth\)"):
        await exchange(app, http_scope())
    assert JWTMiddleware(Recorder(), Auth.from_env())
