"""Who may open the admin pages."""

from datetime import datetime

from sqlalchemy import ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base


class Account(Base):
    """A person of the newsroom."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    password_hash: Mapped[str]
    language: Mapped[str]
    created_at: Mapped[datetime]
    # A sign-in link made before the last sign-in has been used, or is not needed any more.
    signed_in_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]


class AccountSession(Base):
    """A browser that is signed in; only the hash of its cookie is kept."""

    __tablename__ = "account_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    account: Mapped[Account] = relationship(lazy="raise")
