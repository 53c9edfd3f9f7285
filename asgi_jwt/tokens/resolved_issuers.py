"""ResolvedIssuers: asks the host which issuers are trusted, and holds its answers."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from math import inf
from typing import NamedTuple, cast

from asgi_jwt.errors import KeysUnavailable, WrongIssuer
from asgi_jwt.events import logger
from asgi_jwt.tasks import SingleFlight
from asgi_jwt.tokens.claims import TokenPolicy
from asgi_jwt.tokens.discovery import deadline
from asgi_jwt.tokens.found_issuers import HELD, MAX_KEPT, FoundIssuers
from asgi_jwt.tokens.key_source import KeySource
from asgi_jwt.tokens.keys import KeySet
from asgi_jwt.tokens.trusted import Trust, TrustedIssuer

MAX_ASKED = 100
"""The most questions that the host is asked at the same time. Anyone may send tokens of made-up issuers."""


class Answer(NamedTuple):
    """The host's answer for a trusted issuer.

    `source`: equal for two answers whose keys come from the same place. `keys`: makes them.
    """

    policy: TokenPolicy
    source: Hashable
    keys: Callable[[], KeySource]


Ask = Callable[[str], Awaitable[Answer | None]]
"""Asks the host about an issuer. None: it is not trusted. It may raise any exception."""


class _AnsweredKeys:
    """The `KeySource` of a resolved issuer. When the answer is no longer held, `current` asks the host again."""

    def __init__(self, answer: Answer, *, clock: Callable[[], float], ask_again: Callable[[str], Awaitable[object]]):
        self.answer = answer
        self.answered_at = clock()
        self.keys = answer.keys()
        self._clock = clock
        self._ask_again = ask_again
        self._listener: Callable[[KeySet], None] = lambda keys: None
        self.keys.on_change(lambda keys: self._listener(keys))

    @property
    def is_held(self) -> bool:
        return 0 <= self._clock() - self.answered_at < HELD

    @property
    def known(self) -> KeySet:
        return self.keys.known

    @property
    def known_until(self) -> float:
        return min(self.keys.known_until, self.answered_at + HELD)

    async def current(self) -> KeySet:
        if not self.is_held and await self._ask_again(self.answer.policy.issuer) is None:
            raise WrongIssuer
        return await self.keys.current()

    async def renewed(self) -> KeySet:
        return await self.keys.renewed()

    def on_change(self, listener: Callable[[KeySet], None]) -> None:
        # A new answer with the same keys takes the place of the old one.
        self._listener = listener

    def warm_up(self) -> None:
        self.keys.warm_up()


class _Question:
    """A question about one issuer, which all tokens of the issuer wait for."""

    def __init__(self, work: Callable[["_Question"], Awaitable[None]]) -> None:
        async def run() -> None:
            await work(self)

        self.flight = SingleFlight(run)
        self.found: TrustedIssuer | None = None
        self.failed = self.dropped = False


class ResolvedIssuers(FoundIssuers):
    """The issuers that the host trusts. Each answer is held for `HELD` seconds, and so is a refusal.

    If the answer for an issuer changes, its cached tokens are dropped. Its remote keys stay if their source does.

    `ask`: asks the host. `clock`: returns seconds since the epoch.
    """

    def __init__(self, ask: Ask, *, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._ask = ask
        self._asking: dict[str, _Question] = {}
        self._unverified: OrderedDict[str, TrustedIssuer] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()

    async def find(self, iss: str) -> TrustedIssuer | None:
        """The issuer. None: the host does not trust it. Raises `KeysUnavailable` if the host gives no answer."""
        known = self._known(iss)
        if known is not None and _keys_of(known).is_held:
            return known
        if 0 <= self._clock() - self._refused.get(iss, -inf) < HELD:
            return None
        question = self._asking.get(iss)
        if question is None:
            if len(self._asking) >= MAX_ASKED and known is None:
                raise KeysUnavailable("too many issuers are asked for")
            question = self._asking[iss] = _Question(lambda question: self._answer(iss, question))
        question.flight.start()
        await question.flight.wait()
        if question.dropped:
            return await self.find(iss)
        if question.failed:
            raise KeysUnavailable("the host's function for issuers failed")
        return question.found

    def _known(self, iss: str) -> TrustedIssuer | None:
        return self._kept.get(iss) or self._unverified.get(iss)

    async def _answer(self, iss: str, question: _Question) -> None:
        answer, question.failed = None, True  # a host's cancelled task passes both clauses below
        try:
            with deadline():
                answer = await self._ask(iss)
            question.failed = False
        except WrongIssuer:
            question.failed = False
        except Exception:
            logger.exception("issuers= failed")
        finally:
            if not question.dropped:
                self._asking.pop(iss, None)
        if question.dropped or question.failed:
            return
        if answer is None:
            self._refuse(iss)
        else:
            question.found = self._accept(iss, answer)

    def _refuse(self, iss: str) -> None:
        self.forget(iss)
        self._refused[iss] = self._clock()
        if len(self._refused) > MAX_KEPT:
            self._refused.popitem(last=False)

    def _accept(self, iss: str, answer: Answer) -> TrustedIssuer:
        known = self._known(iss)
        keys = _keys_of(known) if known is not None else None
        if known is not None and keys is not None and keys.answer[:2] == answer[:2]:
            keys.answered_at = self._clock()
            return known
        self._refused.pop(iss, None)
        if known is not None:
            self.forget(iss)
        if keys is not None and keys.answer.source == answer.source:
            keys.answer, keys.answered_at = answer, self._clock()
        else:
            keys = _AnsweredKeys(answer, clock=self._clock, ask_again=self.find)
        self._unverified[iss] = issuer = self._trust(Trust(keys, answer.policy))
        if len(self._unverified) > MAX_KEPT:
            self._unverified.popitem(last=False)
        return issuer

    def keep(self, issuer: TrustedIssuer) -> None:
        """Keep the issuer, because a token of it was verified."""
        self._unverified.pop(issuer.policy.issuer, None)
        super().keep(issuer)

    def forget(self, iss: str) -> None:
        """Drop the answer for the issuer, its keys and its cached tokens, and end its standing."""
        self._refused.pop(iss, None)
        self._unverified.pop(iss, None)
        question = self._asking.pop(iss, None)
        if question is not None:
            question.dropped = True
        super().forget(iss)

    def sources(self) -> list[KeySource]:
        """The keys of the issuers that are kept."""
        return [_keys_of(issuer).keys for issuer in self._kept.values()]

    def with_keys(self, keys: KeySet) -> "ResolvedIssuers":
        """A finder that asks the same host, whose issuers' tokens are verified with `keys`."""

        async def ask(iss: str) -> Answer | None:
            answer = await self._ask(iss)
            return None if answer is None else answer._replace(keys=lambda: keys)

        return ResolvedIssuers(ask, clock=self._clock)


def _keys_of(issuer: TrustedIssuer) -> _AnsweredKeys:
    return cast("_AnsweredKeys", issuer.source)
