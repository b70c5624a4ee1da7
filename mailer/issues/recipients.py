"""To whom an issue would go if it left now, and who is left out and why: counts, before anything is frozen.

Who has had all of it already is known only when it is frozen; those are counted then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer.articles import topics
from mailer.issues import grouping
from mailer.models.content import Issue

_COUNT: Final = text("""
SELECT s.language, s.rhythm, s.topics <> '[]' AS has_chosen,
    CASE WHEN s.paused_until > :now THEN 'paused'
        WHEN :keeps_rhythm AND NOT (s.rhythm = 'each' OR s.watermark IS NULL
            OR date_trunc(u.unit, s.watermark AT TIME ZONE :zone) < date_trunc(u.unit, :until AT TIME ZONE :zone))
        THEN 'not_due' ELSE 'due' END AS fate,
    count(*) AS readers
FROM subscriptions s
LEFT JOIN (VALUES ('daily', 'day'), ('weekly', 'week'), ('monthly', 'month')) u(rhythm, unit) ON u.rhythm = s.rhythm
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed'
GROUP BY 1, 2, 3, 4
""")
_TOPICS: Final = text("""
SELECT t.slug, count(*) AS readers
FROM subscriptions s, jsonb_array_elements_text(s.topics) t(slug)
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed' AND s.topics <> '[]'
GROUP BY 1
""")
_HAVE_HAD: Final = text("""
SELECT count(*) FROM deliveries d
JOIN subscriptions s ON s.id = d.subscription_id AND s.state = 'confirmed'
LEFT JOIN outcomes o ON o.delivery_id = d.id
WHERE d.id BETWEEN :first AND :last AND d.issue_id = :issue_id AND (o.outcome IS NULL OR o.outcome NOT IN ('refused', 'skipped'))
""")


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The readers of an issue: how many get it, by language and by rhythm, and how many are left out for which reason.

    `by_topic` counts those who chose topics, each under every topic chosen, by its name; `choose_nothing` get all topics.
    """

    recipients: int
    by_language: Mapping[str, int]
    by_rhythm: Mapping[str, int]
    by_topic: Mapping[str, int]
    choose_nothing: int
    paused: int
    not_due: int
    have_had: int


def count(session: Session, issue: Issue, *, with_topics: bool = False, now: datetime) -> Counted:
    """Count to whom an issue would go now."""
    newsletter = issue.newsletter
    values = {
        "newsletter_id": newsletter.id,
        "now": now,
        "until": issue.window_end or now,
        "zone": newsletter.timezone,
        "keeps_rhythm": issue.body is None or issue.respects_rhythm,
    }
    rows = session.execute(_COUNT.bindparams(*grouping.moments("now", "until")), values).all()
    have_had = _have_had(session, issue)
    due = [row for row in rows if row.fate == "due"]
    return Counted(
        recipients=max(sum(row.readers for row in due) - have_had, 0),
        by_language=_summed((row.language, row.readers) for row in due),
        by_rhythm=_summed((row.rhythm, row.readers) for row in due),
        by_topic=_topics(session, issue, values) if with_topics else {},
        choose_nothing=sum(row.readers for row in due if not row.has_chosen),
        paused=sum(row.readers for row in rows if row.fate == "paused"),
        not_due=sum(row.readers for row in rows if row.fate == "not_due"),
        have_had=have_had,
    )


def _summed(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, readers in pairs:
        found[name] = found.get(name, 0) + readers
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def _topics(session: Session, issue: Issue, values: Mapping[str, object]) -> dict[str, int]:
    chosen = {row.slug: row.readers for row in session.execute(_TOPICS, values)}
    known = topics.of(session, issue.newsletter_id)
    return {topics.name(one, issue.newsletter.language): chosen.get(one.slug, 0) for one in known}


def _have_had(session: Session, issue: Issue) -> int:
    if issue.for_others_of is None:
        return 0
    found = grouping.ranges(session, [issue.for_others_of])
    return sum(
        session.execute(_HAVE_HAD, {"issue_id": one, "first": first, "last": last}).scalar_one()
        for one, first, last in found
    )
