"""The buttons that make an issue leave, wait, stop or go on. Each is a form; the two that can't be undone have a page."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import queue, settings
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import approvals, issues, leaving, recipients, schedules
from mailer.models.choices import Rhythm
from mailer.models.content import Issue, WhenUncertain
from mailer.newsroom import newsletters
from mailer.web import pages
from mailer.web.admin import checking, composing, inspecting, screens, session, settling

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

_FOLDS: Final = {"first": 0, "second": 1}
WRONG_MOMENTS: Final = {
    schedules.Wrong.UNREADABLE: "Enter a day and a time, like 2026-11-27 07:00",
    schedules.Wrong.HAS_OFFSET: "Leave out the offset: the time is that of the newsletter’s zone.",
    schedules.Wrong.SKIPPED: "That hour does not exist on that day: the clocks go forward. Choose an hour later.",
    schedules.Wrong.TWICE: "That hour comes twice on that day: the clocks go back. Choose which of the two.",
}
RHYTHMS: Final = {
    Rhythm.EACH: "each issue",
    Rhythm.DAILY: "once a day",
    Rhythm.WEEKLY: "once a week",
    Rhythm.MONTHLY: "once a month",
}


@router.api_route("/review", methods=["GET", "HEAD"])
def review(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Show once more what leaves, to whom and when, and what the checks find."""
    with transaction() as database:
        issue = _editable(database, issue_id)
        return _review_page(request, desk, database, issue, checking.look(database, issue, desk))


@router.post("/send")
def send(request: Request, desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Have the issue leave as it was reviewed, once it can't be undone any more."""
    with transaction() as database:
        issue = composing.open_for(database, desk, issue_id)
        if not newsletters.count_readers(database, issue.newsletter_id):
            raise issues.IssueEmpty(f"“{issue.newsletter.slug}” has no confirmed readers yet.")
        blocked = checking.let_pass_or_tell(database, issue, desk)
        if blocked is not None:
            return _review_page(request, desk, database, issue, blocked, is_refused=True)
        approvals.require(database, issue, desk.account_id, now=desk.now)
        _choose(database, issue, desk)
        is_due = leaving.leave(database, issue, now=desk.now) <= desk.now
    if is_due:
        screens.ring(queue.START_ISSUE, issue_id)
    return screens.back(f"/admin/issues/{issue_id}", done="leaving" if is_due else "")


@router.api_route("/schedule", methods=["GET", "HEAD"])
def choose_moment(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Ask when the issue is to leave."""
    with transaction() as database:
        issue = _editable(database, issue_id)
        seen = checking.look(database, issue, desk)
    suggested = issue.scheduled_at or newsletters.next_slot(issue.newsletter, now=desk.now)
    local = suggested.astimezone(schedules.zone(issue.newsletter.timezone)) if suggested else None
    return _schedule_page(request, desk, issue, seen, typed=f"{local:%Y-%m-%dT%H:%M}" if local else "")


@router.post("/schedule")
def schedule(request: Request, desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Have the issue leave at a moment of the newsletter's zone."""
    typed, policy = desk.typed("at"), settling.chosen(desk)
    with transaction() as database:
        issue = _editable(database, issue_id)
        error: str | None = None
        try:
            at = schedules.moment(typed, issue.newsletter.timezone, fold=_FOLDS.get(desk.typed("fold")))
            error = None if at > desk.now else "That moment has passed. Choose a later one."
        except schedules.MomentInvalid as wrong:
            at, error = desk.now, WRONG_MOMENTS[wrong.why]
        if error:
            seen = checking.look(database, issue, desk)
            return _schedule_page(request, desk, issue, seen, typed=typed, policy=policy, error=error)
        approvals.require(database, issue, desk.account_id, now=desk.now)
        _choose(database, issue, desk)
        issues.schedule(database, issue, at=at, now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="scheduled")


@router.post("/unschedule")
def unschedule(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Make a scheduled issue a draft again."""
    with transaction() as database:
        issues.unschedule(database, issues.get(database, issue_id), now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="unscheduled")


@router.post("/pause")
def pause(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Stop handing over."""
    with transaction() as database:
        issues.pause(database, issues.get(database, issue_id), f"paused by {desk.name}", now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="paused")


@router.post("/resume")
def resume(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Go on where it was paused."""
    with transaction() as database:
        issues.resume(database, issues.get(database, issue_id), now=desk.now)
    screens.ring(queue.SEND)
    return screens.back(f"/admin/issues/{issue_id}", done="resumed")


@router.api_route("/cancel", methods=["GET", "HEAD"])
def ask_to_cancel(request: Request, desk: session.Current, issue_id: composing.IssueId) -> Response:
    """Say what cancelling means before it is done."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        equation = ledger.equation(database, issue_id)
    return screens.render(
        request,
        desk,
        "cancel",
        here="issues",
        issue=issue,
        newsletter=issue.newsletter,
        equation=equation,
    )


@router.post("/cancel")
def cancel(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Give up what has not been handed over."""
    with transaction() as database:
        issues.cancel(database, issues.get(database, issue_id), now=desk.now)
    screens.ring(queue.SEND)
    return screens.back(f"/admin/issues/{issue_id}", done="cancelled")


@router.post("/reopen")
def reopen(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Make an issue that could not start a draft again."""
    with transaction() as database:
        issues.reopen(database, issues.get(database, issue_id), now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="reopened")


def _review_page(
    request: Request,
    desk: session.Desk,
    database: Session,
    issue: Issue,
    seen: inspecting.Seen,
    *,
    is_refused: bool = False,
) -> Response:
    return screens.render(
        request,
        desk,
        "review",
        here="issues",
        status=422 if is_refused else 200,
        issue=issue,
        newsletter=issue.newsletter,
        counted=(counted := recipients.count(database, issue, with_topics=True, now=desk.now)),
        readers=counted.recipients,
        placed=composing.in_order(issues.placed(database, issue.id)),
        version=issue.updated_at.isoformat(),
        languages=pages.LANGUAGE_NAMES,
        rhythms=RHYTHMS,
        standing=approvals.standing(database, issue),
        may_leave=approvals.may_send(database, issue, desk.account_id),
        undo_seconds=settings.load().undo_seconds,
        policy=settling.chosen(desk) or issue.when_uncertain,
        has_frame=True,
        is_refused=is_refused,
        **inspecting.values(desk, seen),
    )


def _editable(database: Session, issue_id: int) -> Issue:
    issue = issues.get(database, issue_id)
    if issue.state not in issues.EDITABLE_STATES:
        raise issues.IssueStateForbids(f"Issue {issue.id} is {issue.state}; it can’t be sent from here any more.")
    return issue


def _choose(database: Session, issue: Issue, desk: session.Desk) -> None:
    policy = settling.chosen(desk)
    if policy is not None:
        issues.set_when_uncertain(database, issue, policy, now=desk.now)


def _schedule_page(
    request: Request,
    desk: session.Desk,
    issue: Issue,
    seen: inspecting.Seen,
    *,
    typed: str,
    policy: WhenUncertain | None = None,
    error: str | None = None,
) -> Response:
    return screens.render(
        request,
        desk,
        "schedule",
        here="issues",
        status=422 if error else 200,
        issue=issue,
        newsletter=issue.newsletter,
        typed=typed,
        policy=policy or issue.when_uncertain,
        error=error,
        is_twice=error == WRONG_MOMENTS[schedules.Wrong.TWICE],
        is_refused=False,
        **inspecting.values(desk, seen),
    )
