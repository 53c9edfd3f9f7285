"""`remote`: what fetching keys, and reading them again, does to the event loop; and what made-up `kid`s cost."""

import json
import secrets
import statistics
from tempfile import TemporaryDirectory
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks.fixture import claims
from benchmarks.report import Promise, Report, installed
from benchmarks.rounds import Effort, worker

SIZES = (4, 100)
BACKENDS = ("asyncio", "trio")
BOUND = 5.0
KIDS = 10_000


def run_remote(effort: Effort) -> Report:
    """The gaps of an event loop while keys are fetched or read again, beside those that it has anyway."""
    report = Report(command="remote")
    report.versions = {name: installed(name) for name in ("asgi_jwt", "anyio", "cryptography", "httpx2", "trio")}
    key = ec.generate_private_key(ec.SECP256R1())
    signing = {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "signing"}
    given: dict[str, Any] = {
        "tokens": [_token(key, "signing") for _ in range(effort.cache_size)],
        "kids": [_token(key, secrets.token_urlsafe(16)) for _ in range(min(KIDS, effort.rounds * 250))],
        "rounds": effort.rounds,
        "files": {f"a reload of {size} keys": [_key_file(key, size) for _ in range(2)] for size in SIZES},
    }
    with TemporaryDirectory() as home, worker("issuer", {"home": home, "keys": SIZES, "signing": signing}) as issuer:
        port, certificates = issuer.introduction["port"], issuer.introduction["certificates"]
        urls = {f"a fetch of {size} keys": f"https://127.0.0.1:{port}/{size}" for size in SIZES}
        for backend in BACKENDS:
            setup = {"backend": backend, "urls": urls, "certificates": certificates, **given}
            with worker("gaps", setup) as measured:
                _add(report, backend, measured.introduction)
    remembered = f"{effort.cache_size} tokens remembered, {issuer.introduction['count']} root certificates"
    report.notes["a fetch"] = [f"TLS, every time a key replaced, {remembered}, what was there before it frozen"]
    report.notes["a reload"] = ["of a file of private EC keys, every time all but one of them replaced"]
    return report


def _add(report: Report, backend: str, measured: dict[str, Any]) -> None:
    rows = {}
    for case, rounds in measured["gaps"].items():
        longest, own = zip(*rounds, strict=True)
        rows[case] = {
            "median": statistics.median(longest),
            "90th percentile": _percentile(longest, 90),
            "longest": max(longest),
            "own, 90th perc.": _percentile(own, 90),
            "own, longest": max(own),
        }
        if case.startswith(("a fetch", "a reload")):
            report.promises += [
                Promise(f"{backend}: the loop's gap during {case}, ms, the median", rows[case]["median"], BOUND),
                Promise(
                    f"{backend}: the loop's own work in one go, {case}, ms, the 90th percentile",
                    rows[case]["own, 90th perc."],
                    BOUND,
                ),
            ]
    report.tables[f"{backend}: the longest gap of the event loop in a round, ms"] = rows
    kids = measured["kids"]
    refused = {"median": statistics.median(kids), "99th percentile": _percentile(kids, 99), "longest": max(kids)}
    report.tables[f"{backend}: a token with a made-up kid after the fetch, µs of processor time"] = {"refused": refused}
    report.promises.append(
        Promise(f"{backend}: a token with a made-up kid, µs at the 99th percentile", refused["99th percentile"], 1000)
    )


def _key_file(signing: ec.EllipticCurvePrivateKey, size: int) -> str:
    """A JWK Set of private keys, of which the first is another each time."""
    others = [ec.generate_private_key(ec.SECP256R1()) for _ in range(size - 1)]
    named = {f"{number}": key for number, key in enumerate(others)} | {"signing": signing}
    return json.dumps({"keys": [{**ECAlgorithm.to_jwk(key, as_dict=True), "kid": kid} for kid, key in named.items()]})


def _percentile(values: list[float] | tuple[float, ...], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _token(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    return jwt.encode({**claims("alice"), "exp": 2**32}, key, "ES256", {"typ": "at+jwt", "kid": kid})
