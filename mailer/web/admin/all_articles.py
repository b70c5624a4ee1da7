"""The articles of all newsletters on one page: found by words, with what became of each."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.articles import pictures
from mailer.db import transaction
from mailer.models.choices import Pin
from mailer.models.content import Article, Feed, Issue, IssueArticle, IssueState, Layout, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus
from mailer.newsroom import newsletters
from mailer.web.admin import articles, screens, session, words

router = APIRouter(route_class=screens.DeskRoute)

MOST_WORDS: Final = 8
_SENT: Final = (IssueState.SENDING, IssueState.PAUSED, IssueState.SENT)


@router.api_route("/articles", methods=["GET", "HEAD"])
def index(
    request: Request,
    desk: session.Current,
    q: Annotated[str, Query(max_length=200)] = "",
    newsletter: str = "",
    show: str = "all",
    page: Annotated[int, Query(ge=1, le=articles.MOST_PAGES)] = 1,
) -> Response:
    """List articles, newest first, a page at a time: of all newsletters or one, all or those of a status, with these words."""
    show, q = show if show in articles.SHOWN else "all", q.replace("\0", "").strip()
    with transaction() as database:
        every = newsletters.all_newsletters(database, among=desk.newsletter_ids)
        chosen = [one for one in every if one.slug == newsletter] or every
        found = _found(database, [one.id for one in chosen], show, q, desk, page=page)
        return screens.render(
            request,
            desk,
            "all_articles",
            here="articles",
            newsletters=every,
            wanted=newsletter if len(chosen) == 1 and len(every) > 1 else "",
            q=q,
            show=show,
            tabs_shown=list(articles.SHOWN.items()),
            found=found[: articles.PAGE_LENGTH],
            has_more=len(found) > articles.PAGE_LENGTH,
            page=page,
            homes=_homes(database, found, chosen),
            issued=_issued(database, found, [one.id for one in chosen]),
            feeds=_feeds(database, [one.id for one in chosen]),
            thumbnail=lambda article: pictures.shown(article.picture, Layout.CARD) if article.picture else None,
            no_picture=lambda article: words.no_picture(desk.language, article),
            pins={},
        )


def _found(
    database: Session, newsletter_ids: Collection[int], show: str, q: str, desk: session.Desk, *, page: int
) -> list[Article]:
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id.in_(newsletter_ids))
    statement = select(Article).where(Article.feed_id.in_(drawn), *_says(q))
    if show == "pinned":
        pinned = select(Pin.article_id).where(Pin.newsletter_id.in_(newsletter_ids), Pin.until > desk.now)
        statement = statement.where(Article.id.in_(pinned))
    elif show != "all":
        statement = statement.where(Article.status == ArticleStatus(show))
    dated = func.coalesce(Article.published_at, Article.first_seen_at)
    statement = statement.order_by(dated.desc(), Article.id).offset((page - 1) * articles.PAGE_LENGTH)
    return list(database.execute(statement.limit(articles.PAGE_LENGTH + 1)).scalars())


def _says(q: str) -> list[ColumnElement[bool]]:
    """Return the SQL of every word standing somewhere in title, teaser or author."""
    places = (Article.title, Article.excerpt, Article.author)
    return [or_(*(place.icontains(word, autoescape=True) for place in places)) for word in q.split()[:MOST_WORDS]]


def _homes(database: Session, found: Sequence[Article], among: Sequence[Newsletter]) -> dict[int, list[Newsletter]]:
    """Return which newsletters draw an article, by the article's id."""
    by_id = {one.id: one for one in among}
    rows = database.execute(
        select(NewsletterFeed.feed_id, NewsletterFeed.newsletter_id)
        .where(NewsletterFeed.newsletter_id.in_(by_id), NewsletterFeed.feed_id.in_({one.feed_id for one in found}))
        .order_by(NewsletterFeed.newsletter_id)
    ).all()
    return {one.id: [by_id[row[1]] for row in rows if row[0] == one.feed_id] for one in found}


def _issued(database: Session, found: Sequence[Article], newsletter_ids: Collection[int]) -> dict[int, Issue]:
    """Return the last issue that was sent with an article, by the article's id."""
    rows = database.execute(
        select(IssueArticle.article_id, Issue)
        .join(Issue, and_(Issue.id == IssueArticle.issue_id, Issue.state.in_(_SENT)))
        .where(IssueArticle.article_id.in_([one.id for one in found]), Issue.newsletter_id.in_(newsletter_ids))
        .order_by(Issue.id)
    )
    return {row[0]: row[1] for row in rows}


def _feeds(database: Session, newsletter_ids: Collection[int]) -> dict[str, Any]:
    """Count the feeds, and those in trouble; and tell when one was read last."""
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id.in_(newsletter_ids))
    row = database.execute(
        select(func.count(), func.count(Feed.error), func.max(Feed.last_read_at)).where(Feed.id.in_(drawn))
    ).one()
    return {"count": row[0], "broken": row[1], "read_at": row[2]}
