"""What workers recorded of an issue, moment by moment: written with the outcomes, read by those who watch, then summed up.

The numbers tell people how it goes, by time, provider and reply. What the ledger says is what counts.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from mailer.models.deliveries import Outcome
from mailer.models.progress import ProviderTotal, ReplyTotal, Tally

# In a row of `tallies`; the rest of an uncommonly talkative server's replies are counted as others.
MOST_REPLIES: Final = 50
MOST_PROVIDERS: Final = 500
# The sum of all other providers of an issue.
OTHERS: Final = ""
# A transaction that began earlier has ended, so what lies further back is complete.
SETTLES_AFTER: Final = timedelta(seconds=40)
_ACCEPTED: Final = Outcome.ACCEPTED
# Of an outcome in a provider's numbers; what was not mailed, or may have arrived, is no provider's answer.
_PLACES: Final = {Outcome.ACCEPTED: 0, Outcome.REFUSED: 1}
# What makes two replies to the same cause differ: addresses, queue ids, network addresses.
_PARTICULAR: Final = re.compile(r"\S*@\S*|\b[\w.:-]*\d[\w.:-]{7,}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """One outcome to record. `provider` is the recipient's domain if it was mailed, `attempts` how often it was put off."""

    delivery_id: int
    outcome: Outcome
    reply: str
    provider: str = OTHERS
    attempts: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """One temporary refusal to record."""

    delivery_id: int
    attempt: int
    reply: str
    retry_at: datetime
    # The variant that may have arrived although the answer was lost.
    variant_id: int | None = None
    provider: str = OTHERS


@dataclass(kw_only=True)
class Counts:
    """Deliveries by what became of them. `deferred` were put off at least once; `recovered` of them have ended since."""

    accepted: int = 0
    refused: int = 0
    deferred: int = 0
    recovered: int = 0

    @property
    def waiting(self) -> int:
        """Count those that are to be tried again."""
        return max(0, self.deferred - self.recovered)

    @property
    def mailed(self) -> int:
        """Count those that a server answered for."""
        return self.accepted + self.refused + self.waiting

    def add(self, numbers: Sequence[int]) -> None:
        """Add what a row says: accepted, refused, deferred, recovered."""
        accepted, refused, deferred, recovered = numbers
        self.accepted += accepted
        self.refused += refused
        self.deferred += deferred
        self.recovered += recovered


@dataclass(frozen=True, kw_only=True)
class Point:
    """What was recorded at one moment. Of an issue that has ended, in the minute that begins then."""

    at: datetime
    accepted: int
    refused: int

    @property
    def answered(self) -> int:
        """Count what a server took or refused for good."""
        return self.accepted + self.refused


@dataclass(kw_only=True)
class Sums:
    """All that was recorded of an issue, by provider, reply and time."""

    providers: dict[str, Counts] = field(default_factory=dict)
    replies: Counter[str] = field(default_factory=Counter)
    points: list[Point] = field(default_factory=list)

    def take(self, row: Tally) -> None:
        """Add a row."""
        for name, numbers in row.providers.items():
            self.providers.setdefault(name, Counts()).add(numbers)
        self.replies.update(row.replies)
        self.points.append(Point(at=row.at, accepted=row.accepted, refused=row.refused))

    def joined(self, later: "Sums") -> "Sums":
        """Return these and later ones together."""
        together = Sums(replies=self.replies + later.replies, points=self.points + later.points)
        for name in {**self.providers, **later.providers}:
            counts = together.providers[name] = Counts()
            for one in (self.providers.get(name), later.providers.get(name)):
                if one is not None:
                    counts.add((one.accepted, one.refused, one.deferred, one.recovered))
        return together


@dataclass(kw_only=True)
class Reading:
    """How far somebody who watches has read, so that each look costs only what is new."""

    issue_id: int
    first_id: int | None = None
    safe_id: int = 0
    settled: Sums = field(default_factory=Sums)


def add(
    session: Session, issue_id: int, settled: Sequence[Settled], deferred: Sequence[Deferred], *, now: datetime
) -> None:
    """Write down what is recorded of an issue now: one row, whatever the number of deliveries."""
    # Most were accepted at once: what is done for each of them is paid a million times.
    pairs = Counter([(one.provider, one.outcome) for one in settled])
    again = Counter([one.provider for one in settled if one.attempts])
    first = Counter([one.provider for one in deferred if one.attempt == 1])
    counts: Counter[Outcome] = Counter()
    providers: dict[str, list[int]] = {}
    for (name, outcome), number in pairs.items():
        counts[outcome] += number
        if outcome in _PLACES:
            _numbers(providers, name)[_PLACES[outcome]] += number
    for place, found in ((2, first), (3, again)):
        for name, number in found.items():
            _numbers(providers, name)[place] += number
    replies = Counter([f"{one.outcome.value} {general(one.reply)}" for one in settled if one.outcome is not _ACCEPTED])
    replies.update([f"deferred {general(one.reply)}" for one in deferred])
    values: dict[str, Any] = {
        "issue_id": issue_id,
        "at": now,
        **{outcome.value: counts[outcome] for outcome in Outcome},
        "deferred": first.total(),
        "recovered": again.total(),
        "providers": providers,
        "replies": _most(replies),
    }
    session.execute(insert(Tally), values)


def general(reply: str) -> str:
    """Take out of a server's words what names a single mail or reader."""
    return " ".join(_PARTICULAR.sub("…", reply.replace("\0", "")).split())


def read(session: Session, reading: Reading, *, now: datetime) -> Sums:
    """Return all that was recorded of an issue so far, reading on from where `reading` stood."""
    issue_id = reading.issue_id
    first_id = session.execute(select(func.min(Tally.id)).where(Tally.issue_id == issue_id)).scalar_one()
    if first_id != reading.first_id:
        reading.first_id, reading.safe_id, reading.settled = first_id, 0, _totals(session, issue_id)
    rows = list(
        session.execute(
            select(Tally).where(Tally.issue_id == issue_id, Tally.id > reading.safe_id).order_by(Tally.id)
        ).scalars()
    )
    fresh = 0
    while fresh < len(rows) and rows[fresh].at < now - SETTLES_AFTER:
        reading.settled.take(rows[fresh])
        reading.safe_id = rows[fresh].id
        fresh += 1
    latest = Sums()
    for row in rows[fresh:]:
        latest.take(row)
    return reading.settled.joined(latest)


def fold(session: Session, issue_id: int) -> None:
    """Make sums of what was recorded of an issue that has ended: a row a minute, one a provider, one a reply.

    Doing it again adds what came since.
    """
    session.execute(_FOLD, {"issue_id": issue_id, "others": OTHERS, "most": MOST_PROVIDERS})


def providers_of(session: Session, ids: Sequence[int]) -> Mapping[int, str]:
    """Return the recipients' domains of deliveries, for what is recorded by others than who mailed it."""
    return {row[0]: row[1] for row in session.execute(_PROVIDERS, {"ids": list(ids)})} if ids else {}


def _numbers(providers: dict[str, list[int]], name: str) -> list[int]:
    return providers.setdefault(name.lower(), [0, 0, 0, 0])


def _most(replies: Counter[str]) -> dict[str, int]:
    kept = dict(replies.most_common(MOST_REPLIES))
    for said, count in replies.most_common()[MOST_REPLIES:]:
        outcome = said.partition(" ")[0]
        kept[f"{outcome} …"] = kept.get(f"{outcome} …", 0) + count
    return kept


def _totals(session: Session, issue_id: int) -> Sums:
    sums = Sums()
    for one in session.execute(select(ProviderTotal).where(ProviderTotal.issue_id == issue_id)).scalars():
        sums.providers[one.provider] = Counts(
            accepted=one.accepted, refused=one.refused, deferred=one.deferred, recovered=one.recovered
        )
    said = select(ReplyTotal.said, ReplyTotal.count).where(ReplyTotal.issue_id == issue_id)
    sums.replies.update({row[0]: row[1] for row in session.execute(said)})
    return sums


_PROVIDERS: Final = text("""
SELECT d.id, lower(split_part(r.address, '@', -1))
FROM deliveries d JOIN subscriptions s ON s.id = d.subscription_id JOIN subscribers r ON r.id = s.subscriber_id
WHERE d.id = ANY(:ids)
""")
_FOLD: Final = text("""
WITH gone AS (
    DELETE FROM tallies WHERE issue_id = :issue_id
        AND (providers <> '{}' OR replies <> '{}' OR at <> date_trunc('minute', at))
    RETURNING at, accepted, refused, skipped, uncertain, deferred, recovered, providers, replies
), line AS (
    INSERT INTO tallies (issue_id, at, accepted, refused, skipped, uncertain, deferred, recovered)
    SELECT :issue_id, date_trunc('minute', at), sum(accepted), sum(refused), sum(skipped), sum(uncertain), sum(deferred),
        sum(recovered)
    FROM gone GROUP BY 2 ORDER BY 2
), heard AS (
    INSERT INTO reply_totals (issue_id, said, count)
    SELECT :issue_id, r.key, sum(r.value::int) FROM gone, jsonb_each_text(gone.replies) r GROUP BY r.key
    ON CONFLICT (issue_id, said) DO UPDATE SET count = reply_totals.count + excluded.count
), counted AS (
    SELECT p.key AS provider, sum((p.value ->> 0)::int) AS accepted, sum((p.value ->> 1)::int) AS refused,
        sum((p.value ->> 2)::int) AS deferred, sum((p.value ->> 3)::int) AS recovered
    FROM gone, jsonb_each(gone.providers) p GROUP BY p.key
), ranked AS (
    SELECT *, CASE WHEN row_number() OVER (ORDER BY accepted + refused + deferred DESC, provider) <= :most
        THEN provider ELSE :others END AS name
    FROM counted
)
INSERT INTO provider_totals (issue_id, provider, accepted, refused, deferred, recovered)
SELECT :issue_id, name, sum(accepted), sum(refused), sum(deferred), sum(recovered) FROM ranked GROUP BY name
ON CONFLICT (issue_id, provider) DO UPDATE SET
    accepted = provider_totals.accepted + excluded.accepted,
    refused = provider_totals.refused + excluded.refused,
    deferred = provider_totals.deferred + excluded.deferred,
    recovered = provider_totals.recovered + excluded.recovered
""")
