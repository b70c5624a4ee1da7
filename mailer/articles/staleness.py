"""Whether a newsletter's feeds could be read lately: an issue of what few of them told is not the issue one expects."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.models.content import Feed, Newsletter, NewsletterFeed

WORDS: Final = "{stale} of {feeds} feeds could not be read for {hours} h or longer"


@dataclass(frozen=True, kw_only=True)
class Stale:
    """How many of how many feeds could not be read for how many hours."""

    stale: int
    feeds: int
    hours: int

    @property
    def values(self) -> dict[str, str]:
        """The same, as a slot keeps it."""
        return {"stale": str(self.stale), "feeds": str(self.feeds), "hours": str(self.hours)}


def of_newsletter(session: Session, newsletter: Newsletter, *, now: datetime) -> Stale | None:
    """Return how it stands if more feeds than the newsletter allows could not be read for too long; None if all is well.

    Pushed feeds are not read, so they do not count; a feed that never could be read counts from when it was added.
    """
    if newsletter.stale_percent is None:
        return None
    before = now - timedelta(hours=newsletter.stale_hours)
    read_at = func.coalesce(Feed.last_success_at, Feed.created_at)
    statement = (
        select(func.count(), func.count().filter(read_at < before))
        .select_from(Feed)
        .join(NewsletterFeed, NewsletterFeed.feed_id == Feed.id)
        .where(NewsletterFeed.newsletter_id == newsletter.id, Feed.is_pushed.is_(False))
    )
    feeds, stale = session.execute(statement).one()
    if not stale or 100 * stale <= newsletter.stale_percent * feeds:
        return None
    return Stale(stale=stale, feeds=feeds, hours=newsletter.stale_hours)
