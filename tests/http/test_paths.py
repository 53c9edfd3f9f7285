"""Which paths are public."""

import pytest
from driver import exchange, http_scope
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from asgi_jwt.http.paths import PublicPaths

PUBLIC = PublicPaths(["/health", "/auth/*", "/schema/*", "/exact/../dots"])


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/auth",
        "/auth/",
        "/auth/login",
        "/auth/a/b.c/..d/.e",
        "/auth/sessions/...",
        "/auth/?",
        "/schema",
        "/exact/../dots",
    ],
)
def test_public(path: str) -> None:
    """An exact path is public, and for `/*` the path itself and whole segments below."""
    assert PUBLIC.match(http_scope(path))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "*",
        "/Health",
        "/health/",
        "/health/x",
        "/healthy",
        "/health%2f",
        "//health",
        "/health\0",
        "health",
        "http://host.example/health",
        "/schema-private",
        "/schemas",
        "/authx",
        "/x/auth/login",
    ],
)
def test_private(path: str) -> None:
    """What only resembles a public path is not public."""
    assert not PUBLIC.match(http_scope(path))


@pytest.mark.parametrize(
    "path",
    [
        "/auth/..",
        "/auth/../orders",
        "/auth/x/../../orders",
        "/auth/.",
        "/auth/./orders",
        "/auth//orders",
        "/auth//",
        "/auth/..\\orders",
        "/auth/\\..\\orders",
        "/auth/x\0",
        "/auth/../",
    ],
)
def test_traversal(path: str) -> None:
    """No path that something behind could take for another one is public below `/*`."""
    assert not PUBLIC.match(http_scope(path))


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/api/health", True),
        ("/api/auth/login", True),
        ("/api/orders", False),
        ("/api", False),
        ("/apihealth", False),
        ("/api/api/health", False),
        ("/api//health", False),
    ],
)
def test_root_path(path: str, public: bool) -> None:
    """Where the app is mounted, the path below the mount is what counts."""
    assert PUBLIC.match(http_scope(path, root_path="/api")) is public


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


def test_host_has_no_part() -> None:
    """A Host that bears a path does not make a private path public, though the URL made of it does begin so."""
    scope = http_scope("/orders", headers={"host": "host.example/health?"})
    assert not PUBLIC.match(scope)


@pytest.mark.parametrize("pattern", ["health", "/a*", "/*/a", "/a?b", "//*", "/a//b", "", " ", "*"])
def test_pattern(pattern: str) -> None:
    """A pattern that is neither exact nor whole segments is refused: it would open what nobody meant."""
    with pytest.raises(ValueError, match=r"has to be a text|may hold paths"):
        PublicPaths([pattern])


def test_everything() -> None:
    """`/*` opens every plain path, and no other."""
    everything = PublicPaths(["/*"])
    assert everything.match(http_scope("/orders"))
    assert everything.match(http_scope("/"))
    assert not everything.match(http_scope("/a/../b"))
    assert not everything.match(http_scope(""))


def test_nothing() -> None:
    """Without patterns nothing is public."""
    assert not PublicPaths([]).match(http_scope("/"))


@pytest.mark.parametrize(
    ("path", "root_path"),
    [("/schema/api/me", "/api"), ("/schemaapi/x", "api"), ("/health/api", "/health"), ("/authx/auth/y", "/auth")],
)
def test_routers_that_cut_the_root_path_out_elsewhere_get_no_public_path(path: str, root_path: str) -> None:
    """A path that is not below the root path but holds it is private: some routers would take another route."""
    assert not PublicPaths(["/schema/*", "/schemaapi/*", "/authx/*", "/health/*"]).match(
        http_scope(path, root_path=root_path)
    )


@pytest.mark.parametrize("root_path", ["/", "/proxied"])
def test_a_prefix_that_the_proxy_took_off_changes_nothing(root_path: str) -> None:
    """Behind a proxy that strips the root path, public paths are public as without it."""
    assert PUBLIC.match(http_scope("/auth/login", root_path=root_path))
    assert not PUBLIC.match(http_scope("/orders", root_path=root_path))
