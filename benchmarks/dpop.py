"""`dpop`: what a proof of a known key adds to a request with a token seen before, beside the signature check alone."""

import asyncio
import json
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.utils import raw_to_der_signature

from asgi_jwt import Auth, Identity, JWTMiddleware, Settings
from asgi_jwt.tokens.algorithms import jwk_of, thumbprint
from asgi_jwt.tokens.compact import decode_base64url, encode_base64url
from benchmarks.asgi import bare, request_scope
from benchmarks.fixture import AUDIENCE, ISSUER
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort

MOST = 15.0
"""Microseconds that a proof may add to its signature check."""
_REQUESTS = 200
_ES256 = ECAlgorithm(ECAlgorithm.SHA256)
UNBOUND, CHECKED, BOUND = "Bearer", "Bearer, and the bare signature check", "DPoP, a known key"
"""The check stands beside the request, because it leaves the processor's caches to the next request as a proof does."""
_URL = "https://api.example/orders"


def run_dpop(effort: Effort) -> Report:
    """The medians of rounds of unbound requests, of the same beside a bare check, and of requests with a proof."""
    report = Report(command="dpop")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "starlette", "cryptography")}
    rows = asyncio.run(_measure(effort.rounds))
    report.tables["ES256, µs for a request with a token seen before"] = rows
    added = rows[BOUND]["µs"] - rows[CHECKED]["µs"]
    report.promises.append(Promise("µs that a proof adds, over its signature check", added, MOST))
    return report


async def _measure(rounds: int) -> dict[str, dict[str, float]]:
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = jwk_of(key.public_key())
    auth = Auth(
        Settings(
            issuer=ISSUER,
            audience=AUDIENCE,
            secret="x" * 32,
            dpop_bases="https://api.example",
            dpop_replay_size=10_000_000,
        )
    )
    app = JWTMiddleware(bare, auth)
    unbound, bound = (auth.issuer.access_token(Identity("alice"), jkt=jkt) for jkt in (None, thumbprint(jwk)))
    taken: dict[str, list[float]] = {name: [] for name in (UNBOUND, CHECKED, BOUND)}
    for _ in range(rounds):
        proofs = [_proof(key, jwk, bound) for _ in range(_REQUESTS)]
        unproven = [request_scope(f"Bearer {unbound}") for _ in proofs]
        taken[UNBOUND].append(await _time(app, unproven))
        taken[CHECKED].append(await _time(app, unproven, _checks(key.public_key(), proofs)))
        taken[BOUND].append(await _time(app, [_with_proof(bound, proof) for proof in proofs]))
    return {name: {"µs": statistics.median(times)} for name, times in taken.items()}


def _proof(key: ec.EllipticCurvePrivateKey, jwk: dict[str, Any], token: str) -> bytes:
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}
    ath = encode_base64url(sha256(token.encode()).digest()).decode()
    claims = {"jti": secrets.token_urlsafe(16), "htm": "GET", "htu": _URL, "iat": int(time.time()), "ath": ath}
    message = b".".join(encode_base64url(json.dumps(part).encode()) for part in (header, claims))
    return message + b"." + encode_base64url(_ES256.sign(message, key))


def _with_proof(token: str, proof: bytes) -> dict[str, Any]:
    scope = request_scope(f"DPoP {token}")
    return {**scope, "headers": [*scope["headers"], (b"dpop", proof)]}


def _checks(public: ec.EllipticCurvePublicKey, proofs: Sequence[bytes]) -> Iterator[Callable[[], None]]:
    """The signature checks of cryptography, without the form of JWS around them."""
    parts = [proof.rpartition(b".") for proof in proofs]
    signatures = [raw_to_der_signature(decode_base64url(end), public.curve) for _, _, end in parts]
    algorithm = ec.ECDSA(hashes.SHA256())
    return iter(
        [partial(public.verify, each, part[0], algorithm) for each, part in zip(signatures, parts, strict=True)]
    )


async def _time(
    app: Any, scopes: Sequence[dict[str, Any]], checks: Iterator[Callable[[], None]] | None = None
) -> float:
    """Microseconds of the thread for each request, and for one of `checks`: other processes do not count."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status", 200))

    start = time.thread_time()
    for scope in scopes:
        await app(scope, None, send)
        if checks is not None:
            next(checks)()
    taken = (time.thread_time() - start) * 1e6 / len(scopes)
    assert set(statuses) == {200}, "a request was refused"
    return taken
