"""OpaqueTokens: verifies tokens that are no JWT, as API keys, by asking the verifiers that know them."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import PurePath
from typing import NamedTuple, Protocol, Self
from weakref import WeakValueDictionary

from anyio import Event, fail_after
from anyio.lowlevel import EventLoopToken, current_token

from asgi_jwt.callbacks import ask
from asgi_jwt.errors import (
    AuthError,
    ConfigurationError,
    InactiveToken,
    MalformedClaims,
    MalformedToken,
    MissingClaim,
    TokenTooLarge,
    VerifierUnavailable,
)
from asgi_jwt.events import EventSink, VerifierFailed
from asgi_jwt.tasks import start
from asgi_jwt.tokens import discovery
from asgi_jwt.tokens.claims import Claims, Standing, TokenPolicy, check_claims
from asgi_jwt.tokens.compact import decode_base64url, parse_object
from asgi_jwt.tokens.introspection import IntrospectionSettings, IntrospectionVerifier

DEFAULT_TTL = 60.0
"""How long (s) claims without `exp` hold if their verifier has no `ttl`."""
MAX_HELD = 4096

_PRINTABLE = re.compile(rb"[!-~]+")


class OpaqueVerifier(Protocol):
    """Knows tokens that are no JWT. The host writes it.

    An attribute `ttl` says for how many seconds `Claims` without `exp` hold, 60 by default.
    """

    async def verify(self, token: str) -> Claims | None:
        """The claims of a token, with `iss` and `sub` at least. None: the token is not known here.

        An `AuthError` is the answer to the request. Any other exception is a 503.
        """


def is_opaque(token: bytes) -> bool:
    """Whether a token is no JWT by its form: it has not two dots, has padding, or its first segment is no JSON object.

    Padding counts because no JWS in compact form has any (RFC 7515 section 2), but the assertion of AWS ALB does.
    """
    if token.count(b".") != 2 or b"=" in token:
        return True
    try:
        parse_object(decode_base64url(token.partition(b".")[0]))
    except MalformedToken:
        return True
    return False


class _Held(NamedTuple):
    """The claims of a token, and from when and until when they hold, in seconds since the epoch.

    They hold from the answer on: if the clock is set back, the token is asked about again.
    """

    claims: Claims
    since: float
    until: float


class _Question:
    """One question about a token, for all callers that wait for its outcome.

    `forgotten`: the issuers that were forgotten since a verifier was asked.
    """

    def __init__(self) -> None:
        self.answered = Event()
        self.forgotten: set[str] = set()
        self.outcome: Claims | AuthError = VerifierUnavailable("the event loop ended")


class OpaqueTokens:
    """Verifies tokens that are no JWT, and holds the claims of verified tokens.

    `verifiers`: asked in their order, until one knows the token. `policy`: its size limit and leeway count.
    `clock`: returns seconds since the epoch. `events`: emits an event for each verifier that fails.

    Raises `ConfigurationError` for a verifier that can't be used.
    """

    def __init__(
        self,
        verifiers: Iterable[OpaqueVerifier],
        policy: TokenPolicy,
        *,
        clock: Callable[[], float],
        events: EventSink,
    ) -> None:
        self._verifiers = [(verifier, _ttl(verifier)) for verifier in verifiers]
        self._policy = replace(policy, audience=None, type=None, required_claims=(), requires_exp=False)
        self._clock = clock
        self._events = events
        # The keys are digests of tokens, so that a dump of the memory contains no token.
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._questions: dict[tuple[EventLoopToken, bytes], _Question] = {}
        self._standings: WeakValueDictionary[str, Standing] = WeakValueDictionary()
        self.may_forget = False
        """Whether claims may be of an issuer that was forgotten."""

    @classmethod
    def of(
        cls,
        verifiers: Iterable[OpaqueVerifier],
        trusted: Sequence[IntrospectionSettings],
        *,
        clock: Callable[[], float],
        events: EventSink,
    ) -> Self | None:
        """The host's `verifiers`, and then introspection by the settings of a trusted issuer. None: there are none."""
        introspecting = [settings for settings in trusted if settings.introspection_url is not None]
        if len(introspecting) > 1:
            raise ConfigurationError("ASGI_JWT_INTROSPECTION_URL is set for two issuers, and each would get all tokens")
        asked = [*verifiers, *(IntrospectionVerifier(settings, clock=clock) for settings in introspecting)]
        return cls(asked, trusted[0].policy, clock=clock, events=events) if asked else None

    @property
    def introspection(self) -> IntrospectionVerifier | None:
        """The last verifier, if it introspects."""
        last, _ = self._verifiers[-1]
        return last if isinstance(last, IntrospectionVerifier) else None

    def verify_cached(self, token: bytes) -> Claims | None:
        """The claims of a token that was verified before, if they still hold. None: `verify` has to decide."""
        held = self._held.get(sha256(token).digest())
        return held.claims if held is not None and held.since <= self._clock() < held.until else None

    def held_until(self, token: bytes) -> float:
        """Until when the claims of `token` hold, in seconds since the epoch. -inf: they have to be asked for."""
        held = self._held.get(sha256(token).digest())
        return -inf if held is None else held.until

    def forget(self, iss: str) -> None:
        """End the issuer's standing, and have the verifiers asked again about each of its tokens."""
        standing = self._standings.pop(iss, None)
        if standing is not None:
            self.may_forget = standing.ended = True
        for digest in [digest for digest, held in list(self._held.items()) if held.claims.issuer == iss]:
            self._held.pop(digest, None)
        for question in list(self._questions.values()):
            question.forgotten.add(iss)

    async def verify(self, token: bytes) -> Claims:
        """The claims of `token`. One question serves all callers with the same token.

        Raises `InactiveToken` for a token that no verifier knows, another child of `InvalidToken`, and
        `VerifierUnavailable`.
        """
        claims = self.verify_cached(token)
        if claims is not None:
            return claims
        if len(token) > self._policy.max_token_size:
            raise TokenTooLarge
        if not _PRINTABLE.fullmatch(token):
            raise MalformedToken("not printable ASCII")
        key = current_token(), sha256(token).digest()
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = _Question()
            start(partial(self._answer, question, key, token.decode()))
        await question.answered.wait()
        if isinstance(question.outcome, AuthError):
            raise question.outcome
        return question.outcome

    async def _answer(self, question: _Question, key: tuple[EventLoopToken, bytes], token: str) -> None:
        try:
            question.outcome = await self._find(question, key[1], token)
        except AuthError as error:
            question.outcome = error
        finally:
            del self._questions[key]
            question.answered.set()

    async def _find(self, question: _Question, digest: bytes, token: str) -> Claims:
        question.forgotten.clear()
        for verifier, ttl in self._verifiers:
            claims = await self._ask(verifier, token)
            if claims is not None:
                held = self._accept(verifier, claims, ttl)
                if claims.issuer in question.forgotten:
                    return await self._find(question, digest, token)
                self._held[digest] = held
                if len(self._held) > MAX_HELD:
                    self._held.popitem(last=False)
                return held.claims
        self._held.pop(digest, None)
        raise InactiveToken

    async def _ask(self, verifier: OpaqueVerifier, token: str) -> Claims | None:
        try:
            with fail_after(discovery.FETCH_TIMEOUT):
                claims: object = await ask(verifier.verify, token)
            if claims is None or isinstance(claims, Claims):
                return claims
            why = f"verify returned {type(claims).__name__}, and has to return Claims or None"
        except VerifierUnavailable as error:
            why = str(error)
        except TimeoutError:
            why = f"no answer within {discovery.FETCH_TIMEOUT:g} s"
        except AuthError:
            raise
        except Exception as error:
            why = _describe(error)
        await self._events.emit(VerifierFailed(type(verifier).__name__, why))
        raise VerifierUnavailable(why)

    def _accept(self, verifier: OpaqueVerifier, claims: Claims, ttl: float) -> _Held:
        """The claims, with the times between which they hold. Raises a child of `InvalidToken`."""
        now, issuer = self._clock(), claims.get("iss")
        if type(issuer) is not str or not issuer:
            raise MalformedClaims("iss is no string or empty") if "iss" in claims else MissingClaim("iss")
        _, ends = check_claims(claims, replace(self._policy, issuer=issuer), now)
        if isinstance(verifier, IntrospectionVerifier):
            ends = min(claims.expires_at, now + ttl)
        elif "exp" not in claims:
            ends = now + ttl
        standing = self._standings.setdefault(issuer, Standing(leeway=self._policy.leeway))
        return _Held(claims._of_standing(standing), now, ends)


def _ttl(verifier: object) -> float:
    if isinstance(verifier, type) or not callable(getattr(verifier, "verify", None)):
        raise ConfigurationError("verifiers= takes objects with a method `async verify(token) -> Claims | None`")
    ttl: object = getattr(verifier, "ttl", DEFAULT_TTL)
    if isinstance(ttl, bool) or not isinstance(ttl, (int, float)) or not 0 <= ttl < inf:
        raise ConfigurationError(f"verifiers= takes a `ttl` in seconds, and that of {type(verifier).__name__} is none")
    return ttl


def _describe(error: Exception) -> str:
    """The type of a host's exception, and the line that raised it. Its text may contain the token."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"
