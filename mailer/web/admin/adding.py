"""Readers added and ended by the newsroom: one by one with a mail that asks or a proof, or all that a filter finds."""

from datetime import date
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, i18n, queue
from mailer.audience import filters, removal, signups, subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters
from mailer.web import dependencies, pages
from mailer.web.admin import screens, session, subscribers

router = APIRouter(route_class=screens.DeskRoute)

# Where readers came from whom somebody of the newsroom entered.
DESK: Final = "desk"
MOST_PROOF: Final = 300


class _Refused(Exception):
    """A field can't be used; the arguments are its name and what to say there."""


@router.api_route("/newsletters/{slug}/add-reader", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Editor, slug: session.Slug) -> Response:
    """Ask for an address, and whether its reader has agreed already."""
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
    return _form(request, desk, newsletter, {"language": newsletter.language, "how": "ask"})


@router.post("/newsletters/{slug}/add-reader")
def add_reader(request: Request, desk: session.Editor, slug: session.Slug) -> Response:
    """Have an address asked by mail, or enter a reader whose consent can be proved."""
    typed = {name: desk.typed(name) for name in ("address", "language", "how", "proof", "agreed_on")}
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
    try:
        with transaction() as database:
            subscriber_id, request_id = _add(request, desk, database, newsletter, typed)
    except _Refused as refused:
        name, message = refused.args
        return _form(request, desk, newsletter, typed, {name: message})
    if request_id is not None:
        screens.ring(queue.HANDLE_SIGNUP, request_id)
        return screens.back("/admin/subscribers", done="reader-asked")
    return screens.back(f"/admin/subscribers/{subscriber_id}", done="reader-added")


@router.api_route("/subscribers/end", methods=["GET", "HEAD"])
def ask_to_end(request: Request, desk: session.Admin) -> Response:
    """Tell how many a filter finds, before all of them are unsubscribed."""
    return _end_page(request, desk, filters.Filter.of(request.query_params))


@router.post("/subscribers/end")
def end_all(request: Request, desk: session.Admin) -> Response:
    """End the subscriptions of all that the filter finds, if their number was typed."""
    wanted, sees = filters.Filter.of(desk.form), subscribers.sight(desk)
    origin = Origin(source=DESK, network=dependencies.origin(request).network)
    with transaction() as database:
        count = removal.count(database, wanted, sees, now=desk.now)
        if not wanted.chosen() or not count or _digits(desk.typed("count")) != str(count):
            error = "Type the number that stands above; it may have changed meanwhile."
            return _end_page(request, desk, wanted, {"count": error})
        removal.end(database, wanted, sees, origin=origin, now=desk.now)
    return screens.back("/admin/subscribers", done="readers-ended")


def _add(
    request: Request, desk: session.Desk, database: Session, newsletter: Newsletter, typed: dict[str, str]
) -> tuple[int | None, int | None]:
    """Return the reader's id, or the id of the sign-up that a worker is to handle. Raises _Refused."""
    try:
        address = addresses.normalise(typed["address"])
    except addresses.AddressInvalid:
        raise _Refused("address", "Enter a full address, like name@example.com") from None
    language = typed["language"] if typed["language"] in i18n.LANGUAGES else newsletter.language
    if typed["how"] != "proof":
        if not subscriptions.may_ask(database, address):
            raise _Refused("address", "This address must not be mailed.")
        origin = Origin(source=DESK, form_version=DESK, network=dependencies.origin(request).network)
        asked = signups.Asked(address=address, language=language)
        return None, signups.request(database, newsletter.id, asked, origin=origin, now=desk.now)
    proof = _proof(desk, typed)
    try:
        made = subscriptions.add(database, newsletter, address, language=language, proof=proof, now=desk.now)
    except subscriptions.SubscriptionGone as error:
        raise _Refused("address", str(error)) from None
    return made.subscriber_id, None


def _proof(desk: session.Desk, typed: dict[str, str]) -> str:
    """Return where and when a reader agreed, as the consent log keeps it. Raises _Refused."""
    if not 3 <= len(typed["proof"]) <= MOST_PROOF:
        raise _Refused("proof", "Say where the reader agreed, such as “paper form at the book fair”")
    try:
        day = date.fromisoformat(typed["agreed_on"])
    except ValueError:
        day = None
    if day is None or not date(1990, 1, 1) <= day <= desk.now.date():
        raise _Refused("agreed_on", "Enter the day on which the reader agreed")
    return f"{' '.join(typed['proof'].split())}, {day:%Y-%m-%d}"


def _digits(typed: str) -> str:
    """Return a number without what languages put between thousands."""
    return "".join(one for one in typed if one.isascii() and one.isdigit())


def _form(
    request: Request,
    desk: session.Desk,
    newsletter: Newsletter,
    values: dict[str, str],
    errors: dict[str, str] | None = None,
) -> Response:
    return screens.render(
        request,
        desk,
        "add_reader",
        here="subscribers",
        status=422 if errors else 200,
        newsletter=newsletter,
        values={"address": "", "proof": "", "agreed_on": "", **values},
        languages=pages.LANGUAGE_NAMES,
        today=f"{desk.now:%Y-%m-%d}",
        errors=errors or {},
    )


def _end_page(
    request: Request, desk: session.Desk, wanted: filters.Filter, errors: dict[str, str] | None = None
) -> Response:
    with transaction() as database:
        every = newsletters.all_newsletters(database, among=desk.newsletter_ids)
        count = removal.count(database, wanted, subscribers.sight(desk), now=desk.now) if wanted.chosen() else 0
    return screens.render(
        request,
        desk,
        "end_readers",
        here="subscribers",
        status=422 if errors else 200,
        wanted=wanted,
        chips=[said for said, _ in subscribers.chips(desk, wanted, every)],
        count=count,
        query=urlencode(wanted.chosen()),
        errors=errors or {},
    )
