"""The API takes the token of the login and nothing else, and each fault of a deployment is named."""

from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from support.deployments import Site, answering, changed, deployment, fault, in_turn, untried
from support.tokens import SECRET

from asgi_jwt.drill.checks_published import jwks
from asgi_jwt.drill.checks_tokens import api, forged, kinds, places, public_paths
from asgi_jwt.tokens.key_rotation import generate_jwk

GOOD = (public_paths, api)
OPEN = answering(deployment(), "/api/me", 200, b'{"subject": "alice"}')


def for_tokens(passes: Callable[[Scope], bool], status: int = 200) -> ASGIApp:
    """A deployment whose API answers with `status` to what `passes`."""
    app = deployment()
    lax = answering(app, "/api", status, b'{"subject":"alice"}')

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        await (lax if passes(scope) else app)(scope, receive, send)

    return routed


def authorization(scope: Scope) -> str:
    return ",".join(value.decode() for name, value in scope["headers"] if name == b"authorization")


@pytest.mark.parametrize("work", [public_paths, api, forged, places, kinds])
def test_good(site: Site, work: Any) -> None:
    """A whole deployment keeps each promise, with a secret and with keys."""
    keys: dict[str, Any] = {"secret": None, "keys": {"keys": [generate_jwk("RS256")]}}
    for app in (deployment(), deployment(**keys)):
        assert site.check(jwks, *GOOD, work, app=app).holds is True


@pytest.mark.parametrize(
    ("app", "seen", "mend"),
    [
        (deployment(public=("/auth/*", "/api/*")), "answered 200 without a token", "take it out of public="),
        (answering(deployment(), "/api", 200, method="HEAD"), "HEAD /api/me is answered", "JWTMiddleware"),
        (answering(deployment(), "/api", 401), "no challenge", "pass WWW-Authenticate on"),
        (answering(deployment(), "/api", 307), "answered 307", "follows no redirect"),
        (answering(deployment(), "/api", 500), "answered 500", "log of the service"),
    ],
)
def test_public_paths(site: Site, app: ASGIApp, seen: str, mend: str) -> None:
    """A path that answers without a token is named, and so is a refusal without its challenge."""
    fault(site.check(public_paths, app=app), seen, mend)


@pytest.mark.parametrize(
    ("app", "target", "seen", "mend"),
    [
        (deployment(api={"audience": "billing"}), {}, "401 invalid_token", "the same issuer, audience and keys"),
        (deployment(), {"api": "/api/nothing"}, "answered 404", "a path that is there"),
        (
            in_turn(deployment(), deployment(api={"secret": "x" * 32})),
            {},
            "answered 401",
            "the same keys",
        ),
    ],
)
def test_api(site: Site, app: ASGIApp, target: dict[str, str], seen: str, mend: str) -> None:
    """An API that refuses the token of the login, in any process, is named."""
    fault(site.check(public_paths, api, app=app, **target), seen, mend)


def test_api_not_guarded(site: Site) -> None:
    """What can't be told of an API that is open, or refuses all, is not tried."""
    untried(site.check(*GOOD, forged, app=OPEN), "answers without a token")
    untried(site.check(*GOOD, places, api="/api/nothing"), "did not take the token")


@pytest.mark.parametrize(
    ("app", "seen"),
    [
        (deployment(api={"secret": SECRET}), ""),
        (for_tokens(lambda scope: authorization(scope).endswith(".")), "an empty signature, alg none"),
        (for_tokens(lambda scope: authorization(scope).endswith("."), 500), "error of the server: an empty signature"),
        (changed(deployment(secret="s" * 32)), "accepted: alg HS256 with the secret"),
    ],
)
def test_forged(site: Site, app: ASGIApp, seen: str) -> None:
    """Each forged token that the API takes is named."""
    result = site.check(*GOOD, forged, app=app)
    assert result.holds is not bool(seen)
    assert seen in result.seen


def test_opaque(site: Site) -> None:
    """A token that is no JWT can't be forged."""
    app = answering(OPEN_TO_ALL_TOKENS, "/auth/login", 200, b'{"access_token": "opaque"}')
    untried(site.check(*GOOD, forged, app=app), "no JWT")


OPEN_TO_ALL_TOKENS = for_tokens(lambda scope: bool(authorization(scope)))


@pytest.mark.parametrize(
    ("passes", "seen"),
    [
        (lambda scope: b"access_token" in scope["query_string"], "in the query"),
        (lambda scope: authorization(scope).startswith("Basic"), "behind Basic"),
        (lambda scope: authorization(scope).count("Bearer") == 2, "in two headers"),
        (lambda scope: scope["path"].startswith("//"), "//api/me leads around the guard"),
    ],
)
def test_places(site: Site, passes: Callable[[Scope], bool], seen: str) -> None:
    """Each other place of a token, and each spelling of the path, that lets somebody in is named."""
    app, lax = deployment(), answering(deployment(), "/", 200, b'{"subject":"alice"}')

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        await (lax if passes(scope) else app)(scope, receive, send)

    fault(site.check(*GOOD, places, app=routed), seen, "")


def test_kinds(site: Site) -> None:
    """A token of one kind that passes for the other is named."""
    fault(site.check(*GOOD, kinds, app=OPEN_TO_ALL_TOKENS), "/api/me takes a refresh token", "JWTMiddleware")
    fault(site.check(*GOOD, kinds, app=answering(deployment(), "/auth/token")), "/token takes", "REFRESH_SECRET")
