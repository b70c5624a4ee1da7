"""The states of an issue, and the one way from one to another: who is late loses, and is told so."""

from typing import Final

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from mailer.models.content import Issue, IssueState, PauseReason
from mailer.models.progress import IssueEvent
from mailer.newsroom import outbox

REASON_LENGTH: Final = 500
EDITABLE: Final = (IssueState.DRAFT, IssueState.SCHEDULED)


class IssueStateForbids(Exception):
    """What was asked for can't be done in the issue's present state."""


def move(session: Session, issue: Issue, allowed: tuple[IssueState, ...], to: IssueState, **values: object) -> None:
    """Change the state only if it is still an allowed one: two editors, or an editor and a worker, can't both win."""
    before = issue.state
    session.flush()
    moved = session.execute(
        update(Issue)
        .where(Issue.id == issue.id, Issue.state.in_(allowed))
        .values(**{"state": to, "is_leaving": False, **values})
        .execution_options(synchronize_session=False)
    )
    if not moved.rowcount:  # type: ignore[attr-defined]
        session.refresh(issue, ["state"])
        raise IssueStateForbids(f"Issue {issue.id} is {issue.state}; it can't become {to} from there.")
    # Columns only: a refreshed relationship would be unloaded.
    session.refresh(issue, Issue.__table__.columns.keys())
    # What does not count as a change, such as being kept back again by the checks, is no event either.
    if "updated_at" in values:
        note(session, issue)
    if before != to:
        outbox.note_issue(session, issue.id, to, now=issue.updated_at)


def note(session: Session, issue: Issue) -> None:
    """Write down where an issue stands now and why, for those who look at how it went."""
    words = {"state": issue.state, "code": issue.state_code, "words": issue.state_reason}
    session.execute(insert(IssueEvent).values(issue_id=issue.id, at=issue.updated_at, **words))


def require(issue: Issue, states: tuple[IssueState, ...], act: str) -> None:
    """Raise IssueStateForbids unless an issue is in one of `states`; nothing is changed in one that is about to leave."""
    if issue.is_leaving and IssueState.SENDING not in states:
        raise IssueStateForbids(f"Issue {issue.id} is about to leave; take it back to have it {act}.")
    if issue.state not in states:
        raise IssueStateForbids(f"Issue {issue.id} is {issue.state} and can't be {act} any more.")


def why(code: PauseReason | None = None, reason: str | None = None) -> dict[str, object]:
    """Say why an issue is where it is, as columns; nothing: it needs no reason."""
    return {"state_code": code, "state_reason": None if reason is None else reason[:REASON_LENGTH]}


def free() -> dict[str, object]:
    """Forget that the checks held an issue back."""
    return {**why(), "held_since": None}
