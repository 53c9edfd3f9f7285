"""Contenders at the level of the token: a token in, its claims out, or a refusal."""

import base64
import hmac
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.types import Options

from asgi_jwt import Auth, AuthError
from benchmarks.contender import Case, Contender
from benchmarks.fixture import AUDIENCE, ISSUER, LEEWAY, Fixture

SignatureCheck = Callable[[bytes, bytes], bool]

REMEMBERED = 1
"""How many tokens the cache holds where each is to be new when its turn comes, and to put another out."""


def ours(fixture: Fixture) -> Contender:
    """`TokenVerifier.verify`, and `verify_cached` for a token seen before."""
    verifier = auth(fixture, cache_size=REMEMBERED).verifier
    remembering = auth(fixture).verifier
    tokens = [token.encode() for token in fixture.tokens]
    forged = [token.encode() for token in fixture.forged]
    oversized = [fixture.oversized.encode()] * len(tokens)

    async def new() -> None:
        for token in tokens:
            await verifier.verify(token)
        assert not verifier.cache_hits, "tokens that should have been new were not"

    async def seen() -> None:
        for token in tokens:
            if remembering.verify_cached(token) is None:
                await remembering.verify(token)

    def refused(bad: Sequence[bytes]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            for token in bad:
                try:
                    await verifier.verify(token)
                except AuthError:
                    continue
                raise AssertionError("a bad token got in")

        return run

    async def accepts(token: str) -> bool:
        try:
            await remembering.verify(token.encode())
        except AuthError:
            return False
        return True

    calls = len(tokens)
    return Contender(
        cases={
            "new": Case(run=new, calls=calls),
            "forged": Case(run=refused(forged), calls=calls),
            "oversized": Case(run=refused(oversized), calls=calls),
            "seen": Case(run=seen, calls=calls),
        },
        accepts=accepts,
        distributions=("asgi_jwt", "PyJWT", "cryptography"),
        notes=["a new token's time holds the cache's work: the token goes in and another one out"],
    )


def auth(fixture: Fixture, **settings: Any) -> Auth:
    """Ours, as a service would set it up."""
    keys: dict[str, Any] = (
        {"secret": fixture.secret} if fixture.algorithm.startswith("HS") else {"keys": fixture.public_pem}
    )
    return Auth.from_env({}, issuer=ISSUER, audience=AUDIENCE, leeway=LEEWAY, **keys, **settings)


def pyjwt_check(fixture: Fixture) -> Callable[[str], Mapping[str, Any]]:
    """`jwt.decode` with its key prepared once, asking for all that it can check of what we check."""
    key = (
        jwt.PyJWK({"kty": "oct", "alg": fixture.algorithm, "k": _base64url(fixture.secret.encode())})
        if fixture.algorithm.startswith("HS")
        else public_key(fixture)
    )
    algorithms = [fixture.algorithm]
    require: Options = {"require": ["exp", "sub"]}

    def check(token: str) -> Mapping[str, Any]:
        return jwt.decode(token, key, algorithms, options=require, audience=AUDIENCE, issuer=ISSUER, leeway=LEEWAY)

    return check


def pyjwt(fixture: Fixture) -> Contender:
    return _library(fixture, pyjwt_check(fixture), ("PyJWT", "cryptography"))


def joserfc(fixture: Fixture) -> Contender:
    from joserfc import jwt as joserfc_jwt
    from joserfc.jwk import OctKey, RSAKey

    key = (OctKey if fixture.algorithm.startswith("HS") else RSAKey).import_key(fixture.verifying_key)
    algorithms = [fixture.algorithm]
    registry = joserfc_jwt.JWTClaimsRegistry(
        leeway=LEEWAY,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True},
        type={"essential": True, "value": "access"},
    )

    def check(token: str) -> Mapping[str, Any]:
        claims = joserfc_jwt.decode(token, key, algorithms).claims
        registry.validate(claims)
        return claims

    return _library(fixture, check, ("joserfc", "cryptography"))


def authlib(fixture: Fixture) -> Contender:
    import authlib.deprecate  # which says from here on what it thinks of its module jose

    with warnings.catch_warnings(action="ignore", category=authlib.deprecate.AuthlibDeprecationWarning):
        from authlib.jose import JsonWebToken, OctKey, RSAKey

    # Its type stubs know no key objects.
    key: Any = (OctKey if fixture.algorithm.startswith("HS") else RSAKey).import_key(fixture.verifying_key)
    tokens = JsonWebToken([fixture.algorithm])
    options = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
        "sub": {"essential": True},
        "type": {"essential": True, "value": "access"},
    }

    def check(token: str) -> Mapping[str, Any]:
        claims: Any = tokens.decode(token, key, claims_options=options)
        claims.validate(leeway=LEEWAY)
        return dict(claims)

    return _library(fixture, check, ("Authlib", "cryptography"), "its authors have deprecated authlib.jose for joserfc")


def oxyjwt(fixture: Fixture) -> Contender:
    import oxyjwt

    prepare = oxyjwt.DecodingKey.from_secret if fixture.algorithm.startswith("HS") else oxyjwt.DecodingKey.from_rsa_pem
    key, algorithms = prepare(fixture.verifying_key), [fixture.algorithm]

    def check(token: str) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = oxyjwt.decode(token, key, algorithms, audience=AUDIENCE, issuer=ISSUER)
        return claims

    return _library(fixture, check, ("oxyjwt", "orjson"), "without a leeway and without `require`, its fast path")


def raw(fixture: Fixture) -> Contender:
    """The signature alone, which no verifier can do without: the first of the ways to check it is the measure."""
    signed = [_parts(token) for token in fixture.tokens]
    forged = [_parts(token) for token in fixture.forged]
    checks = _hmac_checks(fixture.secret.encode()) if fixture.algorithm.startswith("HS") else _rsa_checks(fixture)
    (named, measure), *others = checks.items()

    def checking(check: SignatureCheck, tokens: Sequence[tuple[bytes, bytes]]) -> Case:
        async def run() -> None:
            for message, signature in tokens:
                check(message, signature)

        return Case(run=run, calls=len(tokens))

    async def accepts(token: str) -> bool:
        return measure(*_parts(token))

    return Contender(
        cases={"new": checking(measure, signed), "forged": checking(measure, forged)}
        | {name: checking(check, signed) for name, check in others},
        accepts=accepts,
        distributions=("cryptography",),
        notes=[named],
    )


def _hmac_checks(secret: bytes) -> dict[str, SignatureCheck]:
    return {
        "hmac.digest": lambda message, signature: hmac.compare_digest(
            hmac.digest(secret, message, "sha256"), signature
        ),
        "hmac.new": lambda message, signature: hmac.compare_digest(
            hmac.new(secret, message, "sha256").digest(), signature
        ),
    }


def _rsa_checks(fixture: Fixture) -> dict[str, SignatureCheck]:
    key, scheme, digest = public_key(fixture), padding.PKCS1v15(), hashes.SHA256()

    def check(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return {"cryptography's RSAPublicKey.verify": check}


def _parts(token: str) -> tuple[bytes, bytes]:
    message, _, signature = token.rpartition(".")
    return message.encode(), base64.urlsafe_b64decode(signature + "==")


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def public_key(fixture: Fixture) -> rsa.RSAPublicKey:
    """The RSA key, parsed."""
    key = load_pem_public_key(fixture.public_pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def _library(
    fixture: Fixture, check: Callable[[str], Mapping[str, Any]], distributions: Sequence[str], *notes: str
) -> Contender:
    tokens, forged = fixture.tokens, fixture.forged
    oversized = [fixture.oversized] * 4

    async def new() -> None:
        for token in tokens:
            check(token)

    def tried(bad: Sequence[str]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            for token in bad:
                with suppress(Exception):
                    check(token)

        return run

    async def accepts(token: str) -> bool:
        try:
            check(token)
        except Exception:
            return False
        return True

    return Contender(
        cases={
            "new": Case(run=new, calls=len(tokens)),
            "forged": Case(run=tried(forged), calls=len(forged)),
            "oversized": Case(run=tried(oversized), calls=len(oversized)),
        },
        accepts=accepts,
        distributions=distributions,
        notes=notes,
    )


CONTENDERS: dict[str, Callable[[Fixture], Contender]] = {
    "asgi_jwt": ours,
    "PyJWT": pyjwt,
    "joserfc": joserfc,
    "Authlib": authlib,
    "oxyjwt": oxyjwt,
    "the signature alone": raw,
}
