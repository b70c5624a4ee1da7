"""What decides who gets which article: topics and pins of a newsletter, what was taken out, what each variant held."""

import enum
from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Identity, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class Rhythm(enum.StrEnum):
    """How often a reader wants a newsletter: each issue, or at most one a day, week (from Monday) or month."""

    EACH = "each"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class Overflow(enum.StrEnum):
    """What becomes of articles beyond an issue's maximum: counted as being on the site, or carried to the next issue."""

    LISTED = "listed"
    CARRIED = "carried"


class CarriedCorrections(enum.StrEnum):
    """Which corrections a newsletter's issues tell its readers: of articles it gave them, those of others too, or none."""

    OWN = "own"
    ALL = "all"
    NONE = "none"


class Place(enum.StrEnum):
    """Where an article stood for the readers of a variant: in it, in its "more on our site", or left for the next."""

    GIVEN = "given"
    LISTED = "listed"
    CARRIED = "carried"


class Topic(Base):
    """A subject that readers of a newsletter can choose. A smaller position ranks higher."""

    __tablename__ = "topics"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"))
    slug: Mapped[str]
    # By language.
    names: Mapped[dict[str, str]]
    # Of the feeds; large and small letters are the same.
    categories: Mapped[list[str]]
    # Words of the title or address that make an article one of the topic, or keep it out; * stands for anything.
    include: Mapped[list[str]]
    exclude: Mapped[list[str]]
    position: Mapped[int] = mapped_column(SmallInteger)

    __table_args__ = (
        UniqueConstraint("newsletter_id", "slug"),
        CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="slug_form"),
    )


class Pin(Base):
    """An article that stands first in a newsletter until a moment, unless its readers have had it."""

    __tablename__ = "pins"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True, index=True)
    # The highest comes first.
    priority: Mapped[int] = mapped_column(SmallInteger)
    until: Mapped[datetime]


class IssueExclusion(Base):
    """An article that the newsroom took out of an issue: no reader gets it, with any topics or rhythm."""

    __tablename__ = "issue_exclusions"

    issue_id: Mapped[int] = mapped_column(ForeignKey("issues.id", ondelete="CASCADE"), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True, index=True)


class VariantArticle(Base):
    """What a variant held. With its deliveries, the account of what every reader has had, over all newsletters."""

    __tablename__ = "variant_articles"

    variant_id: Mapped[int] = mapped_column(ForeignKey("variants.id", ondelete="CASCADE"), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"), primary_key=True, index=True)
    place: Mapped[Place]
