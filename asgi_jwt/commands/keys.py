"""`asgi-jwt keygen` and `asgi-jwt keys rotate`: keys made, and replaced without a token refused."""

import json
import secrets
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asgi_jwt.commands.key_files import KeysRead, make_files, replacing
from asgi_jwt.commands.output import CommandError, complain, duration, say, say_json, shown
from asgi_jwt.errors import ConfigurationError
from asgi_jwt.http.published_keys import MAX_AGE
from asgi_jwt.settings import MAX_LEEWAY, Settings, given_variables
from asgi_jwt.tokens.algorithms import SYMMETRIC, same_algorithms
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.key_rotation import generate_jwk, rotate, waiting_key

Clock = Callable[[], float]

OVERLAP = 600
"""Seconds for which a new key is only published: longer than any verifier that follows the JWK Set keeps an old one."""

_CLOCKS = 60  # by which those of several servers may differ

SAFE_OVERLAP = MAX_AGE + _CLOCKS
"""Seconds of overlap after which every service that fetches the keys has fetched the new one."""

_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()  # milliseconds taken for seconds are later

KEEP = 3600 + MAX_LEEWAY + _CLOCKS
"""Seconds after which no access token is left, whatever ACCESS_TTL and LEEWAY are."""


def make_keys(*, algorithm: str, path: Path | None, refresh_path: Path | None, as_json: bool) -> int:
    """Prints `ASGI_JWT_*` lines: an issuer and an audience, a new key of access tokens, a new secret of refresh tokens.

    With `path` the key goes into a new file of that name, with `refresh_path` the secret. Raises `CommandError`, and
    then there is no new file.
    """
    lines = _named_already()
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


def _named_already() -> dict[str, str]:
    """The lines of the issuer and the audience: as the environment has them, else examples to change.

    None of those that a file names, and no audience beside a `RESOURCE`, which is its default.
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
    """Gives the file at `path` a new key that signs after `overlap` seconds; the old one ends `keep` seconds later.

    `algorithm` None: that of the key that signs now. `keep` None: as long as a token of it may live. Raises
    `CommandError`, and then the file is as it was.
    """
    name, settings = _used_as(path)
    if name == "secret":
        mend = "asgi-jwt keygen --out FILE makes a key for ASGI_JWT_KEYS_FILE"
        raise CommandError(f"{path} is ASGI_JWT_SECRET_FILE's, which holds one secret alone: {mend}")
    with replacing(path) as (read, replace):
        now = clock()
        waits = waiting_key(read.jwks, now)
        if waits is not None and overlap:
            mend = "let it, or give --overlap 0, which drops it and makes another that signs at once"
            raise CommandError(f"a new key waits to sign from {_told(waits)} on: {mend}")
        in_force = read.keys.at(now).signing_key()
        signing = in_force or read.keys.signing_key()
        if signing is None:
            raise CommandError(f"{path} holds no private key: rotate the keys where the tokens are signed")
        allowed = _allowed(name or read.form, settings)
        algorithm = algorithm or next((alg for alg in allowed if alg in signing.algorithms), signing.default)
        if (algorithm in SYMMETRIC) != (signing.default in SYMMETRIC):
            raise CommandError(f"{path} holds keys of the other family: {algorithm} needs a file of its own", status=2)
        if allowed and algorithm not in allowed:
            raise CommandError(f"{algorithm} is not allowed there: --alg takes {', '.join(allowed)}", status=2)
        kept = _life_of_tokens(name, settings, signing) if keep is None else keep
        if in_force is None:
            overlap = 0  # nothing signs meanwhile
        rotated = rotate(read.jwks, generate_jwk(algorithm), now=int(now), overlap=int(overlap), keep=int(kept))
        replace(rotated)
    fetched = algorithm not in SYMMETRIC  # no other service has a secret
    _tell(read, rotated, now, dropped=fetched and not kept, as_json=as_json)
    if fetched and 0 < overlap < SAFE_OVERLAP:
        complain(
            f"the overlap of {duration(overlap)} is too short: services that fetch the keys (ASGI_JWT_JWKS_URL) keep "
            f"theirs for {duration(MAX_AGE)}, and may answer 401 for up to 30 seconds when the new key signs: "
            f"--overlap {SAFE_OVERLAP // 60}m is the least that is safe"
        )
    return 0


def _used_as(path: Path) -> tuple[str | None, Settings | None]:
    """Which setting's file it is in this environment, and the settings; None where the environment doesn't tell."""
    with suppress(ConfigurationError):
        settings = Settings.from_env()
        for name, used in settings.files.items():
            if used.resolve() == path.resolve():
                return name, settings
    return None, None


def _allowed(use: str, settings: Settings | None) -> tuple[str, ...]:
    """What the new key may sign with, for the service to take it; none: whatever it is made for.

    `use` is the setting whose file it is, or else the form of the file.
    """
    if use in ("refresh_secret", "secrets"):
        return ("HS256",)
    return () if settings is None else same_algorithms(settings.algorithms)


def _life_of_tokens(name: str | None, settings: Settings | None, signing: Key) -> float:
    """How long (seconds) a token that was signed just now may still be shown."""
    if settings is not None:
        return (settings.refresh_ttl if name == "refresh_secret" else settings.access_ttl) + MAX_LEEWAY + _CLOCKS
    if signing.default not in SYMMETRIC:
        return KEEP
    raise CommandError(
        f"how long do its tokens live? --keep {KEEP} for a file of ASGI_JWT_KEYS_FILE, or ASGI_JWT_REFRESH_TTL and "
        "ten minutes for one of ASGI_JWT_REFRESH_SECRET_FILE; with the service's variables set it is found out",
        status=2,
    )


def _tell(read: KeysRead, rotated: list[dict[str, Any]], now: float, *, dropped: bool, as_json: bool) -> None:
    """`dropped`: other services may hold keys that are not kept here."""
    new, *old = rotated
    if as_json:
        told = [{name: jwk[name] for name in ("kid", "alg", "nbf", "exp") if name in jwk} for jwk in rotated]
        say_json({"new": new["kid"], "keys": told, "removed": len(read.jwks) - len(old)})
        return
    since = f"is published now, and signs from {_told(new['nbf'])} on" if "nbf" in new else "signs from now on"
    say(f"The new {new['alg']} key {_name(new)} {since}.")
    for jwk in old:
        say(f"The key {_name(jwk)} verifies " + (f"until {_told(jwk['exp'])}." if "exp" in jwk else "as before."))
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
            f"{duration(MAX_AGE)} at most."
        )


def _name(jwk: Mapping[str, Any]) -> str:
    return shown(jwk["kid"]) if "kid" in jwk else "without a name"


def _told(seconds: float) -> str:
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
