"""Who gets an issue, and when: written down once, by set-based SQL, when the issue starts. See deliveries.py for the rest."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, bindparam, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from mailer.audience import hours
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import Issue

# Who waits is settled once: a reader who chooses an hour at this very moment is counted here or there, never in both.
_CREATE: Final = text("""
CREATE TEMPORARY TABLE hour_readers (subscription_id bigint PRIMARY KEY, due_at timestamptz NOT NULL) ON COMMIT DROP
""")
_ADD: Final = text("""
INSERT INTO hour_readers (subscription_id, due_at)
SELECT s.id, m.due_at
FROM subscriptions s
JOIN jsonb_to_recordset(:moments) AS m(hour smallint, timezone text, due_at timestamptz)
    ON m.hour = s.hour AND m.timezone = s.timezone
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed' AND s.hour IS NOT NULL AND m.due_at > :now
""")
_AT_ONCE: Final = text("""
WITH frozen AS (
    INSERT INTO deliveries (issue_id, variant_id, subscription_id)
    SELECT :issue_id,
        coalesce(r.variant_id, (CAST(:variants AS jsonb) ->> s.language)::bigint, :default_variant), s.id
    FROM subscriptions s
    LEFT JOIN variant_readers r ON r.subscription_id = s.id
    WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed'
        AND NOT EXISTS (SELECT FROM hour_readers h WHERE h.subscription_id = s.id)
        AND (r.subscription_id IS NULL OR r.variant_id IS NOT NULL)
    ORDER BY s.id
    RETURNING id
), numbered AS (
    SELECT id, (row_number() OVER (ORDER BY id) - 1) / :batch_size AS n FROM frozen
), batched AS (
    INSERT INTO batches (issue_id, first_id, last_id, size, due_at)
    SELECT :issue_id, min(id), max(id), count(*), :now FROM numbered GROUP BY n ORDER BY n
    RETURNING size
)
SELECT coalesce(sum(size), 0) FROM batched
""")
# Those of one moment one after the other, since a batch is a range of deliveries.
_AT_THEIR_HOUR: Final = text("""
WITH readers AS (
    SELECT s.id, h.due_at,
        coalesce(r.variant_id, (CAST(:variants AS jsonb) ->> s.language)::bigint, :default_variant) AS variant_id
    FROM hour_readers h
    JOIN subscriptions s ON s.id = h.subscription_id
    LEFT JOIN variant_readers r ON r.subscription_id = s.id
    WHERE s.state = 'confirmed'
        AND (r.subscription_id IS NULL OR r.variant_id IS NOT NULL)
), frozen AS (
    INSERT INTO deliveries (issue_id, variant_id, subscription_id)
    SELECT :issue_id, variant_id, id FROM readers ORDER BY due_at, id
    RETURNING id, subscription_id
), numbered AS (
    SELECT f.id, r.due_at, (row_number() OVER (PARTITION BY r.due_at ORDER BY f.id) - 1) / :batch_size AS n
    FROM frozen f JOIN readers r ON r.id = f.subscription_id
), batched AS (
    INSERT INTO batches (issue_id, first_id, last_id, size, due_at)
    SELECT :issue_id, min(id), max(id), count(*), due_at FROM numbered GROUP BY due_at, n ORDER BY due_at, n
    RETURNING size
)
SELECT coalesce(sum(size), 0) FROM batched
""")


def freeze(session: Session, issue: Issue, variants: Mapping[str, int], *, batch_size: int, now: datetime) -> int:
    """Write down who gets the issue, and cut them into batches. Returns the number of recipients.

    `variants` maps each language to the edition's variant; readers of another language get the newsletter's first one.
    Who gets another variant, or nothing, stands in the temporary table of grouping.py. Readers who chose an hour are due
    when it comes, the others now.
    """
    values = {
        "issue_id": issue.id,
        "newsletter_id": issue.newsletter_id,
        "default_variant": next(iter(variants.values())),
        "variants": dict(variants),
        "batch_size": batch_size,
    }
    waiting = _gather(session, issue.newsletter_id, now=now)
    recipients = int(session.execute(_AT_ONCE.bindparams(_json("variants")), {**values, "now": now}).scalar_one())
    if waiting:
        recipients += int(session.execute(_AT_THEIR_HOUR.bindparams(_json("variants")), values).scalar_one())
    return recipients


def _gather(session: Session, newsletter_id: int, *, now: datetime) -> bool:
    """Fill the temporary table with the readers whose hour is still to come; tell whether there are any."""
    session.execute(text("DROP TABLE IF EXISTS hour_readers"))
    session.execute(_CREATE)
    values = {"newsletter_id": newsletter_id, "moments": _moments(session, newsletter_id, now=now), "now": now}
    added = session.execute(_ADD.bindparams(_json("moments")), values)
    # Of a temporary table the planner knows nothing by itself.
    session.execute(text("ANALYZE hour_readers"))
    return bool(added.rowcount)  # type: ignore[attr-defined]


def _moments(session: Session, newsletter_id: int, *, now: datetime) -> list[dict[str, object]]:
    """Return when each hour and zone that readers chose comes next: a few hundred at most."""
    chosen = (
        select(Subscription.hour, Subscription.timezone)
        .where(Subscription.newsletter_id == newsletter_id, Subscription.hour.is_not(None))
        .where(Subscription.state == SubscriptionState.CONFIRMED)
        .distinct()
    )
    return [
        {"hour": hour, "timezone": timezone, "due_at": hours.arrival(now, hour, timezone).isoformat()}
        for hour, timezone in session.execute(chosen)
        if hour is not None and timezone is not None
    ]


def _json(name: str) -> BindParameter[object]:
    return bindparam(name, type_=JSONB)
