"""The page of an issue that has begun to leave: how it gets on, and when it has ended, what came of it. Only to be read."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, i18n
from mailer.audience import hours
from mailer.db import transaction
from mailer.delivery import ledger, settling
from mailer.delivery.progress import Progress
from mailer.issues import amending, issues
from mailer.models.content import Issue, IssueState
from mailer.models.deliveries import Outcome
from mailer.newsroom import reports
from mailer.web import charts
from mailer.web.admin import live, measuring, screens, session, watching, words

PAGE_LENGTH: Final = 50
REFRESH_SECONDS: Final = 3
# While nothing happens before the next reader’s hour.
WAITING_SECONDS: Final = 60
# Clicks are drawn up to here; an issue that is younger is compared with others at its age.
HOURS: Final = reports.HOURS


def page(
    request: Request, desk: session.Desk, issue_id: int, *, outcome: Outcome | None, after: int, reader: str
) -> Response:
    """Show how an issue gets on, or what came of it; its deliveries, and what became of one `reader`'s."""
    watched: live.Live = request.app.state.live
    seen = watched.look(issue_id)
    with transaction() as database:
        issue = issues.get(database, issue_id)
        shown = _account(database, desk, issue, seen, outcome=outcome, after=after)
        shown |= _asked(database, issue, reader)
        if issue.finished_at is not None and issue.started_at is not None:
            shown["report"] = _report(database, desk.language, issue, now=desk.now)
    return screens.render(request, desk, "account", here="issues", **{**watching.values(desk.language, seen), **shown})


def _account(
    database: Session, desk: session.Desk, issue: Issue, seen: Progress, *, outcome: Outcome | None, after: int
) -> dict[str, Any]:
    equation = seen.equation
    waiting = hours.waiting(database, issue.id, now=desk.now) if equation.waiting else None
    lines = ledger.log(database, issue.id, outcome=outcome, after_id=after, limit=PAGE_LENGTH + 1)
    articles = issues.placed(database, issue.id)
    is_moving = issue.started_at is not None and issue.finished_at is None and issue.state != IssueState.PAUSED
    is_only_waiting = waiting is not None and waiting.readers == equation.waiting
    return {
        "issue": issue,
        "newsletter": issue.newsletter,
        "equation": equation,
        "at_their_hour": waiting,
        "last_hour": words.zoned(desk.language, waiting.last_at, issue.newsletter.timezone) if waiting else None,
        "decided": settling.settlements(database, issue.id),
        "policy": issue.when_uncertain,
        "articles": articles,
        "changes": amending.history(database, issue, is_exact=not is_moving),
        "changed_since": amending.changed_since(database, issue) if issue.started_at else (),
        "measured": measuring.measured(database, issue, articles),
        "lines": lines[:PAGE_LENGTH],
        "after": lines[PAGE_LENGTH - 1].delivery_id if len(lines) > PAGE_LENGTH else None,
        "outcome": outcome,
        "outcomes": list(Outcome),
        # Somebody who reads the table is not interrupted.
        "refresh_seconds": (WAITING_SECONDS if is_only_waiting else REFRESH_SECONDS)
        if is_moving and outcome is None and not after
        else None,
        "is_in_progress": issue.started_at is not None and issue.finished_at is None,
        "report": None,
    }


def _asked(database: Session, issue: Issue, reader: str) -> dict[str, Any]:
    """Answer whether one reader got it. `found` is None if it was not for them, or for want of a right address."""
    found, is_address = None, True
    if reader:
        try:
            found = ledger.of_reader(database, issue.id, addresses.key(addresses.normalise(reader)))
        except addresses.AddressInvalid:
            is_address = False
    return {"reader": reader, "found": found, "is_address": is_address}


def _report(database: Session, language: str, issue: Issue, *, now: datetime) -> dict[str, Any]:
    """Return the figures of an issue beside what is usual, and its clicks over the first two days."""
    found = reports.numbers(database, issue, now=now)
    usual = reports.usual(database, issue)
    started = issue.started_at or now
    age = min(HOURS, max(1, int((now - started).total_seconds() // 3600) + 1))
    return {
        "figures": _figures(language, found, usual, age=age),
        "usual": usual,
        "numbers": found,
        "clicks": _clicks(language, found, usual, age=age) if found.clicks else None,
    }


def _figures(
    language: str, found: reports.Numbers, usual: reports.Usual | None, *, age: int
) -> list[tuple[str, str, str, str]]:
    """Return label, number, share of the accepted and what is usual of each figure, as they are shown."""
    whole = found.accepted or 1
    mailed = found.accepted + found.refused or 1
    usual_clicks = usual.clicks_by_hour[age - 1] if usual and age < HOURS else usual.clicks if usual else None
    rows = (
        ("Accepted", found.accepted, 100 * found.accepted / mailed, 100 - usual.refused if usual else None),
        ("Refused", found.refused, 100 * found.refused / mailed, usual.refused if usual else None),
        ("Clicks", found.clicks, 100 * found.clicks / whole, usual_clicks),
        ("Unsubscribes", found.left, 100 * found.left / whole, usual.left if usual else None),
        ("Complaints", found.complained, 100 * found.complained / whole, usual.complained if usual else None),
    )
    return [
        (
            label,
            i18n.format_number(language, count),
            percent(language, part),
            "" if typical is None else percent(language, typical),
        )
        for label, count, part, typical in rows
    ]


def percent(language: str, value: float) -> str:
    """Write a share: small ones to two places, since one complaint in a thousand matters."""
    shown = round(value, 2) if value < 1 else round(value, 1) if value < 10 else round(value)
    return i18n.gettext(language, "{percent}%", percent=i18n.format_number(language, shown))


def _clicks(language: str, found: reports.Numbers, usual: reports.Usual | None, *, age: int) -> dict[str, Any]:
    """Return the chart of clicks over the first 48 hours, beside the usual scaled to as many readers, and its table."""
    so_far = [float(found.by(hour)) for hour in range(1, age + 1)]
    mine = charts.Series(name=i18n.gettext(language, "This issue"), values=so_far)
    series = [mine]
    if usual is not None:
        values = [one * found.accepted / 100 for one in usual.clicks_by_hour]
        series.append(charts.Series(name=i18n.gettext(language, "Usual"), values=values, color=1))
    else:
        series = [charts.Series(name=mine.name, values=[*so_far, *[None] * (HOURS - age)])]
    label = i18n.gettext(
        language,
        "Clicks over the first 48 hours: {clicks} after {hours} hours.",
        clicks=i18n.format_number(language, round(so_far[-1])),
        hours=age,
    )
    steps = [(hour - 1, i18n.gettext(language, "{hours} h", hours=hour)) for hour in (1, 12, 24, 36, 48)]
    rows = []
    for hour in (1, 2, 3, 6, 12, 24, 36, 48):
        if hour <= age:
            others = series[1].values[hour - 1] if len(series) > 1 else None
            shown = "" if others is None else i18n.format_number(language, round(others))
            rows.append(
                (i18n.gettext(language, "{hours} h", hours=hour), i18n.format_number(language, found.by(hour)), shown)
            )
    return {
        "svg": charts.line(series, label=label, steps=steps, language=language),
        "key": charts.key(series),
        "head": ("After", "This issue", "Usual"),
        "rows": rows,
    }
