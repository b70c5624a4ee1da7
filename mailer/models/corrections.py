"""What happens to articles after they were sent: corrections and who is told of them, and changes of issues on their way."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Integer
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class ChangeKind(enum.StrEnum):
    """What was done to an article of an issue that had left: taken out, put anew, or corrected where it stands."""

    PULLED = "pulled"
    REPLACED = "replaced"
    CORRECTED = "corrected"


class Correction(Base):
    """What the newsroom says about an article that readers were given, in the language of its newsletter."""

    __tablename__ = "corrections"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id", ondelete="CASCADE"), index=True)
    note: Mapped[str]
    by: Mapped[str]
    at: Mapped[datetime]

    __table_args__ = (CheckConstraint("note <> ''", name="says_something"),)


class VariantCorrection(Base):
    """A correction that stood in the box of a variant; with its deliveries, who was told."""

    __tablename__ = "variant_corrections"

    variant_id: Mapped[int] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"), primary_key=True)
    correction_id: Mapped[int] = mapped_column(
        ForeignKey("corrections.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class IssueChange(Base):
    """The history of an issue after it left: what was done to which article, by whom and when. Only ever added."""

    __tablename__ = "issue_changes"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), index=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"), index=True)
    kind: Mapped[ChangeKind]
    note: Mapped[str] = mapped_column(server_default="")
    # Readers who had it at that moment, while others were being mailed; None of an issue that was sent.
    had: Mapped[int | None] = mapped_column(Integer)
    by: Mapped[str]
    at: Mapped[datetime]
