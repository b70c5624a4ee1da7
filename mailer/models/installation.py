"""What was chosen for the whole installation: the first run, the publication's own data, its mail servers, its logo."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, Float, ForeignKey, Identity, Integer, SmallInteger
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class SiteState(enum.StrEnum):
    """How far reading the newsroom's site has come."""

    NONE = "none"
    ASKED = "asked"
    # Its feed is known, the newsletter made; articles and pictures are being read.
    FOUND = "found"
    READY = "ready"
    FAILED = "failed"


class Security(enum.StrEnum):
    """How mail is handed over: in clear, in TLS after STARTTLS, in TLS from the first byte."""

    CLEAR = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


class Installation(Base):
    """One row, or none as long as nothing was chosen."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, server_default="1")
    # Of the publication. A newsletter that has the same value follows when it is changed here.
    name: Mapped[str] = mapped_column(server_default="")
    language: Mapped[str] = mapped_column(server_default="en")
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    publisher: Mapped[str] = mapped_column(server_default="")
    postal_address: Mapped[str] = mapped_column(server_default="")
    contact_address: Mapped[str] = mapped_column(server_default="")
    brand_color: Mapped[str] = mapped_column(server_default="#0F5C5C")
    logo_url: Mapped[str | None]
    logo_width: Mapped[int] = mapped_column(SmallInteger, server_default="160")
    # Mail is caught by the inbox of this machine, whatever servers there are.
    is_sandbox: Mapped[bool] = mapped_column(server_default=sql("false"))
    # Of the first run: what was typed, how reading the site goes, what came of it, and the steps done or skipped.
    site_url: Mapped[str] = mapped_column(server_default="")
    site_state: Mapped[SiteState] = mapped_column(server_default="none")
    # A code of articles.sites with its values, or the feeds to choose from.
    site_found: Mapped[dict[str, object]] = mapped_column(JSONB, server_default="{}")
    asked_at: Mapped[datetime | None]
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletters.id", ondelete="SET NULL"), index=True)
    steps: Mapped[dict[str, str]] = mapped_column(server_default="{}")
    # Of the list of what remains: what somebody called done.
    dismissed: Mapped[list[str]] = mapped_column(server_default="[]")
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint("logo_width BETWEEN 24 AND 536", name="logo_width"),
        CheckConstraint("(site_state = 'none') = (asked_at IS NULL)", name="asked_has_moment"),
    )


class MailServer(Base):
    """An SMTP server that mail is handed over to, entered at the desk. Limits: None for none."""

    __tablename__ = "mail_servers"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    security: Mapped[Security]
    host: Mapped[str]
    port: Mapped[int] = mapped_column(Integer)
    username: Mapped[str | None]
    # Sealed with the installation's key (mailer.vault); never shown again.
    sealed_password: Mapped[bytes | None]
    # The lowest that answers is used; equal ones share.
    position: Mapped[int] = mapped_column(SmallInteger, server_default="1")
    connections: Mapped[int] = mapped_column(SmallInteger, server_default="10")
    per_second: Mapped[float | None] = mapped_column(Float)
    per_hour: Mapped[int | None] = mapped_column(Integer)
    per_day: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name="name_form"),
        CheckConstraint("port BETWEEN 1 AND 65535", name="port"),
        CheckConstraint("position BETWEEN 1 AND 100", name="position"),
        CheckConstraint("connections BETWEEN 1 AND 1000", name="connections"),
        CheckConstraint("per_second > 0 AND per_hour > 0 AND per_day > 0", name="limits"),
        CheckConstraint("username IS NOT NULL OR sealed_password IS NULL", name="password_has_user"),
    )


class Logo(Base):
    """A picture that stands in place of a publication's name: uploaded, and made anew by us. `digest` is in its address."""

    __tablename__ = "logos"

    digest: Mapped[str] = mapped_column(primary_key=True)
    width: Mapped[int] = mapped_column(SmallInteger)
    height: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[str]
    content: Mapped[bytes] = mapped_column(deferred=True)
    created_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("kind IN ('jpg', 'png')", name="kind"),)
