"""RedisStore: sessions and revocations in Redis or Valkey, with one server, Sentinel or Cluster.

A session is a string at `{prefix}{{subject's hash}}:{sid}`, encoded by `packed`. It expires by itself. The index of a
subject is a sorted set at `{prefix}{{subject's hash}}`: the `sid`s of the sessions that are not ended, sorted by their
ends. It expires with the last of them. The inner braces are a hash tag, so all keys of a subject are in one slot of a
cluster.

A proof that was shown is an empty string at `{prefix}proof:{digest}`, which expires by itself.

The log of revocations is a stream at `{prefix}revocations`. An entry has its end `u`, its record `r` and its life `l`.
"""

import asyncio
import base64
import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from operator import attrgetter
from time import time
from typing import Any, TypeVar

from redis.asyncio import Redis, RedisCluster

from asgi_jwt.errors import ConfigurationError, StoreUnavailable
from asgi_jwt.stores.base import Change, LogPage, next_version, outcome
from asgi_jwt.stores.loops import Deadline, Links, running_loop
from asgi_jwt.stores.millis import Millis, millis
from asgi_jwt.stores.packed import pack, unpack
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation, Session, SessionKey
from asgi_jwt.stores.redis.link import Link
from asgi_jwt.stores.redis.log import APPEND, READ, append_arguments, page_of, read_arguments
from asgi_jwt.stores.redis.pipeline import Answer, Pipeline
from asgi_jwt.stores.redis.script import read, run, run_again, run_at_master, write
from asgi_jwt.stores.redis.swap import SIDS, SWAP, sids_of, swap_arguments
from asgi_jwt.stores.redis.url import ANSWER_TIMEOUT, KEY_PREFIX, RedisURL, check_prefix, check_timeout, parse_redis_url
from asgi_jwt.stores.redis.wire import connect

T = TypeVar("T")

_DONE = 1
"""The answer of `SWAP` when it wrote. Otherwise the answer is the stored record, as bytes or None."""

_LISTED_AT_ONCE = 100
_MAX_CONFLICTS = 50
_CONFLICTS_WITHOUT_PAUSE = 5


class RedisStore:
    """A `SessionStore` in Redis (6.2 and later) or Valkey, for any number of processes and machines.

    `client`: a `redis.asyncio` client (Redis, the result of `Sentinel.master_for`, or RedisCluster), or a RedisURL. The
    host closes its own client. To one server or a master the store opens further connections like the client's: 8 at
    most, and not more than the client's `max_connections`, but 2 at least. The client's retries and `decode_responses`
    have no effect. For a RedisURL the store makes a client for each event loop. A RedisCluster works in the first event
    loop that uses it; in another one a ConfigurationError is raised.
    `prefix`: the beginning of all keys.
    `timeout`: the limit (s) of an exchange. A method takes twice as long at most.

    The store connects at its first use, and needs asyncio. Raises ConfigurationError for a prefix with braces or a
    timeout that is not positive.

    The Redis user needs these rights on `~prefix*`: `+get +mget +zrange +eval +evalsha`, for the scripts `+set +del
    +zadd +zrem +zremrangebyscore +pttl +pexpire +xadd +xrange +xdel`, for connections `+@connection`, and in a cluster
    `+cluster|slots +command`. Run the server with `maxmemory-policy noeviction`: otherwise it may evict a session, the
    index of a subject, or the whole log of revocations.
    """

    def __init__(
        self, client: Redis | RedisCluster | RedisURL, *, prefix: str = KEY_PREFIX, timeout: float = ANSWER_TIMEOUT
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
        self._places = count(step=617)  # thousandths: they fill the log evenly
        self._links = Links(lambda: Link(self._pipeline(timeout), self._pipeline(timeout, for_log=True)))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @classmethod
    def from_url(cls, url: str) -> "RedisStore":
        """The store at a URL, whose forms `parse_redis_url` describes. Raises ConfigurationError."""
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
        # One update of a session runs at a time in this process, because concurrent ones would only conflict.
        async with Deadline(self._timeout), link.locks.setdefault(key, asyncio.Lock()):
            record = await read(link.sessions, "GET", record_key)
            for conflicts in range(_MAX_CONFLICTS):
                if conflicts >= _CONFLICTS_WITHOUT_PAUSE:
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
        raise StoreUnavailable(f"{_MAX_CONFLICTS} conflicts over one session")

    async def _end(
        self,
        link: Link,
        key: SessionKey,
        record: bytes | None,
        stored: Session | None,
        ended: Session | None,
        entries: Sequence[Revocation],
    ) -> Answer:
        """Write the mark, then the entries, then the tombstone. Returns the answer of `SWAP`.

        In a cluster the log and the session are in different slots, so one script can't write both. The mark has to be
        at the master: an old one may lack rotations, and so end a session that lives.
        """
        swap_arguments(key, record, stored, ended)  # raises for a record that can't be encoded, before any write
        now = entries[0].time
        if stored is not None:
            marked = stored.marked(now)
            answer = await self._swap(link, key, record, stored, marked, is_mark=True)
            if answer != _DONE:
                return answer
            stored = next_version(key, stored, marked)
            record = pack(stored)
        await self._append(link, entries, now)
        return await self._swap(link, key, record, stored, ended)

    async def _swap(
        self,
        link: Link,
        key: SessionKey,
        record: bytes | None,
        stored: Session | None,
        changed: Session | None,
        *,
        is_mark: bool = False,
    ) -> Answer:
        index_key = self._index_key(key.subject)
        arguments = 2, _record_key(index_key, key.sid), index_key, *swap_arguments(key, record, stored, changed)
        if is_mark:
            return await run_at_master(link.sessions, SWAP, *arguments)
        return await run(link.sessions, SWAP, *arguments)

    async def _append(self, link: Link, revocations: Sequence[Revocation], now: Millis) -> None:
        arguments = 1, self._log_key, *append_arguments(revocations, now, next(self._places))
        await run_at_master(link.log, APPEND, *arguments)

    async def list(self, subject: str, now: Millis) -> Sequence[Session]:
        """See SessionStore."""
        link = await self._link()
        sessions: list[Session] = []
        async with Deadline(self._timeout):
            answer = await run_at_master(link.sessions, SIDS, 1, self._index_key(subject))
            sids = sorted(sids_of(answer))
            # Reading thousands of records at once would block the event loop, so they come in pages.
            for start in range(0, len(sids), _LISTED_AT_ONCE):
                page = [SessionKey(subject, sid) for sid in sids[start : start + _LISTED_AT_ONCE]]
                records = await read(link.sessions, "MGET", *map(self._record_key, page))
                found = (unpack(key, record) for key, record in zip(page, records, strict=True) if record is not None)
                sessions += (session for session in found if session.is_live(now))
        return sorted(sessions, key=attrgetter("created_at"))  # sessions of one time keep the order of their `sid`s

    async def sweep(self, now: Millis) -> int:
        """Returns 0, because records expire by themselves."""
        self._require_open()
        return 0

    async def append_revocations(self, revocations: Sequence[Revocation], now: Millis) -> None:
        """See SessionStore."""
        link = await self._link()
        if not revocations:
            return
        async with Deadline(self._timeout):
            await self._append(link, revocations, now)

    async def read_revocations(self, cursor: Any = None) -> LogPage:
        """See SessionStore."""
        link = await self._link()
        async with Deadline(self._timeout):
            answer = await run_again(link.log, READ, 1, self._log_key, *read_arguments(cursor))
        return page_of(answer, cursor)

    async def claim(self, digest: bytes, until: int) -> bool:
        """See ProofStore."""
        link = await self._link()
        life = max(0, until - millis(time())) + CLOCK_SKEW
        key = self._prefix + b"proof:" + base64.urlsafe_b64encode(digest)
        async with Deadline(self._timeout):
            # It is sent once: a repeated one would find its own entry, and the proof would count as shown before.
            return await write(link.sessions, "SET", key, b"", "NX", "PX", life) is not None

    async def maxmemory_policy(self) -> str:
        """The server's setting `maxmemory-policy`; in a cluster that of one node. It needs the right `+info`."""
        return str((await self._info("memory"))["maxmemory_policy"])

    async def server_time(self) -> float:
        """The server's clock, in seconds since the epoch; in a cluster that of one node. It needs the right `+info`."""
        return float((await self._info("server"))["server_time_usec"]) / 1_000_000

    async def aclose(self) -> None:
        """See SessionStore."""
        self._closed = True
        await self._links.close(running_loop())

    async def _info(self, section: str) -> Any:
        link = await self._link()
        async with Deadline(self._timeout):
            return await read(link.sessions, "INFO", section)

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
        """Raises ConfigurationError for a second event loop: a cluster client's connections belong to the first."""
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


@lru_cache(maxsize=1024)  # a refresh calls it twice
def _hash_tag(subject: str) -> bytes:
    digest = hashlib.sha256(subject.encode("utf-8", "surrogatepass")).digest()[:16]
    return b"{" + base64.urlsafe_b64encode(digest)[:22] + b"}"


def _record_key(index_key: bytes, sid: str) -> bytes:
    return index_key + b":" + sid.encode("utf-8", "surrogatepass")


def _unpacked(key: SessionKey, record: bytes | None) -> Session | None:
    return None if record is None else unpack(key, record)
