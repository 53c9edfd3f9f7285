"""Which paths are public."""

from typing import Any
from urllib.parse import quote, unquote

import litestar
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.middleware import DefineMiddleware
from litestar.testing import TestClient as LitestarClient
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.testclient import TestClient as StarletteClient
from starlette.types import Scope
from support.app import exchange, http_scope, make_auth
from support.tables import tables_of

from asgi_jwt import JWTMiddleware
from asgi_jwt.http.paths import PublicPaths, RootPath

PUBLIC = PublicPaths(["/health", "/auth/*", "/schema/*", "/exact/../dots"])


@given(
    public=st.lists(st.sampled_from(["/", "/health", "/auth/*", "/a.b", "/*", "/ü"]), max_size=3),
    path=st.text("/aéüh.%?", max_size=6).map("/{}".format)
    | st.sampled_from(["/", "/?x", "/health", "/auth", "/auth/x", "/%61uth/x", "/ü", "/a.b", "/axb"]),
    configured=st.sampled_from([None, "/api"]),
)
def test_the_quick_look_never_hides_a_public_path(public: list[str], path: str, configured: str | None) -> None:
    """A path that the look before the look-up calls not public is not public by the whole rules."""
    paths = PublicPaths(public, RootPath(configured))
    raw_path = path.encode()
    if b"%" not in raw_path and not paths.may_match(raw_path):
        assert not paths.match({**http_scope(path.partition("?")[0]), "raw_path": raw_path})


TABLES = tables_of(__file__)
PUBLIC_PATHS = TABLES["public_paths"]


@pytest.mark.parametrize("path", PUBLIC_PATHS)
def test_public(path: str) -> None:
    """An exact path is public, and for `/*` the path itself and whole segments below."""
    assert PUBLIC.match(http_scope(path))


PRIVATE_PATHS = TABLES["private_paths"]


@pytest.mark.parametrize("path", PRIVATE_PATHS)
def test_private(path: str) -> None:
    """What only resembles a public path is not public."""
    assert not PUBLIC.match(http_scope(path))


TRAVERSALS = TABLES["traversals"]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_traversal(path: str) -> None:
    """No path that something behind could take for another one is public below `/*`, in whatever form it is sent."""
    raw_paths = [path.encode(errors="surrogatepass"), quote(path, errors="surrogatepass").encode(), None]
    for raw_path in raw_paths:
        assert not PUBLIC.match(http_scope(path, raw_path=raw_path))
        assert not PublicPaths(["/*"]).match(http_scope(path, raw_path=raw_path))


NO_TRAVERSALS = TABLES["no_traversals"]


@pytest.mark.parametrize("path", NO_TRAVERSALS)
def test_no_traversal(path: str) -> None:
    """A path that software behind can only take for what it is stays public below `/*`."""
    for raw_path in (path.encode(), quote(path).encode(), quote(path).encode() + b"?a=/../", None):
        assert PUBLIC.match(http_scope(path, raw_path=raw_path))


@pytest.mark.parametrize("length", [2048, 2049, 65536])
def test_a_long_path(length: int) -> None:
    """A path of more than 2,048 bytes is not public, whether it is long as it came or decoded."""
    path = "/auth/".ljust(length, "a")
    encoded = ("/auth/" + length * "%61")[:length]
    for scope in (
        http_scope(path),
        http_scope(path, raw_path=None),
        http_scope(unquote(encoded), raw_path=encoded.encode()),
    ):
        assert PUBLIC.match(scope) is (length == 2048)


SHORTENED = [("/", b"/auth"), ("/docs/x/", b"/auth/docs/x"), ("/docs", b"/auth/docs/?a")]
REWRITTEN = [("/auth/x", b"/private/auth/x"), ("/", b"/private"), ("/health", b"/private/health")]
REWRITTEN += [("/auth/x", b"/orders"), ("/orders", b"/auth/x"), ("/health", b"/health/..")]
REWRITTEN += [("/auth/x", b"/auth//x"), ("/auth/x", b"/auth/y/../x")]


@pytest.mark.parametrize(("path", "raw_path"), SHORTENED + REWRITTEN)
def test_a_path_that_was_changed_on_the_way(path: str, raw_path: bytes) -> None:
    """A shortened path is matched by the whole one that the client sent; one that was rewritten is not public."""
    assert PUBLIC.match(http_scope(path, raw_path=raw_path)) is ((path, raw_path) in SHORTENED)


def test_a_path_without_a_raw_path() -> None:
    """A server that gives no `raw_path` is taken at its word."""
    scope = http_scope("/health")
    del scope["raw_path"]
    assert PUBLIC.match(scope)


def test_a_shortened_path_below_a_root_path() -> None:
    """Of the whole path, the root path is cut off as ever."""
    assert PUBLIC.match(http_scope("/health", raw_path=b"/api/health", root_path="/api"))
    assert not PUBLIC.match(http_scope("/auth/x", raw_path=b"/api/x/auth/x", root_path="/api"))


def litestar_site(public: list[str]) -> Any:
    """An app with mounts, behind the middleware in Litestar's own stack."""

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("mounted")(scope, receive, send)

    @litestar.get(["/health", "/docs/y", "/"])
    async def handler() -> str:
        return "handler"

    guard: Any = DefineMiddleware(JWTMiddleware, auth=make_auth(), public=public)
    mounts = [litestar.asgi(path, is_mount=True, copy_scope=False)(mounted) for path in ("/private", "/docs", "/open")]
    return litestar.Litestar([handler, *mounts], middleware=[guard], openapi_config=None)


@pytest.mark.parametrize("root_path", ["", "/api"])
def test_mounts_of_litestar(root_path: str) -> None:
    """In Litestar's own middleware stack, a mounted app's paths are public by their whole path alone."""
    site = litestar_site(["/", "/docs/*", "/open/docs/*", "/health"])
    with LitestarClient(site, root_path=root_path) as client:
        for path in ("/", "/health", "/docs", "/docs/x", "/docs/y", "/open/docs/x", "/open/docs?a=b"):
            assert client.get(root_path + path).status_code == 200, path
        for path in ("/private", "/private/", "/private/docs/x", "/private/docs", "/open", "/open/"):
            assert client.get(root_path + path).status_code == 401, path


def test_mounts_of_litestar_without_a_raw_path() -> None:
    """Behind an adapter that gives no raw path, no path below a mount of Litestar's is public; others are."""
    site = litestar_site(["/", "/docs/*", "/health"])

    async def adapter(scope: Any, receive: Any, send: Any) -> None:
        await site({**scope, "raw_path": None} if "path" in scope else scope, receive, send)

    with StarletteClient(adapter) as client:
        answers = {path: client.get(path).status_code for path in ("/", "/health", "/docs/y", "/docs/x", "/private")}
    assert answers == {"/": 200, "/health": 200, "/docs/y": 200, "/docs/x": 401, "/private": 401}


def daphne_scope(path: str, **more: Any) -> Scope:
    """A scope as Daphne makes it."""
    return http_scope(path, asgi={"version": "3.0"}, **more)


@pytest.mark.parametrize("configured", ["", "/api"])
@pytest.mark.parametrize(
    "named", ["", "/", "/orders", "/auth", "/api/orders", "/api/auth", "/auth/orders", "/x", "api"]
)
def test_a_root_path_that_a_client_may_have_named(configured: str, named: str) -> None:
    """Where a client can name the root path, what is public, and the root path behind, are those of the setting."""
    root = RootPath(configured)
    public = PublicPaths(["/health", "/auth/*"], root)
    for path in ("/orders/auth/7", "/auth/orders/7", "/health", "/x/health", "/api/health", "/api/orders/auth/7"):
        scope = daphne_scope(path, root_path=named)
        assert public.match(scope) is PUBLIC.match(http_scope(path, root_path=configured))
        root.apply(scope)
        assert scope["root_path"] == configured
        mounted = daphne_scope(path, root_path=f"{named}/m", app_root_path=named)
        assert root.of(mounted) == f"{configured}/m"


def test_the_warning_about_root_paths(caplog: pytest.LogCaptureFixture) -> None:
    """One WARNING says that `ROOT_PATH` is missing or another, and none speaks of other servers or of the right one."""
    root = RootPath("/api")
    for scope in (daphne_scope("/"), daphne_scope("/", root_path="/api"), http_scope("/", root_path="/x")):
        root.of(scope)
    assert caplog.records == []
    for named in ("/secret", "/x"):
        root.of(daphne_scope("/", root_path=named))
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("asgi_jwt", "WARNING")
    assert "set ASGI_JWT_ROOT_PATH to it" in record.message
    assert "/secret" not in record.message


def test_root_paths_of_other_servers() -> None:
    """A server that says which specification it follows has no client name the root path, and none is changed."""
    for scope in (http_scope("/", root_path="/x"), {"type": "http", "path": "/", "root_path": "/x"}):
        RootPath("/api").apply(scope)
        assert scope["root_path"] == "/x"


def test_root_path() -> None:
    """Where the app is mounted, the path below the mount is what counts; a prefix that the proxy took off changes
    nothing."""
    for path in ("/api/health", "/api/auth/login"):
        assert PUBLIC.match(http_scope(path, root_path="/api"))
    for path in ("/api/orders", "/api", "/apihealth", "/api/api/health", "/api//health"):
        assert not PUBLIC.match(http_scope(path, root_path="/api"))
    for root_path in ("/", "/proxied"):
        assert PUBLIC.match(http_scope("/auth/login", root_path=root_path))
        assert not PUBLIC.match(http_scope("/orders", root_path=root_path))


@pytest.mark.anyio
@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.parametrize("path", ["/health", "/auth/login", "/auth", "/orders", "/schema-private"])
async def test_router_sees_the_same_path(path: str, mounted: bool) -> None:
    """Below a mount, the route path that the router serves is the one that is matched."""
    served: list[bool] = []

    async def endpoint(request: Request) -> Response:
        served.append(PUBLIC.match(request.scope))
        return Response()

    routes: list[BaseRoute] = [Route(path, endpoint)]
    app = Router([Mount("/api", routes=routes)] if mounted else routes)
    await exchange(app, http_scope("/api" + path if mounted else path))
    assert served == [PUBLIC.match(http_scope(path))]


@pytest.mark.parametrize("pattern", ["health", "/a*", "/*/a", "/a?b", "//*", "/a//b", "", " ", "*"])
def test_pattern(pattern: str) -> None:
    """A pattern that is neither exact nor whole segments is refused: it would open what nobody meant."""
    with pytest.raises(ValueError, match=r"has to be a text|may hold paths"):
        PublicPaths([pattern])


def test_everything_and_nothing() -> None:
    """`/*` opens every plain path, and no other; without patterns nothing is public."""
    scopes = [http_scope(path) for path in ("/orders", "/", "/a/../b", "")]
    assert [PublicPaths(["/*"]).match(scope) for scope in scopes] == [True, True, False, False]
    assert not any(PublicPaths([]).match(scope) for scope in scopes)


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/schema/api/me", "/api"), ("/schemaapi/x", "api"), ("/health/api", "/health"), ("/authx/auth/y", "/auth")],
)
def test_routers_that_cut_the_root_path_out_elsewhere_get_no_public_path(path: str, root_path: str) -> None:
    """A path that is not below the root path but holds it is private: some routers would take another route."""
    assert not PublicPaths(["/schema/*", "/schemaapi/*", "/authx/*", "/health/*"]).match(
        http_scope(path, root_path=root_path)
    )
