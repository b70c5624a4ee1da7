"""Readers: search, show, add, what they want, unsubscribe, take along, erase."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.audience import attributes, filters, histories, readers, subscriptions, wishes
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.models.audience import EndedReason, Subscriber, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.models.tokens import Scope
from mailer.web.api import access, acting, paging
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Page, Shape

router = APIRouter(route_class=ApiRoute, tags=["Subscribers"])

TIMELINE_LENGTH: Final = 200
_Topics = Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=50)]


class SubscriptionStanding(Shape):
    """A subscriber’s standing with one newsletter. No topics chosen means all of them."""

    id: int
    subscriber_id: int
    address: str
    newsletter: str
    state: SubscriptionState
    language: str
    topics: list[str]
    rhythm: Rhythm
    paused_until: datetime | None
    hour: int | None
    timezone: str | None
    source: str | None
    requested_at: datetime
    confirmed_at: datetime | None
    ended_at: datetime | None
    ended_reason: EndedReason | None


class TimelineEntry(Shape):
    """One moment with a reader: an event of the consent log, or how a mail ended; `words` are the mail server’s."""

    at: datetime
    what: str
    newsletter: str | None
    issue_id: int | None
    about: str | None
    words: str | None
    source: str | None
    network: str | None


class Person(Shape):
    """A subscriber with all subscriptions that the token sees, and what happened last, the newest first."""

    id: int
    address: str
    name: str | None
    attributes: dict[str, str]
    created_at: datetime
    subscriptions: list[SubscriptionStanding]
    timeline: list[TimelineEntry]


class PersonChange(Body):
    """A reader’s name and other attributes; an empty text removes one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"attributes": {"name": "Léa", "city": "Almaty"}}]})

    attributes: Annotated[dict[str, Annotated[str, Field(max_length=1000)]], Field(min_length=1, max_length=30)]


class PreferencesChange(Body):
    """What a reader wants, said by an operator at their wish; what is left out stays. An hour needs a time zone."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rhythm": "weekly", "topics": ["eau"]}]})

    language: Annotated[str, Field(max_length=10)] | None = None
    topics: _Topics | None = None
    rhythm: Rhythm | None = None
    paused_until: AwareDatetime | None = None
    hour: Annotated[int, Field(ge=0, le=23)] | None = None
    timezone: Annotated[str, Field(max_length=100)] | None = None


class Exported(Shape):
    """All that is kept of a reader, as rows by table."""

    tables: dict[str, list[dict[str, Any]]]


@router.get("/subscribers", **access.needs(Scope.SUBSCRIBERS))
def list_subscribers(
    call: access.Current,
    request: Request,
    response: Response,
    q: Annotated[str, Query(max_length=320, description="An address, its start, or @ and its domain.")] = "",
    newsletter: Annotated[str, Query(max_length=63, description="Of this newsletter.")] = "",
    state: Annotated[SubscriptionState | None, Query(description="Who stand so.")] = None,
    rhythm: Annotated[Rhythm | None, Query(description="Who want it so often.")] = None,
    topic: Annotated[str, Query(max_length=63, description="Who get this topic.")] = "",
    language: Annotated[str, Query(max_length=10, description="Who read in it.")] = "",
    since: Annotated[date | None, Query(description="Who confirmed, or asked, from this day on.")] = None,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[SubscriptionStanding]:
    """Search subscriptions: the newest first, by address where its start is searched."""
    after = paging.position(request, cursor) or 0
    given = {"q": q, "newsletter": newsletter, "state": state or "", "rhythm": rhythm or "", "topic": topic}
    given |= {"language": language, "since": since.isoformat() if since else ""}
    wanted = filters.Filter.of({name: str(value) for name, value in given.items()})
    only = None if call.newsletter_id is None else [call.newsletter_id]
    with transaction() as session:
        if newsletter:
            call.newsletter(session, newsletter)
        sight = filters.Sight(newsletter_ids=only)
        found = filters.page(session, wanted, sight, now=call.now, after=after, limit=limit + 1)
        page, following = paging.cut(request, response, found, limit, [one.id for one in found])
        return Page(data=[_standing(one, one.subscriber, one.newsletter.slug) for one in page], next=following)


@router.get("/subscribers/{subscriber_id}", **access.needs(Scope.SUBSCRIBERS))
def show_subscriber(call: access.Current, subscriber_id: Id) -> Person:
    """Show a reader with the timeline: asked, confirmed, changed, mailed, left."""
    with transaction() as session:
        return _person(session, call, subscriber_id)


@router.patch("/subscribers/{subscriber_id}", response_model=Person, **access.needs(Scope.SUBSCRIBERS))
def describe_subscriber(call: access.Current, subscriber_id: Id, change: PersonChange) -> Response:
    """Change what is known of a reader besides the address, for merge fields."""
    with acting.change(call) as session:
        found = _seen(session, call, subscriber_id)
        attributes.change(session, found[0].subscriber, change.attributes)
        return acting.answer(call, _person(session, call, subscriber_id))


@router.get("/subscribers/{subscriber_id}/export", **access.needs(Scope.SUBSCRIBERS))
def export_subscriber(call: access.Current, subscriber_id: Id) -> Exported:
    """Return all that is kept of a reader, for them to take along. Only for tokens of all newsletters."""
    call.need_all()
    with transaction() as session:
        kept = readers.export(session, subscriber_id)
    return Exported(tables={name: [_plain(row) for row in rows] for name, rows in kept.items()})


@router.delete(
    "/subscribers/{subscriber_id}", status_code=204, response_class=Response, **access.needs(Scope.SUBSCRIBERS)
)
def erase_subscriber(call: access.Current, subscriber_id: Id) -> Response:
    """Erase all that is kept of a reader, for good, but a hash that keeps imports from bringing them back.

    Only for tokens of all newsletters.
    """
    call.need_all()
    with acting.change(call) as session:
        readers.erase(session, subscriber_id, now=call.now)
    return Response(status_code=204)


@router.patch(
    "/subscriptions/{subscription_id}", response_model=SubscriptionStanding, **access.needs(Scope.SUBSCRIBERS)
)
def change_preferences(call: access.Current, subscription_id: Id, change: PreferencesChange) -> Response:
    """Have a reader’s newsletter as they want it, from the next issue on. It can’t confirm, end or revive anything."""
    given = change.model_dump(exclude_unset=True)
    for name in ("language", "topics", "rhythm"):
        if name in given and given[name] is None:
            raise wishes.WishInvalid(f"{name} can’t be null; leave it out to keep it as it is.")
    if "topics" in given:
        given["topics"] = tuple(sorted(set(given["topics"])))
    with acting.change(call) as session:
        found = _subscription(session, call, subscription_id)
        before = wishes.of(found)
        kept = {name: getattr(before, name) for name in PreferencesChange.model_fields}
        wishes.choose(session, found.id, wishes.Wish(**kept | given), origin=_origin(call), now=call.now)
        return acting.answer(call, _again(session, call, subscription_id))


@router.post(
    "/subscriptions/{subscription_id}/unsubscribe",
    response_model=SubscriptionStanding,
    **access.needs(Scope.SUBSCRIBERS),
)
def unsubscribe_subscriber(call: access.Current, subscription_id: Id) -> Response:
    """End a subscription at the reader’s wish; one that has ended stays as it is. Only they can come back."""
    with acting.change(call) as session:
        _subscription(session, call, subscription_id)
        subscriptions.end(session, subscription_id, EndedReason.REMOVED, origin=_origin(call), now=call.now)
        return acting.answer(call, _again(session, call, subscription_id))


def _seen(session: Session, call: access.Call, subscriber_id: int) -> Sequence[Subscription]:
    """Return a reader’s subscriptions that the token sees, at least one. Raises ReaderNotFound."""
    found = [one for one in readers.standing(session, subscriber_id) if call.sees(one.newsletter_id)]
    if not found:
        raise readers.ReaderNotFound(f"There is no subscriber {subscriber_id}.")
    return found


def _person(session: Session, call: access.Call, subscriber_id: int) -> Person:
    found = _seen(session, call, subscriber_id)
    subscriber = found[0].subscriber
    only = None if call.newsletter_id is None else [call.newsletter_id]
    happened = histories.moments(session, subscriber_id, only, limit=TIMELINE_LENGTH)
    return Person(
        id=subscriber.id,
        address=subscriber.address,
        name=subscriber.name,
        attributes=subscriber.attributes,
        created_at=subscriber.created_at,
        subscriptions=[_standing(one, subscriber, one.newsletter.slug) for one in found],
        timeline=[TimelineEntry.model_validate(one) for one in happened],
    )


def _subscription(session: Session, call: access.Call, subscription_id: int) -> Subscription:
    found = subscriptions.get(session, subscription_id)
    if not call.sees(found.newsletter_id):
        raise subscriptions.SubscriptionNotFound(f"There is no subscription {subscription_id}.")
    call.about_id = found.newsletter_id
    return found


def _again(session: Session, call: access.Call, subscription_id: int) -> SubscriptionStanding:
    found = _subscription(session, call, subscription_id)
    return _standing(found, found.subscriber, found.newsletter.slug)


def _standing(one: Subscription, subscriber: Subscriber, slug: str) -> SubscriptionStanding:
    made = ("address", "newsletter")
    kept = {name: getattr(one, name) for name in SubscriptionStanding.model_fields if name not in made}
    return SubscriptionStanding(address=subscriber.address, newsletter=slug, **kept)


def _origin(call: access.Call) -> Origin:
    return Origin(source=call.by, network=call.network)


def _plain(row: dict[str, object]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
