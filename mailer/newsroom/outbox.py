"""What other programs are told of, written in the transaction of the change: nothing is told that was undone, nothing is lost.

Where no webhook wants an event nothing is written. Calling is in calling.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer.models.content import IssueState
from mailer.models.webhooks import WebhookEvent

OF_STATES: Final = {
    IssueState.SCHEDULED: WebhookEvent.ISSUE_SCHEDULED,
    IssueState.SENDING: WebhookEvent.ISSUE_SENDING,
    IssueState.PAUSED: WebhookEvent.ISSUE_PAUSED,
    IssueState.SENT: WebhookEvent.ISSUE_SENT,
    IssueState.CANCELLED: WebhookEvent.ISSUE_CANCELLED,
}
# One statement for any number of readers and webhooks. `wanted` is empty nearly always, and then nothing else runs.
_WANTED: Final = """
WITH wanted AS (
    SELECT id, newsletter_id, events FROM webhooks
    WHERE off_since IS NULL AND (events = '[]' OR events ?| CAST(:events AS text[]))
)"""
_ISSUE: Final = text(
    # Constants only.
    _WANTED  # noqa: S608
    + """, told AS (
    INSERT INTO webhook_messages (event, newsletter_id, values, happened_at)
    SELECT :event, i.newsletter_id, jsonb_build_object(
        'newsletter', n.slug, 'issue_id', i.id, 'number', i.number, 'subject', i.subject, 'state', i.state,
        'reason', i.state_code, 'scheduled_at', i.scheduled_at
    ), :now
    FROM issues i JOIN newsletters n ON n.id = i.newsletter_id
    WHERE i.id = :issue_id AND EXISTS (
        SELECT FROM wanted WHERE wanted.newsletter_id IS NULL OR wanted.newsletter_id = i.newsletter_id
    )
    RETURNING id, event, newsletter_id
)
INSERT INTO webhook_calls (message_id, webhook_id, due_at)
SELECT told.id, wanted.id, :now FROM told, wanted
WHERE wanted.newsletter_id IS NULL OR wanted.newsletter_id = told.newsletter_id
"""
)
_READERS: Final = text(
    # Constants only.
    _WANTED  # noqa: S608
    + """, told AS (
    INSERT INTO webhook_messages (event, newsletter_id, subscription_id, values, happened_at)
    SELECT given.event, s.newsletter_id, s.id, jsonb_build_object(
        'newsletter', n.slug, 'subscription_id', s.id, 'subscriber_id', s.subscriber_id, 'state', given.state,
        'reason', given.reason, 'language', s.language, 'source', s.source
    ), given.at
    FROM unnest(
        CAST(:ids AS bigint[]), CAST(:happened AS text[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
        CAST(:moments AS timestamptz[])
    ) AS given (id, event, state, reason, at)
    JOIN subscriptions s ON s.id = given.id JOIN newsletters n ON n.id = s.newsletter_id
    WHERE EXISTS (
        SELECT FROM wanted WHERE (wanted.newsletter_id IS NULL OR wanted.newsletter_id = s.newsletter_id)
        AND (wanted.events = '[]' OR wanted.events ? given.event)
    )
    RETURNING id, event, newsletter_id
)
INSERT INTO webhook_calls (message_id, webhook_id, due_at)
SELECT told.id, wanted.id, :now FROM told, wanted
WHERE (wanted.newsletter_id IS NULL OR wanted.newsletter_id = told.newsletter_id)
AND (wanted.events = '[]' OR wanted.events ? told.event)
"""
)


@dataclass(frozen=True, kw_only=True)
class Change:
    """A reader's subscription was confirmed (`reason` is None) or ended for a reason, at a moment."""

    subscription_id: int
    reason: str | None
    at: datetime

    @property
    def event(self) -> WebhookEvent:
        """What it is called."""
        if self.reason is None:
            return WebhookEvent.SUBSCRIBER_CONFIRMED
        if self.reason == "bounced":
            return WebhookEvent.SUBSCRIBER_BOUNCED
        return WebhookEvent.SUBSCRIBER_UNSUBSCRIBED


def note_issue(session: Session, issue_id: int, state: IssueState, *, now: datetime) -> None:
    """Note that an issue has come into a state, after it was written down. Draft and failed are told to nobody."""
    event = OF_STATES.get(state)
    if event is not None:
        values: Mapping[str, object] = {"event": event, "events": [event], "issue_id": issue_id, "now": now}
        session.execute(_ISSUE, values)


def note_readers(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Note what became of subscriptions, by one statement for all of them."""
    if not changes:
        return
    values: Mapping[str, object] = {
        "events": sorted({one.event for one in changes}),
        "ids": [one.subscription_id for one in changes],
        "happened": [one.event for one in changes],
        "states": ["confirmed" if one.reason is None else "ended" for one in changes],
        "reasons": [one.reason for one in changes],
        "moments": [one.at for one in changes],
        "now": now,
    }
    session.execute(_READERS, values)
