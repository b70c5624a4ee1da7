"""Newsletters: what they are called, how they look, what goes into their issues, when these leave."""

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.articles import topics
from mailer.db import transaction
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters, reports
from mailer.web import pages
from mailer.web.admin import newsletter_form, schedule_form, screens, session

router = APIRouter(prefix="/newsletters", route_class=screens.DeskRoute)


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current) -> Response:
    """List the newsletters."""
    with transaction() as database:
        readers = reports.readers_now(database)
        listed = [
            (one, readers.get(one.id, 0), newsletters.next_slot(one, now=desk.now))
            for one in newsletters.all_newsletters(database, among=desk.newsletter_ids)
        ]
    return screens.render(request, desk, "newsletters", here="newsletters", listed=listed)


@router.api_route("/{slug}", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Show a newsletter with everything that can be changed."""
    with transaction() as database:
        return _page(request, desk, database, newsletters.get(database, slug))


@router.post("/{slug}")
def edit(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Change the fields; what can't be used is said at its field, and everything typed is kept.

    The button that only shows the colours changes nothing.
    """
    typed = newsletter_form.typed(desk)
    try:
        with transaction() as database:
            newsletter = _locked(database, slug)
            if desk.typed("act") == "look":
                request.state.changed_nothing = True
                return _page(request, desk, database, newsletter, typed=typed)
            if desk.typed("version") != newsletter.updated_at.isoformat():
                return _page(request, desk, database, newsletter, typed=typed, is_late=True)
            newsletter_form.save(database, newsletter, desk)
    except newsletter_form.Refused as refused:
        with transaction() as database:
            found = newsletters.get(database, slug)
            return _page(request, desk, database, found, typed=typed, errors=dict(refused.errors))
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


@router.post("/{slug}/schedule")
def schedule(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Set when issues are made, as chosen in words or by an expression."""
    typed = schedule_form.typed(desk)
    with transaction() as database:
        newsletter = _locked(database, slug)
        errors = schedule_form.save(database, newsletter, typed, now=desk.now)
        if errors:
            return _page(request, desk, database, newsletter, typed=typed, errors=errors)
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


@router.post("/{slug}/rest")
def rest(request: Request, desk: session.Admin, slug: session.Slug) -> Response:
    """Set until when no issue is made, and on which days none is."""
    typed = {name: desk.typed(name) for name in ("paused_until", "skip_dates")}
    with transaction() as database:
        newsletter = _locked(database, slug)
        errors = schedule_form.rest(database, newsletter, typed, now=desk.now)
        if errors:
            return _page(request, desk, database, newsletter, typed=typed, errors=errors)
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


def _locked(database: Session, slug: str) -> Newsletter:
    database.execute(select(Newsletter.id).where(Newsletter.slug == slug).with_for_update())
    return newsletters.get(database, slug)


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    newsletter: Newsletter,
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    is_late: bool = False,
) -> Response:
    saved = {
        **newsletter_form.stored(newsletter),
        "cron": newsletter.cron or "",
        "timezone": newsletter.timezone,
    }
    values = {**saved, **(typed or {})}
    return screens.render(
        request,
        desk,
        "newsletter",
        here="newsletters",
        status=422 if errors else 409 if is_late else 200,
        newsletter=newsletter,
        values=values,
        saved=saved,
        is_late=is_late,
        version=newsletter.updated_at.isoformat(),
        errors=errors or {},
        shades=newsletter_form.shades(values),
        languages=pages.LANGUAGE_NAMES,
        **schedule_form.values(database, newsletter, desk, typed),
        feeds=newsletters.feeds(database, newsletter),
        topic_names=[topics.name(one, newsletter.language) for one in topics.of(database, newsletter.id)],
        readers=newsletters.count_readers(database, newsletter.id),
    )
