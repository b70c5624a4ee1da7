"""Leaving by the mail program's own button (RFC 8058), many readers in one statement.

The web answers from its local queue (events.py), so that leaving works while the database does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer.audience.subscriptions import Origin
from mailer.models.audience import EndedReason
from mailer.newsroom import outbox


@dataclass(frozen=True, kw_only=True)
class Left:
    """Somebody pressed the button of a subscription's mail, at a moment."""

    subscription_id: int
    at: datetime
    origin: Origin


def end(session: Session, gone: Sequence[Left]) -> int:
    """End these subscriptions, each with its line in the consent log. Returns how many.

    Those that had ended stay as they are, and so do those whose reader came back after pressing the button.
    """
    values = {
        "ids": [one.subscription_id for one in gone],
        "moments": [one.at for one in gone],
        "sources": [one.origin.source for one in gone],
        "networks": [one.origin.network for one in gone],
    }
    ended = session.execute(_END, values).all()
    changes = [outbox.Change(subscription_id=row[0], reason=EndedReason.ONE_CLICK, at=row[1]) for row in ended]
    if changes:
        outbox.note_readers(session, changes, now=max(one.at for one in changes))
    return len(ended)


_END: Final = text("""
WITH given AS (
    SELECT DISTINCT ON (id) * FROM unnest(
        CAST(:ids AS bigint[]), CAST(:moments AS timestamptz[]), CAST(:sources AS text[]), CAST(:networks AS text[])
    ) AS one (id, at, source, network) ORDER BY id, at
), locked AS (
    SELECT s.id FROM subscriptions s JOIN given g ON g.id = s.id WHERE s.state <> 'ended' ORDER BY s.id FOR UPDATE OF s
), ended AS (
    UPDATE subscriptions s SET state = 'ended', ended_at = g.at, ended_reason = 'one_click'
    FROM given g, locked
    WHERE s.id = g.id AND s.id = locked.id AND s.state <> 'ended' AND NOT EXISTS (
        SELECT FROM consents c
        WHERE c.subscription_id = s.id AND c.at > g.at AND c.event IN ('requested', 'confirmed', 'resumed')
    )
    RETURNING s.id
)
INSERT INTO consents (subscription_id, event, at, source, network, detail)
SELECT g.id, 'ended', g.at, g.source, g.network, 'one_click' FROM given g JOIN ended USING (id)
RETURNING subscription_id, at
""")
