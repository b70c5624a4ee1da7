"""What a reader wants of a newsletter: language, topics, rhythm, a pause, the hour. Said by them, or by an operator for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import i18n
from mailer.articles import topics
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin, SubscriptionNotFound
from mailer.issues import schedules
from mailer.models.audience import ConsentEvent, Subscription
from mailer.models.choices import Rhythm
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters

LONGEST_PAUSE: Final = timedelta(days=90)


class WishInvalid(ValueError):
    """What a reader wants is not to be had; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a reader wants: slugs of topics in order, none for all; `paused_until` is None without a pause.

    `hour` (0 to 23, in the IANA zone `timezone`) is when mails arrive; both are None for at once.
    """

    language: str
    topics: tuple[str, ...]
    rhythm: Rhythm
    paused_until: datetime | None
    hour: int | None = None
    timezone: str | None = None


def of(subscription: Subscription) -> Wish:
    """Return what a reader wants at present."""
    return Wish(
        language=subscription.language,
        topics=tuple(subscription.topics),
        rhythm=subscription.rhythm,
        paused_until=subscription.paused_until,
        hour=subscription.hour,
        timezone=subscription.timezone,
    )


def choose(session: Session, subscription_id: int, wanted: Wish, *, origin: Origin, now: datetime) -> bool:
    """Let a reader have a newsletter as they want it, from the next issue on. Returns False if they had it so already.

    Nothing is lost and nothing comes twice by it: a reader who leaves the newsletter's own rhythm is remembered to have
    come as far as its last issue. Raises SubscriptionNotFound or WishInvalid.
    """
    statement = select(Subscription).where(Subscription.id == subscription_id).with_for_update()
    subscription = session.execute(statement.execution_options(populate_existing=True)).scalar_one_or_none()
    if subscription is None:
        raise SubscriptionNotFound("This subscription no longer exists.")
    _check(session, subscription, wanted, now=now)
    before = of(subscription)
    if wanted == before:
        return False
    if subscription.watermark is None and (wanted.rhythm != Rhythm.EACH or wanted.paused_until is not None):
        last = newsletters.last_issue(session, subscription.newsletter_id)
        subscription.watermark = last.window_end if last else None
    subscription.language, subscription.topics = wanted.language, list(wanted.topics)
    subscription.rhythm, subscription.paused_until = wanted.rhythm, wanted.paused_until
    subscription.hour, subscription.timezone = wanted.hour, wanted.timezone
    session.flush()
    zone = session.execute(select(Newsletter.timezone).where(Newsletter.id == subscription.newsletter_id)).scalar_one()
    detail = _changes(before, wanted, schedules.zone(zone))
    subscriptions.note_consent(session, subscription_id, ConsentEvent.CHANGED, origin=origin, now=now, detail=detail)
    return True


def _check(session: Session, subscription: Subscription, wanted: Wish, *, now: datetime) -> None:
    known = {one.slug for one in topics.of(session, subscription.newsletter_id)}
    unknown = sorted(set(wanted.topics) - known - set(subscription.topics))
    if unknown:
        raise WishInvalid(f"The newsletter has no topic “{unknown[0][:80]}”.")
    if list(wanted.topics) != sorted(set(wanted.topics)):
        raise WishInvalid("The topics must be in order, each once.")
    if wanted.language not in i18n.LANGUAGES:
        raise WishInvalid(f"The language must be one of {', '.join(i18n.LANGUAGES)}.")
    if wanted.paused_until is not None and wanted.paused_until > now + LONGEST_PAUSE:
        raise WishInvalid(f"A pause lasts at most {LONGEST_PAUSE.days} days.")
    _check_hour(wanted)


def _check_hour(wanted: Wish) -> None:
    if (wanted.hour is None) != (wanted.timezone is None):
        raise WishInvalid("An hour needs a time zone, and a time zone an hour.")
    if wanted.hour is not None and wanted.hour not in range(24):
        raise WishInvalid("The hour must be from 0 to 23.")
    if wanted.timezone is not None:
        try:
            schedules.zone(wanted.timezone)
        except schedules.ScheduleInvalid as error:
            raise WishInvalid(str(error)) from error


def _changes(before: Wish, after: Wish, zone: ZoneInfo) -> str:
    """Tell what changed, for the consent log: "language=en rhythm=weekly"; days are those of the zone."""
    pauses = (before.paused_until, after.paused_until)
    values = {
        "language": (before.language, after.language),
        "topics": (",".join(before.topics), ",".join(after.topics)),
        "rhythm": (before.rhythm, after.rhythm),
        "paused_until": tuple(f"{one.astimezone(zone):%Y-%m-%d}" if one else "" for one in pauses),
        "hour": tuple("" if one is None else f"{one}" for one in (before.hour, after.hour)),
        "timezone": (before.timezone or "", after.timezone or ""),
    }
    return " ".join(f"{name}={new}" for name, (old, new) in values.items() if old != new)
