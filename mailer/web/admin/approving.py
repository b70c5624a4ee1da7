"""Four eyes: agreeing to an issue being sent, and taking that back. What it means is in issues/approvals.py."""

from fastapi import APIRouter
from starlette.responses import Response

from mailer.db import transaction
from mailer.issues import approvals
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)


@router.post("/approve")
def approve(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Agree to an issue as it was reviewed."""
    with transaction() as database:
        issue = composing.lock(database, issue_id)
        if desk.typed("version") != issue.updated_at.isoformat():
            return screens.back(f"/admin/issues/{issue_id}/review", done="changed-meanwhile")
        approvals.give(database, issue, desk.account_id, now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}/review", done="approved")


@router.post("/disapprove")
def withdraw(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Take one's consent back."""
    with transaction() as database:
        approvals.withdraw(database, composing.lock(database, issue_id), desk.account_id)
    return screens.back(f"/admin/issues/{issue_id}/review", done="disapproved")
