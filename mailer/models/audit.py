"""Who changed what, and when: only ever added to."""

import enum
from datetime import datetime

from sqlalchemy import Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class Actor(enum.StrEnum):
    """Who did something: a person at the desk, another program through the API, or somebody at the command line."""

    ACCOUNT = "account"
    TOKEN = "token"  # noqa: S105 - a word
    COMMAND = "command"


class AuditEntry(Base):
    """A change that was made. No foreign keys: what is removed later stays named here by its id."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[Actor]
    # None for the command line.
    actor_id: Mapped[int | None]
    actor_name: Mapped[str]
    # Module and function of the route, or the command's words; audit_words says what it means.
    action: Mapped[str]
    newsletter_id: Mapped[int | None]
    # Names and ids as they stand in the path: {"issue_id": "12"}. Never an address, a token, or what was typed.
    objects: Mapped[dict[str, str]]
    network: Mapped[str | None]

    __table_args__ = (
        Index("ix_audit_entries_newsletter_id_id", "newsletter_id", "id"),
        Index("ix_audit_entries_actor_actor_id_id", "actor", "actor_id", "id"),
    )
