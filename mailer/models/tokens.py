"""What lets other programs in, and what they asked for once already."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.content import Newsletter


class Scope(enum.StrEnum):
    """What a token allows. Each allows what it says and nothing else; none includes another."""

    # Newsletters, feeds, topics, articles, issues and figures; no address of a reader.
    READ = "read"
    # Readers: search, show, add, change, unsubscribe, erase, export.
    SUBSCRIBERS = "subscribers"
    # Issues: draft, edit, arrange; nothing leaves by it.
    ISSUES = "issues"
    # Test, schedule, send, pause, cancel.
    SEND = "send"
    # Articles: push, hold, release, withdraw, pin.
    ARTICLES = "articles"
    # Newsletters, feeds, topics, webhooks, the list of tokens, the audit log.
    ADMIN = "admin"


class AccessToken(Base):
    """A secret of another program, such as the site's publishing system; only its hash is kept."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    # Its first characters, by which people tell one from another; "" of those made before it was kept.
    prefix: Mapped[str] = mapped_column(server_default="")
    # Values of Scope, in order.
    scopes: Mapped[list[str]]
    # None for all newsletters.
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), index=True)
    # Who made it: an account's name, or "cli".
    created_by: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    # To the minute: a busy program does not write a row with every call.
    used_at: Mapped[datetime | None]

    newsletter: Mapped[Newsletter | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint(
            "jsonb_array_length(scopes) > 0 AND "
            'scopes <@ \'["read", "subscribers", "issues", "send", "articles", "admin"]\'::jsonb',
            name="scopes",
        ),
    )


class KeptAnswer(Base):
    """The answer to a request that carried an Idempotency-Key, written in the transaction that did what was asked."""

    __tablename__ = "kept_answers"

    token_id: Mapped[int] = mapped_column(ForeignKey("access_tokens.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    # Of method, path and body: the same key for something else is a mistake.
    request_hash: Mapped[bytes]
    status: Mapped[int] = mapped_column(SmallInteger)
    # JSON, byte for byte, encrypted (vault.py).
    sealed: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (CheckConstraint("length(key) BETWEEN 1 AND 200", name="key_length"),)
