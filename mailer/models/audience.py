"""Who reads: subscribers, their subscriptions, what they consented to, and who must not be mailed."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, SmallInteger, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter


class SubscriptionState(enum.StrEnum):
    """pending → confirmed → ended; an ended one may become pending or confirmed again."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    ENDED = "ended"


class EndedReason(enum.StrEnum):
    """Why a subscription ended."""

    UNSUBSCRIBED = "unsubscribed"
    ONE_CLICK = "one_click"
    COMPLAINED = "complained"
    BOUNCED = "bounced"
    REMOVED = "removed"
    # The reader gets the newsletter at another address of theirs.
    MOVED = "moved"


class LeftBecause(enum.StrEnum):
    """What a reader who left may tell us by one press of a button."""

    TOO_MANY = "too_many"
    NOT_INTERESTED = "not_interested"
    NEVER_ASKED = "never_asked"
    OTHER = "other"


class ConsentEvent(enum.StrEnum):
    """What a reader, or an operator for a reader, did."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    IMPORTED = "imported"
    CHANGED = "changed"
    MOVED = "moved"
    ENDED = "ended"
    RESUMED = "resumed"


class SuppressedBecause(enum.StrEnum):
    """Why an address must not be mailed. Only its reader undoes `erased` and `bounced`, by a link in a mail to it."""

    ERASED = "erased"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    # By the newsroom, or from a list that it brought along.
    REMOVED = "removed"


class Subscriber(Base):
    """A person's address. Preferences belong to the subscription.

    `attributes` are what else the newsroom knows of the reader, for merge fields: texts by name, such as {"city": "Almaty"}.
    """

    __tablename__ = "subscribers"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    address: Mapped[str]
    address_key: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    attributes: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("length(address) <= 320", name="address_length"),
        CheckConstraint("jsonb_typeof(attributes) = 'object'", name="attributes_object"),
        # The desk finds readers by the start of their address, whatever order the database sorts in, and by its domain.
        Index("ix_subscribers_address_start", "address_key", "id", postgresql_ops={"address_key": 'COLLATE "C"'}),
        Index("ix_subscribers_domain", text("split_part(address_key, '@', 2)"), "id"),
    )


class Subscription(Base):
    """One subscriber's standing with one newsletter."""

    __tablename__ = "subscriptions"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscribers.id", ondelete="CASCADE"))
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id"))
    state: Mapped[SubscriptionState]
    language: Mapped[str]
    # Slugs in order; none chosen means all.
    topics: Mapped[list[str]] = mapped_column(server_default="[]")
    rhythm: Mapped[Rhythm] = mapped_column(server_default="each")
    paused_until: Mapped[datetime | None]
    # The end of the window of the last issue that this reader was given or that held nothing for them; None for those
    # who get every issue, and so are where the newsletter is.
    watermark: Mapped[datetime | None]
    # When issues arrive, in the reader's IANA zone; None for at once.
    hour: Mapped[int | None] = mapped_column(SmallInteger)
    timezone: Mapped[str | None]
    # Since when this reader agrees that it is noted which issues they open and which links they follow; None if they don't.
    tracking_agreed_at: Mapped[datetime | None]
    source: Mapped[str | None]
    requested_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    ended_reason: Mapped[EndedReason | None]
    left_because: Mapped[LeftBecause | None]

    subscriber: Mapped[Subscriber] = relationship(lazy="raise")
    newsletter: Mapped[Newsletter] = relationship(lazy="raise")

    __table_args__ = (
        UniqueConstraint("subscriber_id", "newsletter_id"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended_has_time"),
        CheckConstraint("(state = 'ended') = (ended_reason IS NOT NULL)", name="ended_has_reason"),
        CheckConstraint("left_because IS NULL OR state = 'ended'", name="left_is_ended"),
        CheckConstraint("state <> 'confirmed' OR confirmed_at IS NOT NULL", name="confirmed_has_time"),
        CheckConstraint("(hour IS NULL) = (timezone IS NULL)", name="hour_has_zone"),
        CheckConstraint("hour BETWEEN 0 AND 23", name="hour_of_day"),
        # The freeze reads the confirmed ones of one newsletter in order of id.
        Index("ix_subscriptions_confirmed", "newsletter_id", "id", postgresql_where=text("state = 'confirmed'")),
        Index("ix_subscriptions_hour", "newsletter_id", "id", postgresql_where=text("hour IS NOT NULL")),
        # The desk lists those that few are.
        Index("ix_subscriptions_others", "state", "id", postgresql_where=text("state <> 'confirmed'")),
        Index("ix_subscriptions_paused", "paused_until", "id", postgresql_where=text("paused_until IS NOT NULL")),
        Index("ix_subscriptions_source", "source", "id"),
        # Who left after an issue, for its report.
        Index("ix_subscriptions_ended", "newsletter_id", "ended_at", postgresql_where=text("state = 'ended'")),
    )


class SignupRequest(Base):
    """What somebody typed into the form; a worker decides later which mail leaves, so the page can't tell who is known."""

    __tablename__ = "signup_requests"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id"))
    address: Mapped[str]
    language: Mapped[str]
    source: Mapped[str | None]
    form_version: Mapped[str]
    network: Mapped[str | None]
    # What was chosen on the form, for the subscription once it is confirmed.
    topics: Mapped[list[str]] = mapped_column(server_default="[]")
    rhythm: Mapped[Rhythm] = mapped_column(server_default="each")
    agrees_to_tracking: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]
    subscription_id: Mapped[int | None] = mapped_column(ForeignKey("subscriptions.id", ondelete="CASCADE"), index=True)

    __table_args__ = (
        Index("ix_signup_requests_waiting", "created_at", postgresql_where=text("handled_at IS NULL")),
        Index("ix_signup_requests_created_at", "created_at"),
    )


class Consent(Base):
    """One line of the append-only consent log: one entry for each change of a subscription."""

    __tablename__ = "consents"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    subscription_id: Mapped[int] = mapped_column(ForeignKey("subscriptions.id", ondelete="CASCADE"), index=True)
    event: Mapped[ConsentEvent]
    at: Mapped[datetime]
    source: Mapped[str | None]
    form_version: Mapped[str | None]
    # The network that asked, truncated to /24 or /48: proof without an address.
    network: Mapped[str | None]
    detail: Mapped[str | None]

    # Only ever added, so a few ranges tell where a day's entries lie.
    __table_args__ = (Index("ix_consents_at", "at", postgresql_using="brin"),)


class Suppression(Base):
    """An address that must not be mailed, kept as a hash so that erasing a reader does not revive them."""

    __tablename__ = "suppressions"

    address_hash: Mapped[bytes] = mapped_column(primary_key=True)
    reason: Mapped[SuppressedBecause]
    strikes: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
