"""Revocations as a process holds them: what is asked of them for every request costs a few look-ups in dicts. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from asgi_jwt.stores.records import CLOCK_SKEW, LONGEST_VALUE, Revocation, log_value

T = TypeVar("T")

# Until when a subject is kept, and the seconds before which its tokens were issued that are refused: those without a
# `sid`, and those with one.
_Marks = tuple[int, int, int]

_PERIOD = 60_000
_AT_A_TIME = 1000
_LONG_AGO = float("-inf")


class _Kind(dict[str, T]):
    """What is revoked of one kind, by its value. When each lapses is known by the minute."""

    def __init__(self) -> None:
        super().__init__()
        self.lapses: defaultdict[int, list[str]] = defaultdict(list)

    def put(self, value: str, revoked: T, until: int) -> None:
        self[value] = revoked
        self.lapses[until // _PERIOD].append(value)


class _Issuer:
    """What is revoked among the tokens of one issuer: sessions and tokens until when, subjects with their marks."""

    __slots__ = ("digests", "jti", "sid", "sub")

    def __init__(self) -> None:
        self.digests = False
        self.sid = _Kind[int]()
        self.jti = _Kind[int]()
        self.sub = _Kind[_Marks]()


class Mirror:
    """A copy of the log of revocations. `now` is in ms of a monotonic clock, by which entries lapse.

    Nothing leaves it before it lapses, whatever became of the log or of the process's clock; an entry that is added
    twice is there once.
    """

    def __init__(self) -> None:
        self._issuers: dict[str, _Issuer] = {}

    def __len__(self) -> int:
        return sum(len(kind) for issuer in self._issuers.values() for kind in (issuer.sid, issuer.jti, issuer.sub))

    def add(self, revocations: Iterable[Revocation], now: int, wall: int) -> bool:
        """Take over entries, each for its life from `now` on; whether there were any that have not lapsed.

        `wall`: ms since the epoch, by the process's clock.
        """
        added = False
        for revocation in revocations:
            kind, issuer, value, _, time, spares_sessions = revocation
            life = revocation.life(wall)
            if life <= 0:
                continue
            until = now + life
            added = True
            revoked = self._issuers.get(issuer)
            if revoked is None:
                revoked = self._issuers[issuer] = _Issuer()
            revoked.digests = revoked.digests or len(value) > LONGEST_VALUE
            if kind == "sub":
                # Those of the very second too, for no claim says more of when a token was issued.
                before = time // 1000 + 1
                _add_subject(revoked.sub, value, (until, before, before - CLOCK_SKEW // 1000 * spares_sessions))
            else:
                _add(revoked.sid if kind == "sid" else revoked.jti, value, until)
        return added

    def covers(self, claims: Mapping[str, Any]) -> bool:
        """Whether the token with these claims, which were verified, is revoked."""
        revoked = self._issuers.get(claims["iss"])
        if revoked is None:
            return False
        get = claims.get
        try:
            if (
                get("jti") not in revoked.jti
                and get("sid") not in revoked.sid
                and claims["sub"] not in revoked.sub
                and not revoked.digests
            ):
                return False
        except TypeError:
            pass  # another issuer's claim of this name is no string
        return _covers(revoked, get("sid"), get("jti"), claims["sub"], get("iat", _LONG_AGO))

    def has_token(self, issuer: str, jti: str) -> bool:
        """Whether the issuer's token is revoked by itself."""
        revoked = self._issuers.get(issuer)
        return revoked is not None and log_value(jti) in revoked.jti

    def has_session(self, issuer: str, sid: str) -> bool:
        """Whether the issuer's session is revoked."""
        revoked = self._issuers.get(issuer)
        return revoked is not None and log_value(sid) in revoked.sid

    def has_subject(self, issuer: str, subject: str, issued: float) -> bool:
        """Whether the subject's tokens that were issued up to `issued` (s) are revoked, but for sessions' own."""
        revoked = self._issuers.get(issuer)
        marks = None if revoked is None else revoked.sub.get(log_value(subject))
        return marks is not None and issued < marks[1]

    def lapse(self, now: int) -> bool:
        """Forget what has lapsed by `now`, a bounded number of them; whether there is more."""
        left = _AT_A_TIME
        for name, issuer in list(self._issuers.items()):
            left = _lapse(issuer.sid, now, left, lambda until: until)
            left = _lapse(issuer.jti, now, left, lambda until: until)
            left = _lapse(issuer.sub, now, left, lambda marks: marks[0])
            if not (issuer.sid or issuer.jti or issuer.sub):
                del self._issuers[name]
        return left == 0


def _covers(revoked: _Issuer, sid: Any, jti: Any, subject: str, issued: float) -> bool:
    if type(jti) is str and log_value(jti) in revoked.jti:
        return True
    of_session = type(sid) is str
    if of_session and log_value(sid) in revoked.sid:
        return True
    marks = revoked.sub.get(log_value(subject))
    return marks is not None and issued < marks[2 if of_session else 1]


def _add(kind: _Kind[int], value: str, until: int) -> None:
    if kind.get(value, 0) < until:
        kind.put(value, until, until)


def _add_subject(kind: _Kind[_Marks], subject: str, marks: _Marks) -> None:
    known = kind.get(subject)
    if known is None:
        kind.put(subject, marks, marks[0])
        return
    merged = (max(known[0], marks[0]), max(known[1], marks[1]), max(known[2], marks[2]))
    if merged[0] > known[0]:
        kind.put(subject, merged, merged[0])
    else:
        kind[subject] = merged


def _lapse(kind: _Kind[T], now: int, left: int, until_of: Callable[[T], int]) -> int:
    """What is left to do of `left`, when what lapsed up to now has gone or nothing is left."""
    for minute in [minute for minute in kind.lapses if minute < now // _PERIOD]:
        values = kind.lapses[minute]
        while values and left:
            left -= 1
            value = values.pop()
            revoked = kind.get(value)
            # It may have gone already, or was revoked for longer: then a later minute has it too.
            if revoked is not None and until_of(revoked) <= now:
                del kind[value]
        if values:
            break
        del kind.lapses[minute]
    return left
