"""`asgi-jwt inspect`: prints whether a token would be accepted here, or why it would be refused, and its contents."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from asgi_jwt.auth import Auth
from asgi_jwt.commands.explain import explain
from asgi_jwt.commands.output import CommandError, moment, run, say, say_json, shortened, shown
from asgi_jwt.commands.parsed_token import ParsedToken, parse_token
from asgi_jwt.commands.refused_token import RefusedToken
from asgi_jwt.errors import AuthError, InvalidSignature, KeysUnavailable, VerifierUnavailable, WrongIssuer
from asgi_jwt.events import printable
from asgi_jwt.settings import Settings
from asgi_jwt.stores.sqlite import SQLiteStore
from asgi_jwt.tokens.claims import Claims, bound_to
from asgi_jwt.tokens.discovery import without_query
from asgi_jwt.tokens.frozen import thaw
from asgi_jwt.tokens.introspection import can_be_sent
from asgi_jwt.tokens.key import Key
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.opaque import is_opaque
from asgi_jwt.tokens.trusted import Trust

STDIN = "-"
MOST_READ = 2**20
"""The most bytes that are read. A longer input is no token, and may have no end."""

_TIMES = ("exp", "nbf", "iat", "auth_time", "updated_at")
_LONGEST_CLAIM = 1000


def inspect_token(token: str, *, as_json: bool, clock: Callable[[], float]) -> int:
    """Print whether the token would be accepted, and its contents. `-` reads the token from the standard input.

    Returns 1 if the token would be refused, else 0. `clock` returns seconds since the epoch. Raises
    `ConfigurationError`, and `CommandError` if there is no token.
    """
    parsed = parse_token(_read_stdin() if token == STDIN else token.encode("utf-8", "surrogateescape"))
    if not parsed.token:
        raise CommandError("there is no token: give it as the argument, or through a pipe", status=2)
    auth = Auth(Settings.from_env(), clock=clock)
    parsed, refusal = run(partial(_verify, auth, parsed, clock))
    # This process has cached no token. So the signature is good if it was checked, and was not the cause of refusal.
    signed = auth.verifier.signature_checks > 0 and not (refusal and isinstance(refusal.error, InvalidSignature))
    if as_json:
        _print_json(parsed, refusal, signed)
    else:
        _print_text(parsed, refusal, signed, clock())
    return 1 if refusal else 0


def _read_stdin() -> bytes:
    if sys.stdin is None:
        return b""
    if sys.stdin.isatty():
        sys.stderr.write("Paste the token, then press Enter and Ctrl-D:\n")
    return sys.stdin.buffer.read(MOST_READ)


async def _verify(
    auth: Auth, parsed: ParsedToken, clock: Callable[[], float]
) -> tuple[ParsedToken, RefusedToken | None]:
    """The token, with the claims that its authorization server gives if it is opaque, and why it is refused."""
    # The service's user has to own the SQLite file, so this command does not create it. A missing file has no entries.
    store = auth.store if auth.settings.store is not None else None
    nothing_revoked = isinstance(store, SQLiteStore) and not store.path.exists()
    async with auth:
        try:
            claims = await _verified(auth, parsed.token, nothing_revoked=nothing_revoked)
        except AuthError as error:
            parsed = await _introspected(auth, parsed)
            return parsed, await refusal_of(auth, parsed, error, clock())
    return replace(parsed, claims=claims.to_dict()), None


async def _introspected(auth: Auth, parsed: ParsedToken) -> ParsedToken:
    """The refused token, with the answer of the authorization server if there is one."""
    introspection = auth.opaque_tokens.introspection if auth.opaque_tokens is not None else None
    if introspection is not None and is_opaque(parsed.token) and can_be_sent(parsed.token.decode("latin-1")):
        with suppress(VerifierUnavailable):
            return replace(parsed, claims=thaw(await introspection.introspect(parsed.token.decode())))
    return parsed


async def _verified(auth: Auth, token: bytes, *, nothing_revoked: bool) -> Claims:
    """The claims of a token that is accepted with the proof that it may need. Raises an `AuthError`."""
    claims = await auth.authentic(token)
    auth.binding.check_mode(claims)
    if auth.settings.store is not None and not nothing_revoked:
        await auth.revocations.check(claims)
    return claims


async def refusal_of(auth: Auth, parsed: ParsedToken, error: AuthError, now: float) -> RefusedToken:
    """The refusal of a token with `error`, with everything that explains it. `now` is in seconds since the epoch."""
    trust = await _trust_of(auth, parsed)
    return RefusedToken(
        error=error,
        parsed=parsed,
        policy=trust.policy,
        issuers=auth.verifier.issuers,
        patterns=auth.verifier.patterns,
        keys=await _keys_of(trust),
        key_source=_source_of(auth.settings, trust),
        remote=auth.settings.is_remote,
        now=now,
    )


async def _trust_of(auth: Auth, parsed: ParsedToken) -> Trust:
    issuer, verifier = (parsed.claims or {}).get("iss"), auth.verifier
    if isinstance(issuer, str):
        with suppress(WrongIssuer):
            return await verifier.trust_in(issuer)
    return next(iter(verifier.trusts), Trust(KeySet(()), verifier.policy))


async def _keys_of(trust: Trust) -> tuple[Key, ...]:
    with suppress(KeysUnavailable, WrongIssuer):
        return tuple(await trust.keys.current())
    return ()


def _source_of(settings: Settings, trust: Trust) -> str:
    if settings.discovery:
        return printable(trust.policy.issuer)
    if settings.jwks_url:
        return printable(without_query(settings.jwks_url))
    name = "keys" if settings.keys else "secret"
    return settings.variable(name)


def _print_json(parsed: ParsedToken, refusal: RefusedToken | None, signed: bool) -> None:
    say_json(
        {
            "accepted": refusal is None,
            "reason": refusal and refusal.error.reason,
            "explanation": refusal and explain(refusal),
            "signature_verified": signed,
            "header": parsed.header,
            "claims": parsed.claims,
        }
    )


def _print_text(parsed: ParsedToken, refusal: RefusedToken | None, signed: bool, now: float) -> None:
    if refusal is not None:
        say(f"refused ({refusal.error.reason}): {explain(refusal)}")
    else:
        claims = parsed.claims or {}
        ends = f"exp {_when(claims['exp'], now)}" if "exp" in claims else "without an end"
        say(f"accepted: issued by {shown(claims['iss'])} for {shown(claims['sub'])}, {ends}")
        if (key := bound_to(claims)) is not None:
            say(f"  bound to a key: only with the scheme DPoP, and a proof of the key with the thumbprint {shown(key)}")
    mark = "signature verified" if signed else "unverified: anyone may have written this"
    if is_opaque(parsed.token) and parsed.header is None:
        mark = "by introspection"
    for title, members in (("header", parsed.header), ("claims", parsed.claims)):
        say(f"{title} ({mark})" if members is not None else f"{title}: can't be read")
        for name, value in (members or {}).items():
            when = f"  {_when(value, now)}" if title == "claims" and name in _TIMES else ""
            say(f"  {shortened(printable(name))}: {shown(value, _LONGEST_CLAIM)}{when}")


def _when(value: object, now: float) -> str:
    return moment(value, now) if isinstance(value, int | float) else "no date"
