"""Sending now: an issue leaves when its moments for undoing are over, whatever becomes of the process that was asked to.

It stands in the database as one that is scheduled for then, and the tick starts it.
"""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from mailer import settings
from mailer.issues import states
from mailer.models.content import Issue, IssueState


def leave(session: Session, issue: Issue, *, now: datetime) -> datetime:
    """Have a draft leave as soon as it can't be undone any more. Returns when that is. Raises IssueStateForbids.

    When that is `now` (no moment is given to undo it), a START_ISSUE task need not wait for the tick.
    """
    at = now + timedelta(seconds=settings.load().undo_seconds)
    values = {"scheduled_at": at, "is_leaving": at > now, "updated_at": now, **states.free()}
    states.move(session, issue, states.EDITABLE, IssueState.SCHEDULED, **values)
    return at


def take_back(session: Session, issue: Issue, *, now: datetime) -> None:
    """Make an issue that is about to leave a draft again. Raises IssueStateForbids once a worker has begun with it."""
    session.refresh(issue, Issue.__table__.columns.keys(), with_for_update=True)
    if not issue.is_leaving:
        raise states.IssueStateForbids(f"Issue {issue.id} is {issue.state}; there is nothing to undo.")
    states.move(
        session, issue, (IssueState.SCHEDULED,), IssueState.DRAFT, scheduled_at=None, updated_at=now, **states.free()
    )
