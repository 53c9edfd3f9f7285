"""Access and refresh tokens issued with RS256, by us and by the peers, each as its documentation sets it up."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from asgi_jwt import Auth, Identity, Settings

Issue = Callable[[], object]
_SUBJECT = "user-1"


def ours(private: str, public: str) -> Issue:
    issuer = Auth(
        Settings(issuer="https://issuer.example", audience="api", keys=private, refresh_secret="r" * 32)
    ).issuer
    identity = Identity(_SUBJECT)

    def issue() -> object:
        expires_at = int(time.time()) + 7 * 86400
        refresh_token = issuer.refresh_token(_SUBJECT, "s" * 22, generation=0, branch="b" * 16, expires_at=expires_at)
        return issuer.access_token(identity, session_id="s" * 22), refresh_token

    return issue


def authx(private: str, public: str) -> Issue:
    from authx import AuthX, AuthXConfig

    auth: Any = AuthX(config=AuthXConfig(JWT_ALGORITHM="RS256", JWT_PRIVATE_KEY=private, JWT_PUBLIC_KEY=public))
    return lambda: (auth.create_access_token(_SUBJECT), auth.create_refresh_token(_SUBJECT))


def litestar(private: str, public: str) -> Issue:
    from litestar.security.jwt import Token

    def token(life: timedelta) -> str:
        return Token(exp=datetime.now(UTC) + life, sub=_SUBJECT).encode(secret=private, algorithm="RS256")

    return lambda: (token(timedelta(minutes=15)), token(timedelta(days=7)))


def fastapi_users(private: str, public: str) -> Issue:
    from fastapi_users.jwt import generate_jwt

    def token(life: int) -> object:
        return generate_jwt({"sub": _SUBJECT, "aud": ["fastapi-users:auth"]}, private, life, algorithm="RS256")

    return lambda: (token(900), token(7 * 86400))


ISSUERS: dict[str, Callable[[str, str], Issue]] = {
    "asgi_jwt": ours,
    "authx": authx,
    "Litestar": litestar,
    "fastapi-users": fastapi_users,
}


def measure_pairs(rounds: int) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds a pair takes, the median of `rounds` taken by turns; and who was left out, with the module each lacks."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    issuers: dict[str, Issue] = {}
    left_out: dict[str, str] = {}
    for name, make in ISSUERS.items():
        try:
            issuers[name] = make(private, public)
        except ModuleNotFoundError as missing:
            left_out[name] = missing.name or name
    taken: dict[str, list[float]] = {name: [] for name in issuers}
    for _ in range(rounds):
        for name, issue in issuers.items():
            start = time.perf_counter()
            issue()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}, left_out
