"""How an issue is getting on: how much, how fast, how long still, with whom, and what the servers say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.delivery import ledger, meanings, rates, tallies
from mailer.delivery.tallies import Counts, Point
from mailer.delivery.transports.pool import matches
from mailer.mail_settings import DomainLimits, Transport
from mailer.models.content import Issue, IssueState
from mailer.models.deliveries import Batch, BatchState
from mailer.models.progress import IssueEvent

RATE_SPAN: Final = timedelta(seconds=10)
PACE_SPAN: Final = timedelta(seconds=60)
# The rate of one interval says nothing yet: how fast it goes is told after the second.
INTERVALS: Final = 2
STALLED_AFTER: Final = timedelta(seconds=60)
MOST_EVENTS: Final = 50
TOP_PROVIDERS: Final = 5
# Lengths of a step of the line over time, in seconds; the first with which all of it fits into so many steps is taken.
STEPS: Final = (10, 30, 60, 300, 900, 3600, 6 * 3600, 86_400)
MOST_STEPS: Final = 60


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Messages a second just now, and how many seconds the rest takes; None while that can't be told."""

    per_second: float
    left_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Provider:
    """What became of the mails to one provider; `is_slowed` while it holds us to a rate."""

    name: str
    counts: Counts
    is_slowed: bool = False


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where an issue stood at `at`. `allowed_per_second` None: nothing limits it."""

    at: datetime
    issue: Issue
    equation: ledger.Equation
    deferred: int
    retry_at: datetime | None
    pace: Pace
    allowed_per_second: float | None
    line: list[tuple[datetime, float]]
    providers: list[Provider]
    said: list[meanings.Said]
    events: list[IssueEvent]
    stalled_since: datetime | None

    @property
    def is_moving(self) -> bool:
        """Tell whether workers are at it, or would be."""
        return self.issue.started_at is not None and self.issue.finished_at is None and not self.is_paused

    @property
    def is_paused(self) -> bool:
        """Tell whether it stands still until somebody resumes it."""
        return self.issue.state == IssueState.PAUSED

    @property
    def percent(self) -> int:
        """Return how much was accepted, in whole percent: 100 only when all was."""
        whole = self.equation.recipients
        return 100 * self.equation.accepted // whole if whole else 0

    @property
    def done_at(self) -> datetime | None:
        """Return when all will have been tried, if it goes on like this."""
        left = self.pace.left_seconds
        return None if left is None or not self.is_moving else self.at + timedelta(seconds=left)


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The servers in use with their limits, those of providers, and where the rates are counted (None: not asked)."""

    routes: Sequence[Transport]
    domains: Sequence[DomainLimits]
    counted: rates.Rates | None = None


def look(session: Session, issue: Issue, reading: tallies.Reading, servers: Servers, *, now: datetime) -> Progress:
    """Tell how an issue is getting on. Reads what is new since `reading` looked last; asks Redis for the rates that hold."""
    sums = tallies.read(session, reading, now=now)
    equation = ledger.equation(session, issue.id)
    deferred = min(sum(one.waiting for one in sums.providers.values()), equation.waiting)
    events = _events(session, issue.id)
    moment, since = _clock(issue, events, now=now)
    due = _due(session, issue.id, now=now)
    # What is put off, or waits for its reader's hour, does not wait for its turn.
    open_now = min(equation.waiting - deferred, due)
    pace = pace_of(sums.points, left=open_now, since=since, now=moment)
    is_moving = issue.state == IssueState.SENDING
    return Progress(
        at=now,
        issue=issue,
        equation=equation,
        deferred=deferred,
        retry_at=_retry_at(session, issue.id) if deferred else None,
        pace=pace if is_moving else Pace(per_second=0.0, left_seconds=pace.left_seconds),
        allowed_per_second=allowed(servers),
        line=line(sums.points, until=moment, is_folded=issue.finished_at is not None),
        providers=_providers(sums.providers, servers),
        said=meanings.explain(sums.replies),
        events=events,
        stalled_since=_stalled_since(sums.points, since, now=now) if is_moving and open_now else None,
    )


def pace_of(points: Sequence[Point], *, left: int, since: datetime, now: datetime) -> Pace:
    """Tell the rate of the last ten seconds, and from the last sixty how long the rest takes.

    `since` is when sending began or went on last: what lies before says nothing about what comes.
    """
    begin = max(since, now - PACE_SPAN)
    span = (now - begin).total_seconds()
    lately = [one for one in points if begin < one.at <= now]
    answered = sum(one.answered for one in lately)
    short = max(since, now - RATE_SPAN)
    seconds = max((now - short).total_seconds(), 1.0)
    per_second = sum(one.answered for one in lately if one.at > short) / seconds
    if not left:
        return Pace(per_second=per_second, left_seconds=0.0)
    if span < INTERVALS * RATE_SPAN.total_seconds() or not answered:
        return Pace(per_second=per_second, left_seconds=None)
    return Pace(per_second=per_second, left_seconds=left / (answered / span))


def line(points: Sequence[Point], *, until: datetime, is_folded: bool) -> list[tuple[datetime, float]]:
    """Return messages a second over time, in even steps from the first to the last: moments at which steps begin."""
    if not points:
        return []
    first = min(one.at for one in points)
    last = max(*(one.at for one in points), first if is_folded else until)
    smallest = 60 if is_folded else STEPS[0]
    length = (last - first).total_seconds()
    step = next((one for one in STEPS if one >= smallest and length / one <= MOST_STEPS), STEPS[-1])
    start = math.floor(first.timestamp() / step)
    counts = [0] * (math.floor(last.timestamp() / step) - start + 1)
    for one in points:
        counts[math.floor(one.at.timestamp() / step) - start] += one.answered
    # The last step has only begun: its rate would be too small.
    kept = counts if is_folded or len(counts) < INTERVALS + 1 else counts[:-1]
    return [
        (datetime.fromtimestamp((start + number) * step, first.tzinfo), count / step)
        for number, count in enumerate(kept)
    ]


def allowed(servers: Servers) -> float | None:
    """Return how many messages a second all servers together may get now; None without a limit."""
    limits = [_limit(one, servers.counted) for one in servers.routes if not one.domains]
    known = [one for one in limits if one is not None]
    return sum(known) if known and len(known) == len(limits) else None


def _limit(route: Transport, counted: rates.Rates | None) -> float | None:
    ceiling = _ceiling(counted, f"transport:{route.name}")
    known = [one for one in (route.per_second, ceiling) if one is not None]
    return min(known) if known else None


def _ceiling(counted: rates.Rates | None, key: str) -> float | None:
    if counted is None:
        return None
    try:
        return counted.ceiling(key)
    except rates.RatesUnavailable:
        return None


def _providers(found: Mapping[str, Counts], servers: Servers) -> list[Provider]:
    """Join the domains that share limits; the most mailed first, the sum of the small ones last."""
    joined: dict[str, Counts] = {}
    for domain, counts in found.items():
        numbers = (counts.accepted, counts.refused, counts.deferred, counts.recovered)
        joined.setdefault(_group(domain, servers.domains), Counts()).add(numbers)
    ranked = sorted(joined.items(), key=lambda one: (one[0] == tallies.OTHERS, -one[1].mailed, one[0]))
    return [
        Provider(
            name=name,
            counts=counts,
            is_slowed=place < TOP_PROVIDERS and _ceiling(servers.counted, f"domain:{name}") is not None,
        )
        for place, (name, counts) in enumerate(ranked)
        if counts.mailed
    ]


def _group(domain: str, limits: Sequence[DomainLimits]) -> str:
    return next((one.names[0] for one in limits if any(matches(name, domain) for name in one.names)), domain)


def _events(session: Session, issue_id: int) -> list[IssueEvent]:
    statement = select(IssueEvent).where(IssueEvent.issue_id == issue_id).order_by(IssueEvent.id.desc())
    return list(session.execute(statement.limit(MOST_EVENTS)).scalars())


def _clock(issue: Issue, events: Sequence[IssueEvent], *, now: datetime) -> tuple[datetime, datetime]:
    """Return the moment to look at, which is that of the pause while it lasts, and since when it has been sent without one."""
    started = issue.started_at or now
    since = next((one.at for one in events if one.state == IssueState.SENDING), started)
    if issue.state == IssueState.SENDING:
        return now, since
    stopped = next((one.at for one in events if one.state != IssueState.SENDING and one.at >= since), now)
    return min(now, stopped), since


def _due(session: Session, issue_id: int, *, now: datetime) -> int:
    """Count the deliveries whose turn it is: in batches that are due, or in hand."""
    settled = Batch.accepted + Batch.refused + Batch.skipped + Batch.uncertain
    is_due = (Batch.due_at <= now) | (Batch.state == BatchState.CLAIMED)
    statement = select(func.coalesce(func.sum(Batch.size - settled), 0))
    waits = (Batch.issue_id == issue_id, Batch.state != BatchState.DONE)
    return int(session.execute(statement.where(*waits, is_due)).scalar_one())


def _retry_at(session: Session, issue_id: int) -> datetime | None:
    waits = (Batch.issue_id == issue_id, Batch.state == BatchState.QUEUED)
    return session.execute(select(func.min(Batch.due_at)).where(*waits)).scalar_one()


def _stalled_since(points: Sequence[Point], since: datetime, *, now: datetime) -> datetime | None:
    """Return when a server took something last, if that is too long ago."""
    last = max([since, *(one.at for one in points if one.accepted)])
    return last if now - last > STALLED_AFTER else None
