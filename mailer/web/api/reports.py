"""Figures of a newsletter over time, as the desk's reports show them."""

from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import Field

from mailer.db import transaction
from mailer.models.choices import Rhythm
from mailer.models.tokens import Scope
from mailer.newsroom import reports
from mailer.web.api import access
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Id, Shape, Slug

router = APIRouter(route_class=ApiRoute, tags=["Reports"])

_COUNTED: Final = ("accepted", "refused", "clicks", "left", "complained")


class DayFigure(Shape):
    """How many readers there were at the end of a day."""

    day: date
    readers: int


class WeekFigure(Shape):
    """Who came and went in the week that begins on this Monday."""

    monday: date
    joined: int
    left: int


class NewsletterReport(Shape):
    """How a newsletter does: its readers by day, who came and went, what they chose."""

    readers: list[DayFigure]
    weeks: list[WeekFigure]
    rhythms: dict[Rhythm, int]
    languages: dict[str, int]


class UsualFigures(Shape):
    """The median of the last ten issues, of 100 accepted mails."""

    issues: int
    refused: float
    clicks: float
    left: float
    complained: float


class IssueReport(Shape):
    """What an issue led to; `usual` is null with fewer than three issues before it."""

    accepted: int
    refused: int
    clicks: int
    left: int
    complained: int
    clicks_by_hour: list[int] = Field(description="Clicks in each of the first 48 hours.")
    usual: UsualFigures | None


@router.get("/newsletters/{slug}/report", **access.needs(Scope.READ))
def report_newsletter(
    call: access.Current,
    slug: Slug,
    days: Annotated[int, Query(ge=1, le=3660, description="For how many days.")] = 84,
) -> NewsletterReport:
    """Tell how many readers a newsletter had each day, who came and went each week, and what readers chose."""
    with transaction() as session:
        newsletter_id = call.newsletter(session, slug).id
        readers = reports.readers_over(session, newsletter_id, days=days, now=call.now)
        weeks = reports.weeks(session, newsletter_id, count=min(1 + days // 7, 520), now=call.now)
        mix = reports.mix(session, newsletter_id)
    return NewsletterReport(
        readers=[DayFigure(day=day, readers=count) for day, count in readers],
        weeks=[WeekFigure.model_validate(one) for one in weeks],
        rhythms={Rhythm(name): count for name, count in reports.summed(mix, lambda one: one.rhythm)},
        languages=dict(reports.summed(mix, lambda one: one.language)),
    )


@router.get("/issues/{issue_id}/report", **access.needs(Scope.READ))
def report_issue(call: access.Current, issue_id: Id) -> IssueReport:
    """Tell what an issue led to, beside what is usual for its newsletter."""
    with transaction() as session:
        issue = call.issue(session, issue_id)
        if issue.started_at is None:
            # Nothing can have come of it.
            nothing: dict[str, Any] = dict.fromkeys(_COUNTED, 0)
            return IssueReport(**nothing, clicks_by_hour=[0] * reports.HOURS, usual=None)
        found = reports.numbers(session, issue, now=call.now)
        usual = reports.usual(session, issue)
    return IssueReport(
        **{name: getattr(found, name) for name in _COUNTED},
        clicks_by_hour=list(found.hourly),
        usual=UsualFigures.model_validate(usual) if usual else None,
    )
