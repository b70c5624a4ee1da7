"""The sample publication: its articles, as the site and the feed show them. Texts are in articles.toml."""

import functools
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from markdown_it import MarkdownIt

PICTURES: Final = Path(__file__).parent / "pictures"
PICTURE_WIDTH: Final = 1200
PICTURE_HEIGHT: Final = 675


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What the site says about itself; plain text in French."""

    name: str
    tagline: str
    description: str
    newsletter_label: str
    newsletter_line: str
    notice: str


@dataclass(frozen=True, kw_only=True)
class Article:
    """One article that has appeared. `html` is trusted: it comes from our own Markdown."""

    slug: str
    title: str
    topic: str
    country: str
    author: str
    excerpt: str
    html: str
    picture: str
    alt: str
    credit: str
    published_at: datetime


def publication() -> Publication:
    """Return what the site says about itself."""
    return Publication(**_content()["publication"])


def articles(*, started_at: datetime, later_at: datetime | None) -> tuple[Article, ...]:
    """Return the articles that have appeared, newest first.

    `started_at`: the moment that the ages in articles.toml count back from. `later_at`: when the articles that appear
    later did so; None leaves them out.
    """
    found = [_article(entry, started_at) for entry in _content()["articles"] if not entry.get("appears_later")]
    appeared = (*late_articles(later_at=later_at), *found)
    return tuple(sorted(appeared, key=lambda article: article.published_at, reverse=True))


def late_articles(*, later_at: datetime | None) -> tuple[Article, ...]:
    """Return only the articles that appear later; none while `later_at` is None."""
    if later_at is None:
        return ()
    return tuple(_article(entry, later_at) for entry in _content()["articles"] if entry.get("appears_later"))


def _article(entry: dict[str, Any], now: datetime) -> Article:
    return Article(
        slug=entry["slug"],
        title=entry["title"],
        topic=entry["topic"],
        country=entry["country"],
        author=entry["author"],
        excerpt=entry["excerpt"],
        html=MarkdownIt("commonmark", {"html": False}).render(entry["body"]),
        picture=entry["picture"],
        alt=entry["alt"],
        credit=entry["credit"],
        published_at=now - timedelta(hours=entry.get("hours_ago", 0)),
    )


@functools.cache
def _content() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "articles.toml").read_text(encoding="utf-8"))
