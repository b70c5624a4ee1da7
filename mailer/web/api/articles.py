"""The articles of a newsletter's feeds: list, hold, release, withdraw, pin."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, ConfigDict, Field
from sqlalchemy import Select, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.articles import intake
from mailer.db import transaction
from mailer.models.choices import Pin
from mailer.models.content import Article, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus, StatusCode
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters
from mailer.web.api import access, acting, paging
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Page, Shape, Slug

router = APIRouter(prefix="/newsletters/{slug}/articles", route_class=ApiRoute, tags=["Articles"])


class ArticleStory(Shape):
    """One story, as its feed last told it. `id` is ours, `guid` the feed’s."""

    id: int
    feed_id: int
    guid: str
    url: str
    title: str
    excerpt: str
    author: str | None
    categories: list[str]
    image_url: str | None
    published_at: datetime | None
    first_seen_at: datetime
    status: ArticleStatus
    status_code: StatusCode | None
    is_locked: bool
    pinned_until: datetime | None


class ArticlePin(Body):
    """Until when an article stands first, and before which other pinned ones (the highest comes first)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"until": "2027-12-01T06:00:00Z"}]})

    until: AwareDatetime
    priority: Annotated[int, Field(ge=0, le=1000)] = 0


@router.get("", **access.needs(Scope.READ))
def list_articles(
    call: access.Current,
    request: Request,
    response: Response,
    slug: Slug,
    status: Annotated[ArticleStatus | None, Query(description="Only these.")] = None,
    pinned: Annotated[bool, Query(description="Only those that are pinned now.")] = False,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[ArticleStory]:
    """List articles, those that came in last first."""
    before = paging.position(request, cursor)
    with transaction() as session:
        newsletter = call.newsletter(session, slug)
        statement = select(Article).where(Article.feed_id.in_(_drawn(newsletter)))
        if status is not None:
            statement = statement.where(Article.status == status)
        if pinned:
            chosen = select(Pin.article_id).where(Pin.newsletter_id == newsletter.id, Pin.until > call.now)
            statement = statement.where(Article.id.in_(chosen))
        if before is not None:
            statement = statement.where(Article.id < before)
        found = list(session.execute(statement.order_by(Article.id.desc()).limit(limit + 1)).scalars())
        pins = _pins(session, newsletter, found, now=call.now)
        page, following = paging.cut(request, response, found, limit, [one.id for one in found])
        return Page(data=[_shape(one, pins.get(one.id)) for one in page], next=following)


@router.get("/{article_id}", **access.needs(Scope.READ))
def show_article(call: access.Current, slug: Slug, article_id: Id) -> ArticleStory:
    """Show one article."""
    with transaction() as session:
        newsletter = call.newsletter(session, slug)
        return _one(session, newsletter, article_id, now=call.now)


@router.post("/{article_id}/hold", response_model=ArticleStory, **access.needs(Scope.ARTICLES))
def hold_article(call: access.Current, slug: Slug, article_id: Id) -> Response:
    """Hold an article back: no issue takes it until it is released."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        _find(session, newsletter, article_id)
        intake.hold(session, [article_id])
        return acting.answer(call, _one(session, newsletter, article_id, now=call.now))


@router.post("/{article_id}/release", response_model=ArticleStory, **access.needs(Scope.ARTICLES))
def release_article(call: access.Current, slug: Slug, article_id: Id) -> Response:
    """Release a held or withdrawn article; it counts as first seen now, so that the next issue may take it."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        _find(session, newsletter, article_id)
        intake.release(session, [article_id], now=call.now)
        return acting.answer(call, _one(session, newsletter, article_id, now=call.now))


@router.post("/{article_id}/withdraw", response_model=ArticleStory, **access.needs(Scope.ARTICLES))
def withdraw_article(call: access.Current, slug: Slug, article_id: Id) -> Response:
    """Exclude an article: no issue takes it by itself any more."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        _find(session, newsletter, article_id)
        intake.withdraw(session, [article_id], StatusCode.WITHDRAWN_BY_HAND)
        return acting.answer(call, _one(session, newsletter, article_id, now=call.now))


@router.put("/{article_id}/pin", response_model=ArticleStory, **access.needs(Scope.ARTICLES))
def pin_article(call: access.Current, slug: Slug, article_id: Id, wanted: ArticlePin) -> Response:
    """Put an article first in the issues made until a moment; who has had it does not get it again."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        _find(session, newsletter, article_id)
        newsletters.pin(session, newsletter, article_id, priority=wanted.priority, until=wanted.until, now=call.now)
        return acting.answer(call, _one(session, newsletter, article_id, now=call.now))


@router.delete("/{article_id}/pin", response_model=ArticleStory, **access.needs(Scope.ARTICLES))
def unpin_article(call: access.Current, slug: Slug, article_id: Id) -> Response:
    """Take a pin off; without one nothing changes."""
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        _find(session, newsletter, article_id)
        newsletters.unpin(session, newsletter, article_id)
        return acting.answer(call, _one(session, newsletter, article_id, now=call.now))


def _drawn(newsletter: Newsletter) -> Select[int]:
    return select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)


def _find(session: Session, newsletter: Newsletter, article_id: int) -> Article:
    chosen = select(Article).where(Article.id == article_id, Article.feed_id.in_(_drawn(newsletter)))
    found = session.execute(chosen.execution_options(populate_existing=True)).scalar_one_or_none()
    if found is None:
        raise newsletters.ArticleNotFound(f"“{newsletter.slug}” has no article {article_id}.")
    return found


def _one(session: Session, newsletter: Newsletter, article_id: int, *, now: datetime) -> ArticleStory:
    found = _find(session, newsletter, article_id)
    return _shape(found, _pins(session, newsletter, [found], now=now).get(article_id))


def _pins(session: Session, newsletter: Newsletter, found: list[Article], *, now: datetime) -> dict[int, datetime]:
    chosen = select(Pin.article_id, Pin.until).where(
        Pin.newsletter_id == newsletter.id, Pin.until > now, Pin.article_id.in_([one.id for one in found])
    )
    return {row[0]: row[1] for row in session.execute(chosen)}


def _shape(one: Article, pinned_until: datetime | None) -> ArticleStory:
    kept = {
        name: getattr(one, name) for name in ArticleStory.model_fields if name not in ("categories", "pinned_until")
    }
    return ArticleStory(**kept, categories=one.topics, pinned_until=pinned_until)
