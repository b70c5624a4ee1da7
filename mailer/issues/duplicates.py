"""An issue made anew of one that there is: for everybody, or for those whom a cancelled one did not reach."""

from datetime import datetime

from sqlalchemy.orm import Session

from mailer.issues import issues, states
from mailer.models.content import Issue, IssueState


def duplicate(session: Session, issue: Issue, *, for_others: bool = False, now: datetime) -> Issue:
    """Draft a copy of an issue: its words, its articles and their order. Returns the draft.

    Nobody gets an article twice, so of an issue made of articles only those readers get the copy who have not had them.
    One that is written by hand goes to everybody again, unless it is `for_others`, which a cancelled issue only can be.
    Raises IssueStateForbids.
    """
    if for_others and issue.state != IssueState.CANCELLED:
        raise states.IssueStateForbids(
            f"Issue {issue.id} is {issue.state}; only a cancelled one has others to send to."
        )
    made = Issue(
        newsletter_id=issue.newsletter_id,
        newsletter=issue.newsletter,
        state=IssueState.DRAFT,
        subject=issue.subject,
        preview_text=issue.preview_text,
        introduction=issue.introduction,
        body=issue.body,
        respects_rhythm=issue.respects_rhythm,
        window_start=issue.window_start,
        window_end=issue.window_end,
        when_uncertain=issue.when_uncertain,
        for_others_of=issue.id if for_others and issue.started_at is not None else None,
        created_at=now,
        updated_at=now,
    )
    session.add(made)
    session.flush()
    issues.place(session, made.id, issues.placed(session, issue.id))
    return made
