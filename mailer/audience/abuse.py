"""How many sign-ups are taken: by network, mailbox, domain and in all, counted in Redis for all web processes together.

Redis is told keyed hashes, never an address. While it is away each process counts for itself and lets far fewer pass: no
door is open then, and no page fails.
"""

import enum
import functools
import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from mailer import addresses, settings
from mailer.audience import typos

NETWORK_WINDOW: Final = timedelta(minutes=10)
ADDRESS_WINDOW: Final = timedelta(days=1)
DOMAIN_WINDOW: Final = timedelta(hours=1)
# A form without a fresh stamp may be one of a publisher's own pages, or a robot that has never seen ours.
UNSTAMPED_COST: Final = 3
# What everybody's provider may take more than a company's or a school's own domain.
PROVIDER_FACTOR: Final = 10
# Each process alone, while Redis is away.
LOCAL_DIVISOR: Final = 4
MOST_LOCAL_KEYS: Final = 20_000

ANSWER_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 5.0
# A window slides by a tenth of its length; the oldest part counts whole.
_PARTS: Final = 10
_SECONDS_BETWEEN_WARNINGS: Final = 60.0

log = structlog.get_logger()


class Verdict(enum.StrEnum):
    """Whether a sign-up is taken, or which limit it is beyond. Only `NETWORK` may be told: the others know addresses."""

    TAKEN = "taken"
    NETWORK = "network"
    ADDRESS = "address"
    DOMAIN = "domain"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Limit:
    """At most `most` in any `seconds`, of which this attempt takes `cost`. `key` names what is counted."""

    key: str
    seconds: int
    most: int
    cost: int = 1


@dataclass(frozen=True, kw_only=True)
class Left:
    """What is left of a quota after this call: how many of `most` (negative: it was beyond), anew after `seconds`."""

    count: int
    most: int
    seconds: int


def weigh(address: str, network: str | None, *, act: str = "signup", is_stamped: bool = True, now: datetime) -> Verdict:
    """Count one attempt of a visitor to have a mail sent to an address, unless it is beyond a limit.

    `network` is truncated, `address` normalised; neither is stored. Each `act` has counts of its own. `is_stamped` tells
    that the form was shown by us a moment ago. Asks Redis; never raises and never waits longer than a second.
    """
    chosen = settings.load()
    domain = address.rpartition("@")[2]
    per_domain = chosen.signups_per_domain * (PROVIDER_FACTOR if domain in typos.PROVIDERS else 1)
    cost = 1 if is_stamped else UNSTAMPED_COST
    limits = {
        Verdict.NETWORK: (network or "-", NETWORK_WINDOW, chosen.signups_per_network, cost),
        Verdict.ADDRESS: (addresses.mailbox(address), ADDRESS_WINDOW, chosen.signups_per_address, 1),
        Verdict.DOMAIN: (domain, DOMAIN_WINDOW, per_domain, 1),
        Verdict.ALL: ("", DOMAIN_WINDOW, chosen.signups_per_hour, 1),
    }
    asked = [
        Limit(key=key_of(f"{act}:{verdict}:{value}"), seconds=int(window.total_seconds()), most=most, cost=cost)
        for verdict, (value, window, most, cost) in limits.items()
    ]
    beyond = counter().count(asked, now=now)
    if beyond is None:
        return Verdict.TAKEN
    verdict = list(limits)[beyond]
    counter().warn(f"{act} limited", limit=verdict.value)
    return verdict


def is_first(name: str, *, lifetime: timedelta, now: datetime) -> bool:
    """Tell whether something that counts only once, such as a solved challenge, is seen for the first time."""
    once = Limit(key=key_of(f"once:{name}"), seconds=int(lifetime.total_seconds()), most=1)
    return counter().count([once], now=now) is None


class Counter:
    """Sliding windows in Redis, or in this process's memory while Redis does not answer."""

    def __init__(self, redis_url: str) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._script = self._redis.register_script(_COUNT)
        self._silent_until = 0.0  # on the monotonic clock, as the next two
        self._warned_at: dict[str, float] = {}
        self._lock = threading.Lock()
        # Key -> (when it is empty again, count by part).
        self._local: dict[str, tuple[float, dict[int, int]]] = {}

    def count(self, limits: Sequence[Limit], *, now: datetime) -> int | None:
        """Count an attempt against every limit, unless it is beyond one: then return that one's place, and count nothing."""
        seconds = int(now.timestamp())
        if time.monotonic() >= self._silent_until:
            arguments = [value for one in limits for value in (one.seconds, one.most, one.cost)]
            try:
                found = int(self._script(keys=[one.key for one in limits], args=[seconds, *arguments]))
            except (RedisError, OSError) as error:
                self._silent_until = time.monotonic() + SILENT_SECONDS
                self.warn("sign-ups are counted by each process alone", error=type(error).__qualname__)
            else:
                return found - 1 if found else None
        with self._lock:
            return self._count_here(limits, seconds)

    def take(self, name: str, *, seconds: int, most: int, now: datetime) -> Left:
        """Count one call of `name` in the present window of `seconds`, and tell what is left. While Redis is away each
        process counts for itself. Never raises.
        """
        window, elapsed = divmod(int(now.timestamp()), seconds)
        key = key_of(f"quota:{name}:{window}")
        used = None
        if time.monotonic() >= self._silent_until:
            try:
                with self._redis.pipeline() as pipe:
                    pipe.incr(key)
                    pipe.expire(key, 2 * seconds)
                    used = int(pipe.execute()[0])
            except (RedisError, OSError) as error:
                self._silent_until = time.monotonic() + SILENT_SECONDS
                self.warn("calls are counted by each process alone", error=type(error).__qualname__)
        if used is None:
            here = Limit(key=key, seconds=seconds, most=most)
            with self._lock:
                is_beyond = self._count_here([here], int(now.timestamp())) is not None
            return Left(count=-1 if is_beyond else 0, most=most, seconds=seconds - elapsed)
        return Left(count=most - used, most=most, seconds=seconds - elapsed)

    def warn(self, what: str, **values: str) -> None:
        """Write a warning to the log, at most once a minute for the same."""
        name = f"{what} {values}"
        if time.monotonic() - self._warned_at.get(name, -_SECONDS_BETWEEN_WARNINGS) >= _SECONDS_BETWEEN_WARNINGS:
            self._warned_at[name] = time.monotonic()
            log.warning(what, **values)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _count_here(self, limits: Sequence[Limit], seconds: int) -> int | None:
        if len(self._local) + len(limits) > MOST_LOCAL_KEYS:
            self._local = {key: kept for key, kept in self._local.items() if kept[0] > seconds}
        for place, one in enumerate(limits):
            is_known = one.key in self._local
            # No room for another key: a flood of new ones, of which none passes.
            if not is_known and len(self._local) + len(limits) > MOST_LOCAL_KEYS:
                return place
            _, parts = self._local.get(one.key, (0, {}))
            newest = seconds * _PARTS // one.seconds
            taken = sum(count for part, count in parts.items() if newest - _PARTS <= part <= newest)
            if taken + one.cost > max(one.most // LOCAL_DIVISOR, one.cost):
                return place
        for one in limits:
            newest = seconds * _PARTS // one.seconds
            _, parts = self._local.get(one.key, (0, {}))
            kept = {part: count for part, count in parts.items() if part >= newest - _PARTS}
            kept[newest] = kept.get(newest, 0) + one.cost
            self._local[one.key] = (seconds + one.seconds * (_PARTS + 1) / _PARTS, kept)
        return None


@functools.cache
def counter() -> Counter:
    """Return the process's counter."""
    return Counter(settings.load().redis_url)


def key_of(name: str) -> str:
    """Name what is counted, so that Redis does not learn it."""
    secret = hashlib.blake2b(settings.load().secret_key.encode(), person=b"mailer-abuse").digest()
    return f"mailer:abuse:{hashlib.blake2b(name.encode(), key=secret, digest_size=16).hexdigest()}"


# Each key is a hash of counts by part of its window. First all are looked at, then all are counted.
_COUNT: Final = """
local now = tonumber(ARGV[1])
local newest = {}
for i, key in ipairs(KEYS) do
  local seconds, most, cost = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  newest[i] = math.floor(now * 10 / seconds)
  local counts, taken = redis.call('HGETALL', key), 0
  for j = 1, #counts, 2 do
    local part = tonumber(counts[j])
    if part < newest[i] - 10 then
      redis.call('HDEL', key, counts[j])
    elseif part <= newest[i] then
      taken = taken + counts[j + 1]
    end
  end
  if taken + cost > most then return i end
end
for i, key in ipairs(KEYS) do
  local seconds, cost = tonumber(ARGV[3 * i - 1]), ARGV[3 * i + 1]
  redis.call('HINCRBY', key, string.format('%d', newest[i]), cost)
  redis.call('EXPIRE', key, math.ceil(seconds * 1.1))
end
return 0
"""
