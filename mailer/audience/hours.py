"""The hour at which a reader wants their mail: when an issue reaches them, and how many still wait for it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from mailer.issues import schedules
from mailer.models.deliveries import Batch, BatchState

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Readers of an issue who get it at their hour, and when the last of them does."""

    readers: int
    last_at: datetime


def arrival(start: datetime, hour: int, timezone: str) -> datetime:
    """Return the first moment from `start` on at which it is that hour in the zone, in UTC; a day later at most.

    An hour that the clocks skip begins when they have jumped; of one that comes twice the first counts. A zone that is
    not known any more means at once.
    """
    try:
        zone = schedules.zone(timezone)
    except schedules.ScheduleInvalid:
        return start
    local = start.astimezone(zone)
    if local.hour == hour:
        return start
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for days in range(3):
        # In the zone of its own day: what is added to a moment with a zone would keep its offset.
        moment = (midnight + timedelta(days=days, hours=hour)).replace(tzinfo=zone).astimezone(UTC)
        if moment > start:
            return min(moment, start + DAY)
    return start


def waiting(session: Session, issue_id: int, *, now: datetime) -> Waiting | None:
    """Tell how many readers of an issue get it at an hour that is still to come; None if there are none."""
    statement = select(func.sum(Batch.size), func.max(Batch.due_at)).where(*_is_early(issue_id, now))
    readers, last_at = session.execute(statement).one()
    return Waiting(readers=int(readers), last_at=last_at) if readers else None


def call_off(session: Session, issue_id: int, *, now: datetime) -> None:
    """Let nobody's hour be waited for any more: the issue is cancelled, and the rest is to be accounted for."""
    session.execute(
        update(Batch).where(*_is_early(issue_id, now)).values(due_at=now).execution_options(synchronize_session=False)
    )


def _is_early(issue_id: int, now: datetime) -> tuple[ColumnElement[bool], ...]:
    # A batch that somebody has claimed once waits for something else: a retry, or for an issue that was paused.
    return Batch.issue_id == issue_id, Batch.state == BatchState.QUEUED, Batch.due_at > now, Batch.fence == 0
