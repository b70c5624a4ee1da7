"""Issues to look at: the list, what the next one would hold, one being sent, the account of one that was sent."""

import functools
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlalchemy.orm import joinedload
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.issues import explanations, issues, selection
from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.deliveries import Outcome
from mailer.models.progress import IssueReport
from mailer.newsroom import newsletters
from mailer.web.admin import articles, composing, results, screens, session, words

router = APIRouter(route_class=screens.DeskRoute)

IssueId = Annotated[int, Path(ge=1, lt=2**63)]
PAGE_LENGTH: Final = 50
LARGEST_ID: Final = 2**63 - 1
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
    statement = (
        select(Issue, IssueReport)
        .outerjoin(IssueReport, IssueReport.issue_id == Issue.id)
        .where(Issue.state.in_(TABS[tab][1]))
        .options(joinedload(Issue.newsletter))
    )
    if desk.newsletter_ids is not None:
        statement = statement.where(Issue.newsletter_id.in_(desk.newsletter_ids))
    if 0 < before <= LARGEST_ID:
        statement = statement.where(Issue.id < before)
    with transaction() as database:
        found = database.execute(statement.order_by(Issue.id.desc()).limit(PAGE_LENGTH + 1)).all()
        every = newsletters.all_newsletters(database, among=desk.newsletter_ids)
    return screens.render(
        request,
        desk,
        "issues",
        here="issues",
        tab=tab,
        tabs=[(key, label) for key, (label, _) in TABS.items()],
        found=found[:PAGE_LENGTH],
        before=found[PAGE_LENGTH - 1][0].id if len(found) > PAGE_LENGTH else None,
        newsletters=every,
        percent=functools.partial(results.percent, desk.language),
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
def draft(desk: session.Writer, slug: session.Slug) -> Response:
    """Draft the next issue now."""
    with transaction() as database:
        issue = issues.draft(database, newsletters.get(database, slug), now=desk.now)
    return screens.back(f"/admin/issues/{issue.id}", done="drafted")


@router.api_route("/issues/{issue_id}", methods=["GET", "HEAD"])
def show(
    request: Request,
    desk: session.Current,
    issue_id: IssueId,
    view: str = "phone",
    outcome: str = "",
    after: int = 0,
    reader: Annotated[str, Query(max_length=320)] = "",
) -> Response:
    """Show an issue as its state asks: to be edited, on its way, or as an account of what became of it."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        if issue.started_at is None and issue.state in issues.EDITABLE_STATES:
            return composing.page(request, desk, database, issue, view=view)
    wanted = Outcome(outcome) if outcome in tuple(Outcome) else None
    after = after if 0 < after <= LARGEST_ID else 0
    return results.page(request, desk, issue_id, outcome=wanted, after=after, reader=reader.strip())
