"""The settings of sessions, their cookies and their store."""

from pathlib import Path
from typing import Any

import pytest

from asgi_jwt import ConfigurationError, Settings

A, B, C, D, E = ("abcde"[number] * 32 for number in range(5))


def read(**settings: Any) -> Settings:
    return Settings(**{"issuer": "i", "audience": "a", "secret": "s" * 32, "refresh_secret": A, **settings})


def test_defaults() -> None:
    """The defaults are those of the README."""
    settings = read()
    assert settings.store == "sqlite:///asgi-jwt.db"
    assert (settings.refresh_ttl, settings.session_ttl) == (7 * 86400, 30 * 86400)
    assert (settings.grace, settings.recovery) == (30, 86400)
    assert (settings.cookie_name, settings.cookie_path, settings.cookie_secure) == (
        "__Secure-refresh_token",
        None,
        True,
    )
    assert (settings.access_cookie, settings.access_cookie_samesite, settings.trusted_origins) == (None, "lax", ())
    assert (settings.revocation_interval, settings.revocation_max_staleness) == (1, 5)
    assert (settings.revocation_outage, settings.revocation_ttl) == ("closed", 3600)
    assert (read(refresh_secret=None).store, read(store="memory://").store) == (None, "memory://")


def test_environment(tmp_path: Path) -> None:
    """Each is read from its variable, and the secret from a file too."""
    secret = tmp_path / "refresh"
    secret.write_text(f"{A},{B}\n")
    settings = Settings.from_env(
        {
            "ASGI_JWT_ISSUER": "i",
            "ASGI_JWT_AUDIENCE": "a",
            "ASGI_JWT_SECRET": "s" * 32,
            "ASGI_JWT_STORE": "redis://localhost",
            "ASGI_JWT_REFRESH_SECRET_FILE": str(secret),
            "ASGI_JWT_REFRESH_TTL": "14d",
            "ASGI_JWT_SESSION_TTL": "90d",
            "ASGI_JWT_GRACE": "0",
            "ASGI_JWT_RECOVERY": "1h",
            "ASGI_JWT_COOKIE_NAME": "rt",
            "ASGI_JWT_COOKIE_PATH": "/api/auth",
            "ASGI_JWT_ACCESS_COOKIE": "__Host-at",
            "ASGI_JWT_ACCESS_COOKIE_SAMESITE": "strict",
            "ASGI_JWT_TRUSTED_ORIGINS": "https://app.example, http://localhost:3000",
            "ASGI_JWT_REVOCATION_INTERVAL": "0.5",
            "ASGI_JWT_REVOCATION_MAX_STALENESS": "1m",
            "ASGI_JWT_REVOCATION_OUTAGE": "open",
            "ASGI_JWT_REVOCATION_TTL": "1d",
        }
    )
    assert (settings.store, settings.refresh_secret) == ("redis://localhost", (A, B))
    assert (settings.refresh_ttl, settings.session_ttl) == (14 * 86400, 90 * 86400)
    assert (settings.grace, settings.recovery) == (0, 3600)
    assert (settings.cookie_name, settings.cookie_path, settings.access_cookie) == ("rt", "/api/auth", "__Host-at")
    assert settings.access_cookie_samesite == "strict"
    assert settings.trusted_origins == ("https://app.example", "http://localhost:3000")
    assert (settings.revocation_interval, settings.revocation_max_staleness) == (0.5, 60)
    assert (settings.revocation_outage, settings.revocation_ttl) == ("open", 86400)


def test_store_keyword_overrides_the_environment() -> None:
    """`from_env(store=...)` stands above `ASGI_JWT_STORE`, in a file or not."""
    environ = {"ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a", "ASGI_JWT_SECRET": "s" * 32}
    for name in ("ASGI_JWT_STORE", "ASGI_JWT_STORE_FILE"):
        assert Settings.from_env({**environ, name: "/nowhere"}, store="memory://").store == "memory://"
    assert Settings.from_env({**environ, "ASGI_JWT_STORE": "memory://"}).store == "memory://"


@pytest.mark.parametrize(
    ("secret", "secrets"),
    [
        (A, (A,)),
        (f"{A}, {B}", (A, B)),
        (A.encode(), (A.encode(),)),
        ([A, B.encode()], (A, B.encode())),
        ((A, B, C, D), (A, B, C, D)),
    ],
)
def test_refresh_secrets(secret: Any, secrets: tuple[str | bytes, ...]) -> None:
    """One secret or several, as text or as bytes; the first signs, all verify."""
    settings = read(refresh_secret=secret)
    assert settings.refresh_secret == secrets
    assert len(settings.refresh_keys) == len(secrets)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"refresh_secret": "short"}, "REFRESH_SECRET has 5 bytes"),
    ({"refresh_secret": f"{A},short"}, "REFRESH_SECRET has 5 bytes"),
    ({"refresh_secret": [A, B, C, D, E]}, "REFRESH_SECRET may hold 4 secrets"),
    ({"refresh_secret": 7}, "REFRESH_SECRET has to be"),
    ({"refresh_secret": [7]}, "REFRESH_SECRET has to be a text"),
    ({"secret": A, "refresh_secret": A}, "REFRESH_SECRET is a key of access tokens too"),
    ({"secret": A.encode(), "refresh_secret": [B, A]}, "REFRESH_SECRET is a key of access tokens too"),
    ({"secret": A, "refresh_secret": A.encode()}, "REFRESH_SECRET is a key of access tokens too"),
    ({"refresh_ttl": 0}, "REFRESH_TTL has to be 1 second at least"),
    ({"session_ttl": "367d"}, "SESSION_TTL has to be"),
    ({"grace": 301}, "GRACE has to be"),
    ({"grace": -1}, "GRACE has to be"),
    ({"recovery": "31d"}, "RECOVERY has to be"),
    ({"access_ttl": "61m"}, "ACCESS_TTL has to be"),
    ({"store": " "}, "STORE has to be a text"),
    ({"cookie_name": "a;b"}, "COOKIE_NAME has to be the name of a cookie"),
    ({"cookie_name": "a b"}, "COOKIE_NAME has to be the name of a cookie"),
    ({"cookie_path": "auth"}, "COOKIE_PATH has to be a percent-encoded path"),
    ({"cookie_path": "/a;b"}, "COOKIE_PATH has to be a percent-encoded path"),
    ({"cookie_path": "/größe"}, "COOKIE_PATH has to be a percent-encoded path"),
    ({"cookie_path": "/a\r\nb"}, "COOKIE_PATH has to be a percent-encoded path"),
    ({"cookie_name": "__Host-rt"}, "COOKIE_NAME begins with __Host-"),
    ({"cookie_name": "__host-rt", "cookie_path": "/auth"}, "COOKIE_NAME begins with __Host-"),
    ({"access_cookie_samesite": "none"}, "ACCESS_COOKIE_SAMESITE has to be lax, where who follows a link"),
    ({"cookie_name": "t", "access_cookie": "t"}, "ACCESS_COOKIE is the name of the refresh token's cookie too"),
    ({"revocation_interval": 61}, "REVOCATION_INTERVAL has to be 0 seconds at least and 60 at most"),
    ({"revocation_interval": -1}, "REVOCATION_INTERVAL has to be"),
    ({"revocation_max_staleness": "2h"}, "REVOCATION_MAX_STALENESS has to be 0.1 seconds at least and 3600 at most"),
    # A copy is older than nothing as soon as it was read: no token would ever be let in.
    (
        {"revocation_max_staleness": 0, "revocation_interval": 0},
        "REVOCATION_MAX_STALENESS has to be 0.1 seconds at least and 3600 at most",
    ),
    ({"revocation_max_staleness": 0.5}, "REVOCATION_MAX_STALENESS has to be ASGI_JWT_REVOCATION_INTERVAL at least"),
    ({"revocation_outage": "maybe"}, "REVOCATION_OUTAGE has to be closed"),
    ({"revocation_outage": ""}, "REVOCATION_OUTAGE has to be closed"),
    ({"revocation_ttl": "14m"}, "REVOCATION_TTL has to be ASGI_JWT_ACCESS_TTL at least"),
    ({"access_ttl": 3600, "revocation_ttl": 3599}, "REVOCATION_TTL has to be ASGI_JWT_ACCESS_TTL at least"),
    ({"revocation_ttl": "367d"}, "REVOCATION_TTL has to be"),
    ({"trusted_origins": "app.example"}, "TRUSTED_ORIGINS has to hold origins"),
    ({"trusted_origins": "https://app.example/path"}, "TRUSTED_ORIGINS has to hold origins"),
    ({"trusted_origins": "null"}, "TRUSTED_ORIGINS has to hold origins"),
    ({"trusted_origins": "*"}, "TRUSTED_ORIGINS has to hold origins"),
]


@pytest.mark.parametrize(("settings", "told"), FAULTS)
def test_faults(settings: dict[str, Any], told: str) -> None:
    """What can't be meant is refused at the start, by the variable's name, and shows no secret."""
    with pytest.raises(ConfigurationError) as refused:
        read(**settings)
    assert f"ASGI_JWT_{told}" in str(refused.value)
    assert A not in str(refused.value)


def test_host_prefix_with_the_path_it_asks_for() -> None:
    """`__Host-` is taken where the path is the root."""
    assert read(cookie_name="__Host-rt", cookie_path="/").cookie_name == "__Host-rt"


def test_insecure_cookies_lose_their_prefix() -> None:
    """Without Secure no browser takes the prefixes: they go, from the token sources too, and nothing else does."""
    sources = ["header", "cookie:__Host-at", "cookie:at__Host-"]
    settings = read(cookie_secure=False, access_cookie="__Host-at", token_sources=sources)
    assert (settings.cookie_name, settings.access_cookie) == ("refresh_token", "at")
    assert settings.token_sources == ("header", "cookie:at", "cookie:at__Host-")
    assert read(cookie_secure="no").access_cookie is None
    for name in ("rt", "__Secure-rt", "__SECURE-rt", "__host-rt"):
        assert read(cookie_secure="no", cookie_name=name).cookie_name == "rt"


def test_repr_shows_no_secret() -> None:
    """Neither the refresh secrets nor the store's URL, which may hold a password, show."""
    shown = repr(read(refresh_secret=[A, B.encode()], store="redis://user:hunter2@host"))
    assert not [secret for secret in (A, B, "hunter2", "redis") if secret in shown]
