"""Issues on their way: test, schedule, send, undo, pause, resume, cancel; what became of every mail."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, queue
from mailer.counting import tracking
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import approvals, findings, gate, issues, leaving, states, trials
from mailer.issues.findings import Code
from mailer.models.content import Issue, WhenUncertain
from mailer.models.deliveries import Outcome
from mailer.models.tokens import Scope
from mailer.models.trials import Trial, TrialVerdict
from mailer.newsroom import newsletters
from mailer.web.api import access, acting, issue_shapes, paging
from mailer.web.api.issue_shapes import IssueBrief, IssueFigures
from mailer.web.api.issues import in_order, unchanged
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Listed, Page, Shape
from mailer.web.problems import Problem

router = APIRouter(prefix="/issues/{issue_id}", route_class=ApiRoute, tags=["Sending"])

_CODES: Final = re.compile(r"\d{3}(?:[ -]\d\.\d{1,3}\.\d{1,3})?")


class TestMail(Body):
    """Where a test goes, and as which reader it is made (the edition, if left out)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"addresses": ["camille@courrier.example"]}]})

    addresses: Annotated[
        list[Annotated[str, Field(max_length=320)]], Field(min_length=1, max_length=trials.MOST_ADDRESSES)
    ]
    as_reader: Annotated[str, Field(max_length=320)] | None = None


class TestResult(Shape):
    """What a mail server said to a test."""

    address: str
    verdict: TrialVerdict | None
    reply: str | None
    server: str | None
    seconds: float | None


class SendWish(Body):
    """`allow` are the codes of findings that block and are to be let pass; what else blocks holds the issue back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"allow": ["subject_empty"]}]})

    allow: list[Code] = Field(default_factory=list, max_length=50)
    when_uncertain: WhenUncertain | None = None
    version: Annotated[str, Field(max_length=40)] | None = None


class ScheduleWish(Body):
    """When the issue leaves, with a time zone or Z."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"at": "2027-12-01T06:00:00Z"}]})

    at: AwareDatetime
    when_uncertain: WhenUncertain | None = None
    version: Annotated[str, Field(max_length=40)] | None = None


class DeliveryLine(Shape):
    """What became of one recipient’s mail; `outcome` is null while it waits.

    The address is masked for tokens without the scope subscribers, and null once the reader was erased.
    """

    id: int
    address: str | None
    outcome: Outcome | None
    reply: str | None
    recorded_at: AwareDatetime | None


@router.post("/test", response_model=Listed[TestResult], **access.needs(Scope.SEND))
def test_issue(call: access.Current, issue_id: Id, wanted: TestMail) -> Response:
    """Send the issue to up to five addresses to look at, by the path that real mail takes; takes up to 20 seconds."""
    acting.look_back(call)
    with transaction() as session:
        call.issue(session, issue_id)
    told = trials.send(issue_id, wanted.addresses, as_reader=wanted.as_reader, by=call.by, now=call.now)
    with acting.change(call):
        return acting.answer(call, Listed(data=[_result(one) for one in told]))


@router.post("/schedule", response_model=IssueBrief, **access.needs(Scope.SEND))
def schedule_issue(call: access.Current, issue_id: Id, wanted: ScheduleWish) -> Response:
    """Have a draft leave at a moment; a scheduled issue gets another one."""
    with acting.change(call) as session:
        issue = _to_leave(session, call, issue_id, wanted.version, wanted.when_uncertain)
        issues.schedule(session, issue, at=wanted.at, now=call.now)
        return acting.answer(call, issue_shapes.brief(issue))


@router.post("/unschedule", response_model=IssueBrief, **access.needs(Scope.SEND))
def unschedule_issue(call: access.Current, issue_id: Id) -> Response:
    """Make a scheduled issue a draft again."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        issues.unschedule(session, issue, now=call.now)
        return acting.answer(call, issue_shapes.brief(issue))


@router.post("/send", status_code=202, response_model=IssueBrief, **access.needs(Scope.SEND))
def send_issue(call: access.Current, issue_id: Id, wish: SendWish) -> Response:
    """Have an issue leave. For a minute it can be undone; then it goes to every reader who is due.

    Send an Idempotency-Key along: asking twice, after an answer was lost, then sends once.
    """
    with acting.change(call) as session:
        issue = _to_leave(session, call, issue_id, wish.version, wish.when_uncertain)
        if not newsletters.count_readers(session, issue.newsletter_id):
            raise issues.IssueEmpty(f"“{issue.newsletter.slug}” has no confirmed readers yet.")
        _need_checked(session, call, issue, wish)
        is_due = leaving.leave(session, issue, now=call.now) <= call.now
        answer = acting.answer(call, issue_shapes.brief(issue), status=202)
    if is_due:
        acting.ring(queue.START_ISSUE, issue_id)
    return answer


@router.post("/undo", response_model=IssueBrief, **access.needs(Scope.SEND))
def undo_sending(call: access.Current, issue_id: Id) -> Response:
    """Make an issue that is about to leave a draft again."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        leaving.take_back(session, issue, now=call.now)
        return acting.answer(call, issue_shapes.brief(issue))


@router.post("/pause", response_model=IssueBrief, **access.needs(Scope.SEND))
def pause_issue(call: access.Current, issue_id: Id) -> Response:
    """Stop handing over; workers notice within a second."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        issues.pause(session, issue, f"paused by {call.by}", now=call.now)
        return acting.answer(call, issue_shapes.brief(issue))


@router.post("/resume", response_model=IssueBrief, **access.needs(Scope.SEND))
def resume_issue(call: access.Current, issue_id: Id) -> Response:
    """Go on where it was paused."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        issues.resume(session, issue, now=call.now)
        answer = acting.answer(call, issue_shapes.brief(issue))
    acting.ring(queue.SEND)
    return answer


@router.post("/cancel", response_model=IssueBrief, **access.needs(Scope.SEND))
def cancel_issue(call: access.Current, issue_id: Id) -> Response:
    """Give up what has not been handed over. What was accepted stays accepted."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        issues.cancel(session, issue, now=call.now)
        answer = acting.answer(call, issue_shapes.brief(issue))
    acting.ring(queue.SEND)
    return answer


@router.post("/reopen", response_model=IssueBrief, **access.needs(Scope.SEND))
def reopen_issue(call: access.Current, issue_id: Id) -> Response:
    """Make an issue that could not start (state failed) a draft again."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        issues.reopen(session, issue, now=call.now)
        return acting.answer(call, issue_shapes.brief(issue))


@router.get("/stats", **access.needs(Scope.READ))
def show_figures(call: access.Current, issue_id: Id) -> IssueFigures:
    """Count what became of the recipients, and clicks and opens where they are counted."""
    with transaction() as session:
        newsletter = call.issue(session, issue_id).newsletter
        equation = ledger.equation(session, issue_id)
        deferred = ledger.count_deferred(session, issue_id) if equation.waiting else 0
        counted = tracking.stats(session, issue_id)
    clicks = sum(one.clicks for one in counted.links)
    return issue_shapes.figures(
        equation,
        deferred=deferred,
        clicks=clicks if newsletter.tracks_clicks or clicks else None,
        opens=counted.opens if newsletter.tracks_opens or counted.opens else None,
    )


@router.get("/deliveries", **access.needs(Scope.READ))
def list_deliveries(
    call: access.Current,
    request: Request,
    response: Response,
    issue_id: Id,
    outcome: Annotated[Outcome | None, Query(description="Only those that ended so.")] = None,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[DeliveryLine]:
    """List what became of every mail of an issue, in the order of its recipients."""
    after = paging.position(request, cursor) or 0
    with transaction() as session:
        call.issue(session, issue_id)
        found = ledger.log(session, issue_id, outcome=outcome, after_id=after, limit=limit + 1)
    page, following = paging.cut(request, response, found, limit, [one.delivery_id for one in found])
    return Page(data=[_line(one, is_whole=Scope.SUBSCRIBERS in call.scopes) for one in page], next=following)


def _to_leave(
    session: Session, call: access.Call, issue_id: int, version: str | None, policy: WhenUncertain | None
) -> Issue:
    """Lock an issue that is to leave, with the policy that was chosen. Raises as the desk does."""
    issue = unchanged(session, call, issue_id, version)
    states.require(issue, states.EDITABLE, "sent")
    approvals.require(session, issue, None, now=call.now)
    if policy is not None:
        issues.set_when_uncertain(session, issue, policy, now=call.now)
    return issue


def _need_checked(session: Session, call: access.Call, issue: Issue, wish: SendWish) -> None:
    """Let pass what the caller allows. Raises Problem if the checks find anything else that blocks."""
    placed = in_order(issues.placed(session, issue.id))
    blocking = findings.blocking(gate.look(session, issue, placed, now=call.now))
    not_allowed = [one for one in blocking if one.code not in wish.allow]
    if not_allowed:
        told = [{"field": one.where, "message": one.words, "code": one.code.value} for one in not_allowed]
        raise Problem("checks_failed", errors=told)
    if blocking:
        issues.let_pass(session, issue, {one.code for one in blocking}, now=call.now)


def _result(one: Trial) -> TestResult:
    return TestResult(address=one.address, verdict=one.verdict, reply=one.reply, server=one.server, seconds=one.seconds)


def _line(one: ledger.Line, *, is_whole: bool) -> DeliveryLine:
    address = one.address if is_whole or one.address is None else addresses.mask(one.address)
    # A server's words may name the address.
    codes = _CODES.match(one.reply or "")
    reply = one.reply if is_whole else codes[0] if codes else None
    return DeliveryLine(
        id=one.delivery_id, address=address, outcome=one.outcome, reply=reply, recorded_at=one.recorded_at
    )
