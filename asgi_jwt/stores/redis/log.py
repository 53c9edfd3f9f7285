"""The log of revocations as a stream of Redis or Valkey: its scripts, their arguments and answers. No I/O."""

from collections.abc import Sequence
from typing import NamedTuple

from asgi_jwt.stores.base import LOG_PAGE, SWEEP_AFTER, LogPage
from asgi_jwt.stores.millis import Millis
from asgi_jwt.stores.packed import pack_revocation, unpack_revocations
from asgi_jwt.stores.records import CLOCK_SKEW, Revocation
from asgi_jwt.stores.redis.pipeline import Answer, Command
from asgi_jwt.stores.redis.script import Script


class Cursor(NamedTuple):
    """The id and the record of the last entry that was read. Ids only grow, so newer entries follow that entry."""

    entry: bytes
    record: bytes


# KEYS[1]  the log
# ARGV[1]  how long (ms) the key is kept from now on, unless it is kept for longer already
# ARGV[2]  how much longer (ms) than its life an entry is kept
# ARGV[3]  a random place in the log where lapsed entries are searched, too: thousandths of the time that the log spans
# ARGV[4]  and on, for each entry: its end in ms since the epoch, its record, and its life in ms
# answers  nil
#
# The id of the appended entry contains the server's time. Entries lapse by this time, so a wrong clock of a process
# removes none. Entries do not lapse in the order of their append, because tokens of other issuers may live for days. An
# entry with a long life at the beginning would hide lapsed entries behind it, so a page at a random place is searched,
# too. Older releases read the record as an entry's fourth member, and write entries without a life.
APPEND = Script.of(b"""\
local log, last = KEYS[1], nil
for i = 4, #ARGV, 3 do
  last = redis.call('XADD', log, '*', 'u', ARGV[i], 'r', ARGV[i + 1], 'l', ARGV[i + 2])
end
local now = tonumber(string.match(last, '%d+'))
local function kept_until(entry)
  local life = entry[2][6]
  return (life and string.match(entry[1], '%d+') + life or tonumber(entry[2][2])) + ARGV[2]
end
local function forget(start)
  local page, ended = redis.call('XRANGE', log, start, '+', 'COUNT', 100), {}
  for _, entry in ipairs(page) do
    if kept_until(entry) < now and entry[1] ~= last then
      ended[#ended + 1] = entry[1]
    end
  end
  if #ended > 0 then
    redis.call('XDEL', log, unpack(ended))
  end
  return #ended == 100
end
for _ = 1, 10 do
  if not forget('-') then
    break
  end
end
local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
local from = string.match(first[1], '%d+')
forget(string.format('%.0f', from + (now - from) * ARGV[3] / 1000))
if redis.call('PTTL', log) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', log, ARGV[1])
end
""")

# KEYS[1]  the log
# ARGV[1]  the id of the last entry that was read, empty for none
# ARGV[2]  its record
# ARGV[3]  the most entries to answer
# ARGV[4]  if the last entry is gone, the new reading begins this far (ms) before its id
# answers  lines: 1 if the page follows the last entry, else 0; then the id and the record of each entry. It is one
#          string, because a client takes a hundred times as long to read nested lists
#
# Ids follow the server's clock, so older entries were read already. If no entry is as young as the new beginning, the
# log is that of another server, whose clock is behind. Then it is read from its first entry.
READ = Script.of(b"""\
local last, limit, page, lines, from = ARGV[1], tonumber(ARGV[3]), {}, {'0'}, 1
if last ~= '' then
  page = redis.call('XRANGE', KEYS[1], last, '+', 'COUNT', limit + 1)
end
if page[1] and page[1][1] == last and page[1][2][4] == ARGV[2] then
  lines[1], from = '1', 2
else
  if last ~= '' then
    local before = math.max(0, string.match(last, '%d+') - ARGV[4])
    page = redis.call('XRANGE', KEYS[1], string.format('%.0f', before), '+', 'COUNT', limit)
  end
  if not page[1] then
    page = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', limit)
  end
end
for i = from, #page do
  lines[#lines + 1] = page[i][1]
  lines[#lines + 1] = page[i][2][4]
end
return table.concat(lines, '\\n')
""")


def append_arguments(revocations: Sequence[Revocation], now: Millis, place: int) -> Command:
    """The ARGV of `APPEND`. `now` is in ms since the epoch."""
    lives = [revocation.life(now) for revocation in revocations]
    arguments: list[bytes | str | int] = [max(lives) + SWEEP_AFTER, CLOCK_SKEW, place % 1000]
    for revocation, life in zip(revocations, lives, strict=True):
        arguments += (revocation.until, pack_revocation(revocation), life)
    return arguments


def read_arguments(cursor: Cursor | None) -> Command:
    """The ARGV of `READ`."""
    entry, record = cursor or (b"", b"")
    return entry, record, LOG_PAGE + 1, CLOCK_SKEW


def page_of(answer: Answer, cursor: Cursor | None) -> LogPage:
    """The page in the answer of `READ`."""
    first, *lines = answer.split(b"\n")
    continues = first == b"1"
    entries, records = lines[: 2 * LOG_PAGE : 2], lines[1 : 2 * LOG_PAGE : 2]
    last = Cursor(entries[-1], records[-1]) if entries else cursor if continues else None
    return LogPage(unpack_revocations(records), last, continues, len(lines) > 2 * LOG_PAGE)
