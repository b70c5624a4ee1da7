"""The first page: what comes next of a newsletter, how many read, what the last issues led to, and whether all is well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.audience import signups
from mailer.db import transaction
from mailer.issues import issues, selection, variants
from mailer.models.content import Issue, IssueState, Newsletter, Slot
from mailer.models.progress import IssueReport
from mailer.newsroom import newsletters, reports
from mailer.web import charts
from mailer.web.admin import health, live, results, screens, session, todo, watching, words

router = APIRouter(route_class=screens.DeskRoute)

WEEKS: Final = 12
DAYS: Final = 30
_LAST_ISSUES: Final = 5
_LAST_SLOTS: Final = 5
_MOVING: Final = (IssueState.SENDING, IssueState.PAUSED)
_WAITING: Final = (IssueState.SCHEDULED, IssueState.DRAFT)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number that says how it goes, with what is usual for it; all of it in words."""

    label: str
    value: str
    beside: str


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current, of: str = "") -> Response:
    """Show a newsletter: the one that is asked for, else the first."""
    with transaction() as database:
        every = [one for one in newsletters.all_newsletters(database, among=desk.newsletter_ids) if desk.sees(one.id)]
        chosen = next((one for one in every if one.slug == of), every[0] if every else None)
        values: dict[str, Any] = {
            "newsletters": every,
            "newsletter": chosen,
            "lately": signups.confirmed_lately(database, now=desk.now),
            "todo": todo.items(database, desk),
        }
        if chosen is not None:
            values |= _newsletter(database, desk, chosen)
    moving = values.get("moving")
    if moving:
        watched: live.Live = request.app.state.live
        values |= watching.values(desk.language, watched.look(moving[0].id))
    return screens.render(request, desk, "overview", here="overview", **values)


def _newsletter(database: Session, desk: session.Desk, newsletter: Newsletter) -> dict[str, Any]:
    sent = reports.issues(database, newsletter.id, limit=_LAST_ISSUES)
    days = reports.readers_over(database, newsletter.id, days=7 * WEEKS, now=desk.now)
    readers = reports.readers_now(database).get(newsletter.id, 0)
    return {
        "moving": issues.latest(database, newsletter.id, limit=_LAST_ISSUES, states=_MOVING),
        "drafts": issues.latest(database, newsletter.id, limit=_LAST_ISSUES, states=_WAITING),
        "slots": newsletters.next_slots(newsletter, now=desk.now, count=5),
        "checks": _checks,
        **_coming(database, newsletter, now=desk.now),
        "figures": _figures(database, desk.language, newsletter, readers, days, sent),
        "readers": readers,
        "chart": _chart(desk.language, days) if len(days) > 1 else None,
        "chart_rows": [(i18n.format_date(desk.language, day), count) for day, count in days[::-7]],
        "sent": [(issue, report, _percent(desk.language, newsletter, report)) for issue, report in sent],
        "decided": _decided(database, newsletter.id),
        "health": health.lines(database, newsletter, desk.language, now=desk.now),
        "day": lambda value: words.day(desk.language, value, newsletter.timezone),
    }


def _coming(database: Session, newsletter: Newsletter, *, now: datetime) -> dict[str, Any]:
    chosen = selection.select_articles(database, newsletter, now=now)
    articles = [(choice.article, choice.layout) for choice in chosen.chosen if choice.layout is not None]
    return {
        "article_count": len(articles),
        "is_enough": chosen.is_enough,
        "subject": variants.headline(articles, newsletter.language)[0] if articles else None,
    }


def _checks(issue: Issue) -> int | None:
    """Count what the last checks found that wants a look; None if the issue was not checked."""
    if issue.checked_at is None:
        return None
    return len(issue.findings)


def _figures(
    database: Session,
    language: str,
    newsletter: Newsletter,
    readers: int,
    days: Sequence[tuple[Any, int]],
    sent: Sequence[tuple[Issue, IssueReport | None]],
) -> list[Figure]:
    """Return the four figures: readers, and of the last issue that has ended how many clicked, left and were refused."""
    more = readers - days[-DAYS - 1][1] if len(days) > DAYS else None
    said = "" if more is None else i18n.gettext(language, "{count} in 30 days", count=_signed(language, more))
    made = [Figure(label="Active readers", value=i18n.format_number(language, readers), beside=said)]
    issue, report = next(
        ((one, told) for one, told in sent if one.finished_at and told and told.accepted), (None, None)
    )
    usual = reports.usual(database, issue) if issue is not None else None
    for label, name in (
        ("Clicks, last issue", "clicks"),
        ("Unsubscribed, last issue", "left"),
        ("Refused, last issue", "refused"),
    ):
        value = "–" if report is None else results.percent(language, 100 * getattr(report, name) / _whole(report, name))
        beside = ""
        if usual is not None:
            beside = i18n.gettext(
                language, "usually {percent}", percent=results.percent(language, getattr(usual, name))
            )
        if name == "clicks" and not newsletter.tracks_clicks:
            value, beside = "–", i18n.gettext(language, "not counted")
        made.append(Figure(label=label, value=value, beside=beside))
    return made


def _whole(report: IssueReport, name: str) -> int:
    return report.accepted + report.refused if name == "refused" else report.accepted


def _signed(language: str, count: int) -> str:
    return f"{'+' if count > 0 else '−' if count < 0 else '±'}{i18n.format_number(language, abs(count))}"


def _percent(language: str, newsletter: Newsletter, report: IssueReport | None) -> str:
    if report is None or not report.accepted or not newsletter.tracks_clicks:
        return "–"
    return results.percent(language, 100 * report.clicks / report.accepted)


def _chart(language: str, days: Sequence[tuple[Any, int]]) -> Any:
    first, last = (i18n.format_number(language, count) for _, count in (days[0], days[-1]))
    label = i18n.gettext(
        language, "Readers over {weeks} weeks: from {first} to {last}", weeks=WEEKS, first=first, last=last
    )
    steps = [(at, i18n.format_date(language, days[at][0], "medium")) for at in (0, len(days) - 1)]
    series = charts.Series(name="", values=[count for _, count in days])
    return charts.line([series], label=label, steps=steps, language=language, from_zero=False)


def _decided(database: Session, newsletter_id: int) -> list[tuple[Slot, int | None]]:
    rows = database.execute(
        select(Slot, Issue.number)
        .outerjoin(Issue, Issue.id == Slot.issue_id)
        .where(Slot.newsletter_id == newsletter_id)
        .order_by(Slot.slot_at.desc())
        .limit(_LAST_SLOTS)
    )
    return [(row[0], row[1]) for row in rows]
