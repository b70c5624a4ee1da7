"""A newsletter with as many readers as a bench wants, an issue for them, and what the service is told."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer import clock, db, queue, settings
from mailer.articles import pictures, shrinking
from mailer.cli.demo_installation import NEWSLETTER
from mailer.db import transaction
from mailer.delivery import copies
from mailer.embedded import sample
from mailer.issues import issues
from mailer.models.content import Article, IssueState
from mailer.models.pictures import Picture
from mailer.newsroom import newsletters

_READERS = text("""
WITH made AS (
    INSERT INTO subscribers (address, address_key, created_at)
    SELECT 'reader' || n || '@example' || n % 50 || '.org', 'reader' || n || '@example' || n % 50 || '.org', now()
    FROM generate_series(1, :count) n RETURNING id
)
INSERT INTO subscriptions (subscriber_id, newsletter_id, state, language, requested_at, confirmed_at)
SELECT id, :newsletter_id, 'confirmed', 'fr', now(), now() FROM made
""")


def environment(*, database_url: str, redis_url: str, smtp_port: int, journal_dir: Path) -> dict[str, str]:
    """Return the settings that a service needs in any bench."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MAILER_SECRET_KEY": "a secret for measuring, long enough",
        "MAILER_PUBLIC_URL": "https://lettre.courrier.example",
        "MAILER_SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
        "MAILER_JOURNAL_DIR": str(journal_dir),
    }


def forget() -> None:
    """Forget the settings and connections of an earlier bench of this process."""
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    if queue.client.cache_info().currsize:
        queue.client().close()
    for cached in (settings.load, db.engine, queue.client):
        cached.cache_clear()
    copies.forget()


def fill(readers: int) -> None:
    """Make the sample newsletter with as many confirmed readers. Its feed is not read."""
    with transaction() as session:
        now = clock.now()
        values = {**NEWSLETTER, "site_url": "https://courrier.example"}
        newsletter = newsletters.create(session, "courrier", values=values, now=now)
        newsletters.add_feed(session, newsletter, "https://courrier.example/feed.xml", now=now)
        for feed in newsletters.feeds(session, newsletter):
            feed.next_read_at = now + timedelta(days=1)
        session.execute(_READERS, {"count": readers, "newsletter_id": newsletter.id})
    with transaction() as session:
        session.execute(text("ANALYZE"))


def draft() -> int:
    """Draft an issue of twelve new articles and return its id."""
    with transaction() as session:
        now = clock.now()
        newsletter = newsletters.get(session, "courrier")
        feed = newsletters.feeds(session, newsletter)[0]
        for number, one in enumerate(sample.articles(started_at=now, later_at=None)):
            key = f"{one.slug}-{now.timestamp()}"
            url = f"https://courrier.example/{key}"
            words: dict[str, object] = {"title": one.title, "excerpt": one.excerpt, "topics": [one.topic]}
            dates = {"published_at": now - timedelta(seconds=number + 1), "first_seen_at": now, "updated_at": now}
            picture = _fetched_picture(session, f"https://courrier.example/{key}.jpg", now=now)
            session.add(
                Article(feed_id=feed.id, guid=key, url=url, canonical_url=key, image_url=picture, **words, **dates)
            )
        session.flush()
        return issues.draft(session, newsletter, now=now + timedelta(milliseconds=1)).id


def _fetched_picture(session: Session, url: str, *, now: datetime) -> str:
    """Enter a picture that needs no fetching, so that mails are as long as real ones. Returns its address."""
    picture = Picture(url=url, due_at=now, created_at=now, updated_at=now)
    session.add(picture)
    session.flush()
    lead = shrinking.File(use="lead", width=1104, height=621, kind="jpg", content=b"")
    card = shrinking.File(use="card", width=240, height=160, kind="jpg", content=b"")
    digest = hashlib.sha256(url.encode()).hexdigest()[:32]
    pictures.keep(session, picture.id, shrinking.Shrunk(digest=digest, files=(lead, card)), now=now)
    return url


def start(issue_id: int) -> None:
    """Send the issue now, as the desk's button does."""
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue_id), now=clock.now())
    queue.enqueue(queue.START_ISSUE, issue_id)


def state_of(issue_id: int) -> IssueState:
    """Tell how far the issue is."""
    with transaction() as session:
        return issues.get(session, issue_id).state
