"""Does this token hold? Keys, policy and the cache of verified tokens together."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import joserfc.errors
import joserfc.jwk
import joserfc.jwt
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rfc_examples import EXAMPLES, Example
from support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    SECRET,
    claims,
    ec_key,
    ed25519_key,
    genuine,
    genuine_token,
    head,
    hs256,
    jwk_of,
    jwks,
    jws,
    p384_key,
    p521_key,
    private_pem,
    public_pem,
    rsa_key,
    secret_auth,
    secret_token,
    segment,
    thief_key,
)

from asgi_jwt import errors
from asgi_jwt.settings import Settings
from asgi_jwt.testing import Clock
from asgi_jwt.tokens.algorithms import ALGORITHMS, SYMMETRIC
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.verifier import TokenVerifier

with warnings.catch_warnings(record=True):
    # It recommends joserfc; the tokens of those who stay with it count all the same.
    import authlib.jose

pytestmark = pytest.mark.anyio

SIGNING: dict[str, Callable[[], Any]] = {
    "RS": rsa_key,
    "PS": rsa_key,
    "ES256": ec_key,
    "ES384": p384_key,
    "ES512": p521_key,
    "Ed": ed25519_key,
}
POLICY = TokenPolicy(issuer=ISSUER, audience=(AUDIENCE,), algorithms=frozenset({"ES256"}))


def material(algorithm: str) -> tuple[bytes, KeySet]:
    """What to sign with, a secret or PEM, and the key set that verifies it."""
    if algorithm in SYMMETRIC:
        return SECRET.encode(), KeySet.from_secret(SECRET)
    private = next(make for start, make in SIGNING.items() if algorithm.startswith(start))()
    return private_pem(private), KeySet.parse(public_pem(private))


def by_joserfc(algorithm: str, header: dict[str, Any], payload: dict[str, Any], key: bytes) -> str:
    kinds = {"HS": joserfc.jwk.OctKey, "ES": joserfc.jwk.ECKey, "Ed": joserfc.jwk.OKPKey}
    read: Any = kinds.get(algorithm[:2], joserfc.jwk.RSAKey)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", joserfc.errors.SecurityWarning)
        return joserfc.jwt.encode(header, payload, read.import_key(key), algorithms=[algorithm])


def by_authlib(algorithm: str, header: dict[str, Any], payload: dict[str, Any], key: bytes) -> str:
    encoded: bytes = authlib.jose.JsonWebToken([algorithm]).encode(header, payload, key)
    return encoded.decode()


def by_pyjwt(algorithm: str, header: dict[str, Any], payload: dict[str, Any], key: bytes) -> str:
    return jwt.encode(payload, key.decode(), algorithm, header)


def verifier_for(keys: KeySet, *, cache_size: int = 8, clock: Clock | None = None, **policy: Any) -> TokenVerifier:
    allowed = replace(POLICY, **{"algorithms": frozenset(ALGORITHMS), **policy})
    return TokenVerifier(keys, allowed, cache_size=cache_size, clock=clock or Clock(NOW))


def genuine_verifier(**settings: Any) -> TokenVerifier:
    """Verifies what `genuine_token` gives."""
    return verifier_for(KeySet.parse(str(jwks()).replace("'", '"')), **settings)


LIBRARIES = {"joserfc": by_joserfc, "Authlib": by_authlib, "PyJWT": by_pyjwt}
LACKING = {("Authlib", "Ed25519"), ("PyJWT", "Ed25519")}


@pytest.mark.parametrize("typ", [None, "JWT", "at+jwt", "application/AT+JWT"])
@pytest.mark.parametrize(
    ("library", "algorithm"),
    [(library, algorithm) for library in LIBRARIES for algorithm in ALGORITHMS if (library, algorithm) not in LACKING],
)
async def test_tokens_of_other_libraries_are_accepted(library: str, algorithm: str, typ: str | None) -> None:
    """joserfc, Authlib and PyJWT sign with every algorithm they have, and the token is let in."""
    key, keys = material(algorithm)
    header = {"alg": algorithm} if typ is None else {"alg": algorithm, "typ": typ}
    token = LIBRARIES[library](algorithm, header, claims(roles=["staff"]), key)
    verifier = verifier_for(keys, algorithms=frozenset({algorithm}))
    verified = await verifier.verify(token.encode())
    assert verified.to_dict() == claims(roles=["staff"])
    with pytest.raises(errors.AlgorithmNotAllowed):
        await verifier_for(keys, algorithms=frozenset(ALGORITHMS) - {algorithm}).verify(token.encode())
    with pytest.raises(errors.InvalidSignature):
        await verifier.verify((token.rpartition(".")[0] + "." + segment(b"x" * 64)).encode())


@pytest.mark.parametrize("example", [each for each in EXAMPLES.values() if each.token], ids=lambda each: each.algorithm)
async def test_examples_of_the_rfcs_fail_by_what_they_say_alone(example: Example) -> None:
    """The tokens of RFC 7515 and RFC 8037 pass header and signature; what is signed is no access token.

    Over any other payload their signatures don't verify.
    """
    token = (example.token or "").encode()
    claims_are_signed = example.algorithm in ("HS256", "RS256", "ES256")
    keys = KeySet([Key.from_jwk(example.jwk)])
    verifier = verifier_for(keys, issuer="joe", audience=None, clock=Clock(1300819380))
    with pytest.raises(errors.MissingClaim if claims_are_signed else errors.MalformedToken) as refused:
        await verifier.verify(token)
    assert refused.value.detail == ("sub" if claims_are_signed else "not JSON in UTF-8 without repeated names")
    assert verifier.signature_checks == 1
    header, _, signature = token.split(b".")
    with pytest.raises(errors.InvalidSignature):
        await verifier.verify(b".".join((header, segment(claims()).encode(), signature)))


async def test_a_token_seen_before_costs_no_signature_check() -> None:
    """The second time a token is only looked up, and the very same claims are handed out."""
    verifier, token = genuine_verifier(), genuine_token().encode()
    assert verifier.verify_cached(token) is None
    first = await verifier.verify(token)
    assert await verifier.verify(token) is first
    assert verifier.verify_cached(token) is first
    assert (verifier.verified, verifier.cache_hits, verifier.signature_checks) == (1, 2, 1)


async def test_a_cache_of_none_remembers_nothing() -> None:
    """With a cache size of zero every request checks the signature."""
    verifier, token = genuine_verifier(cache_size=0), genuine_token().encode()
    for _ in range(3):
        await verifier.verify(token)
        assert verifier.verify_cached(token) is None
    assert verifier.signature_checks == 3


async def test_the_cache_stays_in_its_bound() -> None:
    """However many tokens come, the newest few valid ones alone are remembered, each by its digest.

    No flood of forgeries empties the cache, and a copy of the memory holds no token that could be used.
    """
    verifier = genuine_verifier(cache_size=8)
    tokens = [genuine_token(jti=str(number)).encode() for number in range(30)]
    for token in tokens:
        await verifier.verify(token)
    for number in range(20):
        with pytest.raises(errors.InvalidSignature):
            await verifier.verify(f"{genuine_token().rpartition('.')[0]}.{segment(bytes([number]))}".encode())
    assert [token for token in tokens if verifier.verify_cached(token)] == tokens[-8:]
    assert len(verifier._cache) == 8
    assert {len(digest) for digest in verifier._cache} == {32}


async def test_a_cached_token_expires() -> None:
    """P3: A remembered token holds until the last moment that its `exp` and the leeway give it, and no longer."""
    clock = Clock(NOW)
    verifier, token = genuine_verifier(clock=clock), genuine_token(exp=NOW + 60).encode()
    await verifier.verify(token)
    clock.turn(89.5)
    assert await verifier.verify(token)
    clock.turn(0.5)
    assert verifier.verify_cached(token) is None
    with pytest.raises(errors.ExpiredToken):
        await verifier.verify(token)
    assert verifier.signature_checks == 2


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_a_cached_token_is_not_valid_before_its_time(name: str) -> None:
    """When the clock is set back, a remembered token is refused as a new one would be."""
    clock = Clock(NOW)
    verifier, token = genuine_verifier(clock=clock), genuine_token(**{name: NOW}).encode()
    await verifier.verify(token)
    clock.turn(-30)
    assert verifier.verify_cached(token) is not None
    clock.turn(-1)
    assert verifier.verify_cached(token) is None
    with pytest.raises(errors.AuthError):
        await verifier.verify(token)


async def test_any_other_spelling_of_a_cached_token_is_another_token() -> None:
    """The cache knows a token by all its bytes, so that nothing rides on another's verification."""
    verifier, token = genuine_verifier(), genuine_token()
    await verifier.verify(token.encode())
    header, payload, signature = token.split(".")
    for other in (f"{header}.{payload}.{signature}=", f"{token} ", token.swapcase(), f"{header}.{payload}."):
        assert verifier.verify_cached(other.encode()) is None
        with pytest.raises(errors.AuthError):
            await verifier.verify(other.encode())


async def test_an_oversized_token_is_refused_before_any_work() -> None:
    """Past the limit nothing is parsed, checked or looked up."""
    token = genuine_token().encode()
    await genuine_verifier(max_token_size=len(token)).verify(token)
    for size in (len(token) - 1, 256):
        verifier = genuine_verifier(max_token_size=size)
        assert verifier.verify_cached(token) is None
        with pytest.raises(errors.TokenTooLarge):
            await verifier.verify(token)
        with pytest.raises(errors.TokenTooLarge):
            await verifier.verify_once(token)
        assert (verifier.signature_checks, len(verifier._cache), len(verifier._first.headers)) == (0, 0, 0)


async def test_a_token_presented_once() -> None:
    """`verify_once` says of a token what `verify` does, checks its signature each time, and remembers nothing of it."""
    verifier = genuine_verifier()
    token = genuine_token().encode()
    claims_of = await genuine_verifier().verify(token)
    for checks in (1, 2):
        assert dict(await verifier.verify_once(token)) == claims_of.to_dict()
        assert (verifier.signature_checks, verifier.verified, len(verifier._cache)) == (checks, checks, 0)
    with pytest.raises(errors.InvalidSignature):
        await verifier.verify_once(token[:-8] + b"AAAAAAAA")


async def test_a_flood_of_kids_costs_four_checks_a_token() -> None:
    """However many nameless keys there are and whatever `kid` is made up, four signatures are checked at most."""
    verifier = verifier_for(KeySet([Key.from_pem(public_pem(thief_key())) for _ in range(9)]))
    for number in range(5):
        with pytest.raises(errors.UnknownKey, match="9 keys fit, and 4 at most are tried"):
            await verifier.verify(jws(head(kid=f"made up {number}"), claims(), genuine).encode())
        assert verifier.signature_checks == 4 * (number + 1)


@pytest.mark.parametrize("count", [4, 5, 6])
async def test_a_token_that_names_no_key_is_tried_with_four(count: int) -> None:
    """Where more keys fit, a token without `kid` that none of four signed is of an unknown key, not a forgery."""
    keys, _ = KeySet.from_jwks({"keys": [*(generate_jwk("ES256") for _ in range(count)), jwk_of(ec_key(), "own")]})
    verifier = verifier_for(keys)
    with pytest.raises(errors.UnknownKey, match=f"{count + 1} keys fit"):
        await verifier.verify(jws({"alg": "ES256"}, claims(), genuine).encode())
    assert verifier.signature_checks == 4
    assert await verifier.verify(jws(head(kid="own"), claims(), genuine).encode())
    assert verifier.signature_checks == 5


async def test_the_fourth_of_the_keys_that_fit_may_verify() -> None:
    """A token without `kid` is tried with each key that fits, in their order."""
    verifier = verifier_for(KeySet.parse(public_pem(thief_key()) * 3 + public_pem(ec_key())))
    await verifier.verify(jws({"alg": "ES256"}, claims(), genuine).encode())
    assert verifier.signature_checks == 4


async def test_headers_of_forgeries_are_not_remembered() -> None:
    """Only the header of a token that verified is parsed once for all: forged ones would fill the memory.

    It vouches for nothing: a forged token with it is checked like any other.
    """
    verifier = genuine_verifier()
    for number in range(20):
        with pytest.raises(errors.InvalidSignature):
            await verifier.verify(jws(head(n=number), claims(), lambda _: b"").encode())
    assert len(verifier._first.headers) == 0
    for jti in "12":
        await verifier.verify(genuine_token(jti=jti).encode())
    with pytest.raises(errors.InvalidSignature):
        await verifier.verify(jws(head(), claims(sub="admin"), lambda _: bytes(64)).encode())
    with pytest.raises(errors.ExpiredToken):
        await verifier.verify(genuine_token(exp=NOW - 31).encode())
    assert len(verifier._first.headers) == 1


async def test_headers_remembered_are_bounded() -> None:
    """An issuer that puts something new into every header fills no memory."""
    verifier = verifier_for(KeySet.from_secret(SECRET))
    for number in range(300):
        await verifier.verify(jws({"alg": "HS256", "n": number}, claims(), hs256(SECRET)).encode())
    assert len(verifier._first.headers) <= 256


VENDOR = {"typ": frozenset({"vendor+jwt"})}


@pytest.mark.parametrize(
    ("typ", "settings", "accepted"),
    [
        *((typ, {}, True) for typ in ("at+jwt", "AT+JWT", "application/at+jwt", "jwt", "application/jwt", None)),
        *((typ, {}, False) for typ in ("rt+jwt", "")),
        ("Application/JWT", {}, True),
        (None, {"require_typ": True}, False),
        ("at+jwt", {"require_typ": True}, True),
        ("JWT", {"typ": frozenset({"at+jwt"})}, False),
        ("Vendor+JWT", VENDOR, True),
        ("vendor+jwt", {"typ": frozenset({"application/Vendor+JWT"})}, True),
        ("application/vendor+jwt", VENDOR, True),
        ("text/vendor+jwt", {"typ": frozenset({"text/vendor+jwt"})}, True),
        ("vendor+jwt", {"typ": frozenset({"text/vendor+jwt"})}, False),
    ],
)
async def test_header_typ(typ: str | None, settings: dict[str, Any], accepted: bool) -> None:
    """`typ` is an expected media type, in any case, with or without `application/` (RFC 7515 section 4.1.9).

    It may be absent unless it is required (RFC 8725 section 3.11).
    """
    header = head(typ=typ) if typ is not None else {"alg": "ES256", "kid": "p256"}
    verifying = genuine_verifier(**settings).verify(jws(header, claims(), genuine).encode())
    with nullcontext() if accepted else pytest.raises(errors.WrongHeaderType):
        assert await verifying


async def test_policy_reaches_the_claims() -> None:
    """The policy's required claims are asked for, and its scope and roles claims read."""
    policy: dict[str, Any] = {"required_claims": (("tenant", "a"),), "scope_claim": "scp", "roles_claim": "groups"}
    verifier = genuine_verifier(**policy)
    verified = await verifier.verify(genuine_token(tenant="a", scp=["x"], groups=["y"]).encode())
    assert (verified.scopes, verified.roles) == (frozenset({"x"}), frozenset({"y"}))
    with pytest.raises(errors.WrongClaim):
        await verifier.verify(genuine_token(tenant="b").encode())
    with pytest.raises(errors.MissingClaim):
        await verifier.verify(genuine_token().encode())


async def test_keys_that_embedded_members_name_are_never_used() -> None:
    """A genuine token may carry `jwk`, `jku`, `x5u` and `x5c`: they are ignored (RFC 8725 section 3.10)."""
    header = head(jwk={"kty": "EC"}, jku="https://thief.example", x5u=1, x5c=["x"])
    assert await genuine_verifier().verify(jws(header, claims(), genuine).encode())


async def test_no_keys_let_nothing_in() -> None:
    """A verifier without keys refuses every token."""
    with pytest.raises(errors.UnknownKey):
        await verifier_for(KeySet([])).verify(genuine_token().encode())


def mutations(token: bytes) -> st.SearchStrategy[bytes]:
    """`token` with bytes replaced, put in or taken out, or cut and put together anew."""
    place = st.integers(0, len(token))
    replaced = st.builds(lambda at, byte: token[:at] + byte + token[at + 1 :], place, st.binary(min_size=1, max_size=2))
    inserted = st.builds(lambda at, more: token[:at] + more + token[at:], place, st.binary(min_size=1, max_size=4))
    removed = st.builds(lambda at, count: token[:at] + token[at + count :], place, st.integers(1, 40))
    swapped = st.permutations(token.split(b".")).map(b".".join)
    return replaced | inserted | removed | swapped


parts = st.binary(max_size=40).map(segment) | st.text(max_size=20)
TOKENS = {"ES256": genuine_token().encode(), "HS256": jws({"alg": "HS256"}, claims(), hs256(SECRET)).encode()}
VERIFIERS: dict[str, Callable[..., TokenVerifier]] = {
    "ES256": genuine_verifier,
    "HS256": lambda: verifier_for(KeySet.from_secret(SECRET)),
}


@pytest.mark.parametrize("algorithm", TOKENS)
@given(choice=st.data())
async def test_a_mutated_token_is_refused_and_nothing_else_is_raised(algorithm: str, choice: st.DataObject) -> None:
    """Whatever one does to the bytes of a valid token, it is refused with an `AuthError`."""
    mutated = choice.draw(mutations(TOKENS[algorithm]))
    if mutated == TOKENS[algorithm]:
        return
    with pytest.raises(errors.AuthError):
        await VERIFIERS[algorithm]().verify(mutated)


@given(st.binary(max_size=80) | st.lists(parts, max_size=5).map(".".join).map(str.encode))
async def test_rubbish_is_refused_and_nothing_else_is_raised(token: bytes) -> None:
    """Whatever bytes come, they are refused with an `AuthError`."""
    with pytest.raises(errors.AuthError):
        await genuine_verifier().verify(token)


def test_settings_and_policy_agree() -> None:
    """A policy's defaults are those of the settings."""
    settings = Settings(issuer=ISSUER, audience=AUDIENCE, keys=jwks(), algorithms="ES256")
    assert settings.policy == POLICY


async def test_a_header_full_of_objects_is_not_parsed() -> None:
    """Anyone may write a header: with more objects and lists than an honest one has, it is refused unread."""
    auth = secret_auth()
    header = b'{"alg":"HS256","x":[' + b",".join([b"{}"] * 15) + b"]}"
    with pytest.raises(errors.MalformedToken, match="too many objects"):
        await auth.verify(f"{segment(header)}.{segment({})}.AAAA")


async def test_two_loops_may_find_one_token_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that another thread's event loop forgets first is refused as expired, and is no error of ours."""
    auth = secret_auth()
    token = secret_token()
    claims = await auth.verify(token)
    verifier = auth.verifier

    def late() -> float:
        verifier._cache.clear()
        return claims.expires_at + 1000

    monkeypatch.setattr(verifier, "_clock", late)
    with pytest.raises(errors.ExpiredToken):
        await auth.verify(token)
