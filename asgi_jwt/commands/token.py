"""`asgi-jwt token`: makes an access token with the configured private key."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from asgi_jwt.auth import Auth
from asgi_jwt.commands.explain import explain
from asgi_jwt.commands.inspect import refusal_of
from asgi_jwt.commands.output import CommandError, complain, run, say, say_json
from asgi_jwt.commands.presented import take_apart
from asgi_jwt.errors import InvalidToken
from asgi_jwt.settings import Settings
from asgi_jwt.tokens.identity import Identity


def make_token(
    subject: str,
    *,
    scopes: Iterable[str],
    roles: Iterable[str],
    claims: Iterable[tuple[str, str]],
    client_id: str | None,
    ttl: float | None,
    as_json: bool,
    clock: Callable[[], float],
) -> int:
    """Prints an access token for `subject`, alone, or as RFC 6749 section 5.1 has it.

    A scope may be several with spaces, a claim's value is JSON, else text, and `ttl` is in seconds (None:
    `ACCESS_TTL`). Raises `ConfigurationError`, and `CommandError` where no private key is at hand or there is no such
    token.
    """
    settings = Settings.from_env(access_ttl=ttl) if ttl is not None else Settings.from_env()
    if settings.key_set.signing_key() is None:
        raise CommandError(_no_private_key(settings))
    auth = Auth(settings, clock=clock)
    issuer = auth.issuer
    try:
        identity = Identity(
            subject, scopes=" ".join(scopes), roles=roles, claims=_read_claims(claims), client_id=client_id
        )
        token = issuer.access_token(identity)
    except (TypeError, ValueError) as fault:
        raise CommandError(_told(fault), status=2) from None
    if as_json:
        scope = " ".join(identity.scopes)
        say_json({"access_token": token, "token_type": "Bearer", "expires_in": issuer.access_ttl, "scope": scope})
    else:
        say(token)
    if why := run(partial(_why_refused, auth, token, clock)):
        complain(f"the token would be refused here: {why}")
        return 1
    return 0


async def _why_refused(auth: Auth, token: str, clock: Callable[[], float]) -> str | None:
    """None where it would be let in: it may lack a claim that is required."""
    presented = take_apart(token.encode())
    try:
        # Not through `auth`, which may ask the store: nobody has revoked what was made just now.
        await auth.verifier.verify(presented.token)
    except InvalidToken as error:
        return explain(await refusal_of(auth, presented, error, clock()))
    return None


def _read_claims(claims: Iterable[tuple[str, str]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, text in claims:
        if name in read:
            raise ValueError(f"the claim {name} is given twice: keep one")
        try:
            read[name] = json.loads(text, parse_constant=_no_json)
        except (ValueError, RecursionError):
            read[name] = text
    return read


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _no_private_key(settings: Settings) -> str:
    if settings.is_remote:
        return f"the private key is the issuer's alone: ask {settings.issuer[0]} for a token"
    return "ASGI_JWT_KEYS holds public keys alone: make the token where the private key is"


def _told(fault: Exception) -> str:
    # An argument in another encoding is no text: Python's own message is of codecs and positions.
    return "a token holds UTF-8 text alone" if isinstance(fault, UnicodeError) else str(fault)
