"""Which readers of a newsletter get something else than the edition of an issue, and in which groups.

All of it is SQL over a temporary table that lives until the end of the transaction: a million readers are never read into
memory, only their few groups. Readers who are not in the table get the edition as the newsroom arranged it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Session
from sqlalchemy.types import BigInteger, DateTime

from mailer.issues import replacements
from mailer.models.content import Issue, Newsletter
from mailer.models.deliveries import Batch

# Any number; the same for all newsletters.
_LOCK: Final = 7_031_904
_CREATE: Final = text("""
CREATE TEMPORARY TABLE variant_readers (
    subscription_id bigint PRIMARY KEY,
    language text NOT NULL,
    topics jsonb NOT NULL,
    start timestamptz NOT NULL,
    had bigint[] NOT NULL DEFAULT '{}',
    owed bigint[] NOT NULL DEFAULT '{}',
    is_due boolean NOT NULL,
    variant_id bigint
) ON COMMIT DROP
""")
_ADD_CHOOSERS: Final = text("""
INSERT INTO variant_readers (subscription_id, language, topics, start, is_due)
SELECT s.id, s.language, s.topics, coalesce(s.watermark, :start, '-infinity'),
    (s.paused_until IS NULL OR s.paused_until <= :now)
    AND (s.rhythm = 'each' OR s.watermark IS NULL
        OR date_trunc(u.unit, s.watermark AT TIME ZONE :zone) < date_trunc(u.unit, :until AT TIME ZONE :zone))
FROM subscriptions s
LEFT JOIN (VALUES ('daily', 'day'), ('weekly', 'week'), ('monthly', 'month')) u(rhythm, unit) ON u.rhythm = s.rhythm
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed'
    AND NOT (s.topics = '[]' AND s.rhythm = 'each' AND s.paused_until IS NULL AND s.watermark IS NULL)
""")
# What lies before a reader's own window can't come again, so it does not tell readers apart. OFFSET 0: reader by reader
# through the index, however many deliveries of others there are.
_ADD_WHAT_CHOOSERS_HAD: Final = text("""
UPDATE variant_readers r SET had = found.had FROM (
    SELECT r.subscription_id, array_agg(DISTINCT v.id ORDER BY v.id) AS had
    FROM variant_readers r
    JOIN subscriptions s ON s.id = r.subscription_id
    JOIN subscriptions other ON other.subscriber_id = s.subscriber_id
    CROSS JOIN LATERAL (
        SELECT d.variant_id, o.outcome FROM deliveries d LEFT JOIN outcomes o ON o.delivery_id = d.id
        WHERE d.subscription_id = other.id AND (d.issue_id = ANY(:issue_ids) OR d.issue_id IS NULL)
            AND (o.outcome IS NULL OR o.outcome NOT IN ('refused', 'skipped'))
        OFFSET 0
    ) d
    LEFT JOIN unnest(:replaced, :replacing) x(old, new) ON x.old = d.variant_id AND d.outcome IS NULL
    JOIN unnest(:variant_ids, :latest) v(id, latest) ON v.id = coalesce(x.new, d.variant_id) AND v.latest >= r.start
    WHERE r.is_due
    GROUP BY r.subscription_id
) found WHERE found.subscription_id = r.subscription_id
""")
_ADD_THE_OTHERS_WHO_HAD: Final = text("""
INSERT INTO variant_readers (subscription_id, language, topics, start, had, is_due)
SELECT s.id, s.language, s.topics, coalesce(:start, '-infinity'),
    array_agg(DISTINCT v.id ORDER BY v.id), true
FROM (
    SELECT d.id, d.variant_id, d.subscription_id
    FROM unnest(:issue_ids, :firsts, :lasts) i(id, first, last)
    JOIN deliveries d ON d.id BETWEEN i.first AND i.last AND d.issue_id = i.id AND d.variant_id = ANY(:variant_ids || :replaced)
    UNION ALL
    -- Those whom the issue welcomed: a mail to one reader, outside of the issue's own ledger.
    SELECT d.id, d.variant_id, d.subscription_id
    FROM deliveries d WHERE d.issue_id IS NULL AND d.variant_id = ANY(:variant_ids)
) d
JOIN subscriptions other ON other.id = d.subscription_id
JOIN subscriptions s ON s.subscriber_id = other.subscriber_id
    AND s.newsletter_id = :newsletter_id AND s.state = 'confirmed'
LEFT JOIN outcomes o ON o.delivery_id = d.id
LEFT JOIN unnest(:replaced, :replacing) x(old, new) ON x.old = d.variant_id AND o.outcome IS NULL
JOIN unnest(:variant_ids) v(id) ON v.id = coalesce(x.new, d.variant_id)
WHERE o.outcome IS NULL OR o.outcome NOT IN ('refused', 'skipped')
GROUP BY s.id
ON CONFLICT DO NOTHING
""")
_GROUPS: Final = text("""
SELECT language, topics, NULLIF(start, '-infinity') AS start, had, owed, count(*) AS readers
FROM variant_readers WHERE is_due GROUP BY 1, 2, variant_readers.start, 4, 5 ORDER BY readers DESC, 1, 2, 3, 4, 5
""")
_ASSIGN: Final = text("""
UPDATE variant_readers r SET variant_id = g.variant_id
FROM jsonb_to_recordset(:groups)
    AS g(language text, topics jsonb, start timestamptz, had bigint[], owed bigint[], variant_id bigint)
WHERE r.is_due AND r.language = g.language AND r.topics = g.topics AND r.start = g.start AND r.had = g.had AND r.owed = g.owed
""")
_ADVANCE: Final = text("""
UPDATE subscriptions s
SET watermark = CASE WHEN NOT r.is_due THEN coalesce(s.watermark, :start)
        WHEN s.rhythm <> 'each' OR s.paused_until > :now THEN :until END,
    paused_until = CASE WHEN s.paused_until > :now THEN s.paused_until END
FROM variant_readers r
WHERE r.subscription_id = s.id AND (s.rhythm <> 'each' OR s.paused_until IS NOT NULL OR s.watermark IS NOT NULL)
""")
_COUNT: Final = text("""
SELECT count(*) FILTER (WHERE NOT is_due) AS not_due,
    count(*) FILTER (WHERE is_due AND variant_id IS NULL) AS without_news
FROM variant_readers
""")
_LEAVE_OUT: Final = text("""
INSERT INTO variant_readers (subscription_id, language, topics, start, is_due)
SELECT s.id, s.language, s.topics, '-infinity', true
FROM deliveries d
JOIN subscriptions s ON s.id = d.subscription_id
LEFT JOIN outcomes o ON o.delivery_id = d.id
WHERE d.id BETWEEN :first AND :last AND d.issue_id = :issue_id
    AND (o.outcome IS NULL OR o.outcome NOT IN ('refused', 'skipped'))
ON CONFLICT DO NOTHING
""")
_LANGUAGES: Final = text("""
SELECT DISTINCT s.language FROM subscriptions s LEFT JOIN variant_readers r ON r.subscription_id = s.id
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed' AND r.subscription_id IS NULL ORDER BY 1
""")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Readers who can share a variant: same language, topics and window, same earlier variants and corrections."""

    language: str
    topics: tuple[str, ...]
    start: datetime | None
    had: tuple[int, ...]
    owed: tuple[int, ...]
    readers: int


@dataclass(frozen=True, kw_only=True)
class Held:
    """An earlier variant that held candidates of this issue; `latest` of them became new then."""

    variant_id: int
    issue_id: int
    latest: datetime


def wait_for_others(session: Session) -> None:
    """Wait until no other issue is being frozen, and keep others waiting: each must see what the one before gave whom."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def gather(session: Session, issue: Issue, *, start: datetime | None, until: datetime, now: datetime) -> None:
    """Begin with the readers who chose topics, a rhythm or a pause, or who catch up."""
    session.execute(text("DROP TABLE IF EXISTS variant_readers"))
    session.execute(_CREATE)
    values = {
        "newsletter_id": issue.newsletter_id,
        "start": start,
        "until": until,
        "now": now,
        "zone": session.get_one(Newsletter, issue.newsletter_id).timezone,
    }
    session.execute(_ADD_CHOOSERS.bindparams(*moments("start", "until", "now")), values)
    # Of a temporary table the planner knows nothing by itself.
    session.execute(text("ANALYZE variant_readers"))


def keep_aside(session: Session, *, only_paused: bool, now: datetime) -> None:
    """Let everybody else get the edition: only those stay who paused, or also those whose rhythm says later."""
    statement = text(
        "DELETE FROM variant_readers r USING subscriptions s WHERE s.id = r.subscription_id"
        " AND (r.is_due OR :only_paused AND (s.paused_until IS NULL OR s.paused_until <= :now))"
    )
    session.execute(statement.bindparams(*moments("now")), {"only_paused": only_paused, "now": now})


def leave_out(session: Session, issue_id: int) -> None:
    """Let those get nothing who were given an issue, or may have been. For what has no articles to tell them apart by."""
    for _, first, last in ranges(session, [issue_id]):
        session.execute(_LEAVE_OUT, {"issue_id": issue_id, "first": first, "last": last})
    session.execute(text("ANALYZE variant_readers"))


def longest_window(session: Session) -> datetime | None:
    """Return where the longest window of the readers who are due starts; None if there are none."""
    found = text("SELECT min(start) AS earliest FROM variant_readers WHERE is_due AND start > '-infinity'")
    earliest: datetime | None = session.execute(found).scalar_one()
    return earliest


def note_what_they_had(
    session: Session, issue: Issue, *, held: Sequence[Held], edition: Collection[int], start: datetime | None
) -> None:
    """Note for each reader the earlier variants that matter, and add those who would get the edition had they none.

    `edition` are the variants of `held` that held something of the edition.
    """
    replaced = replacements.pairs(session, {one.issue_id for one in held})
    _note_choosers(session, held, replaced)
    found = ranges(session, {one.issue_id for one in held if one.variant_id in edition})
    if found:
        statement = _ADD_THE_OTHERS_WHO_HAD.bindparams(
            *moments("start"), *numbers("issue_ids", "firsts", "lasts", "variant_ids", "replaced", "replacing")
        )
        values = {
            "newsletter_id": issue.newsletter_id,
            "start": start,
            "issue_ids": [one[0] for one in found],
            "firsts": [one[1] for one in found],
            "lasts": [one[2] for one in found],
            "variant_ids": sorted(edition),
            "replaced": list(replaced),
            "replacing": list(replaced.values()),
        }
        session.execute(statement, values)
    session.execute(text("ANALYZE variant_readers"))


def groups(session: Session) -> list[Group]:
    """List the groups of the readers who are due, the largest first."""
    rows = session.execute(
        _GROUPS.columns(topics=JSONB, had=ARRAY(BigInteger), owed=ARRAY(BigInteger), start=DateTime(timezone=True))
    )
    return [
        Group(
            language=row.language,
            topics=tuple(row.topics),
            start=row.start,
            had=tuple(row.had),
            owed=tuple(row.owed),
            readers=row.readers,
        )
        for row in rows
    ]


def assign(session: Session, chosen: Iterable[tuple[Group, int]]) -> None:
    """Give each group its variant. Those of a group without one get nothing."""
    rows = [
        {
            "language": group.language,
            "topics": list(group.topics),
            "start": group.start.isoformat() if group.start else "-infinity",
            "had": list(group.had),
            "owed": list(group.owed),
            "variant_id": variant_id,
        }
        for group, variant_id in chosen
    ]
    session.execute(_ASSIGN.bindparams(bindparam("groups", type_=JSONB)), {"groups": rows})


def ordinary_languages(session: Session, newsletter_id: int) -> list[str]:
    """List the languages of the readers who get the edition."""
    return list(session.execute(_LANGUAGES, {"newsletter_id": newsletter_id}).scalars())


def count_left_aside(session: Session) -> Mapping[str, int]:
    """Count the readers who get nothing, by reason: `not_due`, `without_news`."""
    return session.execute(_COUNT).one()._asdict()


def advance(session: Session, *, start: datetime, until: datetime, now: datetime) -> None:
    """Move the watermarks of those who were given something or rightly nothing; the others' window stays open.

    `start` is the one for those who are not due and had no watermark yet.
    """
    statement = _ADVANCE.bindparams(*moments("start", "until", "now"))
    session.execute(statement, {"start": start, "until": until, "now": now})


def ranges(session: Session, issue_ids: Collection[int]) -> list[tuple[int, int, int]]:
    """Return where the deliveries of issues lie: they are indexed by id only."""
    if not issue_ids:
        return []
    statement = select(Batch.issue_id, func.min(Batch.first_id), func.max(Batch.last_id))
    rows = session.execute(statement.where(Batch.issue_id.in_(issue_ids)).group_by(Batch.issue_id))
    return [(row[0], row[1], row[2]) for row in rows if row[0] is not None]


def moments(*names: str) -> list[BindParameter[datetime]]:
    """Declare parameters of a statement that are moments."""
    return [bindparam(name, type_=DateTime(timezone=True)) for name in names]


def numbers(*names: str) -> list[BindParameter[Sequence[int]]]:
    """Declare parameters of a statement that are arrays of numbers."""
    return [bindparam(name, type_=ARRAY(BigInteger)) for name in names]


def _note_choosers(session: Session, held: Sequence[Held], replaced: Mapping[int, int]) -> None:
    if not held:
        return
    statement = _ADD_WHAT_CHOOSERS_HAD.bindparams(
        *numbers("issue_ids", "variant_ids", "replaced", "replacing"),
        bindparam("latest", type_=ARRAY(DateTime(timezone=True))),
    )
    values = {
        "issue_ids": sorted({one.issue_id for one in held}),
        "variant_ids": [one.variant_id for one in held],
        "latest": [one.latest for one in held],
        "replaced": list(replaced),
        "replacing": list(replaced.values()),
    }
    session.execute(statement, values)
