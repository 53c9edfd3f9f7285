"""The findings of `asgi-jwt check` about settings, keys and files. They need no network and no store."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlsplit

from asgi_jwt.commands.findings import Finding, ok, problem, warning
from asgi_jwt.commands.output import listed, shown, spelled_duration
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.discovery import LOOPBACK
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet

LONG_ACCESS = 1800
"""An access token that lives longer (s) gets a warning."""

_ANOTHER = "asgi-jwt keys rotate gives their file a new one"
_BEGIN = "see that this machine's clock is right, or take nbf out of one"
_BETTER = "asgi-jwt keygen makes one of full entropy"
# A random text of 32 bytes contains none of these words, and has at least so many different characters.
_PHRASE = re.compile(r"secret|passw|change.?me|example|qwerty|12345678", re.IGNORECASE)
_MIN_DIFFERENT = 8


def check_settings(settings: Settings) -> Iterator[Finding]:
    """The findings about usable settings, and about the files that they name."""
    audience = "any" if settings.audience is None else _names(settings.audience)
    yield ok("settings", f"issuer {_names(settings.issuer)}, audience {audience}")
    yield from _tenants(settings)
    yield from _doubts(settings)
    yield from _check_gateways(settings)
    yield from _check_logouts(settings)
    for name in settings.files:
        yield from _check_file(settings, name)


def check_keys(settings: Settings, keys: KeySet, now: float) -> Iterator[Finding]:
    """The findings about the service's own `keys` at `now` (s since the epoch), and about guessable secrets."""
    yield from _check_set("keys", keys, now)
    if settings.refresh_secret:
        yield from _check_set("refresh keys", settings.refresh_keys.at(now), now)
    for name, value in (("secret", settings.secret), ("refresh_secret", settings.refresh_secret)):
        secrets = value if isinstance(value, tuple) else (value,)
        if any(isinstance(secret, str) and _is_guessable(secret) for secret in secrets):
            yield warning("keys", f"ASGI_JWT_{name.upper()} reads like a phrase, and who guesses it signs", _BETTER)


def _check_set(about: str, keys: KeySet, now: float) -> Iterator[Finding]:
    verifying, signing = [key for key in keys if key.verifies], keys.signing_key()
    if not verifying:
        yield problem(about, "all have ended, as their exp says", _ANOTHER)
        return
    signer = f"{name_key(signing)} signs" if signing is not None else "none signs, for all are public"
    yield ok(about, f"{len(verifying)} to verify with, {signer}")
    if signing is not None and all(key.ends is not None for key in keys if key.signs):
        yield warning(about, "every private one has an end", _ANOTHER)
    if signing is not None and signing.begins is not None and now < signing.begins:
        yield warning(about, "no private one has begun, as their nbf says, and the first signs all the same", _BEGIN)


def name_key(key: Key) -> str:
    """The key's `kid` and default algorithm, safe to print."""
    return f"{shown(key.kid)} ({key.default})" if key.kid is not None else f"a secret ({key.default})"


def _tenants(settings: Settings) -> Iterator[Finding]:
    if settings.tenants:
        yield ok("settings", f"tenants {_names(settings.tenants)}")
    elif settings.tenants is None:
        yield warning(
            "settings",
            "ASGI_JWT_TENANTS=* takes the tokens of every tenant that the issuer has or will have",
            "list the tenants that you know, or check claims.tenant in validate",
        )


def _doubts(settings: Settings) -> Iterator[Finding]:
    if settings.audience is None:
        yield warning(
            "settings",
            "ASGI_JWT_AUDIENCE=* takes the tokens that the issuer made for any of its services",
            "name this one",
        )
    elif settings.resource is not None and settings.resource not in settings.audience:
        yield warning(
            "settings",
            "ASGI_JWT_AUDIENCE lacks ASGI_JWT_RESOURCE, for which its clients ask for tokens",
            "add it to ASGI_JWT_AUDIENCE",
        )
    if settings.dpop != "off" and not settings.dpop_bases and settings.resource is None:
        yield warning(
            "settings",
            "ASGI_JWT_DPOP_BASES is not set: the URL of a DPoP proof is compared with the Host that a client chooses",
            "set it to the URL at which clients see this server, or ASGI_JWT_DPOP=off",
        )
    if settings.type is None and not settings.is_remote:
        yield warning(
            "settings",
            "ASGI_JWT_TYPE=* takes every kind of token that your keys sign",
            "set ASGI_JWT_TYPE to a claim that your access tokens alone have",
        )
    if "/*" in settings.public_paths:
        yield warning(
            "settings",
            "ASGI_JWT_PUBLIC_PATHS=/* lets every request in without a token",
            "name the paths that need none",
        )
    if not settings.cookie_secure:
        yield warning(
            "settings",
            "ASGI_JWT_COOKIE_SECURE=false sends the tokens' cookies over plain HTTP",
            "leave it out in production",
        )
    if settings.access_ttl > LONG_ACCESS and settings.key_set.signing_key() is not None:
        yield warning(
            "settings",
            f"ASGI_JWT_ACCESS_TTL is {spelled_duration(settings.access_ttl)}, for which a stolen access token holds",
            "15m is the default",
        )
    if settings.store == "memory://":
        yield warning(
            "store",
            "memory:// ends all sessions with the process, and no other process knows of them",
            "sqlite:/// serves one machine, redis:// many",
        )


def _check_gateways(settings: Settings) -> Iterator[Finding]:
    for source in settings.token_sources:
        if source.startswith("header:"):
            found = f"tokens are read from {source.removeprefix('header:')}, which a client can send past the gateway"
            yield ok("settings", f"{found}: see that the gateway alone reaches this service")
    url = urlsplit(settings.jwks_url or "")
    if url.scheme == "http" and url.hostname not in LOOPBACK:
        found = "ASGI_JWT_JWKS_URL is plain http: whoever is on the way there can put in keys of their own"
        yield warning("settings", found, "use https, or have a network policy or a mesh protect the way")
    if settings.jwks_token_file is not None:
        yield ok("settings", "ASGI_JWT_JWKS_TOKEN_FILE holds a token, which is sent to the origin of the keys' issuer")
        yield from check_mode(settings.jwks_token_file, "keys", "the file of ASGI_JWT_JWKS_TOKEN_FILE")


def _check_logouts(settings: Settings) -> Iterator[Finding]:
    if settings.logout_audience:
        life = spelled_duration(settings.revocation_ttl)
        found = f"logout tokens for {_names(settings.logout_audience)} revoke access tokens, for {life}"
        yield ok("settings", f"{found}: see that no issuer's live longer than ASGI_JWT_REVOCATION_TTL")
        if settings.store is None:
            found = "ASGI_JWT_LOGOUT_AUDIENCE takes logouts, which are entries of a store, and none is configured"
            yield warning("settings", found, "set ASGI_JWT_STORE")


def _check_file(settings: Settings, name: str) -> Iterator[Finding]:
    path, variable = settings.files[name], settings.variable(name)
    (setting,) = [each for each in fields(settings) if each.name == name]
    public = not setting.metadata["secret"] or (name == "keys" and settings.key_set.signing_key() is None)
    yield from check_mode(path, "keys", f"the file of {variable}", public=public)


def check_mode(path: Path, about: str, what: str, *, public: bool = False) -> Iterator[Finding]:
    """The findings about the rights of a file: who else can write it, replace it, or read it if it is not `public`."""
    mode, mend = _mode(path), f"chmod 600 {shown(str(path))}"
    yield from _writers(mode, about, what, mend)
    if mode & stat.S_IROTH and not mode & stat.S_IWOTH and not public:
        yield warning(about, f"{what} can be read by everyone on this machine", mend)
    for directory in dict.fromkeys((path.parent, path.resolve().parent)):
        if not _mode(directory) & stat.S_ISVTX:  # in a sticky directory other users can't replace the file
            mend = f"chmod go-w {shown(str(directory))}"
            yield from _writers(_mode(directory), about, f"the directory of {what}", mend)


def _mode(path: Path) -> int:
    return path.stat().st_mode if os.name == "posix" else 0


def _writers(mode: int, about: str, what: str, mend: str) -> Iterator[Finding]:
    if mode & stat.S_IWOTH:
        yield problem(about, f"{what} can be written by everyone on this machine", mend)
    elif mode & stat.S_IWGRP:
        yield warning(about, f"{what} can be written by its group", mend)


def _is_guessable(secret: str) -> bool:
    return len(set(secret)) < _MIN_DIFFERENT or _PHRASE.search(secret) is not None


def _names(names: Iterable[str]) -> str:
    return listed(shown(name) for name in names)
