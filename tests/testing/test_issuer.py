"""Tokens without their issuer, for users' tests."""

from typing import Any

import pytest
from jwt.algorithms import ECAlgorithm
from support.tables import tables_of
from support.tokens import AUDIENCE, ISSUER, SECRET, jwks, p521_key

from asgi_jwt.auth import Auth
from asgi_jwt.errors import AuthError, ExpiredToken, InvalidSignature, UnknownKey, WrongAudience
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock, FakeIssuer, fake_issuer
from asgi_jwt.testing.issuer import using
from asgi_jwt.tokens.algorithms import ALGORITHMS
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet

pytestmark = pytest.mark.anyio


def auth_with(**settings: Any) -> Auth:
    return Auth(Settings(**{"issuer": ISSUER, "audience": AUDIENCE, "keys": jwks(), **settings}), clock=Clock())


async def test_its_tokens_are_accepted() -> None:
    """What `issue` mints says what it was asked to, and is accepted while the fake lasts."""
    auth = auth_with()
    with fake_issuer(auth) as issue:
        token = issue.token(
            "alice", scopes=["a", "b"], roles=["r"], claims={"tenant": "t", "sid": "s1"}, client_id="app"
        )
        claims = await auth.verify(token)
    assert (claims.subject, *claims.credentials.scopes, *claims.roles) == ("alice", "a", "b", "r")
    assert (claims["tenant"], claims.session_id, claims["client_id"]) == ("t", "s1", "app")
    assert claims.expires_at == int(auth.clock()) + 300


async def test_calling_it_gives_the_headers_of_a_request() -> None:
    """`headers=issue("alice")` is all that a test of a route needs."""
    auth = auth_with()
    with fake_issuer(auth) as issue:
        scheme, token = issue("alice", scopes="a")["Authorization"].split(" ")
        assert scheme == "Bearer"
        assert (await auth.verify(token)).scopes == {"a"}
        assert (await auth.verify(issue.token())).subject == "user"


@pytest.mark.parametrize(
    ("sources", "name"),
    [("cookie:a,header:X-A,header:X-B", "X-A"), ("header:X-A,header", "Authorization"), ("cookie:a", "Authorization")],
)
def test_the_headers_of_a_gateway(sources: str, name: str) -> None:
    """Where Authorization is not read, the token stands in the gateway's header."""
    with fake_issuer(auth_with(token_sources=sources)) as issue:
        assert list(issue()) == [name]


async def test_its_keys_count_only_while_it_lasts() -> None:
    """Afterwards its tokens are refused: a fake key can't leak into what follows."""
    auth = auth_with()
    with fake_issuer(auth) as issue:
        token = issue.token()
        await auth.verify(token)
    with pytest.raises(UnknownKey):
        await auth.verify(token)


async def test_the_policy_stays_in_force() -> None:
    """Expired tokens, other audiences and other keys are refused as they are in production."""
    auth = auth_with()
    with fake_issuer(auth) as issue:
        with pytest.raises(ExpiredToken):
            await auth.verify(issue.token(expires_in=-31))
        with pytest.raises(WrongAudience):
            await auth.verify(issue.token(claims={"aud": "other"}))
        with pytest.raises(AuthError) as refused:
            await auth.verify(issue.token(claims={"sub": None}))
        assert refused.value.reason == "claim_missing"
        thief = FakeIssuer(auth, Key.from_secret(SECRET), "HS256")
        with pytest.raises(AuthError) as refused:
            await auth.verify(thief.token())
        assert refused.value.reason == "algorithm_not_allowed"


@pytest.mark.parametrize(
    "settings",
    tables_of(__file__)["its_tokens_meet_whatever_the_policy_asks"],
)
async def test_its_tokens_meet_whatever_the_policy_asks(settings: dict[str, Any]) -> None:
    """A policy made for another issuer's tokens accepts the fake's without a change."""
    auth = auth_with(**settings)
    with fake_issuer(auth) as issue:
        claims = await auth.verify(issue.token(scopes="a", roles=["r"]))
    assert (*claims.scopes, *claims.roles) == ("a", "r")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_it_signs_with_whatever_is_allowed(algorithm: str) -> None:
    """The fake has a key for every algorithm, as the app under test may insist on one."""
    settings: dict[str, Any] = {"keys": None, "secret": SECRET} if algorithm.startswith("HS") else {}
    keys = {"keys": [*jwks()["keys"], ECAlgorithm.to_jwk(p521_key().public_key(), as_dict=True)]}
    auth = auth_with(**{"keys": keys, **settings}, algorithms=algorithm)
    with fake_issuer(auth) as issue:
        assert (await auth.verify(issue.token("alice"))).subject == "alice"


async def test_two_fakes_at_once_are_kept_apart() -> None:
    """The inner fake's keys count within it, and the outer one's come back after it."""
    auth = auth_with(keys=None, secret=SECRET)
    with fake_issuer(auth) as outer:
        with using(auth, KeySet.from_secret("x" * 64)), pytest.raises(InvalidSignature):
            await auth.verify(outer.token())
        assert await auth.verify(outer.token())
