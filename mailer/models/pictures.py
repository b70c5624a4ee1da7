"""The pictures of articles: where each comes from, and the small files of our own that mails show."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, SmallInteger
from sqlalchemy import text as sql
from sqlalchemy.orm import Mapped, mapped_column, relationship

from mailer.models.base import Base


class PictureState(enum.StrEnum):
    """Not fetched yet (or to be tried again), ours, or not to be had."""

    WAITING = "waiting"
    READY = "ready"
    REFUSED = "refused"


class PictureUse(enum.StrEnum):
    """The places in a mail that a picture is made for."""

    LEAD = "lead"
    CARD = "card"


class PictureKind(enum.StrEnum):
    """The kinds of file that every mail program shows; the end of the file's name."""

    JPG = "jpg"
    PNG = "png"


class Picture(Base):
    """A picture's address on the newsroom's site, and what became of fetching it."""

    __tablename__ = "pictures"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    url: Mapped[str] = mapped_column(unique=True)
    state: Mapped[PictureState] = mapped_column(server_default="waiting")
    # Why it is refused or still waits, as one sentence for an editor.
    reason: Mapped[str | None]
    # Names the files' content, so that an address of ours never shows another picture.
    digest: Mapped[str | None] = mapped_column(index=True)
    tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    due_at: Mapped[datetime]
    # Since when mails show it: it is kept for good then.
    used_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    renditions: Mapped[list["Rendition"]] = relationship(lazy="selectin", viewonly=True)

    __table_args__ = (
        CheckConstraint("(state = 'ready') = (digest IS NOT NULL)", name="ready_has_digest"),
        CheckConstraint("state <> 'refused' OR reason IS NOT NULL", name="refused_has_reason"),
        Index("ix_pictures_due_at", "due_at", postgresql_where=sql("state = 'waiting'")),
    )


class Rendition(Base):
    """A picture cut and resized for one place in a mail; width and height in pixels of the file."""

    __tablename__ = "renditions"

    picture_id: Mapped[int] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"), primary_key=True)
    use: Mapped[PictureUse] = mapped_column(primary_key=True)
    width: Mapped[int] = mapped_column(SmallInteger)
    height: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[PictureKind]
    size_bytes: Mapped[int]
    content: Mapped[bytes] = mapped_column(deferred=True)
