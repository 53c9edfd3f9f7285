"""Makes the trusted issuers of settings: their keys, and the rules for their tokens."""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial

from asgi_jwt.errors import WrongIssuer
from asgi_jwt.events import EventSink
from asgi_jwt.settings.settings import Settings
from asgi_jwt.tokens.found_issuers import FoundIssuers
from asgi_jwt.tokens.identity import kind
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.own_keys import OwnKeys
from asgi_jwt.tokens.remote_keys import RemoteKeySet
from asgi_jwt.tokens.resolved_issuers import Answer, ResolvedIssuers
from asgi_jwt.tokens.tenant_keys import TenantKeySet
from asgi_jwt.tokens.tenants import Tenants
from asgi_jwt.tokens.trusted import Trust

Clock = Callable[[], float]

Resolve = Callable[[str], Awaitable[Settings | None]]
"""A function of the host: the settings of the issuer with this `iss`, or None if it is not trusted."""


def trusts_of(settings: Settings, own: OwnKeys, *, clock: Clock, events: EventSink) -> Iterator[Trust]:
    """The issuers of the settings. `own` has the keys that are configured there."""
    for policy in settings.policies:
        keys = own.access
        if settings.is_remote and settings.pattern is None:
            keys = RemoteKeySet(
                settings.jwks_url,
                issuer=policy.issuer if settings.discovery else None,
                algorithms=settings.algorithms,
                allow_http=settings.jwks_allow_http,
                token_file=settings.jwks_token_file,
                clock=clock,
                events=events,
            )
        yield Trust(keys, policy)


def finders_of(
    listed: Iterable[Settings], resolve: Resolve | None, *, clock: Clock, events: EventSink
) -> Iterator[FoundIssuers]:
    """The finders of the issuers that no setting names in full: for each placeholder, and for the host's function."""
    for settings in listed:
        if (pattern := settings.pattern) is not None:
            keys_of = partial(
                TenantKeySet,
                source=pattern.text,
                algorithms=settings.algorithms,
                token_file=settings.jwks_token_file,
                clock=clock,
                events=events,
            )
            yield Tenants(pattern, settings.policy, keys_of, clock=clock)
    if resolve is not None:
        yield ResolvedIssuers(partial(_ask, resolve, clock, events), clock=clock)


async def _ask(resolve: Resolve, clock: Clock, events: EventSink, iss: str) -> Answer | None:
    """The host's answer about an issuer. Raises `WrongIssuer` for settings of another issuer."""
    settings: object = await resolve(iss)
    if settings is None:
        return None
    if not isinstance(settings, Settings):
        raise TypeError(f"issuers= returns Settings or None, not {kind(settings)}")
    # A database may compare without regard to case.
    if settings.issuer != (iss,) or settings.pattern is not None:
        raise WrongIssuer
    return Answer(settings.policy, settings.source_of_keys, partial(_keys_of, settings, clock, events))


def _keys_of(settings: Settings, clock: Clock, events: EventSink) -> KeySource:
    own = OwnKeys(settings, clock=clock, events=events)
    (trust,) = trusts_of(settings, own, clock=clock, events=events)
    return trust.keys
