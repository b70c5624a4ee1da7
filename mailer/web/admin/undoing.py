"""What can be done about an issue that leaves, failed, was sent or was cancelled: undo, try again, make it anew."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import queue
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import approvals, duplicates, issues, leaving
from mailer.models.content import IssueState
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)


@router.post("/undo")
def undo(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Take back an issue that is about to leave."""
    with transaction() as database:
        leaving.take_back(database, issues.get(database, issue_id), now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="undone")


@router.post("/retry")
def retry(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Have an issue that could not start leave once more."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        approvals.require(database, issue, desk.account_id, now=desk.now)
        issues.reopen(database, issue, now=desk.now)
        is_due = leaving.leave(database, issue, now=desk.now) <= desk.now
    if is_due:
        screens.ring(queue.START_ISSUE, issue_id)
    return screens.back(f"/admin/issues/{issue_id}", done="leaving" if is_due else "")


@router.post("/duplicate")
def duplicate(desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Draft a copy of an issue."""
    with transaction() as database:
        made = duplicates.duplicate(database, issues.get(database, issue_id), now=desk.now)
    return screens.back(f"/admin/issues/{made.id}", done="duplicated")


@router.api_route("/others", methods=["GET", "HEAD"])
def ask_for_others(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Say who was not reached before a cancelled issue was, and what sending it to them means."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        if issue.state != IssueState.CANCELLED:
            raise issues.IssueStateForbids(f"Issue {issue.id} is {issue.state}; nobody is left to send it to.")
        equation = ledger.equation(database, issue_id)
    return screens.render(
        request, desk, "others", here="issues", issue=issue, newsletter=issue.newsletter, equation=equation
    )


@router.post("/others")
def draft_for_others(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Draft a cancelled issue again, for those whom it did not reach."""
    with transaction() as database:
        made = duplicates.duplicate(database, issues.get(database, issue_id), for_others=True, now=desk.now)
    return screens.back(f"/admin/issues/{made.id}", done="duplicated")
