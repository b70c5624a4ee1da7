"""What came back of deliveries, by whichever way, and what became of it."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class ReturnKind(enum.StrEnum):
    """What a return means. hard: the address will never work; ours: our sending was refused, not the reader's address."""

    HARD = "hard"
    SOFT = "soft"
    OURS = "ours"
    COMPLAINT = "complaint"


class Return(Base):
    """One report that a delivery failed or that its reader complains. Only ever added; `handled_at` is when it took effect.

    `key` is the same for the same report however often and by whichever way it arrives.
    """

    __tablename__ = "returns"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    key: Mapped[bytes] = mapped_column(unique=True)
    # Without a foreign key, as outcomes; None where nothing proves which of our mails it is about.
    delivery_id: Mapped[int | None]
    kind: Mapped[ReturnKind]
    # The value of a bounces.reasons.Reason.
    reason: Mapped[str]
    # An enhanced status code (RFC 3463).
    status: Mapped[str | None]
    # The server's words, at most 400 characters.
    words: Mapped[str | None]
    # smtp, mailbox, lmtp, or a provider's name.
    via: Mapped[str]
    at: Mapped[datetime]
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("length(words) <= 400", name="words_length"),
        Index("ix_returns_delivery_id", "delivery_id", postgresql_where=text("delivery_id IS NOT NULL")),
        Index("ix_returns_waiting", "id", postgresql_where=text("handled_at IS NULL")),
        Index("ix_returns_received_at", "received_at"),
    )
