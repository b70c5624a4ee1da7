"""Articles that an editor looks for to put them into an issue."""

from typing import Final

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from mailer.feeds import urls
from mailer.models.content import Article, Issue, NewsletterFeed
from mailer.models.intake import ArticleStatus

MOST_FOUND: Final = 20


def find(database: Session, issue: Issue, words: str) -> list[Article]:
    """Find articles of the newsletter's feeds by words of the title, or by the address."""
    address = urls.web_address(words)
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == issue.newsletter_id)
    escaped = words.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    matches: ColumnElement[bool] = Article.title.ilike(f"%{escaped}%")
    if address is not None:
        matches = or_(matches, Article.canonical_url == urls.canonical_url(words))
    statement = (
        select(Article)
        .where(Article.feed_id.in_(drawn), Article.status == ArticleStatus.READY, matches)
        .order_by(Article.first_seen_at.desc(), Article.id)
        .limit(MOST_FOUND)
    )
    return list(database.execute(statement).scalars())
