"""What is known of articles besides their words: why one is held or withdrawn, what it said before, what a baseline lets in."""

import enum
from datetime import datetime
from typing import Final

from sqlalchemy import ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column

from mailer.models.base import Base


class ArticleStatus(enum.StrEnum):
    """Whether an article may be put into an issue by itself."""

    READY = "ready"
    HELD = "held"
    WITHDRAWN = "withdrawn"


class StatusCode(enum.StrEnum):
    """Why an article is held or withdrawn; Article.status_reason says it in words."""

    KNOWN_TITLE = "known_title"
    HELD_BY_HAND = "held_by_hand"
    PAGE_GONE = "page_gone"
    PAGE_SAYS_GONE = "page_says_gone"
    WITHDRAWN_BY_SITE = "withdrawn_by_site"
    WITHDRAWN_BY_HAND = "withdrawn_by_hand"


STATUS_REASONS: Final = {
    StatusCode.KNOWN_TITLE: "held: it came with many others under new addresses, and its title is known already",
    StatusCode.HELD_BY_HAND: "held by the newsroom",
    StatusCode.PAGE_GONE: "withdrawn: its page is gone",
    StatusCode.PAGE_SAYS_GONE: "withdrawn: its page says that there is no such article",
    StatusCode.WITHDRAWN_BY_SITE: "withdrawn by the site",
    StatusCode.WITHDRAWN_BY_HAND: "withdrawn by the newsroom",
}


class ImageSource(enum.StrEnum):
    """Where an article's picture was found; the first in this order wins."""

    FEED = "feed"
    PAGE = "page"
    TEXT = "text"


class Baseline(enum.StrEnum):
    """Which of the articles that a feed already has when it is added count as new: none, the last N, those since a day."""

    NONE = "none"
    LAST = "last"
    SINCE = "since"


class AdmittedArticle(Base):
    """An article that a feed had when a newsletter added it, and that its baseline lets in from a moment on."""

    __tablename__ = "admitted_articles"

    newsletter_id: Mapped[int] = mapped_column(ForeignKey("newsletters.id", ondelete="CASCADE"), primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True, index=True)
    admitted_at: Mapped[datetime]


class ArticleRevision(Base):
    """What an article said before its feed told it anew; `number` counts from 0, the first words seen."""

    __tablename__ = "article_revisions"

    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    url: Mapped[str]
    title: Mapped[str]
    excerpt: Mapped[str]
    html: Mapped[str]
    replaced_at: Mapped[datetime]
