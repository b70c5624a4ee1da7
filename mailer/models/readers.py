"""What readers ask for beyond a subscription: the link to all that is theirs, and another address."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class LinkRequest(Base):
    """Somebody typed an address to get the link to its subscriptions; goes as soon as a worker has answered it."""

    __tablename__ = "link_requests"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    address: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class AddressChange(Base):
    """A subscriber's move to a new address: first the mail that asks the new one, once it agreed the notice to the old one.

    These two deliveries go to the addresses that stand here, whatever the subscriber's is by then.
    """

    __tablename__ = "address_changes"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscribers.id", ondelete="CASCADE"), index=True)
    old_address: Mapped[str]
    new_address: Mapped[str]
    # Deliveries, without foreign keys as everywhere: they outlive their reader, but nothing of this does.
    confirmation_id: Mapped[int] = mapped_column(unique=True)
    notice_id: Mapped[int | None] = mapped_column(unique=True)
    asked_at: Mapped[datetime] = mapped_column(index=True)
    done_at: Mapped[datetime | None]

    __table_args__ = (CheckConstraint("(done_at IS NULL) = (notice_id IS NULL)", name="done_is_told"),)
