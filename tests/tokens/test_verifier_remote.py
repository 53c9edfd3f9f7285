"""Does this token hold, when its keys are a remote issuer's, or when there are several issuers?"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from support.issuers import IssuerServer
from support.tokens import (
    AUDIENCE,
    NOW,
    SECRET,
    claims,
    ec_key,
    genuine_token,
    hs256,
    jwk_of,
    jws,
    p384_key,
    public_pem,
    rsa_key,
    segment,
    thief_key,
    token_by,
    without,
)

from asgi_jwt import errors
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.remote_keys import MAX_WAITING, RemoteKeySet
from asgi_jwt.tokens.trusted import Trust
from asgi_jwt.tokens.verifier import TokenVerifier

pytestmark = pytest.mark.anyio

A, B = "https://a.example", "https://b.example"
FRESH = 600


@pytest.fixture
def server() -> Iterator[IssuerServer]:
    with IssuerServer() as server:
        server.publish(jwk_of(ec_key(), "p256"), jwk_of(thief_key(), "other"))
        yield server


def policy_of(issuer: str = "https://issuer.example", **changes: Any) -> TokenPolicy:
    policy = TokenPolicy(issuer=issuer, audience=(AUDIENCE,), algorithms=frozenset({"ES256", "ES384"}))
    return replace(policy, **changes)


class Remote:
    """A verifier with the keys of one remote issuer, and a clock to turn."""

    def __init__(self, server: IssuerServer, cache_size: int = 8, clock: Clock | None = None) -> None:
        self.clock = clock or Clock(NOW)
        self.keys = RemoteKeySet(server.jwks_url, clock=self.clock)
        self.verifier = TokenVerifier(self.keys, policy_of(), cache_size=cache_size, clock=self.clock)

    async def refusal(self, token: bytes | str) -> type[errors.AuthError] | None:
        return await refusal(self.verifier, token)


async def refusal(verifier: TokenVerifier, token: bytes | str) -> type[errors.AuthError] | None:
    """The error that refuses the token; None when it is let in."""
    try:
        await verifier.verify(token if isinstance(token, bytes) else token.encode())
    except errors.AuthError as error:
        return type(error)
    return None


async def test_a_remote_key_verifies(server: IssuerServer) -> None:
    """Keys are fetched when they are needed: the first token waits for them, the next ones need no fetch."""
    remote, token = Remote(server), genuine_token().encode()
    assert server.requests == []
    first = await remote.verifier.verify(token)
    assert first.subject == "alice"
    assert remote.verifier.verify_cached(token) is first
    assert await remote.verifier.verify(token) is first
    assert await remote.refusal(genuine_token(jti="2")) is None
    assert (remote.verifier.verified, remote.verifier.cache_hits, remote.verifier.signature_checks) == (2, 2, 2)
    assert (server.count(), len(remote.verifier._first.headers)) == (1, 1)


async def test_what_is_malformed_asks_for_no_keys(server: IssuerServer) -> None:
    """A token that could not be verified with any key is refused before the issuer is asked."""
    remote = Remote(server)
    hs = jws({"alg": "HS256", "kid": "p256"}, claims(), hs256(public_pem(rsa_key())))
    nested = jws(b'{"alg":"ES256","x":' + b"[" * 20 + b"]" * 20 + b"}", claims(), lambda _: b"")
    for token, refused in (
        ("a.b", errors.MalformedToken),
        (hs, errors.AlgorithmNotAllowed),
        (nested, errors.MalformedToken),
    ):
        assert await remote.refusal(token) is refused
    assert await remote.refusal("a" * 8193) is errors.TokenTooLarge
    assert server.requests == []


async def test_a_thousand_tokens_at_once_cause_one_fetch(server: IssuerServer) -> None:
    """On a cold set all wait for one fetch, the one that is cancelled too; their one token is then checked once."""
    remote, token = Remote(server), genuine_token().encode()
    verified = 0

    async def one() -> None:
        nonlocal verified
        subject = (await remote.verifier.verify(token)).subject
        verified += subject == "alice"

    async with anyio.create_task_group() as group:
        with server.holding():
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(one)
                for _ in range(999):
                    group.start_soon(one)
                await wait_all_tasks_blocked()
                leaving.cancel_scope.cancel()
    assert (verified, server.count(), remote.verifier.signature_checks) == (999, 1, 1)


@pytest.mark.outside
async def test_ten_thousand_tokens_with_made_up_kids(server: IssuerServer) -> None:
    """They cause one fetch: a thousand wait for it, the others are refused at once, and so is each that comes after.

    No signature of theirs is checked. A token of a key that the fetch brings is let in, and one seen before waits for
    nothing.
    """
    remote, known = Remote(server), genuine_token().encode()
    await remote.verifier.verify(known)
    remote.clock.turn(30)
    server.publish(jwk_of(ec_key(), "p256"), jwk_of(thief_key(), "new"))
    refused: list[type[errors.AuthError] | None] = []

    async def one(token: bytes) -> None:
        refused.append(await remote.refusal(token))

    def made_up(number: int) -> bytes:
        return jws({"alg": "ES256", "kid": f"made up {number}"}, payload, lambda _: bytes(64)).encode()

    payload = json.dumps(claims()).encode()
    async with anyio.create_task_group() as group:
        with server.holding():
            group.start_soon(one, token_by(thief_key(), "new"))
            await wait_all_tasks_blocked()
            for number in range(10_000):
                group.start_soon(one, made_up(number))
            await wait_all_tasks_blocked()
            assert (remote.keys._flight.waiting, refused) == (MAX_WAITING, [errors.UnknownKey] * 9_001)
            assert await remote.refusal(known) is None
            assert await remote.refusal(genuine_token(jti="2")) is None
    assert (refused.count(errors.UnknownKey), refused.count(None)) == (10_000, 1)
    for number in range(10_000, 10_100):
        assert await remote.refusal(made_up(number)) is errors.UnknownKey
    assert (server.count(), remote.verifier.signature_checks) == (2, 3)


async def test_a_withdrawn_key_is_refused_within_its_freshness(server: IssuerServer) -> None:
    """What a key that left had verified leaves the cache; what the others verified stays in it."""
    remote = Remote(server)
    gone, stays = token_by(ec_key(), "p256"), token_by(thief_key(), "other")
    for token in (gone, stays):
        await remote.verifier.verify(token)
    server.publish(jwk_of(thief_key(), "other"))
    remote.clock.turn(FRESH)
    assert remote.verifier.verify_cached(gone) is None
    assert await remote.refusal(gone) is errors.UnknownKey
    assert remote.verifier.verify_cached(gone) is None
    assert await remote.refusal(stays) is None
    assert (remote.verifier.signature_checks, server.count()) == (2, 2)
    assert len(remote.verifier._cache) == 1


async def test_a_key_withdrawn_in_a_quiet_time(server: IssuerServer) -> None:
    """Of the requests that come together after it, none is let in by the old key, though its header is known."""
    remote = Remote(server)
    await remote.verifier.verify(genuine_token().encode())
    server.publish(jwk_of(thief_key(), "other"))
    remote.clock.turn(FRESH)
    refused: list[type[errors.AuthError] | None] = []

    async def verify(number: int) -> None:
        refused.append(await remote.refusal(genuine_token(jti=f"new {number}")))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(verify, number)
    assert refused == [errors.UnknownKey] * 3


async def test_a_clock_that_is_set_back_has_the_keys_fetched(server: IssuerServer) -> None:
    """Keys that came in a future which was none are not relied on until it comes, though the header is known."""
    remote = Remote(server)
    await remote.verifier.verify(genuine_token(iat=NOW - 100).encode())
    remote.clock.turn(-60)
    assert await remote.refusal(genuine_token(iat=NOW - 100, jti="2")) is None
    while remote.keys._flight.under_way:
        await remote.keys._flight.wait()
    assert server.count() == 2


async def test_a_known_header_waits_for_nothing(server: IssuerServer) -> None:
    """While the keys are unquestioned, a new token with a header that verified before is verified without waiting."""
    remote = Remote(server)
    await remote.verifier.verify(genuine_token().encode())
    verifying = remote.verifier.verify(genuine_token(jti="2").encode())
    with pytest.raises(StopIteration) as verified:
        verifying.send(None)
    assert verified.value.value.subject == "alice"
    assert remote.verifier.signature_checks == 2


async def test_a_key_withdrawn_under_load(server: IssuerServer) -> None:
    """With requests all the time, the fetch ahead of time alone takes the withdrawn key's tokens out."""
    remote, token = Remote(server), genuine_token().encode()
    await remote.verifier.verify(token)
    server.publish(jwk_of(thief_key(), "other"))
    refused = 0
    for _ in range(20):
        remote.clock.turn(30)
        refused += await remote.refusal(token) is not None
        while remote.keys._flight.under_way:
            await remote.keys._flight.wait()
    assert refused == 4


async def test_another_key_of_the_same_name(server: IssuerServer) -> None:
    """A name that the issuer gives to another key stands for that one alone, as soon as it is known."""
    remote = Remote(server)
    old, new = token_by(ec_key(), "p256"), token_by(p384_key(), "p256", alg="ES384")
    await remote.verifier.verify(old)
    server.publish(jwk_of(p384_key(), "p256"))
    remote.clock.turn(FRESH)
    assert await remote.refusal(new) is None
    assert await remote.refusal(old) is not None
    assert len(remote.verifier._first.headers) == 1


async def test_a_token_seen_before_is_let_in_at_sight_while_nothing_is_to_be_asked(server: IssuerServer) -> None:
    """Until a fetch is due a remembered token costs a look at the clock; past it, no new check of its signature."""
    remote, token = Remote(server), genuine_token().encode()
    await remote.verifier.verify(token)
    remote.clock.turn(479)
    assert remote.verifier.verify_cached(token) is not None
    remote.clock.turn(1)
    assert remote.verifier.verify_cached(token) is None
    assert len(remote.verifier._cache) == 1
    assert await remote.refusal(token) is None
    assert remote.verifier.verify_cached(token) is not None
    while remote.keys._flight.under_way:
        await remote.keys._flight.wait()
    assert (remote.verifier.signature_checks, server.count()) == (1, 2)


async def test_a_remembered_token_expires_while_keys_are_waited_for(server: IssuerServer) -> None:
    """The clock is looked at again after a wait."""
    remote, token = Remote(server), genuine_token(exp=NOW + 700).encode()
    await remote.verifier.verify(token)
    remote.clock.turn(FRESH)
    async with anyio.create_task_group() as group:
        with server.holding():
            refused: list[type[errors.AuthError] | None] = []

            async def ask() -> None:
                refused.append(await remote.refusal(token))

            group.start_soon(ask)
            await wait_all_tasks_blocked()
            remote.clock.turn(130)
    assert refused == [errors.ExpiredToken]


async def test_an_outage(server: IssuerServer) -> None:
    """Known tokens and new ones of known keys pass for an hour past the keys' time, then all are answered 503."""
    remote, seen = Remote(server), genuine_token(exp=NOW + 9000).encode()
    await remote.verifier.verify(seen)
    server.fail()
    for seconds, refused in ((FRESH + 59 * 60, None), (60, errors.KeysUnavailable)):
        remote.clock.turn(seconds)
        assert await remote.refusal(seen) is refused
        assert remote.verifier.verify_cached(seen) is None if refused else remote.verifier.verify_cached(seen)
        assert await remote.refusal(genuine_token(exp=NOW + 9000, jti=str(seconds))) is refused
    server.publish(jwk_of(ec_key(), "p256"))
    remote.clock.turn(1)
    assert await remote.refusal(seen) is None
    assert remote.verifier.signature_checks == 2


async def test_without_a_cache(server: IssuerServer) -> None:
    """With a cache size of zero, every token is verified by the keys that there are now."""
    remote = Remote(server, cache_size=0)
    for _ in range(2):
        assert await remote.refusal(genuine_token()) is None
    server.publish(jwk_of(thief_key(), "other"))
    remote.clock.turn(FRESH)
    assert await remote.refusal(genuine_token()) is errors.UnknownKey
    assert remote.verifier.signature_checks == 2


async def test_a_forgery_causes_no_fetch(server: IssuerServer) -> None:
    """A wrong signature, or another algorithm, under a known kid is refused, and the issuer isn't asked."""
    remote = Remote(server)
    await remote.verifier.verify(genuine_token().encode())
    remote.clock.turn(60)
    forged = genuine_token(jti="2").rpartition(".")[0] + "." + segment(bytes(64))
    for _ in range(3):
        assert await remote.refusal(forged) is errors.InvalidSignature
        assert await remote.refusal(token_by(p384_key(), "p256", alg="ES384")) is errors.UnsuitableKey
    assert server.count() == 1


def several(**changes: Any) -> TokenVerifier:
    """Trusts A and B, each with a key of its own, and both call it `1`."""
    keys = {A: KeySet([Key.from_jwk(jwk_of(ec_key(), "1"))]), B: KeySet([Key.from_jwk(jwk_of(thief_key(), "1"))])}
    b = Trust(keys[B], policy_of(B, **changes))
    return TokenVerifier(keys[A], policy_of(A), cache_size=8, clock=Clock(NOW), others=[b])


@pytest.mark.parametrize("cached", [False, True])
async def test_each_issuer_verifies_its_own(cached: bool) -> None:
    """Two issuers with a key of the same name don't mix: each token is verified by the keys of its `iss` alone."""
    verifier = several()
    tokens = {A: token_by(ec_key(), "1", iss=A), B: token_by(thief_key(), "1", iss=B)}
    for _ in range(1 + cached):
        for issuer, token in tokens.items():
            assert (await verifier.verify(token)).issuer == issuer
            claims_of = verifier.verify_cached(token)
            assert claims_of is not None
            assert claims_of.issuer == issuer
    assert (verifier.signature_checks, verifier.issuers) == (2, (A, B))


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("kid", "refused"), [("1", errors.InvalidSignature), (None, errors.InvalidSignature), ("2", errors.UnknownKey)]
)
async def test_no_issuer_speaks_for_another(warm: bool, kid: str | None, refused: type[errors.AuthError]) -> None:
    """A token signed with A's key that claims to be B's is refused, with B's `kid` and without, header known or not."""
    verifier = several()
    if warm:
        for issuer, key in ((A, ec_key()), (B, thief_key())):
            await verifier.verify(token_by(key, "1", iss=issuer))
    checks = verifier.signature_checks
    for issuer, key in ((B, ec_key()), (A, thief_key())):
        assert await refusal(verifier, token_by(key, kid, iss=issuer)) is refused
    assert verifier.signature_checks == checks + 2 * (refused is errors.InvalidSignature)
    assert len(verifier._cache) == 2 * warm


@pytest.mark.parametrize("issuer", ["https://c.example", A + "/", A.upper(), "", None, 1, [A], {"a": A}])
async def test_nobody_elses_issuer(issuer: Any) -> None:
    """`iss` is matched exactly; without a known one no key is tried at all."""
    verifier = several()
    assert await refusal(verifier, token_by(ec_key(), "1", iss=issuer)) is errors.WrongIssuer
    assert verifier.signature_checks == 0


async def test_payloads_without_an_issuer() -> None:
    """A payload that is no object, or has no `iss` or two, is refused before any key is tried."""
    verifier = several()
    header = {"alg": "ES256", "kid": "1"}
    twice = b'{"iss":"' + A.encode() + b'","iss":"' + B.encode() + b'"}'
    for payload, refused in (
        (b"[]", errors.MalformedToken),
        (twice, errors.MalformedToken),
        (without("iss"), errors.MissingClaim),
    ):
        assert await refusal(verifier, jws(header, payload, lambda _: b"")) is refused
    assert verifier.signature_checks == 0


async def test_rules_of_their_own() -> None:
    """Audience, size, type and algorithms are those of the token's issuer."""
    verifier = several(audience=("b",), type=None, max_token_size=400)
    untyped: dict[str, Any] = {"iss": B, "aud": "b", "type": "anything"}
    assert await refusal(verifier, token_by(thief_key(), "1", **untyped)) is None
    assert await refusal(verifier, token_by(thief_key(), "1", iss=B)) is errors.WrongAudience
    assert await refusal(verifier, token_by(ec_key(), "1", iss=A, aud="b")) is errors.WrongAudience
    assert await refusal(verifier, token_by(ec_key(), "1", iss=A, pad="x" * 400)) is None
    assert await refusal(verifier, token_by(thief_key(), "1", **untyped, pad="x" * 400)) is errors.TokenTooLarge
    assert await refusal(verifier, b"a" * 8193) is errors.TokenTooLarge


async def test_a_secret_next_to_a_remote_issuer(server: IssuerServer) -> None:
    """One's own tokens by a secret, another's by its remote keys: neither's key verifies the other's tokens."""
    clock = Clock(NOW)
    own = policy_of(A, algorithms=frozenset({"HS256"}))
    remote = Trust(RemoteKeySet(server.jwks_url, clock=clock), policy_of(B))
    verifier = TokenVerifier(KeySet.from_secret(SECRET), own, cache_size=8, clock=clock, others=[remote])

    def signed(issuer: str) -> str:
        return jws({"alg": "HS256"}, claims(iss=issuer, exp=NOW + 900), hs256(SECRET))

    assert await refusal(verifier, signed(A)) is None
    assert server.count() == 0
    clock.turn(30)
    assert await refusal(verifier, token_by(ec_key(), "p256", iss=B)) is None
    assert await refusal(verifier, signed(B)) is errors.AlgorithmNotAllowed
    assert await refusal(verifier, token_by(ec_key(), "p256", iss=A)) is errors.AlgorithmNotAllowed
    server.publish(jwk_of(thief_key(), "other"))
    clock.turn(FRESH)
    assert await refusal(verifier, token_by(ec_key(), "p256", iss=B)) is errors.UnknownKey
    assert verifier.verify_cached(signed(A).encode()) is not None
    clock.turn(300)
    for _ in range(2):
        assert await refusal(verifier, signed(A)) is errors.ExpiredToken
