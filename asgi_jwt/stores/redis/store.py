"""Sessions and revocations in Redis or Valkey, as far as it takes no driver: keys, the script that swaps, the methods.

A session is a string at `{prefix}{{subject's hash}}:{sid}`, as `packed` writes it, that expires by itself. A subject's
index, a sorted set at `{prefix}{{subject's hash}}`, has the `sid`s of its sessions that are not ended, by their ends,
and expires with the longest of them. The braces are a hash tag: all keys of a subject are in one slot of a cluster.

The log of revocations is a stream at `{prefix}revocations`: each entry has its end, `u`, and its record, `r`.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.base import SWEEP_AFTER, Change, LogPage, next_version, outcome
from asgi_jwt.stores.packed import pack, unpack
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.redis.log import APPEND, READ, Script, append_arguments, page_of, read_arguments
from asgi_jwt.stores.redis.pipeline import Answer, Command, Disconnected, Pipeline, UnknownScript, Wire

T = TypeVar("T")

# KEYS[1]  the session's record
# KEYS[2]  its subject's index
# ARGV[1]  SHA-1 of the record as it was read, empty for none: it covers the version, and tells apart two records of
#          one version that a failover has let come about
# ARGV[2]  the record to write, empty to delete
# ARGV[3]  how long to keep it, in ms
# ARGV[4]  its sid
# ARGV[5]  its end in ms since the epoch, empty to leave it out of the index
# ARGV[6]  the index forgets the sessions that ended up to here
# answers  1 when done; otherwise nothing was, and the answer is the record as it stands, nil for none
SWAP = Script.of(b"""\
local stored = redis.call('GET', KEYS[1])
if (stored and redis.sha1hex(stored) or '') ~= ARGV[1] then
  return stored
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[2], ARGV[4])
else
  redis.call('ZADD', KEYS[2], ARGV[5], ARGV[4])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[6])
  if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  end
end
return 1
""")

_FORGET_AFTER = 3_600_000
"""How long (ms) past its end a session stays in the index: longer than the clocks of several servers differ."""
_ROUNDS = 50
_ROUNDS_AT_ONCE = 5


class SwapStore:
    """A SessionStore over a wire to a server that runs scripts; `connect` makes one for each event loop.

    `prefix` stands before all keys. A method takes `timeout` seconds at the most.
    """

    def __init__(self, connect: Callable[[], Wire], *, prefix: str, timeout: float) -> None:
        self._connect = connect
        self._prefix = prefix.encode()
        self._log_key = self._prefix + b"revocations"
        self._timeout = timeout
        self._links: dict[asyncio.AbstractEventLoop, _Link] = {}
        self._closed = False

    async def get(self, key: SessionKey) -> Session | None:
        """See SessionStore."""
        link = await self._link()
        async with _Deadline(self._timeout):
            return _unpacked(key, await _read(link, "GET", self._record_key(key)))

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        """See SessionStore. Raises TypeError or ValueError for claims that are no JSON."""
        link = await self._link()
        record_key = self._record_key(key)
        # One at a time within the process: those who raced here would lose to each other alone.
        async with _Deadline(self._timeout), link.locks.setdefault(key, asyncio.Lock()):
            record = await _read(link, "GET", record_key)
            for conflicts in range(_ROUNDS):
                if conflicts >= _ROUNDS_AT_ONCE:
                    await asyncio.sleep(secrets.randbelow(10) / 1000)
                    record = await _read(link, "GET", record_key)
                session = _unpacked(key, record)
                changed, result, entries = outcome(change(session))
                if changed is session:
                    return result
                if entries and session is not None and changed is not None and changed.ended_at is not None:
                    # One script can't write both, for in a cluster the log is in another slot than the session.
                    mark = session.marked(changed.ended_at)
                    if mark is not session:
                        record = await self._swap(link, key, record, session, mark)
                        if record != 1:
                            continue
                        session = next_version(key, session, mark)
                        record = pack(session)
                    await _run_again(link, APPEND, 1, self._log_key, *append_arguments(entries, changed.ended_at))
                record = await self._swap(link, key, record, session, changed)
                if record == 1:
                    return result
        raise StoreUnavailable(f"{_ROUNDS} conflicts over one session")

    async def _swap(
        self, link: "_Link", key: SessionKey, record: bytes | None, stored: Session | None, changed: Session | None
    ) -> Answer:
        arguments = _digest(record), *_replacement(key, stored, changed)
        return await _run(link, SWAP, 2, self._record_key(key), self._index_key(key.subject), *arguments)

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        """See SessionStore."""
        link = await self._link()
        async with _Deadline(self._timeout):
            sids = await _read(link, "ZRANGE", self._index_key(subject), 0, -1)
            keys = [SessionKey(subject, sid.decode("utf-8", "surrogatepass")) for sid in sids]
            records = await _read(link, "MGET", *map(self._record_key, keys)) if keys else ()
        sessions = [unpack(key, record) for key, record in zip(keys, records, strict=True) if record is not None]
        return sorted((session for session in sessions if session.is_live(now)), key=lambda s: (s.created_at, s.sid))

    async def sweep(self, now: int) -> int:
        """Nothing: records expire by themselves."""
        self._require_open()
        return 0

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        """See SessionStore."""
        link = await self._link()
        if not revocations:
            return
        async with _Deadline(self._timeout):
            await _run_again(link, APPEND, 1, self._log_key, *append_arguments(revocations, now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """See SessionStore."""
        link = await self._link()
        async with _Deadline(self._timeout):
            answer = await _run_again(link, READ, 1, self._log_key, *read_arguments(cursor))
        return page_of(answer, cursor)

    async def aclose(self) -> None:
        """See SessionStore."""
        self._closed = True
        loop = _running_loop()
        if loop in self._links:
            await self._links[loop].guard.aclose()

    def _index_key(self, subject: str) -> bytes:
        digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()[:16]
        return self._prefix + b"{" + base64.urlsafe_b64encode(digest)[:22] + b"}"

    def _record_key(self, key: SessionKey) -> bytes:
        return self._index_key(key.subject) + b":" + key.sid.encode("utf-8", "surrogatepass")

    async def _link(self) -> "_Link":
        self._require_open()
        loop = _running_loop()
        if loop is None:
            raise ConfigurationError("the Redis store needs asyncio, as its driver does: under trio use sqlite://")
        if loop not in self._links:
            pipeline = Pipeline(self._connect())
            self._links[loop] = _Link(pipeline, _closing(pipeline, loop, self._links))
            await anext(self._links[loop].guard)
        return self._links[loop]

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


class _Deadline:
    """What takes more than `limit` seconds within it is unavailable; a TimeoutError of other making passes."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._timeout = asyncio.timeout(limit)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, raised, trace)
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {self._limit:g} s") from None


@dataclass(eq=False)
class _Link:
    """What a store needs for one event loop."""

    pipeline: Pipeline
    guard: AsyncGenerator[None, None]
    locks: WeakValueDictionary[SessionKey, asyncio.Lock] = field(default_factory=WeakValueDictionary)


async def _closing(
    pipeline: Pipeline, loop: asyncio.AbstractEventLoop, links: dict[asyncio.AbstractEventLoop, _Link]
) -> AsyncGenerator[None, None]:
    """A loop that ends closes its asynchronous generators: so no connection outlives its loop, aclose or not."""
    try:
        yield
    finally:
        del links[loop]
        await pipeline.aclose()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _read(link: _Link, *command: bytes | str | int) -> Answer:
    answer = await link.pipeline.ask(command)
    if isinstance(answer, Disconnected):
        answer = await link.pipeline.ask(command)
    return _checked(answer)


async def _run(link: _Link, script: Script, *arguments: bytes | str | int) -> Answer:
    """What the script answers. Never sent twice: one that is not answered may have happened."""
    return _checked(await _asked(link, script, arguments))


async def _run_again(link: _Link, script: Script, *arguments: bytes | str | int) -> Answer:
    """The same for a script that may happen twice: asked again where the connection broke."""
    answer = await _asked(link, script, arguments)
    if isinstance(answer, Disconnected):
        answer = await _asked(link, script, arguments)
    return _checked(answer)


async def _asked(link: _Link, script: Script, arguments: Command) -> Answer:
    answer = await link.pipeline.ask(("EVALSHA", script.sha, *arguments))
    if isinstance(answer, UnknownScript):  # which is to say that nothing ran
        answer = await link.pipeline.ask(("EVAL", script.text, *arguments))
    return answer


def _checked(answer: Answer) -> Answer:
    if isinstance(answer, StoreUnavailable):  # one for each who asked: an exception collects tracebacks
        raise StoreUnavailable(answer.detail) from answer.__cause__
    return answer


def _digest(record: bytes | None) -> str:
    return "" if record is None else hashlib.sha1(record, usedforsecurity=False).hexdigest()


def _unpacked(key: SessionKey, record: bytes | None) -> Session | None:
    return None if record is None else unpack(key, record)


def _replacement(key: SessionKey, stored: Session | None, changed: Session | None) -> Command:
    """The script's ARGV from the second on."""
    sid = key.sid.encode("utf-8", "surrogatepass")
    if changed is None:
        return b"", 0, sid, b"", 0
    session = next_version(key, stored, changed)
    end = session.kept_until if session.ended_at is None else b""
    return pack(session), session.kept_for + SWEEP_AFTER, sid, end, session.used_at - _FORGET_AFTER
