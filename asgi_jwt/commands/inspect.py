"""`asgi-jwt inspect`: whether a token would be let in here, why not, and what it says."""

import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from asgi_jwt.auth import Auth
from asgi_jwt.commands.explain import explain
from asgi_jwt.commands.output import CommandError, moment, run, say, say_json, shortened, shown
from asgi_jwt.commands.presented import Presented, take_apart
from asgi_jwt.commands.refusal import Refusal
from asgi_jwt.errors import AuthError, InvalidSignature, KeysUnavailable
from asgi_jwt.events import printable
from asgi_jwt.settings import Settings
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.tokens.discovery import without_query
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.verifier import Trust

STDIN = "-"
MOST_READ = 2**20
"""What is longer is no token, and may have no end."""

_TIMES = ("exp", "nbf", "iat", "auth_time", "updated_at")
_SHOWN = 1000


def inspect_token(token: str, *, as_json: bool, clock: Callable[[], float]) -> int:
    """Prints whether the token in `token` (`-`: the standard input) would be let in, and what it says.

    Raises `ConfigurationError`, and `CommandError` where there is no token.
    """
    presented = take_apart(_read_stdin() if token == STDIN else token.encode("utf-8", "surrogateescape"))
    if not presented.token:
        raise CommandError("there is no token: give it as the argument, or through a pipe", status=2)
    auth = Auth(Settings.from_env(), clock=clock)
    refusal = run(partial(_verify, auth, presented, clock))
    # Each token is new to this process: a signature that was looked at and not found wrong is good.
    signed = auth.verifier.signature_checks > 0 and not (refusal and isinstance(refusal.error, InvalidSignature))
    if as_json:
        _tell_programs(presented, refusal, signed)
    else:
        _tell_people(presented, refusal, signed, clock())
    return 1 if refusal else 0


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        sys.stderr.write("Paste the token, then press Enter and Ctrl-D:\n")
    return sys.stdin.buffer.read(MOST_READ)


async def _verify(auth: Auth, presented: Presented, clock: Callable[[], float]) -> Refusal | None:
    # A file that is not there revokes nothing, and is not made by whoever looks: it has to be the server's user's.
    store = auth.store if auth.settings.store is not None else None
    nothing_revoked = isinstance(store, SQLiteStore) and not store.path.exists()
    async with auth:
        try:
            await (auth.authentic if nothing_revoked else auth.verify)(presented.token)
        except AuthError as error:
            return await refusal_of(auth, presented, error, clock())
    return None


async def refusal_of(auth: Auth, presented: Presented, error: AuthError, now: float) -> Refusal:
    """What there is to know of a token that was refused with `error`."""
    trust = _trust_of(auth, presented)
    return Refusal(
        error=error,
        presented=presented,
        policy=trust.policy,
        issuers=auth.verifier.issuers,
        keys=await _keys_of(trust),
        key_source=_source_of(auth.settings, trust),
        remote=auth.settings.is_remote,
        now=now,
    )


def _trust_of(auth: Auth, presented: Presented) -> Trust:
    issuer = (presented.claims or {}).get("iss")
    first, *_ = trusts = auth.verifier.trusts
    return next((trust for trust in trusts if trust.policy.issuer == issuer), first)


async def _keys_of(trust: Trust) -> tuple[Key, ...]:
    with suppress(KeysUnavailable):
        return tuple(await trust.keys.current())
    return ()


def _source_of(settings: Settings, trust: Trust) -> str:
    if settings.discovery:
        return printable(trust.policy.issuer)
    if settings.jwks_url:
        return printable(without_query(settings.jwks_url))
    name = "keys" if settings.keys else "secret"
    return settings.variable(name)


def _tell_programs(presented: Presented, refusal: Refusal | None, signed: bool) -> None:
    say_json(
        {
            "accepted": refusal is None,
            "reason": refusal and refusal.error.reason,
            "explanation": refusal and explain(refusal),
            "signature_verified": signed,
            "header": presented.header,
            "claims": presented.claims,
        }
    )


def _tell_people(presented: Presented, refusal: Refusal | None, signed: bool, now: float) -> None:
    if refusal is not None:
        say(f"refused ({refusal.error.reason}): {explain(refusal)}")
    else:
        claims = presented.claims or {}
        say(f"accepted: issued by {shown(claims['iss'])} for {shown(claims['sub'])}, exp {_when(claims['exp'], now)}")
    mark = "signature verified" if signed else "unverified: anyone may have written this"
    for title, members in (("header", presented.header), ("claims", presented.claims)):
        say(f"{title} ({mark})" if members is not None else f"{title}: can't be read")
        for name, value in (members or {}).items():
            when = f"  {_when(value, now)}" if title == "claims" and name in _TIMES else ""
            say(f"  {shortened(printable(name))}: {shown(value, _SHOWN)}{when}")


def _when(value: object, now: float) -> str:
    return moment(value, now) if isinstance(value, int | float) else "no date"
