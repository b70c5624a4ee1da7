"""What lets other programs in."""

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base
from mailer.models.content import Newsletter


class Scope(enum.StrEnum):
    """What a token allows: to push articles into a newsletter."""

    ARTICLES = "articles"


class AccessToken(Base):
    """A secret of another program, such as the site's publishing system; only its hash is kept."""

    __tablename__ = "access_tokens"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    scope: Mapped[Scope]
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    # To the minute: a busy program does not write a row with every call.
    used_at: Mapped[datetime | None]

    newsletter: Mapped[Newsletter] = relationship(lazy="raise")
