"""What a newsletter counts, and what was counted of an issue."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer.counting import tracking
from mailer.db import transaction
from mailer.models.content import Article, Issue, Layout
from mailer.newsroom import newsletters
from mailer.web.admin import screens, session

router = APIRouter(route_class=screens.DeskRoute)

SWITCHES: Final = ("tracks_clicks", "tracks_opens", "tracks_readers", "is_indexable")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A link, in words where it is an article's, and how often it was followed, `width` in percent of the most followed."""

    url: str
    title: str | None
    clicks: int
    by_machines: int
    width: float


@router.post("/newsletters/{slug}/measuring")
def choose(desk: session.Admin, slug: session.Slug) -> Response:
    """Switch on and off what is counted, and whether search engines may list the issues."""
    with transaction() as database:
        values: dict[str, object] = {name: bool(desk.typed(name)) for name in SWITCHES}
        newsletters.edit(database, newsletters.get(database, slug), values=values, now=desk.now)
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


def measured(
    database: Session, issue: Issue, articles: Sequence[tuple[Article, Layout]]
) -> tuple[tracking.Stats, list[Bar]] | None:
    """Return what was counted of an issue, its links with the most followed first; None if nothing is or was."""
    found = tracking.stats(database, issue.id)
    newsletter = issue.newsletter
    is_counted = newsletter.tracks_clicks or newsletter.tracks_opens or newsletter.tracks_readers
    if not (is_counted or found.links or found.opens or found.opens_by_machines):
        return None
    titles = {article.url: article.title for article, _ in articles}
    most = max([1, *(one.clicks for one in found.links)])
    return found, [
        Bar(
            url=one.url,
            title=titles.get(one.url),
            clicks=one.clicks,
            by_machines=one.by_machines,
            width=round(100 * one.clicks / most, 2),
        )
        for one in found.links
    ]
