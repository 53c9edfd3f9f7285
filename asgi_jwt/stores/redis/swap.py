"""The scripts of sessions: `SWAP` replaces the record that was read, `SIDS` lists a subject's sessions."""

import hashlib
import json
from collections.abc import Sequence

from asgi_jwt.stores.base import SWEEP_AFTER, next_version
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack
from asgi_jwt.stores.records import Session, SessionKey
from asgi_jwt.stores.redis.pipeline import Command
from asgi_jwt.stores.redis.script import Script

# KEYS[1]  the session's record
# KEYS[2]  its subject's index
# ARGV[1]  SHA-1 of the record that was read, empty for none. It differs for two records with one version, which a
#          failover can bring about
# ARGV[2]  the record to write, empty to delete
# ARGV[3]  how long (ms) the record is kept
# ARGV[4]  the session's sid
# ARGV[5]  the session's end in ms since the epoch, empty to leave it out of the index
# ARGV[6]  the index loses the sessions that ended up to this time, in ms since the epoch
# answers  1 if it wrote; otherwise the stored record, nil for none
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

# KEYS[1]  a subject's index
# answers  its sids as JSON, an empty object for none. It is one string, because a client takes a hundred times as long
#          to read a list
SIDS = Script.of(b"""\
return cjson.encode(redis.call('ZRANGE', KEYS[1], 0, -1))
""")

_FORGET_AFTER = Millis(3_600_000)
"""How long (ms) past its end a session stays in the index. The clocks of several servers differ by less."""


def swap_arguments(key: SessionKey, record: bytes | None, stored: Session | None, changed: Session | None) -> Command:
    """The ARGV of `SWAP` to replace `record`, which unpacks to `stored`, by the record of `changed`."""
    digest = "" if record is None else hashlib.sha1(record, usedforsecurity=False).hexdigest()
    sid = key.sid.encode("utf-8", "surrogatepass")
    if changed is None:
        return digest, b"", 0, sid, b"", 0
    session = next_version(key, stored, changed)
    end = session.kept_until if session.ended_at is None else b""
    return digest, pack(session), session.kept_for + SWEEP_AFTER, sid, end, session.used_at - _FORGET_AFTER


def sids_of(answer: bytes) -> Sequence[str]:
    """The `sid`s in the answer of `SIDS`."""
    return list(json.loads(answer))
