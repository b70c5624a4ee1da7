"""Filters of readers that the newsroom comes back to."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Identity
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class Segment(Base):
    """A saved filter: what its address says, under a name. Who is in it is asked anew each time."""

    __tablename__ = "segments"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    # As in the address of the list: {"state": "confirmed", "rhythm": "weekly"}.
    chosen: Mapped[dict[str, str]]
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("length(name) BETWEEN 1 AND 80", name="name_length"),)
