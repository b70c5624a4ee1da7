"""Reports: readers come and gone, what each issue led to, how providers take it, what readers chose; each as a file too."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.db import transaction
from mailer.models.content import Issue, Newsletter
from mailer.models.progress import IssueReport, ProviderTotal
from mailer.newsroom import newsletters, reports
from mailer.web import charts, csv_export, pages
from mailer.web.admin import results, screens, session

router = APIRouter(prefix="/reports", route_class=screens.DeskRoute)

Table = Literal["readers", "weeks", "issues", "providers", "mix"]
Chosen = Annotated[str, Query(alias="newsletter", max_length=63)]
# Name in the address: words, days of the line, weeks of the bars.
SPANS: Final[dict[str, tuple[str, int | None, int]]] = {
    "12w": ("12 weeks", 84, 12),
    "1y": ("1 year", 365, 52),
    "all": ("Since the start", None, 156),
}
ISSUES_SHOWN: Final = 20
ISSUES_DRAWN: Final = 12
ISSUES_AT_ONCE: Final = 500
PROVIDERS_DRAWN: Final = 8
PROVIDERS_TAKEN: Final = 2000
RHYTHMS: Final = {"each": "Each issue", "daily": "Daily", "weekly": "Weekly", "monthly": "Monthly"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its legend, and the table behind it."""

    svg: str
    key: str
    head: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current, chosen: Chosen = "", span: str = "12w") -> Response:
    """Show how a newsletter fares."""
    span = span if span in SPANS else "12w"
    _, days, week_count = SPANS[span]
    with transaction() as database:
        every = newsletters.all_newsletters(database, among=desk.newsletter_ids)
        newsletter = _chosen(every, chosen)
        if newsletter is None:
            return screens.render(request, desk, "reports", here="reports", newsletter=None, newsletters=())
        readers = reports.readers_over(database, newsletter.id, days=days, now=desk.now)
        weeks = reports.weeks(database, newsletter.id, count=week_count, now=desk.now)
        issues = reports.issues(database, newsletter.id, limit=ISSUES_SHOWN)
        providers = reports.providers(database, newsletter.id, limit=PROVIDERS_DRAWN)
        mix = reports.mix(database, newsletter.id)
    shown: dict[str, Any] = {
        "readers": _readers(desk.language, readers),
        "weeks": _weeks(desk.language, weeks),
        "clicks": _clicks(desk.language, issues),
        "providers": _providers(desk.language, providers),
        "rhythms": _mix(desk.language, reports.summed(mix, lambda one: one.rhythm), RHYTHMS),
        "languages": _mix(desk.language, reports.summed(mix, lambda one: one.language), pages.LANGUAGE_NAMES),
    }
    return screens.render(
        request,
        desk,
        "reports",
        here="reports",
        newsletter=newsletter,
        newsletters=every,
        span=span,
        spans=[(name, words_) for name, (words_, _, _) in SPANS.items()],
        issues=issues,
        percent=lambda part, whole: results.percent(desk.language, 100 * part / whole) if whole else "–",
        **shown,
    )


@router.get("/{table}.csv")
def download(desk: session.Current, table: Table, chosen: Chosen = "", span: str = "all") -> Response:
    """Hand out one of the tables as a file: all of it, not what is drawn."""
    _, days, week_count = SPANS.get(span, SPANS["all"])
    with transaction() as database:
        newsletter = _chosen(newsletters.all_newsletters(database, among=desk.newsletter_ids), chosen)
        if newsletter is None:
            raise newsletters.NewsletterNotFound("There is no such newsletter.")
        head, rows = _file(database, table, newsletter.id, days=days, week_count=week_count, desk=desk)
    return csv_export.respond(f"{newsletter.slug}-{table}", head, rows, language=desk.language)


def _chosen(every: Sequence[Newsletter], slug: str) -> Newsletter | None:
    """Return the newsletter that the address names; the first if it names none."""
    if slug:
        found = next((one for one in every if one.slug == slug), None)
        if found is None:
            raise newsletters.NewsletterNotFound("There is no such newsletter.")
        return found
    return every[0] if every else None


def _file(
    database: Session, table: Table, newsletter_id: int, *, days: int | None, week_count: int, desk: session.Desk
) -> tuple[tuple[str, ...], Iterable[tuple[csv_export.Cell, ...]]]:
    if table == "readers":
        return ("day", "readers"), reports.readers_over(database, newsletter_id, days=days, now=desk.now)
    if table == "weeks":
        found = reports.weeks(database, newsletter_id, count=week_count, now=desk.now)
        return ("week", "joined", "left", "net"), [(w.monday, w.joined, w.left, w.joined - w.left) for w in found]
    if table == "providers":
        totals = reports.providers(database, newsletter_id, limit=PROVIDERS_TAKEN)
        head = ("provider", "accepted", "refused", "deferred")
        return head, [(one.provider or "(others)", one.accepted, one.refused, one.deferred) for one in totals]
    if table == "mix":
        mix = reports.mix(database, newsletter_id)
        return ("rhythm", "language", "readers"), [(one.rhythm, one.language, one.readers) for one in mix]
    columns = (
        "issue",
        "subject",
        "state",
        "started_at",
        "recipients",
        "accepted",
        "refused",
        "clicks",
        "left",
        "complained",
    )
    return columns, _issue_rows(newsletter_id)


def _issue_rows(newsletter_id: int) -> Iterator[tuple[csv_export.Cell, ...]]:
    """Read all issues, some hundred in a transaction."""
    before: int | None = None
    while True:
        with transaction() as database:
            found = reports.issues(database, newsletter_id, limit=ISSUES_AT_ONCE, before=before)
        for issue, report in found:
            yield _issue_row(issue, report)
        if len(found) < ISSUES_AT_ONCE:
            return
        before = found[-1][0].id


def _issue_row(issue: Issue, report: IssueReport | None) -> tuple[csv_export.Cell, ...]:
    counted = (report.accepted, report.refused, report.clicks, report.left, report.complained) if report else [None] * 5
    return (issue.number, issue.subject, issue.state.value, issue.started_at, issue.recipients, *counted)


def _readers(language: str, found: Sequence[tuple[date, int]]) -> Figure | None:
    if not found:
        return None
    label = i18n.gettext(
        language,
        "Readers: {first} on {since}, {last} now.",
        first=i18n.format_number(language, found[0][1]),
        since=_day(language, found[0][0]),
        last=i18n.format_number(language, found[-1][1]),
    )
    series = [charts.Series(name=i18n.gettext(language, "Readers"), values=[count for _, count in found])]
    places = sorted({0, len(found) // 2, len(found) - 1})
    steps = [(at, _short_day(language, found[at][0])) for at in places]
    # One row a week, and today's.
    weekly = [*found[:-1:7], found[-1]]
    return Figure(
        svg=charts.line(series, label=label, steps=steps, language=language, from_zero=False),
        key="",
        head=("Day", "Readers"),
        rows=[(_day(language, day), i18n.format_number(language, count)) for day, count in weekly],
    )


def _weeks(language: str, found: Sequence[reports.Week]) -> Figure:
    joined, left = sum(one.joined for one in found), sum(one.left for one in found)
    values = {"joined": i18n.format_number(language, joined), "left": i18n.format_number(language, left)}
    label = i18n.gettext(language, "Joined and left per week: {joined} joined, {left} left in all.", **values)
    series = [
        charts.Series(name=i18n.gettext(language, "Joined"), values=[one.joined for one in found]),
        charts.Series(name=i18n.gettext(language, "Left"), values=[one.left for one in found], color=1),
    ]
    places = sorted({0, len(found) // 2, len(found) - 1})
    return Figure(
        svg=charts.bars(
            series,
            label=label,
            steps=[(at, _short_day(language, found[at].monday)) for at in places],
            language=language,
        ),
        key=charts.key(series, is_filled=True),
        head=("Week of", "Joined", "Left", "Net"),
        rows=[(_day(language, one.monday), one.joined, one.left, f"{one.joined - one.left:+d}") for one in found][::-1],
    )


def _clicks(language: str, found: Sequence[tuple[Issue, IssueReport | None]]) -> Figure | None:
    """Draw the clicks of the last issues against their median; None if there are none."""
    counted = [(issue, report) for issue, report in found[:ISSUES_DRAWN] if report is not None][::-1]
    if not any(report.clicks for _, report in counted):
        return None
    clicks = [report.clicks for _, report in counted]
    median = sorted(clicks)[len(clicks) // 2]
    label = i18n.gettext(
        language,
        "Clicks per issue: {last} of the last one, usually {usual}.",
        last=i18n.format_number(language, clicks[-1]),
        usual=i18n.format_number(language, median),
    )
    series = [charts.Series(name=i18n.gettext(language, "Clicks"), values=clicks)]
    steps = [(at, str(issue.number)) for at, (issue, _) in enumerate(counted)]
    return Figure(
        svg=charts.bars(series, label=label, steps=steps, language=language, usual=median),
        key=charts.key(series, is_filled=True, has_usual=i18n.gettext(language, "Usual")),
        head=("Issue", "Clicks"),
        rows=[(issue.number, i18n.format_number(language, report.clicks)) for issue, report in counted][::-1],
    )


def _providers(language: str, found: Sequence[ProviderTotal]) -> Figure | None:
    troubled = [one for one in found if one.refused or one.deferred]
    if not troubled:
        return None
    names = [one.provider or i18n.gettext(language, "all others") for one in troubled]
    series = [
        charts.Series(name=i18n.gettext(language, "Refused"), values=[one.refused for one in troubled], color=1),
        charts.Series(name=i18n.gettext(language, "Deferred"), values=[one.deferred for one in troubled], color=3),
    ]
    label = i18n.gettext(language, "Refused and deferred by provider, most at {provider}.", provider=names[0])
    return Figure(
        svg=charts.rows(names, series, label=label, language=language),
        key=charts.key(series, is_filled=True),
        head=("Provider", "Accepted", "Refused", "Deferred"),
        rows=[
            (name, *(i18n.format_number(language, count) for count in (one.accepted, one.refused, one.deferred)))
            for name, one in zip(names, troubled, strict=True)
        ],
    )


def _mix(language: str, sums: Sequence[tuple[str, int]], names: dict[str, str]) -> Figure | None:
    whole = sum(count for _, count in sums)
    if not whole:
        return None
    told = [
        (i18n.gettext(language, names.get(code, code)), count, results.percent(language, 100 * count / whole))
        for code, count in sums
    ]
    label = ", ".join(f"{name} {part}" for name, _, part in told)
    series = [charts.Series(name=f"{name} {part}", values=(), color=at) for at, (name, _, part) in enumerate(told)]
    return Figure(
        svg=charts.share([count for _, count, _ in told], label=label),
        key=charts.key(series[: len(charts.COLORS)], is_filled=True),
        head=("Choice", "Readers", "Share"),
        rows=[(name, i18n.format_number(language, count), part) for name, count, part in told],
    )


def _day(language: str, day: date) -> str:
    return i18n.format_date(language, day, "medium")


def _short_day(language: str, day: date) -> str:
    """Write a day under a chart: without its year, for which there is no room."""
    return _day(language, day).rsplit("\u00a0", 1)[0]
