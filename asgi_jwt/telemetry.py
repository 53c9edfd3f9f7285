"""Turns events into OpenTelemetry metrics. `asgi-jwt docs operations` lists them, with their names in Prometheus.

Names, units and attributes follow OpenTelemetry's semantic conventions. No attribute comes from a request, so the
number of series is bounded by the reasons, verdicts and issuers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from asgi_jwt.errors import AuthError, ConfigurationError, InvalidToken
from asgi_jwt.events import (
    Event,
    EventSink,
    KeysFetched,
    KeysNotFetched,
    KeysNotRead,
    KeysRead,
    LoginRefused,
    Refreshed,
    ReuseDetected,
    RevocationsNotRead,
    RevocationsRebuilt,
    RevocationsStale,
    SessionEnded,
    SessionOpened,
    SocketClosed,
    StaleReplayed,
    StoreFailed,
    TokenRefused,
    TokensRevoked,
    VerifierFailed,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider

Attributes = Mapping[str, str]

OTHER = "_OTHER"
"""The `error.type` of OpenTelemetry for an unknown reason."""


class Verifying(Protocol):
    """The part of `TokenVerifier` that metrics read: its counters, and the ages of remote keys in seconds."""

    verified: int
    cache_hits: int

    def key_ages(self) -> Mapping[str, float]: ...


class Mirroring(Protocol):
    """The part of `RevocationList` that metrics read: the age of the mirror in seconds."""

    @property
    def age(self) -> float | None: ...


class Instrumented(Protocol):
    """The part of `Auth` that metrics read."""

    @property
    def events(self) -> EventSink: ...

    @property
    def verifier(self) -> Verifying: ...

    @property
    def revocations(self) -> Mirroring: ...


def instrument(*auths: Instrumented, meter_provider: "MeterProvider | None" = None) -> None:
    """Record metrics of `auths` from now on. Call it once, with every `Auth` of the process.

    `meter_provider`: None is the provider of the process, even if it is set later. Raises `ConfigurationError` if
    opentelemetry-api is not installed.
    """
    try:
        from opentelemetry.metrics import Observation, get_meter
    except ModuleNotFoundError:
        raise ConfigurationError("metrics need opentelemetry-api: pip install opentelemetry-api") from None
    meter = get_meter("asgi_jwt", meter_provider=meter_provider)
    counters = _Counters(meter)
    for auth in auths:
        auth.events.add_listener(counters)
    for metric in OBSERVED:
        create = meter.create_observable_gauge if metric.unit == "s" else meter.create_observable_counter

        def observe(options: "CallbackOptions", metric: Observed = metric) -> list[Observation]:
            return [Observation(value, attributes) for value, attributes in metric.observe(auths)]

        create(metric.name, [observe], metric.unit, metric.description)


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter of events.

    `attributes`: for each counted class of events, a function that returns the attributes of an event.
    `starts`: the attributes of series that begin at zero. An alert on the increase of a series would not see the first
    event of a series that begins with it.
    """

    name: str
    unit: str
    description: str
    attributes: Mapping[type[Event], Callable[[Any], Attributes]]
    starts: tuple[Attributes, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """A metric whose value is read at each collection. It is a gauge if its unit is seconds, else a counter."""

    name: str
    unit: str
    description: str
    observe: Callable[[Sequence[Instrumented]], Iterable[tuple[float, Attributes]]]


def _by_reason(event: TokenRefused | LoginRefused | SocketClosed) -> Attributes:
    return {"error.type": _error_type(event.reason)}


@lru_cache(maxsize=256)
def _error_type(reason: str) -> str:
    return reason if reason in _reasons(AuthError) else OTHER


def _reasons(error: type[AuthError]) -> Iterator[str]:
    """The reasons of `error` and of all its subclasses, also of those that the host defined."""
    yield error.reason
    for child in error.__subclasses__():
        yield from _reasons(child)


COUNTED = (
    Counted(
        "asgi_jwt.token.refusals",
        "{refusal}",
        "Requests and WebSockets that were refused",
        {TokenRefused: _by_reason},
        tuple({"error.type": reason} for reason in _reasons(InvalidToken)),
    ),
    Counted(
        "asgi_jwt.websocket.closes",
        "{connection}",
        "WebSockets that were closed because their tokens are no longer valid",
        {SocketClosed: _by_reason},
    ),
    Counted(
        "asgi_jwt.logins",
        "{login}",
        "Logins, also refused ones",
        {SessionOpened: lambda event: {}, LoginRefused: _by_reason},
    ),
    Counted(
        "asgi_jwt.refreshes",
        "{refresh}",
        "Refresh tokens that were presented",
        {Refreshed: lambda event: {"asgi_jwt.refresh.verdict": event.verdict}},
    ),
    Counted(
        "asgi_jwt.token.reuses",
        "{reuse}",
        "Refresh tokens that were reused, so that their sessions were ended",
        {ReuseDetected: lambda event: {}},
        ({},),
    ),
    Counted(
        "asgi_jwt.token.stale_replays",
        "{replay}",
        "Old refresh tokens of shared clients that were answered",
        {StaleReplayed: lambda event: {}},
        ({},),
    ),
    Counted(
        "asgi_jwt.session.ends",
        "{session}",
        "Sessions that were ended",
        {SessionEnded: lambda event: {"asgi_jwt.session.end.cause": event.cause}},
    ),
    Counted(
        "asgi_jwt.token.revocations",
        "{revocation}",
        "Revocations by the app or a client, of one token or of all tokens of a subject",
        {TokensRevoked: lambda event: {"asgi_jwt.revocation.kind": event.kind}},
    ),
    Counted(
        "asgi_jwt.revocation.mirror.faults",
        "{fault}",
        "Faults of the process's mirror of the log of revocations",
        {
            RevocationsNotRead: lambda event: {"error.type": "not_read"},
            RevocationsStale: lambda event: {"error.type": "stale"},
            RevocationsRebuilt: lambda event: {"error.type": "rebuilt"},
        },
    ),
    Counted(
        "asgi_jwt.verifier.errors",
        "{error}",
        "Calls of verifiers of opaque tokens that failed",
        {VerifierFailed: lambda event: {"asgi_jwt.verifier": event.verifier}},
    ),
    Counted(
        "asgi_jwt.store.errors",
        "{error}",
        "Calls of the session store that failed",
        {StoreFailed: lambda event: {"asgi_jwt.store.operation": event.operation}},
    ),
    Counted(
        "asgi_jwt.jwks.fetches",
        "{fetch}",
        "Fetches of remote keys, also failed ones",
        {
            KeysFetched: lambda event: {"asgi_jwt.jwks.source": event.source},
            KeysNotFetched: lambda event: {"asgi_jwt.jwks.source": event.source, "error.type": "keys_unavailable"},
        },
    ),
    Counted(
        "asgi_jwt.key_file.reads",
        "{read}",
        "Reads of key files that had changed, also of unusable ones",
        {
            KeysRead: lambda event: {"asgi_jwt.key_file.variable": event.source},
            KeysNotRead: lambda event: {"asgi_jwt.key_file.variable": event.source, "error.type": "keys_unusable"},
        },
    ),
)

OBSERVED = (
    Observed(
        "asgi_jwt.token.verifications",
        "{token}",
        "Tokens whose signature and claims were verified",
        lambda auths: [(sum(auth.verifier.verified for auth in auths), {})],
    ),
    Observed(
        "asgi_jwt.token.cache.hits",
        "{token}",
        "Tokens that were found in the cache of verified tokens",
        lambda auths: [(sum(auth.verifier.cache_hits for auth in auths), {})],
    ),
    Observed(
        "asgi_jwt.jwks.age",
        "s",
        "Time since remote keys were fetched",
        lambda auths: [(age, {"asgi_jwt.jwks.source": source}) for age, source in _key_ages(auths)],
    ),
    Observed(
        "asgi_jwt.revocation.mirror.age",
        "s",
        "Time since the log of revocations was read",
        lambda auths: [(age, {}) for age in _mirror_ages(auths)],
    ),
)


def _key_ages(auths: Iterable[Instrumented]) -> Iterable[tuple[float, str]]:
    # Several `Auth`s may have one source. OpenTelemetry keeps the last value, which is the oldest age.
    return sorted((age, source) for auth in auths for source, age in auth.verifier.key_ages().items())


def _mirror_ages(auths: Iterable[Instrumented]) -> Iterable[float]:
    ages: list[float] = []
    for auth in auths:
        with suppress(ConfigurationError):  # without a store there is no mirror
            age = auth.revocations.age
            ages += [] if age is None else [age]
    return sorted(ages)


class _Counters:
    """The listener that counts each event in its counter."""

    def __init__(self, meter: "Meter") -> None:
        self._counting: dict[type[Event], tuple[Callable[..., None], Callable[[Any], Attributes]]] = {}
        for metric in COUNTED:
            counter = meter.create_counter(metric.name, metric.unit, metric.description)
            for start in metric.starts:
                counter.add(0, start)
            self._counting |= {kind: (counter.add, attributes) for kind, attributes in metric.attributes.items()}

    def __call__(self, event: Event) -> None:
        if type(event) in self._counting:
            add, attributes = self._counting[type(event)]
            add(1, attributes(event))
