"""The settings of sessions, their cookies and their store."""

from pathlib import Path
from typing import Any

import pytest

from asgi_jwt import ConfigurationError, Settings

A, B, C, D, E = ("abcde"[number] * 32 for number in range(5))


def read(**settings: Any) -> Settings:
    return Settings(**{"issuer": "i", "audience": "a", "secret": "s" * 32, "refresh_secret": A, **settings})


def test_defaults() -> None:
    """The defaults are those of the documentation."""
    settings, day = read(), 86400
    assert (settings.refresh_ttl, settings.session_ttl, settings.grace, settings.recovery) == (
        7 * day,
        30 * day,
        30,
        day,
    )
    assert (settings.cookie_name, settings.cookie_path) == ("__Secure-refresh_token", None)
    assert (settings.cookie_secure, settings.access_cookie, settings.access_cookie_samesite) == (True, None, "lax")
    assert (settings.trusted_origins, settings.revocation_interval, settings.revocation_max_staleness) == ((), 1, 5)
    assert (settings.revocation_outage, settings.revocation_ttl) == ("closed", 3600)
    assert (settings.store, read(refresh_secret=None).store) == ("sqlite:///asgi-jwt.db", None)
    assert read(store="memory://").store == "memory://"


def test_environment(tmp_path: Path) -> None:
    """Each is read from its variable, and the secret from a file too."""
    secret = tmp_path / "refresh"
    secret.write_text(f"{A},{B}\n")
    texts: dict[str, tuple[str, Any]] = {
        "store": ("redis://localhost", "redis://localhost"),
        "refresh_ttl": ("14d", 14 * 86400),
        "session_ttl": ("90d", 90 * 86400),
        "grace": ("0", 0),
        "recovery": ("1h", 3600),
        "cookie_name": ("rt", "rt"),
        "cookie_path": ("/api/auth", "/api/auth"),
        "access_cookie": ("__Host-at", "__Host-at"),
        "access_cookie_samesite": ("strict", "strict"),
        "trusted_origins": ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        "revocation_interval": ("0.5", 0.5),
        "revocation_max_staleness": ("1m", 60),
        "revocation_outage": ("open", "open"),
        "revocation_ttl": ("1d", 86400),
    }
    needed = {"issuer": "i", "audience": "a", "secret": "s" * 32, "refresh_secret_file": str(secret)}
    variables = needed | {name: text for name, (text, _) in texts.items()}
    settings = Settings.from_env({f"ASGI_JWT_{name.upper()}": text for name, text in variables.items()})
    assert settings.refresh_secret == (A, B)
    assert {name: getattr(settings, name) for name in texts} == {name: value for name, (_, value) in texts.items()}


def test_store_keyword_overrides_the_environment() -> None:
    """`from_env(store=...)` stands above `ASGI_JWT_STORE`, in a file or not."""
    environ = {"ASGI_JWT_ISSUER": "i", "ASGI_JWT_AUDIENCE": "a", "ASGI_JWT_SECRET": "s" * 32}
    for name in ("ASGI_JWT_STORE", "ASGI_JWT_STORE_FILE"):
        assert Settings.from_env({**environ, name: "/nowhere"}, store="memory://").store == "memory://"
    assert Settings.from_env({**environ, "ASGI_JWT_STORE": "memory://"}).store == "memory://"


@pytest.mark.parametrize(
    ("secret", "secrets"),
    [(A, (A,)), (f"{A}, {B}", (A, B)), ([A, B.encode()], (A, B.encode())), ((A, B, C, D), (A, B, C, D))],
)
def test_refresh_secrets(secret: Any, secrets: tuple[str | bytes, ...]) -> None:
    """One secret or several, as text or as bytes; the first signs, all verify."""
    settings = read(refresh_secret=secret)
    assert settings.refresh_secret == secrets
    assert len(settings.refresh_keys) == len(secrets)


BAD_PATHS = ("auth", "/a;b", "/größe", "/a\r\nb")
FAULTS: list[tuple[dict[str, Any], str]] = [
    *(({"refresh_secret": secret}, "REFRESH_SECRET has 5 bytes") for secret in ("short", f"{A},short")),
    ({"refresh_secret": [A, B, C, D, E]}, "REFRESH_SECRET may hold 4 secrets"),
    *(({"refresh_secret": secret}, "REFRESH_SECRET has to be a") for secret in (7, [7])),
    *(
        ({"secret": secret, "refresh_secret": refresh}, "REFRESH_SECRET is a key of access tokens too")
        for secret, refresh in ((A, A), (A.encode(), [B, A]), (A, A.encode()))
    ),
    ({"refresh_ttl": 0}, "REFRESH_TTL has to be 1 second at least"),
    ({"session_ttl": "367d"}, "SESSION_TTL has to be"),
    *(({"grace": grace}, "GRACE has to be") for grace in (301, -1)),
    ({"recovery": "31d"}, "RECOVERY has to be"),
    ({"access_ttl": "61m"}, "ACCESS_TTL has to be"),
    ({"store": " "}, "STORE has to be a text"),
    *(({"cookie_name": name}, "COOKIE_NAME has to be the name of a cookie") for name in ("a;b", "a b")),
    *(({"cookie_path": path}, "COOKIE_PATH has to be a percent-encoded path") for path in BAD_PATHS),
    ({"cookie_name": "__Host-rt"}, "COOKIE_NAME begins with __Host-"),
    ({"cookie_name": "__host-rt", "cookie_path": "/auth"}, "COOKIE_NAME begins with __Host-"),
    ({"access_cookie_samesite": "none"}, "ACCESS_COOKIE_SAMESITE has to be lax"),
    ({"cookie_name": "t", "access_cookie": "t"}, "ACCESS_COOKIE is the name of the refresh token's cookie too"),
    ({"revocation_interval": 61}, "REVOCATION_INTERVAL has to be 0 seconds at least and 60 at most"),
    ({"revocation_interval": -1}, "REVOCATION_INTERVAL has to be"),
    ({"revocation_max_staleness": "2h"}, "REVOCATION_MAX_STALENESS has to be 0.1 seconds at least and 3600 at most"),
    # A copy is older than nothing as soon as it was read: no token would ever be let in.
    ({"revocation_max_staleness": 0, "revocation_interval": 0}, "REVOCATION_MAX_STALENESS has to be 0.1 seconds at"),
    ({"revocation_max_staleness": 0.5}, "REVOCATION_MAX_STALENESS has to be ASGI_JWT_REVOCATION_INTERVAL at least"),
    *(({"revocation_outage": answer}, "REVOCATION_OUTAGE has to be closed") for answer in ("maybe", "")),
    ({"revocation_ttl": "14m"}, "REVOCATION_TTL has to be ASGI_JWT_ACCESS_TTL at least"),
    ({"access_ttl": 3600, "revocation_ttl": 3599}, "REVOCATION_TTL has to be ASGI_JWT_ACCESS_TTL at least"),
    ({"revocation_ttl": "367d"}, "REVOCATION_TTL has to be"),
    ({"trusted_origins": "app.example"}, "TRUSTED_ORIGINS has to hold origins"),
    ({"dpop": "maybe"}, "DPOP has to be on, required or off"),
    ({"dpop_replay": "fleet"}, "DPOP_REPLAY has to be process, or store"),
    *(({"dpop_bases": base}, "DPOP_BASES has to hold URLs") for base in ("api.example", "ftp://a", "https://a/?b")),
    *(({"dpop_bases": f"https://{host}"}, "DPOP_BASES") for host in ("*.a", "a:0", "a:99999", "a\\x", "a b", "a..b")),
]


@pytest.mark.parametrize(("settings", "told"), FAULTS)
def test_faults(settings: dict[str, Any], told: str) -> None:
    """What can't be meant is refused at the start, by the variable's name, and shows no secret."""
    with pytest.raises(ConfigurationError) as refused:
        read(**settings)
    assert f"ASGI_JWT_{told}" in str(refused.value)
    assert A not in str(refused.value)


def test_insecure_cookies_lose_their_prefix() -> None:
    """Without Secure no browser takes the prefixes: they go, from the token sources too, and nothing else does.

    With it, `__Host-` is taken where the path is the root.
    """
    sources = ["header", "cookie:__Host-at", "cookie:at__Host-"]
    settings = read(cookie_secure=False, access_cookie="__Host-at", token_sources=sources)
    assert (settings.cookie_name, settings.access_cookie) == ("refresh_token", "at")
    assert settings.token_sources == ("header", "cookie:at", "cookie:at__Host-")
    assert read(cookie_secure="no").access_cookie is None
    for name in ("rt", "__Secure-rt", "__SECURE-rt", "__host-rt"):
        assert read(cookie_secure="no", cookie_name=name).cookie_name == "rt"
    assert read(cookie_name="__Host-rt", cookie_path="/").cookie_name == "__Host-rt"


def test_repr_shows_no_secret() -> None:
    """Neither the refresh secrets nor the store's URL, which may hold a password, show."""
    shown = repr(read(refresh_secret=[A, B.encode()], store="redis://user:hunter2@host"))
    assert not [secret for secret in (A, B, "hunter2", "redis") if secret in shown]
