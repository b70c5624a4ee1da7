"""What the desk decides before an issue leaves: the policies of a newsletter, mails to the newsroom, and who did what."""

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class OnSilence(enum.StrEnum):
    """What becomes of an issue in review when nobody answers until its moment."""

    SEND = "send"
    HOLD = "hold"


class WhenLate(enum.StrEnum):
    """What becomes of a slot that is found too late: sent all the same, held for the desk, or merged into the next issue."""

    SEND = "send"
    HOLD = "hold"
    MERGE = "merge"


class WhenStale(enum.StrEnum):
    """What becomes of an issue when too many of its feeds could not be read for long."""

    SEND = "send"
    HOLD = "hold"


class SlotCode(enum.StrEnum):
    """Why a slot's issue was held, dropped or sent otherwise than planned; the sentences are in slot_words.py."""

    IN_REVIEW = "in_review"
    APPROVED = "approved"
    HELD_BY_DESK = "held_by_desk"
    DROPPED_BY_DESK = "dropped_by_desk"
    SILENCE_SENT = "silence_sent"
    SILENCE_HELD = "silence_held"
    PAUSE_HELD = "pause_held"
    UNREVIEWED_SENT = "unreviewed_sent"
    UNREVIEWED_HELD = "unreviewed_held"
    LATE_SENT = "late_sent"
    LATE_HELD = "late_held"
    LATE_MERGED = "late_merged"
    STALE_SENT = "stale_sent"
    STALE_HELD = "stale_held"
    NOT_APPROVED = "not_approved"


class DeskEvent(enum.StrEnum):
    """What the newsroom gets a mail about; what it says is in desk_words.py."""

    REVIEW = "review"
    CHECKS_HELD = "checks_held"
    ISSUE_HELD = "issue_held"
    UNREVIEWED = "unreviewed"
    NOT_MADE = "not_made"
    FEED_SILENT = "feed_silent"
    ISSUE_PAUSED = "issue_paused"
    ISSUE_FAILED = "issue_failed"
    WEBHOOK_OFF = "webhook_off"
    BLOCKED = "blocked"
    COMPLAINTS = "complaints"


class ReviewAct(enum.StrEnum):
    """What a link in a mail to the newsroom does."""

    SEND = "send"
    HOLD = "hold"
    DROP = "drop"


class DeskMail(Base):
    """A mail to one address of the newsroom. It waits until it is rendered and queued, which sets `delivery_id`.

    `about` names the event within its kind, so that each is told once.
    """

    __tablename__ = "desk_mails"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"))
    issue_id: Mapped[int | None] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    event: Mapped[DeskEvent]
    about: Mapped[str]
    values: Mapped[dict[str, str]] = mapped_column(JSONB)
    address: Mapped[str]
    created_at: Mapped[datetime]
    delivery_id: Mapped[int | None]

    __table_args__ = (
        UniqueConstraint("newsletter_id", "event", "about", "address", name="uq_desk_mails_once"),
        Index("ix_desk_mails_waiting", "id", postgresql_where=text("delivery_id IS NULL")),
    )


class IssueAct(Base):
    """Something that somebody of the newsroom decided about an issue by a link in a mail. Only ever added."""

    __tablename__ = "issue_acts"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    act: Mapped[ReviewAct]
    by: Mapped[str]
    at: Mapped[datetime]
