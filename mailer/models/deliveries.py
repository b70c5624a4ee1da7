"""The ledger: who is to get what, who is at it now, and what became of it.

Built for a million rows an issue. Deliveries never change after the freeze and workers only ever add outcomes (by COPY),
so nothing bloats; a batch is a range of delivery ids, and the only row that workers contend for. The uncertain ones are
settled by people: see Settlement.
"""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class Outcome(enum.StrEnum):
    """How a delivery ended. A deferred one has not ended: see Deferral."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    SKIPPED = "skipped"
    UNCERTAIN = "uncertain"


class SettledAs(enum.StrEnum):
    """What somebody decided about uncertain deliveries: send them again, or how they ended after all."""

    RESEND = "resend"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class BatchState(enum.StrEnum):
    """queued → claimed → queued (deferred or handed back) or done."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DONE = "done"


class Delivery(Base):
    """One mail to one subscription, or to an address of the newsroom, frozen. Its Message-ID is derived from its id."""

    __tablename__ = "deliveries"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # Without foreign keys to issue and variant: neither is deleted before its deliveries, and a million checks cost seconds.
    issue_id: Mapped[int | None]
    variant_id: Mapped[int]
    subscription_id: Mapped[int | None] = mapped_column(ForeignKey("subscriptions.id", ondelete="SET NULL"))
    # Of the newsroom; None for readers, whose addresses stand in one place only.
    address: Mapped[str | None]

    __table_args__ = (
        # Nobody gets an issue twice; led by the reader, it also answers "what did X get?".
        Index("uq_deliveries_subscription_id_issue_id", "subscription_id", "issue_id", unique=True),
        CheckConstraint("address IS NULL OR (issue_id IS NULL AND subscription_id IS NULL)", name="newsroom_only"),
        # Mails to one reader, with those that welcome by the last issue: its variant tells what they held.
        Index("ix_deliveries_single", "variant_id", postgresql_where=text("issue_id IS NULL")),
    )


class Batch(Base):
    """Deliveries first_id … last_id of one issue (or one confirmation mail), claimed as a whole.

    `fence` grows with each claim; a write that carries an older one is refused, so a worker that was thought dead
    cannot record anything after its successor began. The counters are sums of the batch's outcomes.
    """

    __tablename__ = "batches"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int | None] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    first_id: Mapped[int]
    last_id: Mapped[int]
    size: Mapped[int] = mapped_column(Integer)
    state: Mapped[BatchState] = mapped_column(server_default="queued")
    due_at: Mapped[datetime]
    owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(Integer, server_default="0")
    accepted: Mapped[int] = mapped_column(Integer, server_default="0")
    refused: Mapped[int] = mapped_column(Integer, server_default="0")
    skipped: Mapped[int] = mapped_column(Integer, server_default="0")
    uncertain: Mapped[int] = mapped_column(Integer, server_default="0")

    __table_args__ = (
        CheckConstraint("first_id <= last_id AND size > 0", name="range"),
        CheckConstraint("accepted + refused + skipped + uncertain <= size", name="equation"),
        CheckConstraint("state <> 'done' OR accepted + refused + skipped + uncertain = size", name="done_is_complete"),
        CheckConstraint("(state = 'claimed') = (lease_until IS NOT NULL)", name="claimed_has_lease"),
        # From a confirmation's delivery to its batch, to count how many left today.
        Index("ix_batches_single", "first_id", postgresql_where=text("issue_id IS NULL")),
        # For claims: an issue's next batch, the next confirmation, and what silent workers left.
        Index("ix_batches_waiting", "issue_id", "due_at", "id", postgresql_where=text("state <> 'done'")),
        Index("ix_batches_urgent", "due_at", "id", postgresql_where=text("state = 'queued' AND issue_id IS NULL")),
        Index("ix_batches_claimed", "lease_until", postgresql_where=text("state = 'claimed'")),
    )


class DeliveryOutcome(Base):
    """The end of one delivery; the key allows only one."""

    __tablename__ = "outcomes"

    delivery_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    outcome: Mapped[Outcome]
    # The server's last words, or why it was skipped; at most 200 characters.
    reply: Mapped[str | None]
    recorded_at: Mapped[datetime]

    # Who was not reached is looked for among a million who were; those cost the index nothing.
    __table_args__ = (Index("ix_outcomes_trouble", "delivery_id", postgresql_where=text("outcome <> 'accepted'")),)


class Deferral(Base):
    """One temporary refusal of a delivery that will be tried again."""

    __tablename__ = "deferrals"

    delivery_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    reply: Mapped[str]
    recorded_at: Mapped[datetime]
    retry_at: Mapped[datetime]
    # Of an attempt whose answer was lost: the variant that may have arrived. It is sent again by policy, or by hand.
    variant_id: Mapped[int | None]


class Settlement(Base):
    """A decision about uncertain deliveries of an issue: what, how many, who and when. Only ever added."""

    __tablename__ = "settlements"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    how: Mapped[SettledAs]
    count: Mapped[int] = mapped_column(Integer)
    by: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (CheckConstraint("count > 0", name="settles_something"),)
