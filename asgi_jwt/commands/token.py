"""`asgi-jwt token`: prints a new access token, signed with the configured private key."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from asgi_jwt.auth import Auth
from asgi_jwt.commands.explain import explain
from asgi_jwt.commands.inspect import refusal_of
from asgi_jwt.commands.output import CommandError, complain, run, say, say_json
from asgi_jwt.commands.parsed_token import parse_token
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
    """Print an access token for `subject`. With `as_json`, print the answer of RFC 6749 section 5.1.

    `scopes`: each text has one or several scopes, separated by spaces.
    `claims`: names and values. A value that is no JSON is a text.
    `ttl`: the token's life in seconds. None is `ACCESS_TTL`.
    `clock`: returns seconds since the epoch.

    Returns 1 if the token would be refused here, else 0. Raises `ConfigurationError`, and `CommandError` without a
    private key and for arguments that no token can have.
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
        raise CommandError(str(fault), status=2) from None
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
    """The reason why the token would be refused here: it may lack a required claim. None: it would be accepted."""
    parsed = parse_token(token.encode())
    try:
        # `auth.verify` would ask the store, and the new token can't be revoked yet.
        await auth.verifier.verify(parsed.token)
    except InvalidToken as error:
        return explain(await refusal_of(auth, parsed, error, clock()))
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
