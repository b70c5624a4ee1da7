"""What readers open and follow: taken over from the web's local queues, judged, counted, forgotten.

Whether it may be kept is looked up here, when it is taken over: a newsletter's switches and a reader's consent as they are
now, so that a withdrawal holds for mails already sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import settings
from mailer.audience import leaving, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.counting import machines
from mailer.counting.events import Record
from mailer.counting.tracked import Mark
from mailer.models.audience import ConsentEvent, Subscription
from mailer.models.content import Newsletter, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome
from mailer.models.tracking import Event, MachineReason, Spool, Tracked

# What the records of a local queue are.
LEFT: Final = "left"
SEEN: Final = "seen"
# A queue of a process that has said nothing for so long will not be written to again.
SPOOLS_KEPT: Final = timedelta(days=400)
# How far back bursts are looked for, over what several processes and segments wrote.
BURST_SPAN: Final = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class LinkStats:
    """How often one address was followed from an issue, by people and by machines."""

    url: str
    clicks: int
    by_machines: int


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What was counted of an issue. `links` come with the most followed first; `readers_known` agreed and did something."""

    opens: int
    opens_by_machines: int
    links: tuple[LinkStats, ...]
    readers_known: int

    @property
    def clicks(self) -> int:
        """How often people followed any link."""
        return sum(one.clicks for one in self.links)

    @property
    def clicks_by_machines(self) -> int:
        """How often machines did."""
        return sum(one.by_machines for one in self.links)


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """What decides whether an event of a variant is kept."""

    newsletter_id: int
    switches: frozenset[Tracked]


def left(subscription_id: int, *, origin: Origin, now: datetime) -> Record:
    """Make the record of a reader who left by the mail program's button."""
    return {
        "is": LEFT,
        "id": subscription_id,
        "at": now.timestamp(),
        "source": origin.source,
        "network": origin.network,
    }


def seen(mark: Mark, *, agent: str | None, network: str | None, is_head: bool, now: datetime) -> Record:
    """Make the record of a pixel or link that was asked for. `network` must be cut already."""
    return {
        "is": SEEN,
        "variant": mark.variant_id,
        "link": mark.link,
        "reader": mark.subscription_id,
        "at": now.timestamp(),
        "head": is_head,
        "agent": agent[: machines.AGENT_LENGTH] if agent else None,
        "network": network,
    }


def apply(session: Session, spool: str, number: int, records: Sequence[Record], *, now: datetime) -> bool:
    """Take over a segment of a local queue. Returns False if that was done before, which changes nothing."""
    if not _advance(session, spool, number, now=now):
        return False
    gone = [_left(one) for one in records if one.get("is") == LEFT]
    if gone:
        leaving.end(session, gone)
    asked = [one for one in records if one.get("is") == SEEN]
    if asked:
        _keep(session, asked)
    return True


def agree(session: Session, subscription_id: int, *, agrees: bool, origin: Origin, now: datetime) -> bool:
    """Note whether a reader agrees to be known by what they open and follow. Returns False if nothing changed.

    A withdrawal also forgets whose the events were that are kept.
    """
    column = Subscription.tracking_agreed_at
    changed = session.execute(
        update(Subscription)
        .where(Subscription.id == subscription_id, column.is_(None) if agrees else column.is_not(None))
        .values(tracking_agreed_at=now if agrees else None)
        .execution_options(synchronize_session="fetch")
    )
    if not changed.rowcount:  # type: ignore[attr-defined]
        return False
    if not agrees:
        session.execute(
            update(Event)
            .where(Event.subscription_id == subscription_id)
            .values(subscription_id=None, seconds_after=None)
        )
    detail = f"tracking={'yes' if agrees else 'no'}"
    subscriptions.note_consent(session, subscription_id, ConsentEvent.CHANGED, origin=origin, now=now, detail=detail)
    return True


def stats(session: Session, issue_id: int) -> Stats:
    """Add up what was counted of an issue, over its variants: single events and old sums."""
    opens, links = {True: 0, False: 0}, dict[str, dict[bool, int]]()
    for url, is_machine, count, _ in session.execute(_STATS, {"issue_id": issue_id}):
        counts = opens if url is None else links.setdefault(url, {True: 0, False: 0})
        counts[bool(is_machine)] += int(count or 0)
    known = session.execute(
        select(func.count(Event.subscription_id.distinct()))
        .join(Variant, Variant.id == Event.variant_id)
        .where(Variant.issue_id == issue_id)
    ).scalar_one()
    listed = [LinkStats(url=url, clicks=one[False], by_machines=one[True]) for url, one in links.items()]
    return Stats(
        opens=opens[False],
        opens_by_machines=opens[True],
        links=tuple(sorted(listed, key=lambda one: (-one.clicks, -one.by_machines))),
        readers_known=known,
    )


def mark_bursts(session: Session, *, since: datetime) -> int:
    """Mark as a machine's the events of who followed many links of one mail within seconds. Returns how many."""
    values = {"since": since, "links": machines.BURST_LINKS, "seconds": machines.BURST_SECONDS}
    return int(session.execute(_BURSTS, values).rowcount)  # type: ignore[attr-defined]


def judge_again(session: Session, issue_id: int) -> int:
    """Apply the rules of today to an issue's single events. Returns how many are judged otherwise than before."""
    of_issue = Event.variant_id.in_(select(Variant.id).where(Variant.issue_id == issue_id))
    before: dict[int, MachineReason | None] = {}
    alone: list[dict[str, object]] = []
    seen = select(Event.id, Event.machine, Event.link, Event.is_head, Event.agent, Event.network, Event.seconds_after)
    for event_id, machine, link, is_head, agent, network, seconds in session.execute(seen.where(of_issue)):
        judged = machines.reason(
            machines.Features(is_open=link == 0, is_head=is_head, agent=agent, network=network, seconds_after=seconds)
        )
        before[event_id] = machine
        if judged != machine:
            alone.append({"id": event_id, "machine": judged})
    if alone:
        session.execute(update(Event), alone)
    since = session.execute(select(func.min(Event.at)).where(of_issue)).scalar_one()
    if since is not None:
        mark_bursts(session, since=since)
    after = session.execute(select(Event.id, Event.machine).where(of_issue))
    return sum(machine != before.get(event_id) for event_id, machine in after)


def aggregate(session: Session, *, now: datetime) -> int:
    """Turn single events that have served their time into sums by day, and forget old queues. Returns how many went."""
    session.execute(text("DELETE FROM spools WHERE at < :before"), {"before": now - SPOOLS_KEPT})
    return int(
        session.execute(_AGGREGATE, {"before": now - timedelta(days=settings.load().keep_events_days)}).scalar_one()
    )


def _advance(session: Session, spool: str, number: int, *, now: datetime) -> bool:
    statement = insert(Spool).values(name=spool, last_segment=number, at=now)
    moved = statement.on_conflict_do_update(
        index_elements=[Spool.name], set_={"last_segment": number, "at": now}, where=Spool.last_segment < number
    )
    return session.execute(moved.returning(Spool.name)).scalar_one_or_none() is not None


def _left(record: Record) -> leaving.Left:
    origin = Origin(source=record.get("source"), network=record.get("network"))
    return leaving.Left(subscription_id=int(record["id"]), at=_moment(record), origin=origin)


def _keep(session: Session, asked: Sequence[Record]) -> None:
    """Keep the events that may be kept, each judged by itself."""
    variants = _variants(session, {int(one["variant"]) for one in asked})
    agreed = _agreed(session, {int(one["reader"]) for one in asked if one.get("reader")})
    accepted = _accepted(session, asked, agreed)
    rows = []
    for one in asked:
        variant = variants.get(int(one["variant"]))
        row = _row(one, variant, agreed, accepted) if variant else None
        if row is not None:
            rows.append(row)
    with session.connection().connection.cursor() as cursor, cursor.copy(_COPY) as copy:  # type: ignore[attr-defined]
        for row in rows:
            copy.write_row(row)


def _row(
    one: Record,
    variant: _Variant,
    agreed: Mapping[int, tuple[int, datetime]],
    accepted: Mapping[tuple[int, int], datetime],
) -> tuple[object, ...] | None:
    """Make the row of an event; None if nothing of it may be kept."""
    at, link, variant_id = _moment(one), int(one["link"]), int(one["variant"])
    reader = int(one["reader"]) if one.get("reader") else None
    newsletter_id, since = agreed.get(reader or 0, (0, at))
    is_theirs = Tracked.READERS in variant.switches and newsletter_id == variant.newsletter_id and since <= at
    is_counted = (Tracked.CLICKS if link else Tracked.OPENS) in variant.switches
    # The pixel of a reader who withdrew is silent; the links go on being counted as everybody's.
    if not is_theirs and (not is_counted or (reader is not None and link == 0)):
        return None
    subscription_id = reader if is_theirs else None
    accepted_at = accepted.get((subscription_id or 0, variant_id))
    seconds = None if accepted_at is None else min(max(int((at - accepted_at).total_seconds()), 0), 2**31 - 1)
    agent = one.get("agent")
    features = machines.Features(
        is_open=link == 0,
        is_head=bool(one.get("head")),
        agent=str(agent)[: machines.AGENT_LENGTH].replace("\x00", "") if agent else None,
        network=one.get("network"),
        seconds_after=seconds,
    )
    reason = machines.reason(features)
    judged = (reason.value if reason else None, features.is_head, features.agent, features.network, seconds)
    return (variant_id, link, at, subscription_id, *judged)


def _variants(session: Session, ids: set[int]) -> dict[int, _Variant]:
    rows = session.execute(
        select(Variant.id, Newsletter.id, Newsletter.tracks_clicks, Newsletter.tracks_opens, Newsletter.tracks_readers)
        .join(Newsletter, Newsletter.id == Variant.newsletter_id)
        .where(Variant.id.in_(ids))
    )
    names = (Tracked.CLICKS, Tracked.OPENS, Tracked.READERS)
    return {
        row[0]: _Variant(
            newsletter_id=row[1], switches=frozenset(name for name, is_on in zip(names, row[2:], strict=True) if is_on)
        )
        for row in rows
    }


def _agreed(session: Session, ids: set[int]) -> dict[int, tuple[int, datetime]]:
    """Return newsletter and moment of consent, by subscription, of those who agree now."""
    if not ids:
        return {}
    rows = session.execute(
        select(Subscription.id, Subscription.newsletter_id, Subscription.tracking_agreed_at).where(
            Subscription.id.in_(ids), Subscription.tracking_agreed_at.is_not(None)
        )
    )
    return {row[0]: (row[1], row[2]) for row in rows if row[2] is not None}


def _accepted(
    session: Session, asked: Sequence[Record], agreed: Mapping[int, object]
) -> dict[tuple[int, int], datetime]:
    """Return when the mails were accepted that were opened or followed, by subscription and variant."""
    variants = {int(one["variant"]) for one in asked if one.get("reader") in agreed}
    if not variants:
        return {}
    rows = session.execute(
        select(Delivery.subscription_id, Delivery.variant_id, DeliveryOutcome.recorded_at)
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(Delivery.subscription_id.in_(agreed), Delivery.variant_id.in_(variants))
    )
    return {(row[0], row[1]): row[2] for row in rows if row[0] is not None}


def _moment(record: Record) -> datetime:
    return datetime.fromtimestamp(float(record["at"]), UTC)


_COPY: Final = (
    "COPY events (variant_id, link, at, subscription_id, machine, is_head, agent, network, seconds_after) FROM STDIN"
)
_STATS: Final = text("""
WITH counted AS (
    SELECT variant_id, link, machine IS NOT NULL AS is_machine, count(*) AS count
    FROM events WHERE variant_id IN (SELECT id FROM variants WHERE issue_id = :issue_id) GROUP BY 1, 2, 3
    UNION ALL
    SELECT variant_id, link, is_machine, count
    FROM event_totals WHERE variant_id IN (SELECT id FROM variants WHERE issue_id = :issue_id)
), places AS (
    SELECT v.id AS variant_id, l.number, l.url FROM variants v JOIN variant_links l ON l.variant_id = v.id
    WHERE v.issue_id = :issue_id
)
SELECT p.url, coalesce(c.is_machine, false), sum(coalesce(c.count, 0)), min(p.number) AS place
FROM places p LEFT JOIN counted c ON c.variant_id = p.variant_id AND c.link = p.number GROUP BY 1, 2
UNION ALL
SELECT NULL, is_machine, sum(count), 0 FROM counted WHERE link = 0 GROUP BY 2
ORDER BY place
""")
_BURSTS: Final = text("""
WITH bursts AS (
    SELECT variant_id, subscription_id, network, agent, span.n AS n
    FROM events, LATERAL (
        SELECT floor(extract(epoch FROM at) / :seconds)::bigint AS n
        UNION SELECT floor(extract(epoch FROM at) / :seconds + 0.5)::bigint + 4611686018427387904
    ) span
    WHERE at >= :since AND link > 0
    GROUP BY variant_id, subscription_id, network, agent, span.n
    HAVING count(DISTINCT link) >= :links
)
UPDATE events e SET machine = 'burst'
FROM bursts b
WHERE e.at >= :since AND e.machine IS NULL AND e.variant_id = b.variant_id
    AND e.subscription_id IS NOT DISTINCT FROM b.subscription_id
    AND e.network IS NOT DISTINCT FROM b.network AND e.agent IS NOT DISTINCT FROM b.agent
    AND b.n IN (
        floor(extract(epoch FROM e.at) / :seconds)::bigint,
        floor(extract(epoch FROM e.at) / :seconds + 0.5)::bigint + 4611686018427387904
    )
""")
_AGGREGATE: Final = text("""
WITH gone AS (
    DELETE FROM events WHERE at < :before RETURNING variant_id, link, (at AT TIME ZONE 'UTC')::date AS day, machine
), summed AS (
    INSERT INTO event_totals (variant_id, link, day, is_machine, count)
    SELECT variant_id, link, day, machine IS NOT NULL, count(*) FROM gone GROUP BY 1, 2, 3, 4
    ON CONFLICT (variant_id, link, day, is_machine) DO UPDATE SET count = event_totals.count + excluded.count
)
SELECT count(*) FROM gone
""")
