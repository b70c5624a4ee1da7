"""How a send went, for people to look at: what workers recorded when, sums of it, and days of readers come and gone.

The ledger (models/deliveries.py) stays the truth; all of this only tells it faster than counting a million rows would.
"""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base
from mailer.models.content import IssueState, PauseReason


class Tally(Base):
    """What a worker recorded of an issue at one moment: never changed, so that workers never wait for each other.

    `providers` are the recipients' domains, each with [accepted, refused, deferred, ended after a deferral]; `replies` what
    servers said, led by what came of it ("refused 550 5.1.1 user unknown"), and how often. `deferred` counts a delivery
    once, when it is put off for the first time. When an issue has ended, tallies.fold makes sums by minute of them.
    """

    __tablename__ = "tallies"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # Without a foreign key: the check would lock the issue's row whenever a worker records.
    issue_id: Mapped[int]
    at: Mapped[datetime]
    accepted: Mapped[int] = mapped_column(Integer, server_default="0")
    refused: Mapped[int] = mapped_column(Integer, server_default="0")
    skipped: Mapped[int] = mapped_column(Integer, server_default="0")
    uncertain: Mapped[int] = mapped_column(Integer, server_default="0")
    deferred: Mapped[int] = mapped_column(Integer, server_default="0")
    recovered: Mapped[int] = mapped_column(Integer, server_default="0")
    providers: Mapped[dict[str, list[int]]] = mapped_column(JSONB, server_default="{}")
    replies: Mapped[dict[str, int]] = mapped_column(JSONB, server_default="{}")

    __table_args__ = (Index("ix_tallies_issue_id_id", "issue_id", "id"),)


class ProviderTotal(Base):
    """What became of an issue's deliveries at one recipients' domain, once the issue has ended."""

    __tablename__ = "provider_totals"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    accepted: Mapped[int] = mapped_column(Integer)
    refused: Mapped[int] = mapped_column(Integer)
    deferred: Mapped[int] = mapped_column(Integer)
    recovered: Mapped[int] = mapped_column(Integer)


class ReplyTotal(Base):
    """What servers said to an issue's deliveries that they did not take at once, and how often."""

    __tablename__ = "reply_totals"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    said: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(Integer)


class IssueEvent(Base):
    """A change of an issue's state: what it became, when, and why. Only ever added."""

    __tablename__ = "issue_events"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"))
    at: Mapped[datetime]
    state: Mapped[IssueState]
    code: Mapped[PauseReason | None]
    # A server's words, or who did it.
    words: Mapped[str | None]

    __table_args__ = (Index("ix_issue_events_issue_id_id", "issue_id", "id"),)


class IssueReport(Base):
    """What came of an issue among its readers, counted by upkeep: hourly while it is young, then no more."""

    __tablename__ = "issue_reports"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    accepted: Mapped[int] = mapped_column(Integer)
    refused: Mapped[int] = mapped_column(Integer)
    clicks: Mapped[int] = mapped_column(Integer)
    # Readers who left, or reported it as spam, after they got it and before the next issue or a week had gone by.
    left: Mapped[int] = mapped_column(Integer)
    complained: Mapped[int] = mapped_column(Integer)
    # Clicks in each of the first 48 hours.
    hourly: Mapped[list[int]] = mapped_column(JSONB)
    counted_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("jsonb_array_length(hourly) = 48", name="hours"),)


class ReaderDay(Base):
    """Readers of a newsletter who came and went on one day (UTC), and how many there were at its end."""

    __tablename__ = "reader_days"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    joined: Mapped[int] = mapped_column(Integer)
    left: Mapped[int] = mapped_column(Integer)
    readers: Mapped[int] = mapped_column(Integer)


class ReaderMix(Base):
    """How many readers of a newsletter chose a rhythm and a language, as upkeep counted them last."""

    __tablename__ = "reader_mixes"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    rhythm: Mapped[str] = mapped_column(primary_key=True)
    language: Mapped[str] = mapped_column(primary_key=True)
    readers: Mapped[int] = mapped_column(Integer)
