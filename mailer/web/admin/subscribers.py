"""Subscribers: how they stand with each newsletter; found, counted, kept as segments, taken away as a file."""

import functools
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mailer import addresses, i18n
from mailer.articles import topics
from mailer.audience import filters
from mailer.audience.filters import Filter
from mailer.db import transaction
from mailer.models.accounts import Role
from mailer.models.audience import EndedReason, Subscription, SubscriptionState
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.models.segments import Segment
from mailer.models.tracking import Event
from mailer.newsroom import newsletters
from mailer.web import csv_export, pages, rhythm
from mailer.web.admin import screens, session, words

router = APIRouter(prefix="/subscribers", route_class=screens.DeskRoute)

Id = Annotated[int, Path(ge=1, lt=2**63)]
PAGE_LENGTH: Final = 50
EXPORT_LENGTH: Final = 1000
LARGEST_ID: Final = 2**63 - 1
# The columns of an export; those of a list are words.
COLUMNS: Final = (
    "address",
    "name",
    "newsletter",
    "state",
    "language",
    "topics",
    "rhythm",
    "paused_until",
    "source",
    "requested_at",
    "confirmed_at",
    "ended_at",
    "ended_reason",
)


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, after: int = 0) -> Response:
    """List what the filter in the address finds, a page at a time."""
    return page(request, desk, Filter.of(request.query_params), after=after)


@router.api_route("/export.csv", methods=["GET", "HEAD"])
def export_csv(request: Request, desk: session.Admin) -> Response:
    """Hand out what the filter finds as a table for spreadsheets."""
    wanted, sees = Filter.of(request.query_params), sight(desk)
    rows = ([_cell(one[name]) for name in COLUMNS] for one in _exported(wanted, sees, now=desk.now))
    return csv_export.respond(f"subscribers-{desk.now:%Y-%m-%d}", COLUMNS, rows, language=desk.language)


@router.api_route("/export.jsonl", methods=["GET", "HEAD"])
def export_jsonl(request: Request, desk: session.Admin) -> Response:
    """Hand out what the filter finds as one JSON object a line, for programs."""
    wanted, sees = Filter.of(request.query_params), sight(desk)
    lines = (json.dumps(one, ensure_ascii=False, default=str) + "\n" for one in _exported(wanted, sees, now=desk.now))
    name = f"subscribers-{desk.now:%Y-%m-%d}.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines, media_type="application/jsonl; charset=utf-8", headers=headers)


@router.post("/segments")
def save_segment(request: Request, desk: session.Editor) -> Response:
    """Keep the filter that the form carries under a name."""
    wanted = Filter.of(desk.form)
    try:
        with transaction() as database:
            filters.save(database, desk.typed("name"), wanted, now=desk.now)
    except filters.SegmentInvalid as error:
        return page(request, desk, wanted, errors={"name": str(error)})
    return screens.back("/admin/subscribers", done="segment-saved", **wanted.chosen())


@router.post("/segments/{segment}/delete")
def delete_segment(_desk: session.Editor, segment: Id) -> Response:
    """Forget a segment; nobody in it is touched."""
    with transaction() as database:
        found = database.get(Segment, segment)
        if found is not None:
            database.delete(found)
    return screens.back("/admin/subscribers", done="segment-deleted")


def page(
    request: Request,
    desk: session.Desk,
    wanted: Filter,
    *,
    after: int = 0,
    errors: dict[str, str] | None = None,
) -> Response:
    """Show what a filter finds."""
    sees, after = sight(desk), after if 0 < after <= LARGEST_ID else 0
    with transaction() as database:
        every = newsletters.all_newsletters(database, among=desk.newsletter_ids)
        listed = filters.page(database, wanted, sees, now=desk.now, after=after, limit=PAGE_LENGTH + 1)
        found, is_full = listed[:PAGE_LENGTH], len(listed) > PAGE_LENGTH
        return screens.render(
            request,
            desk,
            "subscribers",
            here="subscribers",
            status=422 if errors else 200,
            wanted=wanted,
            chips=chips(desk, wanted, every),
            is_open=bool(wanted.without("q")),
            **_offered(database, desk, wanted, every),
            found=found,
            count=filters.count(database, wanted, sees, now=desk.now),
            clicked=_last_clicks(database, found),
            shown_address=functools.partial(shown_address, desk),
            may_read=sees.may_read,
            addable=[one.id for one in every if desk.may(Role.EDITOR, one.id)],
            rhythm_words=functools.partial(rhythm.choice, desk.language),
            day=functools.partial(words.day, desk.language),
            after=found[-1].id if is_full else None,
            query=urlencode(wanted.chosen()),
            segments=filters.segments(database),
            errors=errors or {},
        )


def sight(desk: session.Desk) -> filters.Sight:
    """Return what the account at the desk may look for: readers of its newsletters, whose addresses it may read."""
    ids = desk.newsletter_ids
    may_read = desk.may(Role.EDITOR) if ids is None else all(desk.may(Role.EDITOR, one) for one in ids)
    return filters.Sight(newsletter_ids=ids, may_read=may_read)


def shown_address(desk: session.Desk, one: Subscription) -> str:
    """Return an address whole for those who answer readers' mails, masked for others."""
    address = one.subscriber.address
    return address if desk.may(Role.EDITOR, one.newsletter_id) else addresses.mask(address)


def _offered(database: Session, desk: session.Desk, wanted: Filter, every: list[Newsletter]) -> dict[str, Any]:
    """Return what can be chosen in the form, as pairs of value and words."""
    chosen = every if len(every) == 1 else [one for one in every if one.slug == wanted.newsletter]
    known = topics.of(database, chosen[0].id) if chosen else []
    return {
        "newsletters": every,
        "newsletter_names": [(one.slug, one.name) for one in every],
        "states_offered": [(one, words.STATES[one]) for one in SubscriptionState],
        "rhythms": [(one.value, rhythm.choice(desk.language, one)) for one in Rhythm],
        "topics": [(one.slug, topics.name(one, desk.language)) for one in known],
        "languages": list(pages.LANGUAGE_NAMES.items()),
        "reasons": [(one.value, words.STATES[one]) for one in EndedReason],
    }


def chips(desk: session.Desk, wanted: Filter, every: list[Newsletter]) -> list[tuple[str, str]]:
    """Return the parts of the filter in words, each with the address of the list without it."""
    made = []
    for name, value in wanted.chosen().items():
        said = _said(desk.language, name, value, {one.slug: one.name for one in every})
        without = urlencode(wanted.without(name))
        made.append((said, f"/admin/subscribers?{without}" if without else "/admin/subscribers"))
    return made


def _said(language: str, name: str, value: str, names: dict[str, str]) -> str:
    say = functools.partial(i18n.gettext, language)
    if name in ("state", "reason"):
        return say(words.STATES[value])
    if name == "rhythm":
        return rhythm.choice(language, Rhythm(value))
    if name == "since":
        return say("since {day}", day=i18n.format_date(language, datetime.fromisoformat(value)))
    if name == "source":
        return say("signed up at “{place}”", place=value)
    if name == "topic":
        return say("topic {topic}", topic=value)
    if name == "paused":
        return say("has paused")
    if name == "suppressed":
        return say("must not be mailed")
    return {"newsletter": names, "language": pages.LANGUAGE_NAMES}.get(name, {}).get(value, value)


def _last_clicks(database: Session, found: list[Subscription]) -> dict[int, datetime] | None:
    """Return when readers last followed a link, by subscription; None if no newsletter here knows of single readers."""
    if not any(one.newsletter.tracks_readers for one in found):
        return None
    rows = database.execute(
        select(Event.subscription_id, func.max(Event.at))
        .where(Event.subscription_id.in_([one.id for one in found]), Event.link > 0, Event.machine.is_(None))
        .group_by(Event.subscription_id)
    )
    return {row[0]: row[1] for row in rows if row[0] is not None}


def _exported(wanted: Filter, sees: filters.Sight, *, now: datetime) -> Iterator[dict[str, Any]]:
    """Yield everybody who is found, in short transactions: a slow line holds none."""
    after = 0
    while True:
        with transaction() as database:
            found = filters.page(database, wanted, sees, now=now, after=after, limit=EXPORT_LENGTH)
        yield from map(_row, found)
        if len(found) < EXPORT_LENGTH:
            return
        after = found[-1].id


def _row(one: Subscription) -> dict[str, Any]:
    return {
        "address": one.subscriber.address,
        "name": one.subscriber.name,
        "newsletter": one.newsletter.slug,
        "state": one.state,
        "language": one.language,
        "topics": one.topics,
        "rhythm": one.rhythm,
        "paused_until": one.paused_until,
        "source": one.source,
        "requested_at": one.requested_at,
        "confirmed_at": one.confirmed_at,
        "ended_at": one.ended_at,
        "ended_reason": one.ended_reason,
    }


def _cell(value: Any) -> csv_export.Cell:
    if isinstance(value, list):
        return " ".join(value)
    return value if value is None or isinstance(value, datetime) else str(value)
