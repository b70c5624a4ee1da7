"""What the checks before sending find, on the page where an issue is reviewed."""

import functools
from collections.abc import Collection
from dataclasses import dataclass

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer import findings, gate, i18n, inlining, issues, rendering
from mailer.db import transaction
from mailer.findings import Code, Finding
from mailer.models.content import Issue
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was found; or `problem`, in English, when the mail can't even be made."""

    findings: Collection[Finding] = ()
    problem: str | None = None

    @property
    def blocking(self) -> list[Finding]:
        """Those that hold the issue back."""
        return findings.blocking(self.findings)


def look(database: Session, issue: Issue, desk: session.Desk) -> Seen:
    """Check the mails of an issue now; about links and pictures, say what they answered last. Asks no network."""
    try:
        made = gate.specimens(database, issue, composing.in_order(issues.placed(database, issue.id)), now=desk.now)
    except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
        return Seen(problem=str(error))
    answered = [one for one in gate.of_issue(issue) if one.code in findings.ASKED]
    return Seen(findings=[*gate.inspect(made, None), *answered])


def words(language: str, finding: Finding) -> str:
    """Say a finding in the language."""
    return i18n.gettext(language, findings.SENTENCES[finding.code], **finding.values)


def values(desk: session.Desk, seen: Seen) -> dict[str, object]:
    """Return what the review page shows of it."""
    return {"seen": seen, "finding_words": functools.partial(words, desk.language), "asked": findings.ASKED}


def let_pass_or_tell(database: Session, issue: Issue, desk: session.Desk) -> Seen | None:
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
def check(desk: session.Current, issue_id: composing.IssueId) -> Response:
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
