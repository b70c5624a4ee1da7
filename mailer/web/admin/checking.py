"""The checks before sending, asked for by a button, and what they hold back."""

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer.db import transaction
from mailer.issues import gate, issues
from mailer.issues.findings import Code
from mailer.mail import inlining, rendering
from mailer.models.content import Issue
from mailer.web.admin import composing, inspecting, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)


def look(database: Session, issue: Issue, desk: session.Desk) -> inspecting.Seen:
    """Check the mails of an issue as they are now."""
    return inspecting.look(database, issue, composing.in_order(issues.placed(database, issue.id)), desk)


def let_pass_or_tell(database: Session, issue: Issue, desk: session.Desk) -> inspecting.Seen | None:
    """Let an issue leave despite what blocks, if that box was ticked; otherwise return what blocks, or None."""
    seen = look(database, issue, desk)
    if seen.problem is None and not seen.blocking:
        return None
    if seen.problem is not None or not desk.typed("despite_checks"):
        return seen
    codes: set[Code] = {one.code for one in seen.blocking}
    issues.let_pass(database, issue, codes, now=desk.now)
    return None


@router.post("/check")
def check(desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Ask the mail's links and pictures too, and keep what was found."""
    try:
        with transaction() as database:
            issue = issues.get(database, issue_id)
            placed = composing.in_order(issues.placed(database, issue_id))
            made = gate.specimens(database, issue, placed, now=desk.now)
        found = gate.inspect(made, gate.ask(made))
        with transaction() as database:
            issues.note_findings(database, issues.get(database, issue_id), found, now=desk.now)
    except (rendering.TemplateInvalid, inlining.InliningFailed):
        # The page that follows says what is wrong.
        return screens.back(f"/admin/issues/{issue_id}/review")
    return screens.back(f"/admin/issues/{issue_id}/review", done="checked")
