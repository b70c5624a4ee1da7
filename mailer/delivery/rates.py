"""How fast mail may leave, shared by the workers of all hosts through Redis; and the ramp of a new server.

Redis keeps counts only, and forgetting them does no harm beyond the limit being counted from nothing. Each call is one
script that Redis runs as a whole, by its own clock, in the memory of one hash a key.
"""

import math
import time
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mailer.mail_settings import Limits, Transport

ANSWER_SECONDS: Final = 2
SILENT_SECONDS: Final = 5
WARM_UP_ENDS_AT: Final = 1_000_000


class RatesUnavailable(Exception):
    """Redis does not count at the moment. Raised within about two seconds, then at once for five."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """How many may leave now, and when to ask for the rest: 0.05 to 60 seconds, 0 if all that was wanted is granted."""

    granted: int
    wait_seconds: float


class Rates:
    """What every worker takes from before it sends. Keys are names of transports or of recipients' providers.

    All methods but close ask Redis, and raise RatesUnavailable when it does not answer. Other lengths of time are for tests.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        seat_seconds: float = 10,
        growth_seconds: float = 10,
        minute_seconds: float = 60,
    ) -> None:
        # A closed connection is noticed and opened anew before it is used; redis-py's own retries would take too long.
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._scripts = {name: self._redis.register_script(_SHARED + lua) for name, lua in _SCRIPTS.items()}
        self._microseconds = [round(seconds * 1e6) for seconds in (minute_seconds, growth_seconds, seat_seconds)]
        self._silent_until = 0.0  # on the monotonic clock
        self._last_taken: dict[str, int] = {}  # key -> the minute, by Redis' clock

    def take(self, key: str, limits: Limits, wanted: int) -> Grant:
        """Count up to `wanted` (at least 1) messages as sent and return how many may be.

        In any t seconds no more than per_second × t and a burst of half a second's (at least 1) are granted, in any
        hour and day no more than per_hour and per_day. A ceiling that a slow-down has set holds as per_second does.
        """
        asked = (wanted, limits.per_second or "", limits.per_hour or "", limits.per_day or "")
        granted, wait_microseconds, minute = self._run("take", key, *asked)
        if granted:
            self._last_taken[key] = minute
        return Grant(granted=granted, wait_seconds=wait_microseconds / 1e6)

    def give_back(self, key: str, count: int) -> None:
        """Return what this process has taken last and not used."""
        self._run("give_back", key, count, self._last_taken.get(key, ""))

    def seats(self, key: str, holder: str, wanted: int, most: int) -> int:
        """Return how many of `most` simultaneous connections `holder` may have for the next ten seconds.

        Ask every few seconds and close what is too many before asking again: others get it then. Whoever wants least is
        served first, the others get equal parts, and what cannot be divided goes round. 0 wanted leaves at once.
        """
        return int(self._run("seats", f"{key}:seats", holder, wanted, most))

    def slow_down(self, key: str) -> float:
        """Halve the rate, since the server asks for it, and return the ceiling, in messages a second.

        It is half of what was taken in the last ten to twenty seconds, and at least 0.2. Calls within a second count
        once. It then grows by a tenth every ten seconds, and ends at per_second or at ten times the rate of before.
        """
        return float(self._run("slow_down", key))

    def ceiling(self, key: str) -> float | None:
        """Return what slow_down has set, as grown by now, in messages a second; None if nothing holds."""
        answer = self._run("ceiling", key)
        return None if answer is None else float(answer)

    def used(self, key: str) -> tuple[int, int]:
        """Return what was taken in the last hour and in the last day."""
        hour, day = self._run("used", key)
        return int(hour), int(day)

    def close(self) -> None:
        """Close the connections to Redis; the next call opens one again."""
        self._redis.close()

    def _run(self, script: str, key: str, *arguments: str | float) -> Any:
        if time.monotonic() < self._silent_until:
            raise RatesUnavailable(f"Redis did not answer in the last {SILENT_SECONDS} s. Check REDIS_URL.")
        try:
            return self._scripts[script](keys=[f"mailer:rates:{key}"], args=[*self._microseconds, *arguments])
        except (RedisError, OSError) as error:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            raise RatesUnavailable(f"Redis does not count what may be sent: {error}. Check REDIS_URL.") from error


def warm_up(transport: Transport, today: date) -> int | None:
    """Return how many messages the ramp of a new server allows on `today`; before its first day, as many as on it.

    None without a ramp, and once it has reached per_day or a million.
    """
    if transport.warm_up_from is None:
        return None
    days = max(0, (today - transport.warm_up_from).days)
    end = transport.per_day or WARM_UP_ENDS_AT
    # By logarithms, since the power of years is no float any more.
    if math.log(transport.warm_up_first_day) + days * math.log(transport.warm_up_growth) >= math.log(end):
        return None
    return round(transport.warm_up_first_day * transport.warm_up_growth**days)


# Fields of a key's hash, times in microseconds of Redis' clock:
#   tokens, at                     the bucket of per_second and when it was last filled
#   m0 … m60, m_at, m_sum          taken in each of the last 61 minutes (the oldest one counts whole), newest one, sum
#   h0 … h24, h_at, h_sum          the same for 25 hours
#   since, count, earlier, before  taken since `since`, and before that since `earlier`: the rate of lately
#   per_second                     as configured at the last take
#   ceiling, slowed                what slow_down has set, and when
_SHARED: Final = """
local key = KEYS[1]
local minute_length, growth_length, seat_length = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1e6 + clock[2]
local windows = { m = { length = minute_length, count = 61 }, h = { length = 60 * minute_length, count = 25 } }

-- Empties what has left the window; returns the number of the newest part and the sum of all.
local function window(name)
  local length, count = windows[name].length, windows[name].count
  local newest = math.floor(now / length)
  local at, sum = unpack(redis.call('HMGET', key, name .. '_at', name .. '_sum'))
  at, sum = tonumber(at or newest), tonumber(sum or 0)
  if at == newest then return newest, sum end
  local first = at + 1
  if math.abs(newest - at) >= count then
    first = newest - count + 1
  elseif newest < at then
    return at, sum  -- The clock was put back: go on with the part that was the newest.
  end
  for part = first, newest do
    local field = name .. part % count
    local gone = redis.call('HGET', key, field)
    if gone then
      sum = sum - gone
      redis.call('HDEL', key, field)
    end
  end
  redis.call('HSET', key, name .. '_at', newest, name .. '_sum', sum)
  return newest, sum
end

local function ceiling(per_second)
  local start, slowed = unpack(redis.call('HMGET', key, 'ceiling', 'slowed'))
  if not slowed then return nil end
  local grown = start * 1.1 ^ (math.max(0, now - slowed) / growth_length)
  -- Twenty times the half that it began with.
  if grown >= 20 * start or (per_second and grown >= per_second) then return nil end
  return grown
end

local function keep()
  redis.call('PEXPIRE', key, math.ceil(26 * 60 * minute_length / 1000))
end
"""

_SCRIPTS: Final = {
    "take": """
local wanted, per_second = tonumber(ARGV[4]), tonumber(ARGV[5])
local per_hour, per_day = tonumber(ARGV[6]), tonumber(ARGV[7])
local minute, in_hour = window('m')
local hour, in_day = window('h')
local tokens, at, since, count, earlier, before =
  unpack(redis.call('HMGET', key, 'tokens', 'at', 'since', 'count', 'earlier', 'before'))

local granted = wanted
if per_hour then granted = math.min(granted, per_hour - in_hour) end
if per_day then granted = math.min(granted, per_day - in_day) end
granted = math.max(0, granted)
local rate = ceiling(per_second) or per_second
if rate then
  local burst = math.max(1, rate / 2)
  tokens = math.min(burst, (tokens or burst) + math.max(0, now - (at or now)) / 1e6 * rate)
  granted = math.min(granted, math.floor(tokens + 1e-9))
  tokens = math.max(0, tokens - granted)
  redis.call('HSET', key, 'tokens', tokens, 'at', now)
end

if granted > 0 then
  redis.call('HINCRBY', key, 'm' .. minute % windows.m.count, granted)
  redis.call('HINCRBY', key, 'h' .. hour % windows.h.count, granted)
  since, count = tonumber(since or now), tonumber(count or 0)
  if math.abs(now - since) >= 20e6 then
    since, count, earlier, before = now, 0, now, 0
  elseif now - since >= 10e6 then
    since, count, earlier, before = now, 0, since, count
  end
  redis.call('HSET', key, 'm_at', minute, 'm_sum', in_hour + granted, 'h_at', hour, 'h_sum', in_day + granted,
    'since', since, 'count', count + granted, 'earlier', earlier or since, 'before', before or 0,
    'per_second', per_second or '')
end
keep()
if granted == wanted and granted > 0 then return { granted, 0, minute } end

local wait = 0
if rate then wait = (1 - tokens) / rate * 1e6 end
if per_hour and in_hour + granted >= per_hour then
  wait = math.max(wait, (minute + 1) * windows.m.length - now)
end
if per_day and in_day + granted >= per_day then
  wait = math.max(wait, (hour + 1) * windows.h.length - now)
end
return { granted, math.ceil(math.min(60e6, math.max(5e4, wait))), minute }
""",
    "give_back": """
if redis.call('EXISTS', key) == 0 then return end
local count, minute = tonumber(ARGV[4]), tonumber(ARGV[5])

-- From where it was taken backwards: a count may stand later than it belongs, never earlier.
local function lessen(name, taken)
  local newest, sum = window(name)
  local parts, left = windows[name].count, count
  for part = math.min(taken or newest, newest), newest - parts + 1, -1 do
    local field = name .. part % parts
    local less = math.min(left, tonumber(redis.call('HGET', key, field) or 0))
    if less > 0 then redis.call('HINCRBY', key, field, -less) end
    left = left - less
    if left == 0 then break end
  end
  redis.call('HSET', key, name .. '_sum', sum - count + left)
end
lessen('m', minute)
lessen('h', minute and math.floor(minute / 60))

local tokens, lately = unpack(redis.call('HMGET', key, 'tokens', 'count'))
if tokens then redis.call('HSET', key, 'tokens', tokens + count) end
redis.call('HSET', key, 'count', math.max(0, (lately or 0) - count))
""",
    "slow_down": """
local since, count, earlier, before, per_second, start, slowed = unpack(redis.call('HMGET', key,
  'since', 'count', 'earlier', 'before', 'per_second', 'ceiling', 'slowed'))
if slowed and math.abs(now - slowed) < 1e6 then return start end
per_second = tonumber(per_second or '')
local taken = (count or 0) + (before or 0)
local rate = taken / math.max(1, (now - (earlier or now)) / 1e6)
-- Taken a moment ago and not sent yet, it would look faster than was allowed.
rate = math.min(rate, ceiling(per_second) or per_second or rate)
start = math.max(0.2, rate / 2)
redis.call('HSET', key, 'ceiling', start, 'slowed', now, 'tokens', 0, 'at', now)
keep()
return tostring(start)
""",
    "ceiling": """
local now_is = ceiling(tonumber(redis.call('HGET', key, 'per_second') or ''))
return now_is and tostring(now_is)
""",
    "used": """
local _, in_hour = window('m')
local _, in_day = window('h')
return { in_hour, in_day }
""",
    # A field a holder: seats that count as its own, seats it was told, seats wanted, end of the lease.
    "seats": """
local holder, wanted, most = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if wanted <= 0 then
  redis.call('HDEL', key, holder)
  return 0
end
local everyone, taken, had = { { name = holder, wanted = wanted } }, 0, 0
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local counts, told, wants, till = string.match(fields[i + 1], '(%d+) (%d+) (%d+) (%d+)')
  local left = till - now
  if left <= 0 or left > seat_length then
    redis.call('HDEL', key, fields[i])
  elseif fields[i] == holder then
    had = tonumber(told)
  else
    taken = taken + counts
    table.insert(everyone, { name = fields[i], wanted = tonumber(wants) })
  end
end

-- Who is last of those who want most gets the rest of the division, and nobody stays last: the order moves on.
table.sort(everyone, function(one, other) return one.name < other.name end)
local turn = math.floor(now / (6 * seat_length))
for i, one in ipairs(everyone) do one.place = (i + turn) % #everyone end
table.sort(everyone, function(one, other)
  if one.wanted ~= other.wanted then return one.wanted < other.wanted end
  return one.place < other.place
end)
local share, rest = 0, most
for i, one in ipairs(everyone) do
  local part = math.min(one.wanted, math.floor(rest / (#everyone - i + 1)))
  rest = rest - part
  if one.name == holder then share = part end
end

local told = math.max(0, math.min(share, most - taken))
-- What it has to close stays its own until it asks again, so that there are never more than `most`.
local counts = math.max(told, math.min(had, wanted))
local till = string.format('%.0f', now + seat_length)
redis.call('HSET', key, holder, string.format('%d %d %d %s', counts, told, wanted, till))
redis.call('PEXPIRE', key, math.ceil(seat_length / 1000))
return told
""",
}
