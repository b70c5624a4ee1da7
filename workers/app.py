"""Celery's entry point: `celery -A workers.app worker`, `celery -A workers.app beat`. The schedule is on this page."""

import mmap
import signal
from typing import Any, Final

from celery import Celery, signals

from mailer import db, logs, queue, settings
from mailer.delivery import sending
from mailer.mail import dkim

try:
    _SETTINGS = settings.load()
    for _key in _SETTINGS.dkim:
        dkim.load(_key)
except (settings.SettingsInvalid, dkim.KeyInvalid) as error:
    raise SystemExit(f"mailer: {error}") from None

app = Celery("mailer", broker=_SETTINGS.broker_url, include=["workers.tasks"])
app.conf.update(queue.CONFIGURATION)
app.conf.update(
    # All of them, unless a worker is told otherwise with -Q.
    task_queues=queue.declared_queues(),
    beat_schedule={
        # Newsletters' own schedules live in the database; beat only ticks.
        "tick": {
            "task": queue.TICK,
            "schedule": _SETTINGS.tick_seconds,
            "options": {"queue": queue.QUEUES[queue.TICK], "expires": max(2 * _SETTINGS.tick_seconds, 10)},
        },
        "read-mailbox": {
            "task": queue.READ_MAILBOX,
            "schedule": 60.0,
            "options": {"queue": queue.QUEUES[queue.READ_MAILBOX], "expires": 60},
        },
        "clean-up": {
            "task": queue.CLEAN_UP,
            "schedule": 3600.0,
            "options": {"queue": queue.QUEUES[queue.CLEAN_UP], "expires": 3600},
        },
    },
)


# Shared with the forked processes: they hear no signal when the worker is asked to stop, and look here instead.
_STOPPING: Final = mmap.mmap(-1, 1)


@signals.worker_shutting_down.connect
def _begin_stop(**_: Any) -> None:
    _STOPPING[0] = 1


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    logs.set_up()


@signals.worker_process_init.connect
def _begin_process(**_: Any) -> None:
    db.forget_connections()
    sending.stop_when(lambda: _STOPPING[0] == 1)
    # A stop that goes to the whole process group (systemd, a terminal) must not kill what is being handed over. Any other
    # handler would be replaced by the pool's own, which ends the process at once.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@signals.worker_process_shutdown.connect
def _end_process(**_: Any) -> None:
    sending.shut_down()
