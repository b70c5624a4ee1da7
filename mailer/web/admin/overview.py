"""The first page: what comes next, how many read, what was sent, and whether feeds and schedule are well."""

from datetime import datetime
from typing import Final

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.audience import signups
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import issues, schedules, selection, variants
from mailer.models.content import Issue, IssueState, Newsletter, Slot
from mailer.newsroom import newsletters
from mailer.web.admin import screens, session

router = APIRouter(route_class=screens.DeskRoute)

_LAST_ISSUES: Final = 5
_LAST_SLOTS: Final = 5
_WAITING: Final = (IssueState.SENDING, IssueState.PAUSED, IssueState.SCHEDULED, IssueState.DRAFT)
_STARTED: Final = (IssueState.SENDING, IssueState.PAUSED, IssueState.SENT, IssueState.CANCELLED)


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current) -> Response:
    """Show every newsletter with its next issue."""
    with transaction() as database:
        listed = [_newsletter(database, one, now=desk.now) for one in newsletters.all_newsletters(database)]
        lately = signups.confirmed_lately(database, now=desk.now)
    return screens.render(request, desk, "overview", here="overview", listed=listed, lately=lately)


def _newsletter(database: Session, newsletter: Newsletter, *, now: datetime) -> dict[str, object]:
    chosen = selection.select_articles(database, newsletter, now=now)
    articles = [(choice.article, choice.layout) for choice in chosen.chosen if choice.layout is not None]
    cron = None if newsletter.is_paused else newsletter.cron
    return {
        "newsletter": newsletter,
        "slots": schedules.next_slots(cron, newsletter.timezone, after=now, count=5) if cron else [],
        "article_count": len(articles),
        "is_enough": chosen.is_enough,
        "subject": variants.headline(articles, newsletter.language)[0] if articles else None,
        "readers": newsletters.count_readers(database, newsletter.id),
        "waiting": issues.latest(database, newsletter.id, limit=_LAST_ISSUES, states=_WAITING),
        "last": [
            (one, ledger.equation(database, one.id))
            for one in issues.latest(database, newsletter.id, limit=_LAST_ISSUES, states=_STARTED)
        ],
        "feeds": newsletters.feeds(database, newsletter),
        "decided": _decided(database, newsletter.id),
    }


def _decided(database: Session, newsletter_id: int) -> list[tuple[Slot, int | None]]:
    rows = database.execute(
        select(Slot, Issue.number)
        .outerjoin(Issue, Issue.id == Slot.issue_id)
        .where(Slot.newsletter_id == newsletter_id)
        .order_by(Slot.slot_at.desc())
        .limit(_LAST_SLOTS)
    )
    return [(row[0], row[1]) for row in rows]
