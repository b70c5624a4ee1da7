"""One reader: what they get, whether they got the last issues, all that happened, and what the newsroom can do for them."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, i18n, queue
from mailer.articles import topics
from mailer.audience import attributes, histories, moves, readers, signups, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.accounts import Role
from mailer.models.audience import EndedReason, Subscriber, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.web import dependencies, pages, rhythm
from mailer.web.admin import adding, histories_words, screens, session, subscribers, words

router = APIRouter(prefix="/subscribers/{subscriber_id}", route_class=screens.DeskRoute)

PAGE_LENGTH: Final = 50
MOST_PAGES: Final = 1000
LAST_ISSUES: Final = 5


@router.api_route("", methods=["GET", "HEAD"])
def show(
    request: Request,
    desk: session.Current,
    subscriber_id: subscribers.Id,
    page: Annotated[int, Query(ge=1, le=MOST_PAGES)] = 1,
) -> Response:
    """Show a reader with a page of what happened, newest first."""
    with transaction() as database:
        return _page(request, desk, database, subscriber_id, page=page)


@router.api_route("/export", methods=["GET", "HEAD"])
def export(desk: session.Admin, subscriber_id: subscribers.Id) -> Response:
    """Hand out all that is kept of a reader, as JSON, for whoever asks for their data."""
    with transaction() as database:
        kept = readers.as_json(readers.export(database, subscriber_id))
    headers = {"Content-Disposition": f'attachment; filename="reader-{subscriber_id}-{desk.now:%Y-%m-%d}.json"'}
    return Response(kept, media_type="application/json", headers=headers)


@router.post("/ask")
def ask_again(request: Request, desk: session.Editor, subscriber_id: subscribers.Id) -> Response:
    """Have the mail that asks to confirm sent once more, within the limits of the form."""
    with transaction() as database:
        one = _subscription(desk, database, subscriber_id)
        origin = Origin(source=one.source, form_version=adding.DESK, network=dependencies.origin(request).network)
        asked = signups.Asked(address=one.subscriber.address, language=one.language)
        request_id = signups.request(database, one.newsletter_id, asked, origin=origin, now=desk.now)
    screens.ring(queue.HANDLE_SIGNUP, request_id)
    return screens.back(f"/admin/subscribers/{subscriber_id}", done="reader-asked-again")


@router.post("/end")
def end(request: Request, desk: session.Editor, subscriber_id: subscribers.Id) -> Response:
    """End one of a reader's subscriptions, at their wish."""
    with transaction() as database:
        one = _subscription(desk, database, subscriber_id)
        subscriptions.end(database, one.id, EndedReason.REMOVED, origin=_origin(request), now=desk.now)
    return screens.back(f"/admin/subscribers/{subscriber_id}", done="reader-ended")


@router.post("/preferences")
def choose(request: Request, desk: session.Editor, subscriber_id: subscribers.Id) -> Response:
    """Choose for a reader, at their wish: frequency, topics, language, a pause."""
    with transaction() as database:
        one = _subscription(desk, database, subscriber_id)
        try:
            wanted = _wanted(desk, database, one)
            changed = wishes.choose(database, one.id, wanted, origin=_origin(request), now=desk.now)
        except wishes.WishInvalid:
            error = "Choose a day within the next 90 days, or none"
            return _page(request, desk, database, subscriber_id, errors={f"paused_until-{one.id}": error})
    done = "reader-changed" if changed else "reader-unchanged"
    return screens.back(f"/admin/subscribers/{subscriber_id}", done=done)


@router.post("/name")
def describe(desk: session.Editor, subscriber_id: subscribers.Id) -> Response:
    """Note a reader's name, which mails may say."""
    with transaction() as database:
        subscriber = _find(database, subscriber_id)
        attributes.change(database, subscriber, {"name": desk.typed("name")[:200]})
    return screens.back(f"/admin/subscribers/{subscriber_id}", done="reader-described")


@router.post("/address")
def move(request: Request, desk: session.Editor, subscriber_id: subscribers.Id) -> Response:
    """Have a new address asked by mail whether it wants what this reader gets."""
    typed = desk.typed("address")
    with transaction() as database:
        standing = _standing(desk, database, subscriber_id)
        error = "Nothing was sent: it is the same address, must not be mailed, or was asked often enough today."
        try:
            delivery_id = moves.ask(database, standing[0].id, typed, now=desk.now)
        except addresses.AddressInvalid:
            delivery_id, error = None, "Enter a full address, like name@example.com"
        if delivery_id is None:
            return _page(request, desk, database, subscriber_id, errors={"address": error}, address=typed)
    screens.ring(queue.SEND)
    return screens.back(f"/admin/subscribers/{subscriber_id}", done="reader-moving")


@router.api_route("/erase", methods=["GET", "HEAD"])
def ask_to_erase(request: Request, desk: session.Admin, subscriber_id: subscribers.Id) -> Response:
    """Ask for the address, before everything of a reader is erased."""
    with transaction() as database:
        return _erase_page(request, desk, _find(database, subscriber_id))


@router.post("/erase")
def erase(request: Request, desk: session.Admin, subscriber_id: subscribers.Id) -> Response:
    """Erase all that is kept of a reader, if their address was typed."""
    with transaction() as database:
        subscriber = _find(database, subscriber_id)
        if addresses.key(desk.typed("address")) != subscriber.address_key:
            return _erase_page(request, desk, subscriber, {"address": "Type the address that stands above"})
        readers.erase(database, subscriber_id, now=desk.now)
    return screens.back("/admin/subscribers", done="reader-erased")


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    subscriber_id: int,
    *,
    page: int = 1,
    errors: dict[str, str] | None = None,
    address: str = "",
) -> Response:
    standing, sees = _standing(desk, database, subscriber_id), desk.newsletter_ids
    skip = (page - 1) * PAGE_LENGTH
    listed = histories.moments(database, subscriber_id, sees, skip=skip, limit=PAGE_LENGTH + 1)
    moments, is_full = listed[:PAGE_LENGTH], len(listed) > PAGE_LENGTH
    timezone = standing[0].newsletter.timezone
    return screens.render(
        request,
        desk,
        "person",
        here="subscribers",
        status=422 if errors else 200,
        path=f"/admin/subscribers/{subscriber_id}",
        subscriber=standing[0].subscriber,
        shown=subscribers.shown_address(desk, standing[0]),
        is_suppressed=subscriptions.is_suppressed(database, standing[0].subscriber.address),
        standing=standing,
        timezone=timezone,
        got=histories.got(database, subscriber_id, sees, limit=LAST_ISSUES),
        got_words=functools.partial(histories_words.got, desk.language),
        moments=_told(desk, moments),
        is_masked=not desk.may(Role.EDITOR),
        page=page,
        has_more=is_full,
        new_address=address,
        errors=errors or {},
        **_choices(desk, database, standing),
    )


def _told(desk: session.Desk, moments: Sequence[histories.Moment]) -> list[tuple[histories.Moment, str, str]]:
    """Return moments with what to say of them, and what stands below that in small letters."""
    # What readers' servers say names their addresses.
    is_masked = not desk.may(Role.EDITOR)
    language = desk.language
    return [
        (
            one,
            histories_words.happened(language, one),
            histories_words.details(language, one, is_masked=is_masked),
        )
        for one in moments
    ]


def _choices(desk: session.Desk, database: Session, standing: Sequence[Subscription]) -> dict[str, Any]:
    by_newsletter = topics.of_all(database, [one.newsletter_id for one in standing])
    return {
        "topics": {
            one.id: [
                (topic.slug, topics.name(topic, desk.language)) for topic in by_newsletter.get(one.newsletter_id, [])
            ]
            for one in standing
        },
        "rhythms": [(one.value, rhythm.choice(desk.language, one)) for one in Rhythm],
        "languages": list(pages.LANGUAGE_NAMES.items()),
        "rhythm_words": functools.partial(rhythm.choice, desk.language),
        "language_names": pages.LANGUAGE_NAMES,
        "day": functools.partial(words.day, desk.language),
        "local_day": lambda value, zone: f"{value.astimezone(schedules.zone(zone)):%Y-%m-%d}" if value else "",
    }


def _wanted(desk: session.Desk, database: Session, one: Subscription) -> wishes.Wish:
    """Return what the form says, on top of what the reader wants. Raises WishInvalid."""
    typed, before = desk.typed, wishes.of(one)
    known = [topic.slug for topic in topics.of(database, one.newsletter_id)]
    ticked = tuple(sorted(slug for slug in known if desk.typed(f"topic-{slug}")))
    day, until = typed("paused_until"), None
    if day:
        try:
            zone = schedules.zone(one.newsletter.timezone)
            until = datetime.combine(date.fromisoformat(day), time(), tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise wishes.WishInvalid("This is no day.") from error
    return replace(
        before,
        language=typed("language") if typed("language") in i18n.LANGUAGES else before.language,
        rhythm=Rhythm(typed("rhythm")) if typed("rhythm") in tuple(Rhythm) else before.rhythm,
        topics=() if len(ticked) == len(known) else ticked,
        paused_until=until,
    )


def _origin(request: Request) -> Origin:
    return Origin(source=adding.DESK, network=dependencies.origin(request).network)


def _find(database: Session, subscriber_id: int) -> Subscriber:
    found = database.get(Subscriber, subscriber_id)
    if found is None:
        raise readers.ReaderNotFound("There is no such reader.")
    return found


def _standing(desk: session.Desk, database: Session, subscriber_id: int) -> Sequence[Subscription]:
    """Return a reader's subscriptions that the account may see, the confirmed ones first. Raises ReaderNotFound."""
    found = [one for one in readers.standing(database, subscriber_id) if desk.sees(one.newsletter_id)]
    if not found:
        raise readers.ReaderNotFound("There is no such reader.")
    return sorted(found, key=lambda one: one.state != SubscriptionState.CONFIRMED)


def _subscription(desk: session.Desk, database: Session, subscriber_id: int) -> Subscription:
    """Return the subscription that the form names, if it is this reader's. Raises SubscriptionNotFound, or RoleLacking."""
    typed = desk.typed("subscription")
    for one in _standing(desk, database, subscriber_id):
        if str(one.id) == typed:
            if not desk.may(Role.EDITOR, one.newsletter_id):
                raise session.RoleLacking(Role.EDITOR)
            return one
    raise subscriptions.SubscriptionNotFound("This reader has no such subscription.")


def _erase_page(
    request: Request, desk: session.Desk, subscriber: Subscriber, errors: dict[str, str] | None = None
) -> Response:
    status = 422 if errors else 200
    values = {"subscriber": subscriber, "errors": errors or {}}
    return screens.render(request, desk, "erase_reader", here="subscribers", status=status, **values)
