"""`asgi-jwt keygen` makes keys. `asgi-jwt keys rotate` replaces them, and every token stays valid until its end."""

import json
import secrets
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgi_jwt.commands.key_files import KeyFileContent, make_files, replacing
from asgi_jwt.commands.output import CommandError, complain, say, say_json, shown, spelled_duration
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.http.published_keys import MAX_AGE
from asgi_jwt.settings import MAX_LEEWAY, Settings, given_variables
from asgi_jwt.stores.millis import seconds
from asgi_jwt.stores.records import CLOCK_SKEW
from asgi_jwt.tokens.algorithms import SYMMETRIC, same_algorithms
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate, waiting_key

Clock = Callable[[], float]

OVERLAP = 600
"""How long (s) a new key is only published. No service that follows the JWK Set keeps an old set for longer."""

_CLOCK_SKEW_SECONDS = round(seconds(CLOCK_SKEW))

SAFE_OVERLAP = MAX_AGE + _CLOCK_SKEW_SECONDS
"""The shortest overlap (s) in which every service that fetches the keys gets the new one."""

_LAST_DATE = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()  # a time in milliseconds would be later

KEEP = 3600 + MAX_LEEWAY + _CLOCK_SKEW_SECONDS
"""How long (s) an access token can live at most, by the limits of ACCESS_TTL and LEEWAY."""


def make_keys(*, algorithm: str, path: Path | None, refresh_path: Path | None, as_json: bool) -> int:
    """Print `ASGI_JWT_*` lines: an issuer and an audience, a new key of access tokens, a new secret of refresh tokens.

    With `path` the key is written to a new file, and with `refresh_path` the secret. Raises `CommandError`, and no file
    is created.
    """
    lines = _issuer_and_audience()
    made = [(each, alg) for each, alg in ((path, algorithm), (refresh_path, "HS256")) if each is not None]
    for each, _ in made:
        if not str(each.absolute()).isprintable():
            raise CommandError(f"{each.absolute()} can't be printed as it is: give it another name", status=2)
    make_files([(each, [generate_jwk(alg)]) for each, alg in made])
    if path is not None:
        lines["ASGI_JWT_KEYS_FILE"] = str(path.absolute())
    elif algorithm in SYMMETRIC:
        lines["ASGI_JWT_SECRET"] = secrets.token_urlsafe(64)
        if algorithm != "HS256":
            lines["ASGI_JWT_ALGORITHMS"] = algorithm
    else:
        lines["ASGI_JWT_KEYS"] = json.dumps({"keys": [generate_jwk(algorithm)]}, separators=(",", ":"))
    if refresh_path is not None:
        lines["ASGI_JWT_REFRESH_SECRET_FILE"] = str(refresh_path.absolute())
    else:
        lines["ASGI_JWT_REFRESH_SECRET"] = secrets.token_urlsafe(48)
    if as_json:
        say_json(lines)
    else:
        for name, value in lines.items():
            say(f"{name}={shlex.quote(value)}")
    return 0


def _issuer_and_audience() -> dict[str, str]:
    """The lines of issuer and audience, with the values of the environment, or with examples that the user changes.

    A line is left out if a file has the value. The audience is left out beside `RESOURCE`, which is its default.
    """
    given = given_variables()
    lines = {}
    for name, example, instead in (
        ("issuer", "https://issuer.example", {"issuer_file"}),
        ("audience", "orders", {"audience_file", "resource", "resource_file"}),
    ):
        if name in given or instead.isdisjoint(given):
            lines[f"ASGI_JWT_{name.upper()}"] = given.get(name, example)
    return lines


def rotate_keys(
    path: Path, *, algorithm: str | None, overlap: float, keep: float | None, as_json: bool, clock: Clock
) -> int:
    """Add a new key to the file. It signs after `overlap` seconds, and the old one ends `keep` seconds later.

    `algorithm`: None is that of the key that signs now. `keep`: None is the longest life of the old key's tokens.
    `clock` returns seconds since the epoch. Raises `CommandError`, and the file is unchanged.
    """
    name, settings = _setting_of(path)
    if name == "secret":
        mend = "asgi-jwt keygen --out FILE makes a key for ASGI_JWT_KEYS_FILE"
        raise CommandError(f"{path} is ASGI_JWT_SECRET_FILE's, which holds one secret alone: {mend}")
    with replacing(path) as (read, replace):
        now = clock()
        waits = waiting_key(read.jwks, now)
        if waits is not None and overlap:
            mend = "let it, or give --overlap 0, which drops it and makes another that signs at once"
            raise CommandError(f"a new key waits to sign from {_date(waits)} on: {mend}")
        present = read.keys.at(now).signing_key()
        signing = present or read.keys.signing_key()
        if signing is None:
            raise CommandError(f"{path} holds no private key: rotate the keys where the tokens are signed")
        allowed = _allowed(name or read.form, settings)
        algorithm = algorithm or next((alg for alg in allowed if alg in signing.algorithms), signing.default)
        if (algorithm in SYMMETRIC) != (signing.default in SYMMETRIC):
            raise CommandError(f"{path} holds keys of the other family: {algorithm} needs a file of its own", status=2)
        if allowed and algorithm not in allowed:
            raise CommandError(f"{algorithm} is not allowed there: --alg takes {', '.join(allowed)}", status=2)
        kept = _life_of_tokens(name, settings, signing) if keep is None else keep
        if present is None:
            overlap = 0  # no other key could sign during an overlap
        rotated = rotate(read.jwks, generate_jwk(algorithm), now=int(now), overlap=int(overlap), keep=int(kept))
        replace(rotated)
    fetched = algorithm not in SYMMETRIC  # other services fetch public keys, and no secrets
    _print_rotation(read, rotated, now, dropped=fetched and not kept, as_json=as_json)
    if fetched and 0 < overlap < SAFE_OVERLAP:
        complain(
            f"the overlap of {spelled_duration(overlap)} is too short: services that fetch the keys "
            f"(ASGI_JWT_JWKS_URL) keep theirs for {spelled_duration(MAX_AGE)}, and may answer 401 for up to 30 seconds "
            "when the new key signs: "
            f"--overlap {SAFE_OVERLAP // 60}m is the least that is safe"
        )
    return 0


def _setting_of(path: Path) -> tuple[str | None, Settings | None]:
    """The setting in this environment that names the file, and the settings. None: no usable setting names it."""
    with suppress(ConfigurationError):
        settings = Settings.from_env()
        for name, used in settings.files.items():
            if used.resolve() == path.resolve():
                return name, settings
    return None, None


def _allowed(use: str, settings: Settings | None) -> tuple[str, ...]:
    """The algorithms that the service accepts from the new key. Empty: all.

    `use` is the setting that names the file, or else the form of the file.
    """
    if use in ("refresh_secret", "secrets"):
        return ("HS256",)
    return () if settings is None else same_algorithms(settings.algorithms)


def _life_of_tokens(name: str | None, settings: Settings | None, signing: Key) -> float:
    """How long (s) a token that was signed just now may still be accepted."""
    if settings is not None:
        ttl = settings.refresh_ttl if name == "refresh_secret" else settings.access_ttl
        return ttl + MAX_LEEWAY + _CLOCK_SKEW_SECONDS
    if signing.default not in SYMMETRIC:
        return KEEP
    raise CommandError(
        f"how long do its tokens live? --keep {KEEP} for a file of ASGI_JWT_KEYS_FILE, or ASGI_JWT_REFRESH_TTL and "
        "ten minutes for one of ASGI_JWT_REFRESH_SECRET_FILE; with the service's variables set it is found out",
        status=2,
    )


def _print_rotation(
    read: KeyFileContent, rotated: list[dict[str, Any]], now: float, *, dropped: bool, as_json: bool
) -> None:
    """Print the keys before and after the rotation. `dropped`: other services may still have keys that were removed."""
    new, *old = rotated
    if as_json:
        keys = [{name: jwk[name] for name in ("kid", "alg", "nbf", "exp") if name in jwk} for jwk in rotated]
        say_json({"new": new["kid"], "keys": keys, "removed": len(read.jwks) - len(old)})
        return
    since = f"is published now, and signs from {_date(new['nbf'])} on" if "nbf" in new else "signs from now on"
    say(f"The new {new['alg']} key {_name(new)} {since}.")
    for jwk in old:
        say(f"The key {_name(jwk)} verifies " + (f"until {_date(jwk['exp'])}." if "exp" in jwk else "as before."))
    waited = [jwk for jwk in read.jwks if jwk.get("nbf", now) > now]
    for jwk in waited:
        say(f"The key {_name(jwk)}, which waited to sign, is dropped: there is no token of it.")
    if ended := len(read.jwks) - len(waited) - len(old):
        say(f"Removed, for they have ended: {ended}.")
    if read.form != "JWK Set":
        say(f"The file held {read.form}, and is a JWK Set now.")
    say("Processes that use it read it again by themselves.")
    if dropped:
        say(
            "Services that fetch the keys (ASGI_JWT_JWKS_URL) take old ones until they fetch them anew: "
            f"{spelled_duration(MAX_AGE)} at most."
        )


def _name(jwk: Mapping[str, Any]) -> str:
    return shown(jwk["kid"]) if "kid" in jwk else "without a name"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(min(seconds, _LAST_DATE), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
