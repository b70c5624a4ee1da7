"""The articles that a newsletter's feeds gave: held and withdrawn ones, pins, and why one has no picture."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.articles import intake, pictures, topics
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.choices import Pin, Topic
from mailer.models.content import Article, Layout, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus, StatusCode
from mailer.models.pictures import PictureState
from mailer.newsroom import newsletters
from mailer.web.admin import screens, session, words

router = APIRouter(prefix="/newsletters/{slug}/articles", route_class=screens.DeskRoute)

ArticleId = Annotated[int, Path(ge=1, lt=2**63)]
PAGE_LENGTH: Final = 50
MOST_PAGES: Final = 1000
SHOWN: Final = {"all": "All", "held": "Held", "withdrawn": "Withdrawn", "pinned": "Pinned"}
MOST_PRIORITY: Final = 1000
_ACTS: Final = ("hold", "release", "release-all", "withdraw", "unpin", "picture")
# A pin holds for a week unless another end is chosen.
USUAL_PIN: Final = timedelta(days=7)


@router.api_route("", methods=["GET", "HEAD"])
def index(
    request: Request,
    desk: session.Current,
    slug: session.Slug,
    show: str = "all",
    page: Annotated[int, Query(ge=1, le=MOST_PAGES)] = 1,
) -> Response:
    """List articles, newest first, a page at a time: all, or those held, withdrawn or pinned."""
    show = show if show in SHOWN else "all"
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        dated = func.coalesce(Article.published_at, Article.first_seen_at)
        chosen = select(Article).where(*_chosen(newsletter, show, now=desk.now)).order_by(dated.desc(), Article.id)
        found = list(database.execute(chosen.offset((page - 1) * PAGE_LENGTH).limit(PAGE_LENGTH + 1)).scalars())
        held = database.execute(select(func.count(Article.id)).where(*_chosen(newsletter, "held", now=desk.now)))
        known = {topic.slug: topic for topic in topics.of(database, newsletter.id)}
        subjects = {one.id: _subjects(known, one, newsletter.language) for one in found}
        return screens.render(
            request,
            desk,
            "articles",
            here="newsletters",
            status=200,
            newsletter=newsletter,
            show=show,
            tabs_shown=list(SHOWN.items()),
            found=found[:PAGE_LENGTH],
            subjects=subjects,
            page=page,
            has_more=len(found) > PAGE_LENGTH,
            held=held.scalar_one(),
            **shown(database, desk, newsletter),
        )


@router.post("")
def act(desk: session.Writer, slug: session.Slug) -> Response:
    """Hold, release, withdraw or unpin one article; or release all that are held."""
    wanted, typed = desk.typed("act"), desk.typed("article")
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        if wanted == "release-all":
            held = select(Article.id).where(*_chosen(newsletter, "held", now=desk.now))
            intake.release(database, database.execute(held).scalars().all(), now=desk.now)
        else:
            article = _find(database, newsletter, int(typed) if typed.isdecimal() and len(typed) < 19 else 0)
            _act(database, desk, newsletter, article, wanted)
    leads_to = "next" if desk.typed("from") == "next" else "articles"
    path = "/admin/articles" if desk.typed("from") == "all" else f"/admin/newsletters/{slug}/{leads_to}"
    return screens.back(path, done=f"article-{wanted}" if wanted in _ACTS else "")


@router.api_route("/{article_id}/pin", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Current, slug: session.Slug, article_id: ArticleId) -> Response:
    """Ask until when an article is to stand first."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        article = _find(database, newsletter, article_id)
        pin = database.get(Pin, (newsletter.id, article_id))
    until = (pin.until if pin else desk.now + USUAL_PIN).astimezone(schedules.zone(newsletter.timezone))
    values = {"until": f"{until:%Y-%m-%dT%H:%M}", "priority": str(pin.priority if pin else 0)}
    return _pin_page(request, desk, newsletter, article, values)


@router.post("/{article_id}/pin")
def pin(request: Request, desk: session.Writer, slug: session.Slug, article_id: ArticleId) -> Response:
    """Have an article stand first until a moment of the newsletter's zone."""
    values = {"until": desk.typed("until"), "priority": desk.typed("priority") or "0"}
    errors: dict[str, str] = {}
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        article = _find(database, newsletter, article_id)
        until = moment(values["until"], newsletter.timezone)
        if until is None or until <= desk.now:
            errors["until"] = "Enter a day and a time to come, like 2026-11-27 07:00"
        if not values["priority"].isdecimal() or int(values["priority"][:9]) > MOST_PRIORITY:
            sentence = "Enter a number from {least} to {most}"
            errors["priority"] = i18n.gettext(desk.language, sentence, least=0, most=MOST_PRIORITY)
        if errors or until is None:
            return _pin_page(request, desk, newsletter, article, values, errors)
        priority = int(values["priority"])
        newsletters.pin(database, newsletter, article_id, priority=priority, until=until, now=desk.now)
    leads_to = "articles" if desk.typed("from") == "articles" else "next"
    return screens.back(f"/admin/newsletters/{slug}/{leads_to}", done="pinned")


def shown(database: Session, desk: session.Desk, newsletter: Newsletter) -> dict[str, object]:
    """Return what rows of articles show besides the article: pins by its id, a picture or why there is none."""
    found = select(Pin).where(Pin.newsletter_id == newsletter.id, Pin.until > desk.now)
    return {
        "pins": {one.article_id: one for one in database.execute(found).scalars()},
        "thumbnail": lambda article: pictures.shown(article.picture, Layout.CARD) if article.picture else None,
        "no_picture": lambda article: words.no_picture(desk.language, article),
    }


def moment(typed: str, timezone: str) -> datetime | None:
    """Read "2026-11-27T07:00" (a space will do) as wall-clock time of the zone; None if it is no moment."""
    try:
        return datetime.fromisoformat(typed).replace(tzinfo=schedules.zone(timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _subjects(known: Mapping[str, Topic], article: Article, language: str) -> list[str]:
    return [topics.name(known[slug], language) for slug in topics.matching(known.values(), article)]


def _chosen(newsletter: Newsletter, show: str, *, now: datetime) -> Sequence[ColumnElement[bool]]:
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    every = Article.feed_id.in_(drawn)
    if show == "pinned":
        pinned = select(Pin.article_id).where(Pin.newsletter_id == newsletter.id, Pin.until > now)
        return every, Article.id.in_(pinned)
    return (every,) if show == "all" else (every, Article.status == ArticleStatus(show))


def _find(database: Session, newsletter: Newsletter, article_id: int) -> Article:
    chosen = (*_chosen(newsletter, "all", now=newsletter.updated_at), Article.id == article_id)
    found = database.execute(select(Article).where(*chosen)).scalar_one_or_none()
    if found is None:
        raise newsletters.ArticleNotFound(f"“{newsletter.slug}” has no article {article_id}.")
    return found


def _act(database: Session, desk: session.Desk, newsletter: Newsletter, article: Article, wanted: str) -> None:
    if wanted == "hold":
        intake.hold(database, [article.id])
    elif wanted == "release":
        intake.release(database, [article.id], now=desk.now)
    elif wanted == "withdraw":
        intake.withdraw(database, [article.id], StatusCode.WITHDRAWN_BY_HAND)
    elif wanted == "unpin":
        newsletters.unpin(database, newsletter, article.id)
    elif wanted == "picture" and article.picture is not None and article.picture.state == PictureState.REFUSED:
        pictures.try_again(database, newsletter.id, now=desk.now)


def _pin_page(
    request: Request,
    desk: session.Desk,
    newsletter: Newsletter,
    article: Article,
    values: dict[str, str],
    errors: dict[str, str] | None = None,
) -> Response:
    return screens.render(
        request,
        desk,
        "pin",
        here="newsletters",
        status=422 if errors else 200,
        newsletter=newsletter,
        article=article,
        values=values,
        errors=errors or {},
        leads_to=desk.typed("from") or request.query_params.get("from", "next"),
    )
