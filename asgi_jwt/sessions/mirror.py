"""Mirror: the process's copy of the log of revocations. A question about a token costs a few dict look-ups. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from math import floor
from typing import Any, NamedTuple, TypeVar

from asgi_jwt.stores.millis import Millis, seconds
from asgi_jwt.stores.records import CLOCK_SKEW, LONGEST_VALUE, Revocation, log_value

T = TypeVar("T")


class _SubjectEntry(NamedTuple):
    """When the entry lapses (ms), and before which second a revoked token was issued, without and with a `sid`."""

    until: Millis
    issued_before: int
    session_issued_before: int


_MINUTE = Millis(60_000)
_LAPSED_AT_ONCE = 1000
_LONG_AGO = float("-inf")


class _Entries(dict[str, T]):
    """The entries of one kind, by their value, and the values that lapse in each minute."""

    def __init__(self) -> None:
        super().__init__()
        self.lapses: defaultdict[int, list[str]] = defaultdict(list)

    def put(self, value: str, entry: T, until: Millis) -> None:
        self[value] = entry
        self.lapses[until // _MINUTE].append(value)


class _IssuerEntries:
    """The entries about the tokens of one issuer. `sid` and `jti` hold when each lapses (ms).

    `has_digests`: the value of some entry is a digest, so that the plain claims of a token don't show whether it is
    revoked.
    """

    __slots__ = ("has_digests", "jti", "sid", "sub")

    def __init__(self) -> None:
        self.has_digests = False
        self.sid = _Entries[Millis]()
        self.jti = _Entries[Millis]()
        self.sub = _Entries[_SubjectEntry]()


class Mirror:
    """A copy of the log of revocations. Entries lapse by a monotonic clock, whose ms are `now`.

    An entry stays until it lapses, even if the log loses it or the process's wall clock is set. An entry that is added
    twice has the effect of one.
    """

    def __init__(self) -> None:
        self._issuers: dict[str, _IssuerEntries] = {}
        self._lapsed: int | None = None  # the last minute in which `lapse` came to its end

    def __len__(self) -> int:
        return sum(len(kind) for issuer in self._issuers.values() for kind in (issuer.sid, issuer.jti, issuer.sub))

    def add(self, revocations: Iterable[Revocation], now: Millis, wall: Millis) -> bool:
        """Add entries, each for its life from `now` on. Returns whether any of them had life left.

        `wall` is the process's wall clock, in ms since the epoch.
        """
        added = False
        for revocation in revocations:
            kind, issuer, value, _, time, spares_sessions = revocation
            life = revocation.life(wall)
            if life <= 0:
                continue
            until = now + life
            added = True
            entries = self._issuers.get(issuer)
            if entries is None:
                entries = self._issuers[issuer] = _IssuerEntries()
            entries.has_digests = entries.has_digests or len(value) > LONGEST_VALUE
            if kind == "sub":
                # `iat` has whole seconds, so tokens of the second of the revocation are revoked, too.
                before = floor(seconds(time)) + 1
                session_before = before - floor(seconds(CLOCK_SKEW)) if spares_sessions else before
                _add_subject(entries.sub, value, _SubjectEntry(until, before, session_before))
            else:
                _add(entries.sid if kind == "sid" else entries.jti, value, until)
        return added

    def covers(self, claims: Mapping[str, Any]) -> bool:
        """Whether an entry revokes the token with these verified claims."""
        entries = self._issuers.get(claims["iss"])
        if entries is None:
            return False
        get = claims.get
        try:
            if (
                get("jti") not in entries.jti
                and get("sid") not in entries.sid
                and claims["sub"] not in entries.sub
                and not entries.has_digests
            ):
                return False
        except TypeError:
            pass  # the claim `jti` or `sid` of another issuer is no string
        return _covers(entries, get("sid"), get("jti"), claims["sub"], get("iat", _LONG_AGO))

    def has_token(self, issuer: str, jti: str) -> bool:
        """Whether there is an entry for this one token of the issuer."""
        entries = self._issuers.get(issuer)
        return entries is not None and log_value(jti) in entries.jti

    def has_session(self, issuer: str, sid: str) -> bool:
        """Whether there is an entry for this session of the issuer."""
        entries = self._issuers.get(issuer)
        return entries is not None and log_value(sid) in entries.sid

    def has_subject(self, issuer: str, subject: str, issued: float) -> bool:
        """Whether an entry revokes the subject's tokens that have no `sid` and were issued at `issued` (s)."""
        entries = self._issuers.get(issuer)
        entry = None if entries is None else entries.sub.get(log_value(subject))
        return entry is not None and issued < entry.issued_before

    def lapse(self, now: Millis) -> bool:
        """Remove entries that have lapsed by `now`, a bounded number of them. Returns whether more may have lapsed."""
        if now // _MINUTE == self._lapsed:
            return False  # entries lapse by the minute
        left = _LAPSED_AT_ONCE
        for issuer, entries in list(self._issuers.items()):
            left = _lapse(entries.sid, now, left, lambda until: until)
            left = _lapse(entries.jti, now, left, lambda until: until)
            left = _lapse(entries.sub, now, left, lambda entry: entry.until)
            if not (entries.sid or entries.jti or entries.sub):
                del self._issuers[issuer]
        self._lapsed = now // _MINUTE if left else None
        return left == 0


def _covers(entries: _IssuerEntries, sid: Any, jti: Any, subject: str, issued: float) -> bool:
    if type(jti) is str and log_value(jti) in entries.jti:
        return True
    of_session = type(sid) is str
    if of_session and log_value(sid) in entries.sid:
        return True
    entry = entries.sub.get(log_value(subject))
    return entry is not None and issued < (entry.session_issued_before if of_session else entry.issued_before)


def _add(entries: _Entries[Millis], value: str, until: Millis) -> None:
    if entries.get(value, Millis(0)) < until:
        entries.put(value, until, until)


def _add_subject(entries: _Entries[_SubjectEntry], subject: str, entry: _SubjectEntry) -> None:
    known = entries.get(subject)
    if known is None:
        entries.put(subject, entry, entry.until)
        return
    merged = _SubjectEntry(
        max(known.until, entry.until),
        max(known.issued_before, entry.issued_before),
        max(known.session_issued_before, entry.session_issued_before),
    )
    if merged.until > known.until:
        entries.put(subject, merged, merged.until)
    else:
        entries[subject] = merged


def _lapse(entries: _Entries[T], now: Millis, left: int, until_of: Callable[[T], Millis]) -> int:
    """Remove the lapsed entries, `left` at most. Returns how many more may be removed in this call of `lapse`."""
    for minute in [minute for minute in entries.lapses if minute < now // _MINUTE]:
        values = entries.lapses[minute]
        while values and left:
            left -= 1
            value = values.pop()
            entry = entries.get(value)
            # An entry whose life was extended stands under a later minute, too.
            if entry is not None and until_of(entry) <= now:
                del entries[value]
        if values:
            break
        del entries.lapses[minute]
    return left
