"""Signs of life in Redis: when something was last at work. Forgetting them does no harm."""

import time

from redis import Redis
from redis.exceptions import RedisError

from mailer import settings

KEPT_SECONDS = 86_400
ANSWER_SECONDS = 2


def note(name: str) -> None:
    """Note that `name` is at work now. Says nothing when Redis is away: then other things show it."""
    try:
        with _redis() as redis:
            redis.set(f"mailer:sign:{name}", time.time(), ex=KEPT_SECONDS)
    except (RedisError, OSError):
        return


def seconds_since(name: str) -> float | None:
    """Tell how long ago `name` was at work; None for more than a day, or when Redis does not answer."""
    try:
        with _redis() as redis:
            found = redis.get(f"mailer:sign:{name}")
    except (RedisError, OSError):
        return None
    return max(0.0, time.time() - float(found)) if isinstance(found, bytes) else None


def lengths(queues: list[str]) -> dict[str, int]:
    """Count the doorbells that wait in each queue; {} when Redis does not answer."""
    try:
        with _redis() as redis, redis.pipeline(transaction=False) as pipe:
            for one in queues:
                pipe.llen(one)
            return dict(zip(queues, pipe.execute(), strict=True))
    except (RedisError, OSError):
        return {}


def _redis() -> Redis:
    return Redis.from_url(
        settings.load().redis_url, socket_connect_timeout=ANSWER_SECONDS, socket_timeout=ANSWER_SECONDS
    )
