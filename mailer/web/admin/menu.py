"""The menu of the desk, and what waits behind its entries: counted by one statement for each page."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer import i18n

# Name by which a page says where it stands, address, label.
ENTRIES: Final = (
    ("overview", "/admin", "Overview"),
    ("issues", "/admin/issues", "Issues"),
    ("articles", "/admin/articles", "Articles"),
    ("subscribers", "/admin/subscribers", "Subscribers"),
    ("newsletters", "/admin/newsletters", "Newsletters"),
    ("forms", "/admin/forms", "Forms"),
    ("reports", "/admin/reports", "Reports"),
    ("settings", "/admin/settings", "Settings"),
)
# More than so many are not counted.
MOST: Final = 99


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits for somebody: issues by where they stand, and articles that no issue has held yet."""

    scheduled: int
    sending: int
    stopped: int
    articles: int


def waiting(session: Session, newsletter_ids: Collection[int] | None) -> Waiting:
    """Count what waits in these newsletters; None for all."""
    values = {"ids": list(newsletter_ids or ()), "all": newsletter_ids is None, "most": MOST + 1}
    row = session.execute(_WAITING, values).one()
    return Waiting(scheduled=row.scheduled, sending=row.sending, stopped=row.stopped, articles=row.articles)


def notes(language: str, counted: Waiting) -> dict[str, str]:
    """Say beside which entry of the menu what waits: {"issues": "1 scheduled"}."""
    said: dict[str, str] = {}
    if counted.stopped:
        said["issues"] = _say(language, "{n} stopped", counted.stopped)
    elif counted.sending:
        said["issues"] = i18n.gettext(language, "sending")
    elif counted.scheduled:
        said["issues"] = _say(language, "{n} scheduled", counted.scheduled)
    if counted.articles:
        said["articles"] = _say(language, "{n} new", counted.articles)
    return said


def _say(language: str, sentence: str, count: int) -> str:
    return i18n.gettext(language, sentence, n=f"{MOST}+" if count > MOST else count)


# An issue that failed is forgotten here once a later one of its newsletter has left.
_WAITING: Final = text("""
WITH chosen AS (
    SELECT id FROM newsletters WHERE CAST(:all AS boolean) OR id = ANY(CAST(:ids AS bigint[]))
), standing AS (
    SELECT i.state FROM issues i JOIN chosen c ON c.id = i.newsletter_id
    WHERE i.state IN ('scheduled', 'sending', 'paused') OR (
        i.state = 'failed' AND NOT EXISTS (
            SELECT FROM issues later
            WHERE later.newsletter_id = i.newsletter_id AND later.id > i.id AND later.started_at IS NOT NULL
        )
    )
), last AS (
    SELECT c.id, COALESCE(max(i.window_end), '-infinity') AS moment FROM chosen c
    LEFT JOIN issues i ON i.newsletter_id = c.id AND i.started_at IS NOT NULL AND i.state <> 'failed'
    GROUP BY c.id
), fresh AS (
    SELECT a.id FROM last l
    JOIN newsletter_feeds f ON f.newsletter_id = l.id
    JOIN articles a ON a.feed_id = f.feed_id AND a.status = 'ready'
        AND a.first_seen_at > GREATEST(l.moment, f.stock_until)
    UNION
    SELECT a.id FROM last l
    JOIN admitted_articles d ON d.newsletter_id = l.id AND d.admitted_at > l.moment
    JOIN articles a ON a.id = d.article_id AND a.status = 'ready'
    LIMIT :most
)
SELECT count(*) FILTER (WHERE state = 'scheduled') AS scheduled, count(*) FILTER (WHERE state = 'sending') AS sending,
    count(*) FILTER (WHERE state IN ('paused', 'failed')) AS stopped, (SELECT count(*) FROM fresh) AS articles
FROM standing
""")
