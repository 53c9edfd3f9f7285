"""Sessions and revocations in Redis or Valkey: one server, Sentinel or Cluster.

A session is a string at `{prefix}{{subject's hash}}:{sid}`, as `packed` writes it, that expires by itself. A subject's
index, a sorted set at `{prefix}{{subject's hash}}`, has the `sid`s of its sessions that are not ended, by their ends,
and expires with the longest of them. The braces are a hash tag: all keys of a subject are in one slot of a cluster.

The log of revocations is a stream at `{prefix}revocations`: each entry has its end, `u`, and its record, `r`.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeVar

from redis.asyncio import Redis, RedisCluster

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.base import Change, LogPage, next_version, outcome
from asgi_jwt.stores.loops import Deadline, Links, running_loop
from asgi_jwt.stores.packed import pack, unpack
from asgi_jwt.stores.records import Revocation, Session, SessionKey
from asgi_jwt.stores.redis.link import Link
from asgi_jwt.stores.redis.log import APPEND, READ, append_arguments, page_of, read_arguments
from asgi_jwt.stores.redis.pipeline import Answer, Pipeline
from asgi_jwt.stores.redis.script import read, run, run_again
from asgi_jwt.stores.redis.swap import SIDS, SWAP, sids_of, swap_arguments
from asgi_jwt.stores.redis.url import PREFIX, TIMEOUT, RedisURL, check_prefix, check_timeout, parse_redis_url
from asgi_jwt.stores.redis.wire import connect

T = TypeVar("T")

_DONE = 1
"""What `SWAP` answers when it wrote; else the record as it stands, which is bytes, or None."""

_LISTED_AT_ONCE = 100
_ROUNDS = 50
_ROUNDS_AT_ONCE = 5


class RedisStore:
    """Keeps sessions in Redis (6.2 and later) or Valkey, for any number of processes on any number of machines.

    `client` is a ready `redis.asyncio` client: Redis, what `Sentinel.master_for` gives, or RedisCluster. It remains its
    owner's to close. To one server or a master the store has connections of its own, made as the client's are: 8 at the
    most, or the client's `max_connections` but 2 at least. Its retries and `decode_responses` don't matter. Given a
    RedisURL, the store has clients of its own for each event loop; a RedisCluster serves the first loop alone, and
    another gets a ConfigurationError. `timeout` (seconds) bounds each exchange; a method takes twice that at the most.
    `prefix` stands before all keys. Raises ConfigurationError for a prefix with braces or a timeout that is not
    positive. Nothing is opened before the first use, and asyncio alone can use it.

    Its user needs `+get +mget +zrange +eval +evalsha`, what the scripts call (`+set +del +zadd +zrem +zremrangebyscore
    +pttl +pexpire +xadd +xrange +xdel`) and what connections need (`+@connection`, in a cluster `+cluster|slots
    +command`), on `~prefix*`. The server should run with `maxmemory-policy noeviction`: what it evicts is a session
    lost, or one that its subject's list lacks until the next refresh, or every revocation there is.
    """

    def __init__(
        self, client: Redis | RedisCluster | RedisURL, *, prefix: str = PREFIX, timeout: float = TIMEOUT
    ) -> None:
        try:
            check_prefix(prefix)
            check_timeout(timeout)
        except ValueError as fault:
            raise ConfigurationError(f"RedisStore: the prefix or timeout {fault}") from None
        self._client = client
        self._prefix = prefix.encode()
        self._log_key = self._prefix + b"revocations"
        self._timeout = 2 * timeout
        self._links = Links(lambda: Link(self._pipeline(timeout), self._pipeline(timeout, for_log=True)))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @classmethod
    def from_url(cls, url: str) -> "RedisStore":
        """A store with clients of its own. `parse_redis_url` tells the URL's forms; raises ConfigurationError."""
        address = parse_redis_url(url)
        return cls(address, prefix=address.prefix, timeout=address.timeout)

    def __repr__(self) -> str:
        client = self._client
        return f"<RedisStore {client if isinstance(client, RedisURL) else type(client).__name__}>"

    async def get(self, key: SessionKey) -> Session | None:
        """See SessionStore."""
        link = await self._link()
        async with Deadline(self._timeout):
            return _unpacked(key, await read(link.sessions, "GET", self._record_key(key)))

    async def update(self, key: SessionKey, change: Change[T]) -> T:
        """See SessionStore. Raises TypeError or ValueError for claims that are no JSON."""
        link = await self._link()
        record_key = self._record_key(key)
        # One at a time within the process: those who raced here would lose to each other alone.
        async with Deadline(self._timeout), link.locks.setdefault(key, asyncio.Lock()):
            record = await read(link.sessions, "GET", record_key)
            for conflicts in range(_ROUNDS):
                if conflicts >= _ROUNDS_AT_ONCE:
                    await asyncio.sleep(secrets.randbelow(10) / 1000)
                    record = await read(link.sessions, "GET", record_key)
                session = _unpacked(key, record)
                changed, result, entries = outcome(change(session))
                if changed is session:
                    return result
                if entries:
                    record = await self._end(link, key, record, session, changed, entries)
                else:
                    record = await self._swap(link, key, record, session, changed)
                if record == _DONE:
                    return result
        raise StoreUnavailable(f"{_ROUNDS} conflicts over one session")

    async def _end(
        self,
        link: Link,
        key: SessionKey,
        record: bytes | None,
        stored: Session | None,
        ended: Session | None,
        entries: Sequence[Revocation],
    ) -> Answer:
        """Mark, entries, tombstone: in a cluster the log is in another slot than the session, so no script has both.

        Answers as `SWAP` does. Whoever finds a mark that another process left goes on from there.
        """
        swap_arguments(key, record, stored, ended)  # before anything is written, for what can't be written raises
        now = entries[0].time
        marked = stored and stored.marked(now)
        if marked is not None and marked is not stored:
            answer = await self._swap(link, key, record, stored, marked)
            if answer != _DONE:
                return answer
            stored = next_version(key, stored, marked)
            record = pack(stored)
        await run_again(link.log, APPEND, 1, self._log_key, *append_arguments(entries, now))
        return await self._swap(link, key, record, stored, ended)

    async def _swap(
        self, link: Link, key: SessionKey, record: bytes | None, stored: Session | None, changed: Session | None
    ) -> Answer:
        index_key = self._index_key(key.subject)
        arguments = swap_arguments(key, record, stored, changed)
        return await run(link.sessions, SWAP, 2, _record_key(index_key, key.sid), index_key, *arguments)

    async def list(self, subject: str, now: int) -> Sequence[Session]:
        """See SessionStore."""
        link = await self._link()
        sessions: list[Session] = []
        async with Deadline(self._timeout):
            answer = await run_again(link.sessions, SIDS, 1, self._index_key(subject))
            sids = sorted(sids_of(answer))
            # A page at a time: thousands of records would hold up the event loop.
            for start in range(0, len(sids), _LISTED_AT_ONCE):
                page = [SessionKey(subject, sid) for sid in sids[start : start + _LISTED_AT_ONCE]]
                records = await read(link.sessions, "MGET", *map(self._record_key, page))
                found = (unpack(key, record) for key, record in zip(page, records, strict=True) if record is not None)
                sessions += (session for session in found if session.is_live(now))
        return sorted(sessions, key=attrgetter("created_at"))  # those of one time by their sids, as they were read

    async def sweep(self, now: int) -> int:
        """Nothing: records expire by themselves."""
        self._require_open()
        return 0

    async def append_revocations(self, revocations: Sequence[Revocation], now: int) -> None:
        """See SessionStore."""
        link = await self._link()
        if not revocations:
            return
        async with Deadline(self._timeout):
            await run_again(link.log, APPEND, 1, self._log_key, *append_arguments(revocations, now))

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """See SessionStore."""
        link = await self._link()
        async with Deadline(self._timeout):
            answer = await run_again(link.log, READ, 1, self._log_key, *read_arguments(cursor))
        return page_of(answer, cursor)

    async def maxmemory_policy(self) -> str:
        """How the server makes room when its memory is full: of one node in a cluster. It needs the right `+info`."""
        link = await self._link()
        async with Deadline(self._timeout):
            answer = await read(link.sessions, "INFO", "memory")
        return str(answer["maxmemory_policy"])

    async def aclose(self) -> None:
        """See SessionStore."""
        self._closed = True
        await self._links.close(running_loop())

    def _index_key(self, subject: str) -> bytes:
        return self._prefix + _hash_tag(subject)

    def _record_key(self, key: SessionKey) -> bytes:
        return _record_key(self._index_key(key.subject), key.sid)

    def _pipeline(self, timeout: float, *, for_log: bool = False) -> Pipeline:
        return Pipeline(connect(self._client, timeout, for_log=for_log))

    async def _link(self) -> Link:
        self._require_open()
        loop = running_loop()
        if loop is None:
            raise ConfigurationError("the Redis store needs asyncio, as its driver does: under trio use sqlite://")
        if isinstance(self._client, RedisCluster):
            self._require_own_loop(loop)
        return await self._links.get(loop)

    def _require_own_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """A cluster's client has connections, which belong to the event loop that dialled them."""
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise ConfigurationError(
                "the RedisCluster client that RedisStore was given is used by several event loops, and its connections"
                " belong to the first: RedisStore.from_url('redis+cluster://...') makes connections for each"
            )

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


@lru_cache(maxsize=1024)  # a refresh needs it twice
def _hash_tag(subject: str) -> bytes:
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()[:16]
    return b"{" + base64.urlsafe_b64encode(digest)[:22] + b"}"


def _record_key(index_key: bytes, sid: str) -> bytes:
    return index_key + b":" + sid.encode("utf-8", "surrogatepass")


def _unpacked(key: SessionKey, record: bytes | None) -> Session | None:
    return None if record is None else unpack(key, record)
