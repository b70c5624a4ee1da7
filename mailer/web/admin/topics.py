"""Topics of a newsletter: what readers can choose, which articles are about each, in which order they rank."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.articles import topics
from mailer.db import transaction
from mailer.models.choices import Topic
from mailer.models.content import Article, Newsletter
from mailer.newsroom import newsletters
from mailer.web import pages
from mailer.web.admin import screens, session

router = APIRouter(prefix="/newsletters/{slug}", route_class=screens.DeskRoute)

TopicSlug = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,63}$")]
# The rules as the form calls them: a line for each.
RULES: Final = ("categories", "include", "exclude")
EXAMPLES: Final = 8
_CATEGORIES_SHOWN: Final = 30


@router.api_route("/topics", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """List the topics, the highest rank first, with how many of the latest articles are about each."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        known, recent = topics.of(database, newsletter.id), topics.recent(database, newsletter, now=desk.now)
        chosen = topics.chosen(database, newsletter)
        all_readers = newsletters.count_readers(database, newsletter.id)
    matched = [set(topics.matching(known, article)) for article in recent]
    counts = {one.slug: sum(one.slug in found for found in matched) for one in known}
    return screens.render(
        request,
        desk,
        "topics",
        here="newsletters",
        newsletter=newsletter,
        listed=[
            (one, topics.name(one, newsletter.language), counts[one.slug], chosen.get(one.slug, 0)) for one in known
        ],
        recent=len(recent),
        unmatched=sum(not found for found in matched),
        days=topics.RECENT.days,
        readers=all_readers,
    )


@router.api_route("/new-topic", methods=["GET", "HEAD"])
def new(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Ask for a new topic."""
    with transaction() as database:
        return _page(request, desk, database, newsletters.get(database, slug), None)


@router.post("/new-topic")
def add(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Add a topic with the lowest rank."""
    return _put(request, desk, slug, None)


@router.api_route("/topics/{topic}", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current, slug: session.Slug, topic: TopicSlug) -> Response:
    """Show a topic to be changed, with the latest articles about it."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        return _page(request, desk, database, newsletter, _find(database, newsletter, topic))


@router.post("/topics/{topic}")
def change(request: Request, desk: session.Admin, slug: session.Slug, topic: TopicSlug) -> Response:
    """Change a topic's names and rules."""
    return _put(request, desk, slug, topic)


@router.post("/topics/{topic}/move")
def move(desk: session.Admin, slug: session.Slug, topic: TopicSlug) -> Response:
    """Rank a topic one place higher or lower."""
    with transaction() as database:
        by = -1 if desk.typed("act") == "up" else 1
        topics.move(database, newsletters.get(database, slug), topic, by=by)
    return screens.back(f"/admin/newsletters/{slug}/topics", done="ranked")


@router.api_route("/topics/{topic}/delete", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Current, slug: session.Slug, topic: TopicSlug) -> Response:
    """Say what becomes of readers who chose the topic, before it is deleted."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        found = _find(database, newsletter, topic)
        chosen, only = topics.chosen_by(database, newsletter, topic)
    return screens.render(
        request,
        desk,
        "topic_delete",
        here="newsletters",
        newsletter=newsletter,
        topic=found,
        name=topics.name(found, newsletter.language),
        chosen=chosen,
        only=only,
    )


@router.post("/topics/{topic}/delete")
def delete(_desk: session.Admin, slug: session.Slug, topic: TopicSlug) -> Response:
    """Delete a topic."""
    with transaction() as database:
        topics.remove(database, newsletters.get(database, slug), topic)
    return screens.back(f"/admin/newsletters/{slug}/topics", done="topic-deleted")


def _put(request: Request, desk: session.Desk, slug: str, topic: str | None) -> Response:
    """Store what was typed. `topic` is the short name of the one that is changed, None for a new one."""
    names = {code: desk.typed(f"name_{code}") for code in i18n.LANGUAGES}
    rules = {name: desk.typed_lines(name) for name in RULES}
    short_name = topic or desk.typed("topic")
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        found = _find(database, newsletter, topic) if topic else None
        errors = _errors(desk, newsletter, names, rules)
        if found is None and any(one.slug == short_name for one in topics.of(database, newsletter.id)):
            errors["topic"] = "There is already a topic with this short name"
        if not errors:
            try:
                topics.put(database, newsletter, short_name, names=names, rules=rules)
                return screens.back(f"/admin/newsletters/{slug}/topics", done="saved")
            except topics.TopicInvalid:
                # Names and rules are good, so it is the short name, or there are too many.
                errors["topic"] = "Use small letters a to z, digits and dashes; a newsletter has at most 50 topics"
        return _page(request, desk, database, newsletter, found, errors=errors)


def _errors(
    desk: session.Desk, newsletter: Newsletter, names: Mapping[str, str], rules: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    errors = {}
    for code, name in names.items():
        if len(name) > topics.NAME_LENGTH:
            errors[f"name_{code}"] = i18n.gettext(
                desk.language, "Enter {count} characters at most", count=topics.NAME_LENGTH
            )
    if not any(names.values()):
        errors[f"name_{newsletter.language}"] = "Give it a name in one language at least"
    if not rules["categories"] and not rules["include"]:
        errors["categories"] = "Enter a category or a word, or no article would ever be about it"
    return errors


def _find(database: Session, newsletter: Newsletter, slug: str) -> Topic:
    found = next((one for one in topics.of(database, newsletter.id) if one.slug == slug), None)
    if found is None:
        raise topics.TopicNotFound(f"“{newsletter.slug}” has no topic “{slug}”.")
    return found


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    newsletter: Newsletter,
    topic: Topic | None,
    *,
    errors: dict[str, str] | None = None,
) -> Response:
    recent = topics.recent(database, newsletter, now=desk.now)
    return screens.render(
        request,
        desk,
        "topic",
        here="newsletters",
        status=422 if errors else 200,
        newsletter=newsletter,
        topic=topic,
        values=_values(desk, topic, is_typed=errors is not None),
        errors=errors or {},
        languages=pages.LANGUAGE_NAMES,
        categories=topics.categories(recent)[:_CATEGORIES_SHOWN],
        about=_about(topic, recent) if topic and not errors else None,
        examples=EXAMPLES,
        days=topics.RECENT.days,
    )


def _values(desk: session.Desk, topic: Topic | None, *, is_typed: bool) -> dict[str, str]:
    if is_typed or topic is None:
        names = ("topic", *(f"name_{code}" for code in i18n.LANGUAGES))
        return {name: desk.form.get(name, "") for name in (*names, *RULES)}
    named = {f"name_{code}": topic.names.get(code, "") for code in i18n.LANGUAGES}
    return {"topic": topic.slug, **named, **{name: "\n".join(getattr(topic, name)) for name in RULES}}


def _about(topic: Topic, recent: Sequence[Article]) -> list[tuple[str, datetime]]:
    """List title and date of the articles that the topic's rules match as they are stored."""
    found = (article for article in recent if topics.matching([topic], article))
    return [(article.title, article.published_at or article.first_seen_at) for article in found]
