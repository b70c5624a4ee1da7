"""Newsletters: what they are called, when they leave, which feeds they draw from."""

import re
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import newsletters, queue, schedules
from mailer.db import transaction
from mailer.models.content import Newsletter
from mailer.web import pages
from mailer.web.admin import screens, session

router = APIRouter(prefix="/newsletters", route_class=screens.DeskRoute)

FeedId = Annotated[int, Path(ge=1, lt=2**63)]
TEXT_FIELDS: Final = (
    "name",
    "description",
    "language",
    "site_url",
    "sender_name",
    "sender_address",
    "reply_to",
    "publisher",
    "postal_address",
    "brand_color",
    "brand_color_dark",
    "introduction",
    "signature",
)
NUMBER_FIELDS: Final = ("min_articles", "max_articles", "max_age_days")
_MAY_BE_NONE: Final = ("reply_to", "signature")
_COMPLAINTS: Final = {
    "language": "Choose one of the languages",
    "brand_color": "Enter a colour such as #0F5C5C",
    "brand_color_dark": "Enter a colour such as #0F5C5C",
    "sender_address": "Enter a full address, like name@example.com",
    "reply_to": "Enter a full address, like name@example.com",
}
_REQUIRED: Final = ("name", "site_url", "sender_name", "sender_address", "publisher", "postal_address")


class _Refused(Exception):
    """A field can't be used; nothing is kept."""


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current) -> Response:
    """List the newsletters."""
    with transaction() as database:
        listed = [
            (one, newsletters.count_readers(database, one.id), newsletters.next_slot(one, now=desk.now))
            for one in newsletters.all_newsletters(database)
        ]
    return screens.render(request, desk, "newsletters", here="newsletters", listed=listed)


@router.api_route("/{slug}", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Show a newsletter with everything that can be changed."""
    with transaction() as database:
        return _page(request, desk, database, newsletters.get(database, slug))


@router.post("/{slug}")
def edit(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Change the fields; what can't be used is said at its field, and everything typed is kept."""
    typed = {name: desk.typed(name) for name in (*TEXT_FIELDS, *NUMBER_FIELDS)}
    typed["is_paused"] = desk.typed("is_paused")
    errors = {name: "Fill in this field" for name in _REQUIRED if not typed[name]}
    values: dict[str, object] = {name: typed[name] or (None if name in _MAY_BE_NONE else "") for name in TEXT_FIELDS}
    for name in NUMBER_FIELDS:
        if not re.fullmatch("[0-9]{1,4}", typed[name]) or not 1 <= int(typed[name]) <= 1000:
            errors[name] = "Enter a number from 1 to 1000"
        else:
            values[name] = int(typed[name])
    if not errors and int(typed["min_articles"]) > int(typed["max_articles"]):
        errors["min_articles"] = "The least can’t be more than the most"
    if typed["site_url"] and not typed["site_url"].startswith(("https://", "http://")):
        errors["site_url"] = "Enter an address that starts with https://"
    values["is_paused"] = bool(typed["is_paused"])
    try:
        with transaction() as database:
            _edit_all(database, newsletters.get(database, slug), values, errors, now=desk.now)
    except _Refused:
        with transaction() as database:
            found = newsletters.get(database, slug)
            return _page(request, desk, database, found, typed=typed, errors=errors)
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


@router.post("/{slug}/schedule")
def schedule(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Set when issues are made; an empty expression means by hand."""
    typed = {"cron": " ".join(desk.typed("cron").split()), "timezone": desk.typed("timezone")}
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        errors: dict[str, str] = {}
        try:
            schedules.zone(typed["timezone"] or "?")
        except schedules.ScheduleInvalid:
            errors["timezone"] = "Enter a time zone such as Europe/Paris"
        try:
            if typed["cron"]:
                schedules.check(typed["cron"], "UTC")
        except schedules.ScheduleInvalid:
            errors["cron"] = "Enter five fields, like 0 7 * * FRI for every Friday at 07:00"
        if errors:
            return _page(request, desk, database, newsletter, typed=typed, errors=errors)
        newsletters.schedule(
            database, newsletter, cron=typed["cron"] or None, timezone=typed["timezone"], now=desk.now, since=desk.now
        )
    return screens.back(f"/admin/newsletters/{slug}", done="saved")


@router.post("/{slug}/feeds")
def add_feed(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Draw from one more feed, which is read at once."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        try:
            feed_id = newsletters.add_feed(database, newsletter, desk.typed("url"), now=desk.now).id
        except newsletters.NewsletterInvalid:
            errors = {"url": "Enter the feed’s address; it starts with https://"}
            return _page(request, desk, database, newsletter, typed={"url": desk.typed("url")}, errors=errors)
    screens.ring(queue.READ_FEED, feed_id)
    return screens.back(f"/admin/newsletters/{slug}", done="feed-added")


@router.post("/{slug}/feeds/{feed_id}/remove")
def remove_feed(slug: session.Slug, feed_id: FeedId) -> Response:
    """Stop drawing from a feed."""
    with transaction() as database:
        newsletters.remove_feed(database, newsletters.get(database, slug), feed_id)
    return screens.back(f"/admin/newsletters/{slug}", done="feed-removed")


@router.post("/{slug}/feeds/{feed_id}/read")
def read_feed(desk: session.Current, slug: session.Slug, feed_id: FeedId) -> Response:
    """Have a feed read now; how it went stands on the page afterwards."""
    with transaction() as database:
        listed = newsletters.feeds(database, newsletters.get(database, slug))
        if feed_id not in [feed.id for feed in listed]:
            raise newsletters.FeedNotFound(f"The newsletter “{slug}” has no feed {feed_id}.")
        newsletters.read_soon(database, [feed_id], now=desk.now)
    screens.ring(queue.READ_FEED, feed_id)
    return screens.back(f"/admin/newsletters/{slug}", done="feed-read")


def _edit_all(
    database: Session, newsletter: Newsletter, values: dict[str, object], errors: dict[str, str], *, now: datetime
) -> None:
    """Set every field, or collect in `errors` a sentence for each that can't be used and raise _Refused."""
    for name in TEXT_FIELDS:
        if name not in errors:
            try:
                newsletters.edit(database, newsletter, values={name: values[name]}, now=now)
            except newsletters.NewsletterInvalid:
                errors[name] = _COMPLAINTS.get(name, "Enter 1 to 300 characters")
    if errors:
        raise _Refused
    # Together: the database compares the least with the most.
    others = {name: values[name] for name in (*NUMBER_FIELDS, "is_paused")}
    newsletters.edit(database, newsletter, values=others, now=now)


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    newsletter: Newsletter,
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    names = (*TEXT_FIELDS, *NUMBER_FIELDS, "cron", "timezone", "is_paused")
    stored = {name: getattr(newsletter, name) for name in names}
    values = {name: "" if value is None or value is False else value for name, value in stored.items()}
    cron = newsletter.cron
    return screens.render(
        request,
        desk,
        "newsletter",
        here="newsletters",
        status=422 if errors else 200,
        newsletter=newsletter,
        values={**values, "url": "", **(typed or {})},
        errors=errors or {},
        languages=pages.LANGUAGE_NAMES,
        slots=schedules.next_slots(cron, newsletter.timezone, after=desk.now, count=5) if cron else [],
        feeds=newsletters.feeds(database, newsletter),
        readers=newsletters.count_readers(database, newsletter.id),
    )
