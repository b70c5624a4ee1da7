"""A reader's preferences, opened by the link at the foot of a mail (R8)."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailer import addresses, clock, i18n, links
from mailer.articles import topics
from mailer.audience import hours, subscriptions, wishes
from mailer.counting import tracking
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.choices import Rhythm, Topic
from mailer.newsroom import newsletters
from mailer.web import dependencies, errors, faces, forms, pages, rhythm, zones

router = APIRouter(prefix="/p")

MOST_TOPICS: Final = 100
# The box above the topics; no slug looks like it.
ALL_TOPICS: Final = "*"


@dataclass(frozen=True, kw_only=True)
class _Arrival:
    """The hour as the form has it; "" from a page that does not show it."""

    hour: str
    timezone: str

    @property
    def is_possible(self) -> bool:
        return self.hour in ("", zones.AT_ONCE, *map(str, range(24)))

    def put_into(self, wanted: wishes.Wish, *, timezone: str) -> wishes.Wish:
        """Return what is wanted with this hour; `timezone` counts where none was sent."""
        if not self.hour:
            return wanted
        if self.hour == zones.AT_ONCE:
            return replace(wanted, hour=None, timezone=None)
        return replace(wanted, hour=int(self.hour), timezone=self.timezone or timezone)


def _arrival(hour: Annotated[str, Form()] = "", timezone: Annotated[str, Form()] = "") -> _Arrival:
    return _Arrival(hour=hour, timezone=timezone)


@router.api_route("/{token}", methods=["GET", "HEAD"])
def show(request: Request, token: str) -> Response:
    """Show what can be chosen."""
    link = links.read(links.Purpose.PREFERENCES, token)
    with transaction() as session:
        subscription = subscriptions.get(session, link.id)
        return _page(request, session, subscription, token, is_saved=False)


@router.post("/{token}")
def save(
    request: Request,
    token: str,
    arrival: Annotated[_Arrival, Depends(_arrival)],
    language: Annotated[str, Form()] = "",
    wanted_rhythm: Annotated[str, Form(alias="rhythm")] = "",
    topic: Annotated[list[str] | None, Form()] = None,
    paused_until: Annotated[str | None, Form()] = None,
    agrees: Annotated[str, Form(alias="tracking")] = "",
) -> Response:
    """Keep what was chosen and show it again. A page that shows no rhythm sends none: then only the language is chosen."""
    link = links.read(links.Purpose.PREFERENCES, token)
    if language not in i18n.LANGUAGES or wanted_rhythm not in ("", *Rhythm) or not arrival.is_possible:
        return errors.page(request, 422)
    now = clock.now()
    with transaction() as session:
        subscription = subscriptions.get(session, link.id)
        known = topics.of(session, subscription.newsletter_id)
        wanted = replace(wishes.of(subscription), language=language)
        if wanted_rhythm:
            wanted = replace(
                wanted,
                rhythm=Rhythm(wanted_rhythm),
                topics=_told(known, topic or []),
                paused_until=_moment(paused_until or "", subscription.newsletter.timezone, now=now),
            )
        wanted = arrival.put_into(wanted, timezone=subscription.newsletter.timezone)
        if wanted_rhythm and known and not topic:
            return _ask_for_topics(request, session, subscription, token, wanted)
        if subscription.state != SubscriptionState.ENDED:
            origin = dependencies.origin(request, source="preferences")
            try:
                wishes.choose(session, link.id, wanted, origin=origin, now=now)
            except wishes.WishInvalid:
                return errors.page(request, 422)
            if wanted_rhythm and not agrees:
                # By a link that may have been forwarded nobody agrees; that is for the reader's own page (account.py).
                tracking.agree(session, link.id, agrees=False, origin=origin, now=now)
            subscription = subscriptions.get(session, link.id)
        return _page(request, session, subscription, token, is_saved=True)


def next_issue(language: str, subscription: Subscription, *, now: datetime) -> str | None:
    """Say when a reader's next issue arrives, in the zone that they chose; None if it is not certain."""
    until = subscription.paused_until if subscription.paused_until and subscription.paused_until > now else None
    slot = newsletters.next_slot(subscription.newsletter, now=until or now)
    if slot is None or subscription.rhythm != Rhythm.EACH:
        return None
    if subscription.hour is None or subscription.timezone is None:
        return rhythm.moment(language, slot, subscription.newsletter.timezone)
    moment = hours.arrival(slot, subscription.hour, subscription.timezone)
    return rhythm.moment(language, moment, subscription.timezone)


def choices(
    session: Session, subscription: Subscription, language: str, *, now: datetime, has_no_topic: bool = False
) -> dict[str, Any]:
    """Return what a page needs that shows what a reader can choose (_choices.html), as they have it now."""
    zone = schedules.zone(subscription.newsletter.timezone)
    until = subscription.paused_until if subscription.paused_until and subscription.paused_until > now else None
    today = now.astimezone(zone)
    return {
        "subscription_language": subscription.language,
        "language_names": pages.LANGUAGE_NAMES,
        **_topics(session, subscription, language, has_no_topic=has_no_topic),
        "is_tracked": subscription.tracking_agreed_at is not None,
        "rhythms": _rhythms(subscription, language, now=now),
        "paused_until": until.astimezone(zone).date().isoformat() if until else "",
        "first_day": (today + timedelta(days=1)).date().isoformat(),
        "last_day": (today + wishes.LONGEST_PAUSE).date().isoformat(),
        **_arrivals(subscription, language),
    }


def _told(known: list[Topic], ticked: list[str]) -> tuple[str, ...]:
    """Return the topics that exist of those that were ticked; all of them are the same as none."""
    if ALL_TOPICS in ticked:
        return ()
    chosen = {one.slug for one in known}.intersection(ticked[:MOST_TOPICS])
    return () if len(chosen) == len(known) else tuple(sorted(chosen))


def _moment(day: str, timezone: str, *, now: datetime) -> datetime | None:
    """Return when a pause ends: as the day begins for the newsletter. None for no day, one in the past, or no date."""
    try:
        until = datetime.combine(date.fromisoformat(day), time(), tzinfo=schedules.zone(timezone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return min(until, now + wishes.LONGEST_PAUSE) if until > now else None


def _rhythms(subscription: Subscription, language: str, *, now: datetime) -> list[tuple[str, str, bool]]:
    """Return the rhythms that differ from the newsletter's own, and the one that the reader has."""
    offered = forms.offered_rhythms(subscription.newsletter, now=now)
    shown = [one for one in Rhythm if one in offered or one == subscription.rhythm]
    return [(one.value, rhythm.choice(language, one), one == subscription.rhythm) for one in shown]


def _arrivals(subscription: Subscription, language: str) -> dict[str, Any]:
    """Return the hours and zones to choose from; no hours if the newsletter does not offer it and none was chosen."""
    newsletter = subscription.newsletter
    if not newsletter.offers_hour and subscription.hour is None:
        return {"hours": []}
    timezone = subscription.timezone or newsletter.timezone
    first, every = zones.groups(language, timezone)
    return {
        "hours": zones.hours(language),
        "chosen_hour": "" if subscription.hour is None else str(subscription.hour),
        "first_zones": first,
        "zones": every,
        "chosen_zone": timezone,
        "at_once": zones.AT_ONCE,
    }


def _ask_for_topics(
    request: Request, session: Session, subscription: Subscription, token: str, wanted: wishes.Wish
) -> Response:
    """Show the form again as it was sent, without a topic, and say what is missing."""
    # Only shown, never written.
    session.expunge(subscription)
    subscription.language, subscription.rhythm = wanted.language, wanted.rhythm
    subscription.paused_until = wanted.paused_until
    return _page(request, session, subscription, token, is_saved=False, has_no_topic=True)


def _page(
    request: Request,
    session: Session,
    subscription: Subscription,
    token: str,
    *,
    is_saved: bool,
    has_no_topic: bool = False,
) -> Response:
    unsubscribe_path = f"/u/{links.sign(links.Purpose.UNSUBSCRIBE, subscription.id)}"
    if subscription.state == SubscriptionState.ENDED:
        return RedirectResponse(pages.keep(request)(unsubscribe_path), status_code=303)
    language = dependencies.language(request, subscription.language)
    return pages.render(
        request,
        "preferences",
        language=language,
        status=422 if has_no_topic else 200,
        newsletter=faces.publication(subscription.newsletter),
        address=addresses.mask(subscription.subscriber.address),
        next_issue=next_issue(language, subscription, now=clock.now()),
        is_saved=is_saved,
        token=token,
        unsubscribe_path=unsubscribe_path,
        **choices(session, subscription, language, now=clock.now(), has_no_topic=has_no_topic),
    )


def _topics(session: Session, subscription: Subscription, language: str, *, has_no_topic: bool) -> dict[str, object]:
    """Return the boxes of the topics; none is ticked when that is what is wrong."""
    chosen = () if has_no_topic else subscription.topics
    known = topics.of(session, subscription.newsletter_id)
    return {
        "topics": [(one.slug, topics.name(one, language), one.slug in chosen) for one in known],
        "all_topics": ALL_TOPICS,
        "has_all_topics": not subscription.topics and not has_no_topic,
        "has_no_topic": has_no_topic,
    }
