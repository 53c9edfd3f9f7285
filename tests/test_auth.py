"""Settings, keys, verifier and issuer wired together."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt import get_unverified_header
from support.forgeries import FORGERIES
from support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    ec_key,
    genuine_token,
    jwks,
    keys_auth,
    private_pem,
    public_pem,
    rsa_key,
    secret_auth,
    secret_token,
)

from asgi_jwt import errors
from asgi_jwt.auth import Auth
from asgi_jwt.events import Event, TokenRefused
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock
from asgi_jwt.testing.issuer import using
from asgi_jwt.tokens.identity import Identity
from asgi_jwt.tokens.keys import KeySet

pytestmark = pytest.mark.anyio

ENVIRON = {"ASGI_JWT_ISSUER": ISSUER, "ASGI_JWT_AUDIENCE": AUDIENCE, "ASGI_JWT_SECRET": SECRET}


async def test_an_auth_from_the_environment_verifies() -> None:
    """`from_env` takes the variables given, keywords over them, the clock and the listener, and raises their faults."""
    heard: list[Event] = []
    auth = Auth.from_env(ENVIRON, clock=Clock(NOW + 700), on_event=heard.append, leeway=200)
    assert (await auth.verify(secret_token())).subject == "alice"
    await auth.events.emit(TokenRefused("x", 401, "http"))
    assert len(heard) == 1
    with pytest.raises(errors.ConfigurationError, match="ASGI_JWT_ISSUER"):
        Auth.from_env({})


async def test_text_and_bytes_are_one_token() -> None:
    """A token may be given as text or bytes, and is remembered as one."""
    auth, token = keys_auth(), genuine_token()
    claims = await auth.verify(token)
    assert await auth.verify(token.encode()) is claims
    assert auth.verify_cached(token) is claims
    assert auth.verify_cached(token.encode()) is claims
    assert auth.verifier.signature_checks == 1


@pytest.mark.parametrize("token", ["é", "\udcff", "a.b.\u0661", genuine_token() + "é", "é" * 8192])
async def test_text_that_is_no_ascii_is_malformed(token: str) -> None:
    """Text of any other characters is malformed, if it is not too large, and verify_cached knows nothing of it."""
    auth = keys_auth()
    assert auth.verify_cached(token) is None
    with pytest.raises(errors.MalformedToken if len(token) < 8192 else errors.TokenTooLarge):
        await auth.verify(token)


async def test_what_it_issues_it_verifies() -> None:
    """An Auth with a private key issues tokens, and verifies them."""
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, keys=private_pem(ec_key()).decode()), clock=Clock(NOW))
    token = auth.issuer.access_token(Identity("alice", scopes="a"), session_id="s1")
    claims = await auth.verify(token)
    assert (claims.subject, claims.session_id, *claims.scopes) == ("alice", "s1", "a")
    assert auth.issuer is auth.issuer
    assert auth.issuer.access_ttl == 900


@pytest.mark.parametrize(
    ("algorithms", "signs_with"),
    [("", "RS256"), ("PS256", "PS256"), ("ES256,PS512", "PS512"), ("RS512,RS256", "RS512")],
)
async def test_the_first_private_key_signs_with_the_first_algorithm_it_has(algorithms: str, signs_with: str) -> None:
    """The algorithm of issued tokens is the first of `ALGORITHMS` that the signing key is made for."""
    keys = (public_pem(ec_key()) + private_pem(rsa_key()) + private_pem(ec_key())).decode()
    auth = Auth(Settings(issuer=ISSUER, audience=AUDIENCE, keys=keys, algorithms=algorithms), clock=Clock(NOW))
    token = auth.issuer.access_token(Identity("alice"))
    assert (await auth.verify(token)).subject == "alice"
    with using(auth, KeySet.parse(private_pem(rsa_key()))):
        assert get_unverified_header(auth.issuer.access_token(Identity("alice")))["alg"] == signs_with


@pytest.mark.parametrize(
    ("settings", "token", "why"),
    [
        ({"keys": jwks()}, genuine_token(), "no private key"),
        ({"keys": private_pem(rsa_key()) + public_pem(ec_key()), "algorithms": "ES256"}, None, "ALGORITHMS"),
        ({"audience": "*", "secret": SECRET}, secret_token(aud="anyone"), "AUDIENCE"),
    ],
)
async def test_what_cant_issue(settings: dict[str, Any], token: str | None, why: str) -> None:
    """Public keys alone, a private one out of `ALGORITHMS` and no audience verify, and issue nothing to be refused."""
    auth = Auth(Settings(**{"issuer": ISSUER, "audience": AUDIENCE, **settings}), clock=Clock(NOW))
    assert token is None or await auth.verify(token)
    with pytest.raises(errors.ConfigurationError, match=why):
        _ = auth.issuer


async def test_other_keys_for_a_while() -> None:
    """Within `using` only the other keys count, and nothing verified with them outlasts it, whatever is raised."""
    auth, token = secret_auth(), secret_token()
    await auth.verify(token)
    verifier = auth.verifier
    other = KeySet.from_secret("another secret of more than thirty-two bytes")
    with using(auth, other):
        assert auth.verify_cached(token) is None
        with pytest.raises(errors.InvalidSignature):
            await auth.verify(token)
        theirs = auth.issuer.access_token(Identity("mallory"))
        assert (await auth.verify(theirs)).subject == "mallory"
    with pytest.raises(LookupError), using(auth, other):
        raise LookupError
    assert auth.verifier is verifier
    assert auth.verify_cached(token) is not None
    with pytest.raises(errors.InvalidSignature):
        await auth.verify(theirs)


async def test_it_is_a_context_manager() -> None:
    """An Auth can be entered and closed, twice if need be."""
    async with keys_auth() as auth:
        assert (await auth.verify(genuine_token())).subject == "alice"
    await auth.aclose()


ALPHABET = 'ABCabc019-_.=+/ \n\0é{}[]"'
PARTS = [part for token in (genuine_token(), secret_token()) for part in token.split(".")]
PARTS += [
    part
    for name in ("alg none, unsigned", "crit", "embedded jwk", "payload deep")
    for part in FORGERIES[name].token().split(".")
]


@pytest.mark.parametrize("make", [keys_auth, secret_auth])
@given(
    token=st.text(ALPHABET, max_size=60)
    | st.text(max_size=20)
    | st.binary(max_size=60)
    | st.lists(st.sampled_from(PARTS) | st.text(ALPHABET, max_size=4), max_size=5).map(".".join)
)
async def test_whatever_comes_is_verified_or_an_auth_error(make: Any, token: str | bytes) -> None:
    """Random text and bytes, and the parts of good and forged tokens put together anew, raise `InvalidToken` alone."""
    auth: Auth = make()
    try:
        claims = await auth.verify(token)
    except errors.InvalidToken:
        assert auth.verify_cached(token) is None
    else:
        assert token in (genuine_token(), ".".join(PARTS[:3]), ".".join(PARTS[3:6]))
        assert claims.subject == "alice"
