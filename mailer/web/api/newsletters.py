"""Newsletters: list, show, change settings and rhythm."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer.db import transaction
from mailer.models.choices import CarriedCorrections, Overflow
from mailer.models.content import Font, Newsletter
from mailer.models.desk import OnSilence, WhenLate, WhenStale
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters
from mailer.web.api import access, acting
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Listed, Shape, Slug

router = APIRouter(route_class=ApiRoute, tags=["Newsletters"])

_Color = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
_Line = Annotated[str, Field(min_length=1, max_length=300)]
_Texts = Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=100)]


class NewsletterSettings(Shape):
    """A publication by mail. `next_issue_at` is null while it is paused or made by hand."""

    slug: str
    name: str
    description: str
    language: str
    site_url: str
    sender_name: str
    sender_address: str
    reply_to: str | None
    publisher: str
    postal_address: str
    brand_color: str
    brand_color_dark: str
    logo_url: str | None
    logo_width: int
    font: Font
    introduction: str
    signature: str | None
    cron: str | None
    timezone: str
    is_paused: bool
    min_articles: int
    max_articles: int
    max_age_days: int
    max_wait_days: int
    overflow: Overflow
    offers_hour: bool
    carries_corrections: CarriedCorrections
    include_categories: list[str]
    exclude_categories: list[str]
    desk_addresses: list[str]
    review_hours: int
    on_silence: OnSilence
    when_late: WhenLate
    late_after_minutes: int | None
    stale_percent: int | None
    stale_hours: int
    when_stale: WhenStale
    asks_topics: bool
    asks_rhythm: bool
    form_sites: list[str]
    tracks_clicks: bool
    tracks_opens: bool
    tracks_readers: bool
    is_indexable: bool
    sends_welcome: bool
    readers: int = Field(description="Confirmed subscriptions.")
    next_issue_at: datetime | None


class NewsletterChange(Body):
    """What is to be changed; what is left out stays. `cron` null means: made by hand."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"is_paused": True}, {"cron": "0 7 * * FRI", "timezone": "Europe/Paris"}]}
    )

    name: _Line | None = None
    description: Annotated[str, Field(max_length=2000)] | None = None
    language: str | None = None
    site_url: Annotated[str, Field(max_length=2000)] | None = None
    sender_name: _Line | None = None
    sender_address: Annotated[str, Field(max_length=320)] | None = None
    reply_to: Annotated[str, Field(max_length=320)] | None = None
    publisher: _Line | None = None
    postal_address: _Line | None = None
    brand_color: _Color | None = None
    brand_color_dark: _Color | None = None
    logo_url: Annotated[str, Field(max_length=2000)] | None = None
    logo_width: Annotated[int, Field(ge=24, le=536)] | None = None
    font: Font | None = None
    introduction: Annotated[str, Field(max_length=5000)] | None = None
    signature: Annotated[str, Field(max_length=2000)] | None = None
    cron: Annotated[str, Field(max_length=200)] | None = None
    timezone: Annotated[str, Field(max_length=100)] | None = None
    is_paused: bool | None = None
    min_articles: Annotated[int, Field(ge=1, le=100)] | None = None
    max_articles: Annotated[int, Field(ge=1, le=100)] | None = None
    max_age_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    max_wait_days: Annotated[int, Field(ge=1, le=365)] | None = None
    overflow: Overflow | None = None
    offers_hour: bool | None = None
    carries_corrections: CarriedCorrections | None = None
    include_categories: _Texts | None = None
    exclude_categories: _Texts | None = None
    desk_addresses: Annotated[list[str], Field(max_length=20)] | None = None
    review_hours: Annotated[int, Field(ge=0, le=168)] | None = None
    on_silence: OnSilence | None = None
    when_late: WhenLate | None = None
    late_after_minutes: Annotated[int, Field(ge=1, le=10080)] | None = None
    stale_percent: Annotated[int, Field(ge=0, le=99)] | None = None
    stale_hours: Annotated[int, Field(ge=1, le=720)] | None = None
    when_stale: WhenStale | None = None
    asks_topics: bool | None = None
    asks_rhythm: bool | None = None
    form_sites: Annotated[list[str], Field(max_length=50)] | None = None
    tracks_clicks: bool | None = None
    tracks_opens: bool | None = None
    tracks_readers: bool | None = None
    is_indexable: bool | None = None
    sends_welcome: bool | None = None


# Null removes these; null for any other field is refused.
_MAY_BE_NULL = frozenset({"reply_to", "logo_url", "signature", "cron", "late_after_minutes", "stale_percent"})


@router.get("/newsletters", **access.needs(Scope.READ))
def list_newsletters(call: access.Current) -> Listed[NewsletterSettings]:
    """List the newsletters that the token sees, by name."""
    with transaction() as session:
        seen = [one for one in newsletters.all_newsletters(session) if call.sees(one.id)]
        readers = newsletters.count_readers_by_newsletter(session)
        return Listed(data=[_shape(one, readers.get(one.id, 0), now=call.now) for one in seen])


@router.get("/newsletters/{slug}", **access.needs(Scope.READ))
def show_newsletter(call: access.Current, slug: Slug) -> NewsletterSettings:
    """Show a newsletter's settings."""
    with transaction() as session:
        return _one(session, call.newsletter(session, slug), now=call.now)


@router.patch("/newsletters/{slug}", response_model=NewsletterSettings, **access.needs(Scope.ADMIN))
def change_newsletter(call: access.Current, slug: Slug, change: NewsletterChange) -> Response:
    """Change settings and rhythm; all of what is sent, or nothing. A changed rhythm never fires the past."""
    given = change.model_dump(exclude_unset=True)
    nothing = sorted(name for name, value in given.items() if value is None and name not in _MAY_BE_NULL)
    if nothing:
        raise newsletters.NewsletterInvalid(f"{nothing[0]} can’t be null; leave it out to keep it as it is.")
    rhythm: dict[str, Any] = {name: given.pop(name) for name in ("cron", "timezone") if name in given}
    with acting.change(call) as session:
        found = call.newsletter(session, slug)
        if given:
            newsletters.edit(session, found, values=given, now=call.now)
        if rhythm:
            wanted = {"cron": found.cron, "timezone": found.timezone} | rhythm
            newsletters.schedule(session, found, **wanted, now=call.now, since=call.now)
        return acting.answer(call, _one(session, found, now=call.now))


def _one(session: Session, one: Newsletter, *, now: datetime) -> NewsletterSettings:
    return _shape(one, newsletters.count_readers(session, one.id), now=now)


def _shape(one: Newsletter, readers: int, *, now: datetime) -> NewsletterSettings:
    kept = {name: getattr(one, name) for name in NewsletterSettings.model_fields if hasattr(one, name)}
    return NewsletterSettings(**kept, readers=readers, next_issue_at=newsletters.next_slot(one, now=now))
