"""Issues to look at: the list, what the next one would hold, one being sent, the account of one that was sent."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses
from mailer.audience import hours, subscriptions
from mailer.db import transaction
from mailer.delivery import ledger, settling
from mailer.issues import amending, explanations, issues, selection
from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.deliveries import Outcome
from mailer.newsroom import newsletters
from mailer.web.admin import articles, composing, measuring, screens, session, words

router = APIRouter(route_class=screens.DeskRoute)

IssueId = Annotated[int, Path(ge=1, lt=2**63)]
PAGE_LENGTH: Final = 50
LARGEST_ID: Final = 2**63 - 1
REFRESH_SECONDS: Final = 3
# While nothing happens before the next reader’s hour.
WAITING_SECONDS: Final = 60
TABS: Final = {
    "all": ("All", tuple(IssueState)),
    "drafts": ("Drafts", (IssueState.DRAFT,)),
    "scheduled": ("Scheduled", (IssueState.SCHEDULED,)),
    "sent": ("Sent", (IssueState.SENDING, IssueState.PAUSED, IssueState.SENT, IssueState.CANCELLED)),
}


@router.api_route("/issues", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, tab: str = "all", before: int = 0) -> Response:
    """List the issues of all newsletters, newest first, a page at a time."""
    tab = tab if tab in TABS else "all"
    statement = select(Issue).where(Issue.state.in_(TABS[tab][1])).options(joinedload(Issue.newsletter))
    if 0 < before <= LARGEST_ID:
        statement = statement.where(Issue.id < before)
    with transaction() as database:
        found = list(database.execute(statement.order_by(Issue.id.desc()).limit(PAGE_LENGTH + 1)).scalars())
        every = newsletters.all_newsletters(database)
    return screens.render(
        request,
        desk,
        "issues",
        here="issues",
        tab=tab,
        tabs=[(key, label) for key, (label, _) in TABS.items()],
        found=found[:PAGE_LENGTH],
        before=found[PAGE_LENGTH - 1].id if len(found) > PAGE_LENGTH else None,
        newsletters=every,
    )


@router.api_route("/newsletters/{slug}/next", methods=["GET", "HEAD"])
def upcoming(
    request: Request,
    desk: session.Current,
    slug: session.Slug,
    at: str = "",
    reader: Annotated[str, Query(alias="as", max_length=320)] = "",
) -> Response:
    """Show what the next issue would hold, as of now or of `at`, for everybody or `as` a reader, and why."""
    reader, problem = reader.strip(), None
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        moment = articles.moment(at, newsletter.timezone) or desk.now
        try:
            told = explanations.explain(database, newsletter, at=moment, now=desk.now, subscriber=reader or None)
        except (addresses.AddressInvalid, subscriptions.SubscriptionNotFound):
            problem = "no_reader"
            told = explanations.explain(database, newsletter, at=moment, now=desk.now)
        readers = newsletters.count_readers(database, newsletter.id)
        rows = articles.shown(database, desk, newsletter)
    return screens.render(
        request,
        desk,
        "next",
        here="issues",
        status=404 if problem else 200,
        newsletter=newsletter,
        selection=told.selection,
        left_out=told.selection.left_out,
        late=[one for one in told.late if one.why != selection.Why.STOCK],
        stock=[one for one in told.late if one.why == selection.Why.STOCK],
        aside=words.aside(desk.language, told, newsletter.timezone),
        **_coming(desk, newsletter, told, moment),
        readers=readers,
        at=at if moment != desk.now else "",
        reader=reader,
        problem=problem,
        is_now=moment == desk.now and not reader,
        **rows,
    )


def _coming(
    desk: session.Desk, newsletter: Newsletter, told: explanations.Explanation, moment: datetime
) -> dict[str, Any]:
    """Return when the next issue is due after a moment, and in words when it reaches a reader who chose an hour."""
    slot = newsletters.next_slot(newsletter, now=moment)
    arrival = told.arrival(slot or moment)
    return {"slot": slot, "arrival": words.zoned(desk.language, arrival, newsletter.timezone) if arrival else None}


@router.post("/newsletters/{slug}/next")
def draft(desk: session.Current, slug: session.Slug) -> Response:
    """Draft the next issue now."""
    with transaction() as database:
        issue = issues.draft(database, newsletters.get(database, slug), now=desk.now)
    return screens.back(f"/admin/issues/{issue.id}", done="drafted")


@router.api_route("/issues/{issue_id}", methods=["GET", "HEAD"])
def show(
    request: Request, desk: session.Current, issue_id: IssueId, view: str = "phone", outcome: str = "", after: int = 0
) -> Response:
    """Show an issue as its state asks: to be edited, on its way, or as an account of what became of it."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        if issue.started_at is None and issue.state in issues.EDITABLE_STATES:
            return composing.page(request, desk, database, issue, view=view)
        wanted = Outcome(outcome) if outcome in tuple(Outcome) else None
        after = after if 0 < after <= LARGEST_ID else 0
        return _account(request, desk, database, issue, outcome=wanted, after=after)


def _account(
    request: Request, desk: session.Desk, database: Session, issue: Issue, *, outcome: Outcome | None, after: int
) -> Response:
    """Show the equation and the deliveries; while it is sent also the progress, which comes again by itself."""
    equation = ledger.equation(database, issue.id)
    deferred = ledger.count_deferred(database, issue.id) if equation.waiting else 0
    waiting = hours.waiting(database, issue.id, now=desk.now) if equation.waiting else None
    lines = ledger.log(database, issue.id, outcome=outcome, after_id=after, limit=PAGE_LENGTH + 1)
    articles = issues.placed(database, issue.id)
    is_moving = issue.started_at is not None and issue.finished_at is None and issue.state != IssueState.PAUSED
    return screens.render(
        request,
        desk,
        "account",
        here="issues",
        issue=issue,
        newsletter=issue.newsletter,
        equation=equation,
        percent=100 * equation.settled // equation.recipients if equation.recipients else 0,
        bar=_bar(equation, deferred),
        deferred=deferred,
        at_their_hour=waiting,
        last_hour=words.zoned(desk.language, waiting.last_at, issue.newsletter.timezone) if waiting else None,
        decided=settling.settlements(database, issue.id),
        policy=issue.when_uncertain,
        articles=articles,
        changes=amending.history(database, issue, is_exact=not is_moving),
        changed_since=amending.changed_since(database, issue) if issue.started_at else (),
        measured=measuring.measured(database, issue, articles),
        lines=lines[:PAGE_LENGTH],
        after=lines[PAGE_LENGTH - 1].delivery_id if len(lines) > PAGE_LENGTH else None,
        outcome=outcome,
        outcomes=list(Outcome),
        # Somebody who reads the table is not interrupted.
        refresh_seconds=_refresh_seconds(equation, waiting) if is_moving and outcome is None and not after else None,
        is_in_progress=issue.started_at is not None and issue.finished_at is None,
    )


def _refresh_seconds(equation: ledger.Equation, waiting: hours.Waiting | None) -> int:
    return WAITING_SECONDS if waiting and waiting.readers == equation.waiting else REFRESH_SECONDS


def _bar(equation: ledger.Equation, deferred: int) -> list[tuple[str, float, float]]:
    """Return the parts of the progress bar: name, start and width in percent."""
    parts: list[tuple[str, float, float]] = []
    start = 0.0
    for name, count in (
        ("accepted", equation.accepted),
        ("deferred", deferred),
        ("refused", equation.refused),
        ("skipped", equation.skipped),
        ("uncertain", equation.uncertain),
    ):
        width = 100 * count / equation.recipients if equation.recipients else 0.0
        parts.append((name, round(start, 3), round(width, 3)))
        start += width
    return parts
