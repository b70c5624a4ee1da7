"""Webhooks: who is told of what, what happened (written with the change itself), and how each telling went."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.content import Newsletter


class WebhookEvent(enum.StrEnum):
    """What other programs can be told of. TEST is only ever sent by a button."""

    SUBSCRIBER_CONFIRMED = "subscriber.confirmed"
    SUBSCRIBER_UNSUBSCRIBED = "subscriber.unsubscribed"
    SUBSCRIBER_BOUNCED = "subscriber.bounced"
    ISSUE_SCHEDULED = "issue.scheduled"
    ISSUE_SENDING = "issue.sending"
    ISSUE_PAUSED = "issue.paused"
    ISSUE_SENT = "issue.sent"
    ISSUE_CANCELLED = "issue.cancelled"
    TEST = "webhook.test"


class CallState(enum.StrEnum):
    """waiting → answered | given_up. One that is replayed is a new call of the same event."""

    WAITING = "waiting"
    ANSWERED = "answered"
    GIVEN_UP = "given_up"


class CallTrouble(enum.StrEnum):
    """Why a call was not answered with success; the sentences are in newsroom/webhook_words.py."""

    STATUS = "status"
    REDIRECT = "redirect"
    PRIVATE_ADDRESS = "private_address"
    NAME_UNKNOWN = "name_unknown"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SWITCHED_OFF = "switched_off"


class WebhookOff(enum.StrEnum):
    """Why a webhook is told nothing any more."""

    BY_HAND = "by_hand"
    FAILING = "failing"
    GONE = "gone"


class Webhook(Base):
    """An address of another program that is told of events. Its secrets are derived from our key and the seeds here."""

    __tablename__ = "webhooks"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    url: Mapped[str]
    # Values of WebhookEvent; none chosen means all.
    events: Mapped[list[str]] = mapped_column(server_default="[]")
    # None for all newsletters.
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), index=True)
    seed: Mapped[bytes]
    # The secret before the last rotation signs too, until this moment.
    old_seed: Mapped[bytes | None]
    old_until: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    # Since when no call succeeded; None while they do. Until `quiet_until` it is left alone after a failure.
    failing_since: Mapped[datetime | None]
    quiet_until: Mapped[datetime | None]
    off_since: Mapped[datetime | None]
    off_because: Mapped[WebhookOff | None]

    newsletter: Mapped[Newsletter | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("(off_since IS NULL) = (off_because IS NULL)", name="off_has_reason"),
        CheckConstraint("(old_seed IS NULL) = (old_until IS NULL)", name="old_has_end"),
    )


class WebhookMessage(Base):
    """Something that happened, written in the transaction of the change. It holds ids and words, never an address."""

    __tablename__ = "webhook_messages"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    event: Mapped[WebhookEvent]
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), index=True)
    # Whose address is looked up when it is told; without a foreign key, so that erasing a reader loses no event.
    subscription_id: Mapped[int | None] = mapped_column(index=True)
    values: Mapped[dict[str, object]] = mapped_column(JSONB)
    happened_at: Mapped[datetime] = mapped_column(index=True)


class WebhookCall(Base):
    """One webhook to be told of one event: tried until it is answered or given up."""

    __tablename__ = "webhook_calls"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("webhook_messages.id", ondelete="CASCADE"), index=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    state: Mapped[CallState] = mapped_column(server_default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    # While it waits: when it is tried next. A worker that takes it moves this on, so that its death loses nothing.
    due_at: Mapped[datetime]
    trouble: Mapped[CallTrouble | None]
    # What the other side answered last, and how long it took.
    status: Mapped[int | None] = mapped_column(SmallInteger)
    milliseconds: Mapped[int | None] = mapped_column(Integer)
    last_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_webhook_calls_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_calls_due", "due_at", "id", postgresql_where=text("state = 'waiting'")),
    )
