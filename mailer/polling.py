"""Reading feeds: look up which is due, fetch it over the network, store what it says. No transaction spans the network."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.db import transaction
from mailer.feeds import fetch, parse, urls
from mailer.models.content import Article, Feed, NewsletterFeed

SLOWEST_RETRY: Final = timedelta(hours=6)
UPDATED_COLUMNS: Final = (
    "url",
    "canonical_url",
    "title",
    "excerpt",
    "html",
    "author",
    "topics",
    "language",
    "image_url",
    "image_alt",
    "image_credit",
    "minutes",
    "published_at",
)

log = structlog.get_logger()


def due_feeds(session: Session, *, now: datetime, limit: int) -> list[int]:
    """Take the feeds that are due to be read, putting each off so that no second tick takes it too."""
    due = select(Feed.id).where(Feed.next_read_at <= now).order_by(Feed.next_read_at).limit(limit)
    taken = (
        update(Feed)
        .where(Feed.id.in_(due.with_for_update(skip_locked=True)))
        .values(next_read_at=now + timedelta(minutes=2))
    )
    return list(session.execute(taken.returning(Feed.id)).scalars())


def read_feed(feed_id: int) -> str | None:
    """Read one feed and store its articles. Returns None, or what is wrong: the last good articles are kept then.

    Talks to the network, at most 20 seconds, and to the database before and after.
    """
    with transaction() as session:
        feed = session.get(Feed, feed_id)
        if feed is None:
            return None
        url, etag, last_modified = feed.url, feed.etag, feed.last_modified
    networks = settings.load().feed_private_networks
    try:
        fetched = fetch.fetch(url, etag=etag, last_modified=last_modified, private_networks=networks)
        parsed = None
        if fetched is not None:
            parsed = parse.parse(fetched.body, content_type=fetched.content_type, url=fetched.url)
    except (fetch.FeedUnreachable, parse.FeedInvalid) as error:
        with transaction() as session:
            _record_failure(session, feed_id, str(error), now=clock.now())
        log.warning("feed not read", feed=feed_id, error=str(error))
        return str(error)
    with transaction() as session:
        if fetched is not None and parsed is not None:
            store(session, feed_id, parsed, now=clock.now())
        _record_success(session, feed_id, fetched, parsed, now=clock.now())
    return None


def read_for(newsletter_id: int, *, older_than: timedelta) -> None:
    """Read those of a newsletter's feeds that were not read for `older_than`, so that its issue is made of fresh news."""
    stale = clock.now() - older_than
    with transaction() as session:
        ids = session.execute(
            select(Feed.id)
            .join(NewsletterFeed, NewsletterFeed.feed_id == Feed.id)
            .where(NewsletterFeed.newsletter_id == newsletter_id)
            .where(or_(Feed.last_read_at.is_(None), Feed.last_read_at < stale))
        ).scalars()
        feed_ids = list(ids)
    for feed_id in feed_ids:
        read_feed(feed_id)


def store(session: Session, feed_id: int, parsed: parse.ParsedFeed, *, now: datetime) -> int:
    """Store a feed's articles: new ones with `now` as first-seen time, known ones with their latest words.

    An article that left the feed stays. Returns how many were new.
    """
    rows = [_row(feed_id, article, now=now) for article in _last_of_each(parsed.articles)]
    if not rows:
        return 0
    before = session.execute(select(func.count()).select_from(Article).where(Article.feed_id == feed_id)).scalar_one()
    statement = insert(Article).values(rows)
    changes = {name: statement.excluded[name] for name in UPDATED_COLUMNS}
    changed = or_(*(Article.__table__.c[name].is_distinct_from(statement.excluded[name]) for name in UPDATED_COLUMNS))
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["feed_id", "guid"], set_={**changes, "updated_at": now}, where=changed
        )
    )
    after = session.execute(select(func.count()).select_from(Article).where(Article.feed_id == feed_id)).scalar_one()
    return after - before


def _last_of_each(articles: Sequence[parse.ParsedArticle]) -> list[parse.ParsedArticle]:
    # A feed that repeats a guid would make one INSERT touch a row twice; its first mention counts.
    unique: dict[str, parse.ParsedArticle] = {}
    for article in articles:
        unique.setdefault(article.guid, article)
    return list(unique.values())


def _row(feed_id: int, article: parse.ParsedArticle, *, now: datetime) -> dict[str, object]:
    return {
        "feed_id": feed_id,
        "guid": article.guid,
        "url": article.url,
        "canonical_url": urls.canonical_url(article.url),
        "title": article.title,
        "excerpt": article.excerpt,
        "html": article.html,
        "author": article.author,
        "topics": list(article.topics),
        "language": article.language,
        "image_url": article.image_url,
        "image_alt": article.image_alt,
        "image_credit": article.image_credit,
        "minutes": article.minutes,
        "published_at": article.published_at,
        "first_seen_at": now,
        "updated_at": now,
    }


def _record_success(
    session: Session, feed_id: int, fetched: fetch.FetchedFeed | None, parsed: parse.ParsedFeed | None, *, now: datetime
) -> None:
    values: dict[str, object] = {
        "last_read_at": now,
        "last_success_at": now,
        "failures": 0,
        "error": None,
        "next_read_at": now + timedelta(minutes=settings.load().feed_minutes),
    }
    if fetched is not None and parsed is not None:
        values |= {"etag": fetched.etag, "last_modified": fetched.last_modified, "title": parsed.title}
    session.execute(update(Feed).where(Feed.id == feed_id).values(**values))


def _record_failure(session: Session, feed_id: int, error: str, *, now: datetime) -> None:
    feed = session.get_one(Feed, feed_id, with_for_update=True)
    feed.failures += 1
    feed.last_read_at, feed.error = now, error[:500]
    usual = timedelta(minutes=settings.load().feed_minutes)
    feed.next_read_at = now + min(usual * 2 ** min(feed.failures, 10), max(SLOWEST_RETRY, usual))
