"""Who may open the admin pages, what they may do there, and how they prove who they are."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.content import Newsletter


class Role(enum.StrEnum):
    """What a person may do, the least first; each may all that those before may."""

    VIEWER = "viewer"
    WRITER = "writer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """Order the roles: a higher one may more."""
        return list(Role).index(self)


class SecretKind(enum.StrEnum):
    """What a secret that was mailed or shown once opens."""

    INVITATION = "invitation"
    RESET = "reset"


class Account(Base):
    """A person of the newsroom."""

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    # None until an invited person has chosen one, and for those who sign in through another service only.
    password_hash: Mapped[str | None]
    language: Mapped[str]
    # At every newsletter, also those to come. None: only what account_rights say.
    role: Mapped[Role | None]
    has_single_keys: Mapped[bool] = mapped_column(server_default=sql("true"))
    created_at: Mapped[datetime]
    # A sign-in link made before the last sign-in has been used, or is not needed any more.
    signed_in_at: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    # Sealed with the installation's key. Asked for only once it was confirmed by a code.
    totp_secret: Mapped[bytes | None]
    totp_confirmed_at: Mapped[datetime | None]
    # The step of the last code that was taken: no code is taken twice.
    totp_step: Mapped[int] = mapped_column(server_default="0")

    rights: Mapped[list["AccountRight"]] = relationship(lazy="raise", passive_deletes=True)

    __table_args__ = (
        CheckConstraint("totp_confirmed_at IS NULL OR totp_secret IS NOT NULL", name="confirmed_has_secret"),
    )


class AccountRight(Base):
    """What an account may do at one newsletter, beside what it may do at all of them."""

    __tablename__ = "account_rights"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(
        ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[Role]

    newsletter: Mapped[Newsletter] = relationship(lazy="raise")

    __table_args__ = (CheckConstraint("role <> 'owner'", name="owner_is_everywhere"),)


class AccountSession(Base):
    """A browser that is signed in; only the hash of its cookie is kept."""

    __tablename__ = "account_sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    # To the minute. The browser's name and the truncated network tell its owner which one it is.
    seen_at: Mapped[datetime | None]
    browser: Mapped[str] = mapped_column(server_default="")
    network: Mapped[str | None]

    account: Mapped[Account] = relationship(lazy="raise")


class AccountRequest(Base):
    """Somebody asked for a link by mail, of an address that may be nobody's; a task answers within seconds."""

    __tablename__ = "account_requests"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[SecretKind]
    email: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class AccountSecret(Base):
    """An invitation or the reset of a password, until it is used. The link itself is signed, and kept nowhere."""

    __tablename__ = "account_secrets"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[SecretKind]
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    # The mail that the link is in; None for one that was shown once to who made it.
    delivery_id: Mapped[int | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class RecoveryCode(Base):
    """What takes the place of a code of the second factor, once."""

    __tablename__ = "recovery_codes"

    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(primary_key=True)


class AccountPolicy(Base):
    """What holds for all accounts; one row, or none as long as nothing was chosen."""

    __tablename__ = "account_policies"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    requires_second_factor: Mapped[bool] = mapped_column(server_default=sql("false"))

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)


class Approval(Base):
    """The consent of a second person to an issue as it was at that moment."""

    __tablename__ = "approvals"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, index=True)
    # Of what the issue said: consent to other words is no consent to these.
    content_hash: Mapped[bytes]
    given_at: Mapped[datetime]
    # Also asked for the issue to be sent, so that somebody else must agree.
    asked: Mapped[bool] = mapped_column(server_default=sql("false"))

    account: Mapped[Account] = relationship(lazy="raise")
