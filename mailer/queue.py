"""Tasks by name: how web, command line and domain ring the workers without importing them.

The database is the truth and Redis a doorbell: a name and ids travel, and whatever is lost is rung again by the tick.
"""

import functools
from typing import Final

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError

from mailer import settings

TICK: Final = "mailer.tick"
READ_FEED: Final = "mailer.read_feed"
FETCH_PICTURES: Final = "mailer.fetch_pictures"
READ_SITE: Final = "mailer.read_site"
HANDLE_SIGNUP: Final = "mailer.handle_signup"
SEND_LINK: Final = "mailer.send_link"
MAKE_ISSUE: Final = "mailer.make_issue"
START_ISSUE: Final = "mailer.start_issue"
MAIL_DESK: Final = "mailer.mail_desk"
CALL_WEBHOOKS: Final = "mailer.call_webhooks"
SEND: Final = "mailer.send"
READ_MAILBOX: Final = "mailer.read_mailbox"
HANDLE_RETURNS: Final = "mailer.handle_returns"
CLEAN_UP: Final = "mailer.clean_up"

# Every task and the queue that it waits in. Workers consume all of them unless told otherwise with -Q.
QUEUES: Final = {
    TICK: "tick",
    READ_FEED: "feeds",
    FETCH_PICTURES: "feeds",
    READ_SITE: "feeds",
    HANDLE_SIGNUP: "signups",
    SEND_LINK: "signups",
    MAKE_ISSUE: "issues",
    START_ISSUE: "issues",
    MAIL_DESK: "signups",
    # With what also waits for others' servers.
    CALL_WEBHOOKS: "feeds",
    SEND: "sending",
    READ_MAILBOX: "feeds",
    HANDLE_RETURNS: "tick",
    CLEAN_UP: "tick",
}

# A doorbell nobody answered is worthless once the next tick has rung again.
DOORBELL_SECONDS: Final = 60


class QueueUnavailable(Exception):
    """Redis did not take the message. Nothing is lost: the tick finds the work in the database."""


def enqueue(name: str, *ids: int | str, expires_seconds: float = DOORBELL_SECONDS) -> None:
    """Ring for the task `name` with ids only (never an address or an object). Raises QueueUnavailable within seconds."""
    try:
        client().send_task(name, args=ids, queue=QUEUES[name], expires=expires_seconds, retry=False)
    except OperationalError as error:
        raise QueueUnavailable(f"Redis did not take {name}: {error}") from error


def ping() -> None:
    """Ask Redis for a sign of life, on a connection of its own. Raises QueueUnavailable within seconds."""
    try:
        with Redis.from_url(settings.load().redis_url, socket_connect_timeout=2, socket_timeout=2) as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        raise QueueUnavailable(f"Redis does not answer: {error}") from error


@functools.cache
def client() -> Celery:
    """Return the process's connection to the broker, configured as the workers' is."""
    app = Celery("mailer", broker=settings.load().broker_url, set_as_current=False)
    app.conf.update(CONFIGURATION)
    # By default a page waits 6 s for a Redis that refuses connections; what it rings for is in the database anyway.
    at_once = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
    app.conf.broker_transport_options = TRANSPORT_OPTIONS | at_once
    return app


def declared_queues() -> list[Queue]:
    """Return every queue, for a worker that serves all of them."""
    return [Queue(name) for name in sorted(set(QUEUES.values()))]


TRANSPORT_OPTIONS: Final[dict[str, float]] = {
    # Workers ask for a second at a time (BRPOP), so an answer is never this long in coming; without it a Redis that
    # vanished without a word would be waited for for minutes.
    "socket_timeout": 5,
    "socket_connect_timeout": 4,
    "health_check_interval": 5,
    "visibility_timeout": 3600,
}
CONFIGURATION: Final = {
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "task_default_queue": "tick",
    "task_create_missing_queues": True,
    "task_routes": {name: {"queue": queue} for name, queue in QUEUES.items()},
    # Doorbells are acknowledged early: losing one costs a tick, doing one twice does no harm.
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_timeout": 4,
    "broker_transport_options": TRANSPORT_OPTIONS,
    "timezone": "UTC",
    "enable_utc": True,
}
