"""How newsletters fare: readers come and gone, what issues led to, how providers took them, who reads in which rhythm.

Upkeep counts every hour what would take too long when a page is opened; pages read a few hundred rows.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.progress import IssueReport, ProviderTotal, ReaderDay, ReaderMix

# What readers do later is not put down to an issue, and is not counted any more.
REPORT_SPAN: Final = timedelta(days=7)
COUNTED_FOR: Final = REPORT_SPAN + timedelta(days=1)
HOURS: Final = 48
# The issues before it that an issue is compared with.
USUAL_OF: Final = 10
# With fewer, nothing is usual yet.
FEWEST: Final = 3
PROVIDERS_SHOWN: Final = 20
_REPORTED: Final = (IssueState.SENDING, IssueState.PAUSED, IssueState.SENT, IssueState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What an issue led to. `hourly` are the clicks of its first 48 hours, one by one."""

    accepted: int
    refused: int
    clicks: int
    left: int
    complained: int
    hourly: tuple[int, ...]

    def by(self, hour: int) -> int:
        """Count the clicks of the first `hour` hours."""
        return sum(self.hourly[:hour])


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The median of the last issues: of 100 accepted mails, how many were refused, clicked, left or complained about."""

    issues: int
    accepted: float
    refused: float
    clicks: float
    left: float
    complained: float
    # Clicks up to the end of each of the first 48 hours, for 100 accepted mails.
    clicks_by_hour: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Week:
    """Readers who came and went in the week that begins on a Monday."""

    monday: date
    joined: int
    left: int


def count(session: Session, *, now: datetime) -> None:
    """Count anew what may have changed: young issues, the days since the last count, and the mix of readers."""
    young = select(Issue).outerjoin(IssueReport, IssueReport.issue_id == Issue.id).where(Issue.started_at.is_not(None))
    # A last time after that, even if upkeep did not run for long.
    is_open = (IssueReport.issue_id.is_(None)) | (IssueReport.counted_at < Issue.started_at + COUNTED_FOR)
    for issue in list(session.execute(young.where(is_open)).scalars()):
        count_issue(session, issue, now=now)
    for newsletter_id in session.execute(select(Newsletter.id)).scalars().all():
        _count_days(session, newsletter_id, now=now)
    session.execute(text("DELETE FROM reader_mixes"))
    session.execute(_MIX)


def count_issue(session: Session, issue: Issue, *, now: datetime) -> None:
    """Keep what an issue has led to so far."""
    found = numbers(session, issue, now=now)
    values = {
        "accepted": found.accepted,
        "refused": found.refused,
        "clicks": found.clicks,
        "left": found.left,
        "complained": found.complained,
        "hourly": list(found.hourly),
        "counted_at": now,
    }
    kept = insert(IssueReport).values(issue_id=issue.id, **values)
    session.execute(kept.on_conflict_do_update(index_elements=[IssueReport.issue_id], set_=values))


def numbers(session: Session, issue: Issue, *, now: datetime) -> Numbers:
    """Count at this moment what an issue has led to."""
    started = issue.started_at or now
    values = {"issue_id": issue.id, "started": started, "hours": HOURS}
    hourly = [0] * HOURS
    clicks = 0
    for hour, found in session.execute(_CLICKS, values):
        clicks += int(found)
        if hour is not None and 0 <= hour < HOURS:
            hourly[int(hour)] = int(found)
    until = {"newsletter_id": issue.newsletter_id, "until": started + REPORT_SPAN}
    row = session.execute(_BECAME, {**values, **until}).one()
    return Numbers(
        accepted=int(row.accepted),
        refused=int(row.refused),
        clicks=clicks,
        left=int(row.gone),
        complained=int(row.complained),
        hourly=tuple(hourly),
    )


def usual(session: Session, issue: Issue) -> Usual | None:
    """Return the median of the ten issues of the newsletter that were sent before this one; None with fewer than three."""
    before = (
        select(IssueReport)
        .join(Issue, Issue.id == IssueReport.issue_id)
        .where(Issue.newsletter_id == issue.newsletter_id, Issue.id != issue.id, Issue.finished_at.is_not(None))
        .where(Issue.started_at < issue.started_at, IssueReport.accepted > 0)
        .order_by(Issue.started_at.desc())
        .limit(USUAL_OF)
    )
    found = list(session.execute(before).scalars())
    if len(found) < FEWEST:
        return None

    def median(value: Callable[[IssueReport], float]) -> float:
        return statistics.median(100 * value(one) / one.accepted for one in found)

    return Usual(
        issues=len(found),
        accepted=statistics.median(one.accepted for one in found),
        refused=statistics.median(100 * one.refused / (one.accepted + one.refused) for one in found),
        clicks=median(lambda one: one.clicks),
        left=median(lambda one: one.left),
        complained=median(lambda one: one.complained),
        clicks_by_hour=tuple(
            median(lambda one, hour=hour: sum(one.hourly[:hour]))  # type: ignore[misc]
            for hour in range(1, HOURS + 1)
        ),
    )


def readers_now(session: Session) -> dict[int, int]:
    """Return how many readers each newsletter has, by its id: up to 10,000 to the very one, beyond that as of the last
    count, which is an hour old at most. Quick with a million.
    """
    return {row.id: int(row.readers) for row in session.execute(_READERS_NOW)}


def readers_over(session: Session, newsletter_id: int, *, days: int | None, now: datetime) -> list[tuple[date, int]]:
    """Return how many readers there were at the end of each day, up to today; all days since the first if `days` is None."""
    since = date.min if days is None else _day(now) - timedelta(days=days)
    rows = session.execute(
        select(ReaderDay.day, ReaderDay.readers)
        .where(ReaderDay.newsletter_id == newsletter_id)
        .where(ReaderDay.day >= _last_before(session, newsletter_id, since))
        .order_by(ReaderDay.day)
    ).all()
    if not rows:
        return []
    known = {row[0]: row[1] for row in rows}
    first = max(since, rows[0][0])
    readers = rows[0][1]
    listed = []
    for number in range((_day(now) - first).days + 1):
        day = first + timedelta(days=number)
        readers = known.get(day, readers)
        listed.append((day, readers))
    return listed


def weeks(session: Session, newsletter_id: int, *, count: int, now: datetime) -> list[Week]:
    """Return who came and went in each of the last `count` weeks, the running one last."""
    monday = _day(now) - timedelta(days=_day(now).weekday())
    first = monday - timedelta(weeks=count - 1)
    week = func.date_trunc("week", ReaderDay.day)
    rows = session.execute(
        select(week, func.sum(ReaderDay.joined), func.sum(ReaderDay.left))
        .where(ReaderDay.newsletter_id == newsletter_id, ReaderDay.day >= first)
        .group_by(week)
    )
    known = {row[0].date(): (int(row[1]), int(row[2])) for row in rows}
    mondays = [first + timedelta(weeks=number) for number in range(count)]
    return [Week(monday=one, joined=known.get(one, (0, 0))[0], left=known.get(one, (0, 0))[1]) for one in mondays]


def issues(
    session: Session, newsletter_id: int, *, limit: int, before: int | None = None
) -> list[tuple[Issue, IssueReport | None]]:
    """List the issues that were sent, or are being sent, the last first, with what was counted of them."""
    statement = (
        select(Issue, IssueReport)
        .outerjoin(IssueReport, IssueReport.issue_id == Issue.id)
        .where(Issue.newsletter_id == newsletter_id, Issue.state.in_(_REPORTED), Issue.started_at.is_not(None))
    )
    if before is not None:
        statement = statement.where(Issue.id < before)
    rows = session.execute(statement.order_by(Issue.id.desc()).limit(limit)).all()
    return [(row[0], row[1]) for row in rows]


def providers(session: Session, newsletter_id: int, *, limit: int = PROVIDERS_SHOWN) -> list[ProviderTotal]:
    """Sum up how the providers took the last ten issues: those that refused and deferred most come first."""
    last = (
        select(Issue.id)
        .where(Issue.newsletter_id == newsletter_id, Issue.finished_at.is_not(None), Issue.started_at.is_not(None))
        .order_by(Issue.id.desc())
        .limit(USUAL_OF)
    )
    names = ("accepted", "refused", "deferred", "recovered")
    sums = [func.sum(getattr(ProviderTotal, name)).label(name) for name in names]
    trouble = func.sum(ProviderTotal.refused + ProviderTotal.deferred)
    rows = session.execute(
        select(ProviderTotal.provider, *sums)
        .where(ProviderTotal.issue_id.in_(last))
        .group_by(ProviderTotal.provider)
        .order_by(trouble.desc(), func.sum(ProviderTotal.accepted).desc(), ProviderTotal.provider)
        .limit(limit)
    )
    return [
        ProviderTotal(issue_id=0, provider=row[0], **dict(zip(names, map(int, row[1:]), strict=True))) for row in rows
    ]


def mix(session: Session, newsletter_id: int) -> list[ReaderMix]:
    """Return how many readers chose which rhythm and language, the most frequent first."""
    statement = select(ReaderMix).where(ReaderMix.newsletter_id == newsletter_id)
    return list(session.execute(statement.order_by(ReaderMix.readers.desc(), ReaderMix.rhythm)).scalars())


def summed(found: Sequence[ReaderMix], by: Callable[[ReaderMix], str]) -> list[tuple[str, int]]:
    """Sum up a mix by rhythm or by language, the most frequent first."""
    sums: dict[str, int] = {}
    for one in found:
        sums[by(one)] = sums.get(by(one), 0) + one.readers
    return sorted(sums.items(), key=lambda one: (-one[1], one[0]))


def _count_days(session: Session, newsletter_id: int, *, now: datetime) -> None:
    """Count the days since the last that was counted, and that one again: it was not over then."""
    last = session.execute(select(func.max(ReaderDay.day)).where(ReaderDay.newsletter_id == newsletter_id)).scalar_one()
    since = datetime.min.replace(tzinfo=UTC) if last is None else datetime.combine(last, datetime.min.time(), UTC)
    changes = {
        row.day: (int(row.joined), int(row.gone))
        for row in session.execute(_DAYS, {"newsletter_id": newsletter_id, "since": since})
    }
    changes.setdefault(_day(now), (0, 0))
    readers = session.execute(_READERS, {"newsletter_id": newsletter_id}).scalar_one()
    # From today back: how many there are is known for sure, and how many there were follows from it.
    for day in sorted(changes, reverse=True):
        joined, left = changes[day]
        values = {"joined": joined, "left": left, "readers": max(0, readers)}
        row = insert(ReaderDay).values(newsletter_id=newsletter_id, day=day, **values)
        session.execute(row.on_conflict_do_update(index_elements=["newsletter_id", "day"], set_=values))
        readers -= joined - left


def _last_before(session: Session, newsletter_id: int, since: date) -> date:
    found = session.execute(
        select(func.max(ReaderDay.day)).where(ReaderDay.newsletter_id == newsletter_id, ReaderDay.day <= since)
    ).scalar_one()
    return since if found is None else found


def _day(now: datetime) -> date:
    return now.astimezone(UTC).date()


# Single events with their hour, and sums of old ones without.
_CLICKS: Final = text("""
SELECT CASE WHEN at < :started + :hours * interval '1 hour' THEN floor(extract(epoch FROM at - :started) / 3600) END AS hour,
    count(*)
FROM events WHERE link > 0 AND machine IS NULL AND variant_id IN (SELECT id FROM variants WHERE issue_id = :issue_id)
GROUP BY 1
UNION ALL
SELECT NULL, coalesce(sum(count), 0) FROM event_totals
WHERE link > 0 AND NOT is_machine AND variant_id IN (SELECT id FROM variants WHERE issue_id = :issue_id)
""")
_BECAME: Final = text("""
WITH sent AS (
    SELECT coalesce(sum(accepted), 0) AS accepted, coalesce(sum(refused), 0) AS refused
    FROM batches WHERE issue_id = :issue_id
), next AS (
    SELECT least(:until, min(started_at)) AS at FROM issues
    WHERE newsletter_id = :newsletter_id AND started_at > :started
), ended AS (
    SELECT s.ended_reason FROM subscriptions s, next
    WHERE s.newsletter_id = :newsletter_id AND s.state = 'ended' AND s.ended_at >= :started AND s.ended_at < next.at
        AND s.ended_reason IN ('unsubscribed', 'one_click', 'complained')
        AND EXISTS (SELECT FROM deliveries d WHERE d.subscription_id = s.id AND d.issue_id = :issue_id)
)
SELECT sent.accepted, sent.refused,
    (SELECT count(*) FROM ended WHERE ended_reason <> 'complained') AS gone,
    (SELECT count(*) FROM ended WHERE ended_reason = 'complained') AS complained
FROM sent
""")
_DAYS: Final = text("""
SELECT (c.at AT TIME ZONE 'UTC')::date AS day,
    count(*) FILTER (WHERE c.event <> 'ended') AS joined,
    count(*) FILTER (WHERE c.event = 'ended') AS gone
FROM consents c JOIN subscriptions s ON s.id = c.subscription_id
WHERE c.at >= :since AND s.newsletter_id = :newsletter_id
    AND c.event IN ('confirmed', 'imported', 'resumed', 'ended') AND s.confirmed_at IS NOT NULL
    -- Who has another address now neither came nor went.
    AND NOT (c.event = 'ended' AND c.detail IS NOT DISTINCT FROM 'moved')
GROUP BY 1
""")
_READERS: Final = text(
    "SELECT count(*) FROM subscriptions WHERE newsletter_id = :newsletter_id AND state = 'confirmed'"
)
_READERS_NOW: Final = text("""
SELECT n.id, CASE WHEN few.count <= 10000 THEN few.count ELSE coalesce(
    (SELECT d.readers FROM reader_days d WHERE d.newsletter_id = n.id ORDER BY d.day DESC LIMIT 1),
    (SELECT count(*) FROM subscriptions s WHERE s.newsletter_id = n.id AND s.state = 'confirmed')
) END AS readers
FROM newsletters n CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT FROM subscriptions s WHERE s.newsletter_id = n.id AND s.state = 'confirmed' LIMIT 10001
    ) bounded
) few
""")
_MIX: Final = text("""
INSERT INTO reader_mixes (newsletter_id, rhythm, language, readers)
SELECT newsletter_id, rhythm, language, count(*) FROM subscriptions WHERE state = 'confirmed' GROUP BY 1, 2, 3
""")
