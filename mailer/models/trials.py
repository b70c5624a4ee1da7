"""Test mails: an issue as somebody of the newsroom had it sent to look at, outside of the ledger."""

import enum
from datetime import datetime

from sqlalchemy import Float, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class TrialVerdict(enum.StrEnum):
    """What the mail server said; WAITING: nothing, in the time that somebody waits for a page."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    # A refusal of us, not of the address.
    BLOCKED = "blocked"
    UNCERTAIN = "uncertain"
    WAITING = "waiting"


class Trial(Base):
    """One test mail. Kept for a short time, for its result and to count how many leave in an hour."""

    __tablename__ = "trials"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    address: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime] = mapped_column(index=True)
    # None while it is under way, and for good if the process was stopped meanwhile.
    verdict: Mapped[TrialVerdict | None]
    # The server's words, or ours about what keeps the mail; the server's name and how long it took.
    reply: Mapped[str] = mapped_column(server_default="")
    server: Mapped[str] = mapped_column(server_default="")
    seconds: Mapped[float] = mapped_column(Float, server_default="0")
