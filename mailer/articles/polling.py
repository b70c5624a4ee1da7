"""Reading feeds: look up which is due, fetch it over the network, store what it says. No transaction spans the network."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.articles import intake, silence
from mailer.db import transaction
from mailer.feeds import articles, fetch, parse
from mailer.models.content import Feed, Newsletter, NewsletterFeed
from mailer.newsroom import alerts

SLOWEST_RETRY: Final = timedelta(hours=6)
MOST_PUSHED: Final = articles.MOST_ARTICLES
_AT_ONCE: Final = 8
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


class PushInvalid(ValueError):
    """What was pushed can't be stored; the message says which article and why."""


def due_feeds(session: Session, *, now: datetime, limit: int) -> list[int]:
    """Take the feeds that are due to be read, putting each off so that no second tick takes it too."""
    due = select(Feed.id).where(Feed.next_read_at <= now, Feed.is_pushed.is_(False))
    due = due.order_by(Feed.next_read_at).limit(limit)
    taken = (
        update(Feed)
        .where(Feed.id.in_(due.with_for_update(skip_locked=True)))
        .values(next_read_at=now + timedelta(minutes=2))
    )
    return list(session.execute(taken.returning(Feed.id)).scalars())


def read_feed(feed_id: int) -> str | None:
    """Read one feed and store its articles. Returns None, or what is wrong: the last good articles are kept then.

    Talks to the network, at most 20 seconds, and to the database before and after. A pushed feed is not read.
    """
    with transaction() as session:
        feed = session.get(Feed, feed_id)
        if feed is None or feed.is_pushed:
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
        now = clock.now()
        told, withdrawn = (parsed.articles, parsed.withdrawn) if parsed else ((), ())
        stored = intake.store(session, feed_id, told, is_whole=True, withdrawn=withdrawn, now=now)
        _record_success(session, feed_id, fetched, parsed, now=now)
        # A redirect for good is believed once what it leads to is known to be the same feed.
        if fetched is not None and fetched.moved_to and stored.new < len(told):
            _move(session, feed_id, fetched.moved_to)
    return None


def read_for(newsletter_id: int, *, older_than: timedelta) -> None:
    """Read those of a newsletter's feeds that were not read for `older_than`, so that its issue is made of fresh news."""
    stale = clock.now() - older_than
    with transaction() as session:
        ids = session.execute(
            select(Feed.id)
            .join(NewsletterFeed, NewsletterFeed.feed_id == Feed.id)
            .where(NewsletterFeed.newsletter_id == newsletter_id, Feed.is_pushed.is_(False))
            .where(or_(Feed.last_read_at.is_(None), Feed.last_read_at < stale))
        ).scalars()
        feed_ids = list(ids)
    # Side by side: one slow site must not make the issue late by the sum of all.
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        list(pool.map(read_feed, feed_ids))


def add_push_feed(session: Session, newsletter: Newsletter, *, now: datetime) -> Feed:
    """Return the feed that articles are pushed into for a newsletter; made at the first call."""
    url = f"push:{newsletter.slug}"
    values = {"url": url, "title": newsletter.name, "is_pushed": True, "next_read_at": _NEVER, "created_at": now}
    session.execute(insert(Feed).values(**values).on_conflict_do_nothing())
    feed = session.execute(select(Feed).where(Feed.url == url)).scalar_one()
    # A push has no stock: whatever comes is new.
    link = {"newsletter_id": newsletter.id, "feed_id": feed.id, "stock_until": datetime.fromtimestamp(0, UTC)}
    session.execute(insert(NewsletterFeed).values(**link).on_conflict_do_nothing())
    return feed


def push(session: Session, feed: Feed, pushed: Sequence[articles.RawArticle], *, now: datetime) -> intake.Stored:
    """Store articles that a site's own system sends, by the rules for feeds; again with the same guid is an update.

    An article needs a title and a link; without a guid its address is its identity. Raises PushInvalid, having stored
    nothing.
    """
    if len(pushed) > MOST_PUSHED:
        raise PushInvalid(f"There are {len(pushed)} articles; push at most {MOST_PUSHED} at a time.")
    raw = articles.RawFeed(url=feed.url, title=feed.title or "", home="", language="", articles=pushed)
    finished = articles.finish(raw).articles
    for number, one in enumerate(pushed, start=1):
        if not one.title.strip() or not articles.has_address(one):
            raise PushInvalid(f"Article {number} has no title or no http:// or https:// address.")
    return intake.store(session, feed.id, finished, is_whole=False, now=now)


def take_back(session: Session, feed: Feed, guids: Sequence[str]) -> list[int]:
    """Withdraw pushed articles by guid, so that no issue takes them; pushed again, they return. Returns their ids."""
    return intake.take_back(session, feed.id, guids)


def _record_success(
    session: Session, feed_id: int, fetched: fetch.FetchedFeed | None, parsed: parse.ParsedFeed | None, *, now: datetime
) -> None:
    feed = session.get_one(Feed, feed_id, with_for_update=True)
    feed.last_read_at = feed.last_success_at = now
    feed.failures, feed.error = 0, None
    feed.next_read_at = now + timedelta(minutes=settings.load().feed_minutes)
    if fetched is not None and parsed is not None:
        feed.etag, feed.last_modified, feed.title = fetched.etag, fetched.last_modified, parsed.title
    silent = silence.silent_since(session, feed_id, now=now)
    if silent is not None and feed.silent_since is None:
        log.warning("feed fell silent", feed=feed_id, since=silent.isoformat())
        alerts.note_silence(session, feed, silent, now=now)
    feed.silent_since = silent
    session.flush()


def _move(session: Session, feed_id: int, url: str) -> None:
    taken = session.execute(select(Feed.id).where(Feed.url == url)).scalar_one_or_none()
    if taken is None:
        session.execute(update(Feed).where(Feed.id == feed_id).values(url=url))
        log.info("feed moved for good", feed=feed_id)


def _record_failure(session: Session, feed_id: int, error: str, *, now: datetime) -> None:
    feed = session.get_one(Feed, feed_id, with_for_update=True)
    feed.failures += 1
    feed.last_read_at, feed.error = now, error[:500]
    usual = timedelta(minutes=settings.load().feed_minutes)
    feed.next_read_at = now + min(usual * 2 ** min(feed.failures, 10), max(SLOWEST_RETRY, usual))
