"""What the next issue holds as of any moment, and as one reader would get it, with a reason for every article."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session, aliased

from mailer import addresses
from mailer.articles import topics
from mailer.audience import hours, subscriptions
from mailer.issues import schedules, selection
from mailer.issues.selection import Choice, Selection, View
from mailer.models.audience import Subscriber, Subscription, SubscriptionState
from mailer.models.choices import Place, Rhythm, VariantArticle
from mailer.models.content import Article, Issue, Newsletter, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome


class Aside(enum.StrEnum):
    """Why a reader would get no issue, in English; {day} is that of Explanation.until."""

    NOT_CONFIRMED = "This reader is not confirmed, and gets no issue."
    PAUSED = "This reader gets no issue until {day}, as they wished."
    DAILY = "This reader wants one issue a day, and has had the one of this day."
    WEEKLY = "This reader wants one issue a week, and has had the one of this week."
    MONTHLY = "This reader wants one issue a month, and has had the one of this month."
    NOTHING_LEFT = "Nothing is left that this reader wants and has not had, so they get no issue."


_NOT_DUE: Final = {Rhythm.DAILY: Aside.DAILY, Rhythm.WEEKLY: Aside.WEEKLY, Rhythm.MONTHLY: Aside.MONTHLY}
_NOT_GIVEN: Final = (Outcome.REFUSED, Outcome.SKIPPED)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What an issue would hold. `aside` says why the reader would get none; `late` came after the cut-off or before all.

    `until` is the end of the pause that the reader wished, in the newsletter's zone; `hour` and `timezone` when they want
    their mail.
    """

    selection: Selection
    late: Sequence[Choice]
    aside: Aside | None = None
    until: datetime | None = None
    hour: int | None = None
    timezone: str | None = None

    def arrival(self, start: datetime) -> datetime | None:
        """Tell when an issue that starts at `start` reaches the reader; None for at once, and for everybody."""
        if self.aside or self.hour is None or self.timezone is None:
            return None
        return hours.arrival(start, self.hour, self.timezone)

    @property
    def aside_words(self) -> str | None:
        """Why the reader would get no issue, as an English sentence; None if they would."""
        return self.aside.format(day=f"{self.until:%Y-%m-%d}" if self.until else "") if self.aside else None


def explain(
    session: Session, newsletter: Newsletter, *, at: datetime, now: datetime, subscriber: str | None = None
) -> Explanation:
    """Tell what an issue made at `at` would hold, for everybody or for one reader by address. Changes nothing.

    The articles, issues and deliveries of that moment count; choices of the reader, and what is held or withdrawn, are
    those of today. Raises AddressInvalid, and SubscriptionNotFound if the address is no reader of the newsletter.
    """
    edition = selection.edition_view(session, newsletter, at=at)
    late = selection.late(session, newsletter, since=at, now=now) if at < now else []
    late += selection.stock(session, newsletter, until=at)
    if subscriber is None:
        pool = selection.read_pool(session, newsletter, edition, until=at)
        return Explanation(selection=selection.choose(pool, edition), late=late)
    subscription = find_reader(session, newsletter, subscriber)
    view = _view(session, newsletter, subscription, edition, at=at)
    chosen = selection.choose(selection.read_pool(session, newsletter, view, until=at), view)
    aside = _aside(newsletter, subscription, _watermark(session, subscription, at=at), at=at)
    if aside is None and not chosen.chosen:
        aside = Aside.NOTHING_LEFT
    return Explanation(
        selection=chosen,
        late=late,
        aside=aside,
        until=_local(subscription.paused_until, newsletter.timezone),
        hour=subscription.hour,
        timezone=subscription.timezone,
    )


def _local(moment: datetime | None, timezone: str) -> datetime | None:
    return moment.astimezone(schedules.zone(timezone)) if moment else None


def find_reader(session: Session, newsletter: Newsletter, address: str) -> Subscription:
    """Return an address's subscription. Raises AddressInvalid or SubscriptionNotFound."""
    found = session.execute(
        select(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(Subscriber.address_key == addresses.key(addresses.normalise(address)))
        .where(Subscription.newsletter_id == newsletter.id)
    ).scalar_one_or_none()
    if found is None:
        raise subscriptions.SubscriptionNotFound(f"This address is no reader of “{newsletter.slug}”.")
    return found


def _view(session: Session, newsletter: Newsletter, subscription: Subscription, edition: View, *, at: datetime) -> View:
    known = {one.slug for one in topics.of(session, newsletter.id)}
    had = held(session, subscription, Place.GIVEN, at=at)
    return View(
        start=_watermark(session, subscription, at=at) or edition.start,
        topics=frozenset(known.intersection(subscription.topics)),
        had=had,
        carried=frozenset(edition.carried) | held(session, subscription, Place.CARRIED, at=at),
        is_reader=True,
    )


def held(session: Session, subscription: Subscription, place: Place, *, at: datetime) -> frozenset[str]:
    """Return the addresses of what the reader was given by then, of all newsletters; or of what this one carried over."""
    sent = aliased(Variant)
    # What has not ended gets the variant that replaced its own meanwhile.
    is_open = DeliveryOutcome.outcome.is_(None)
    current = case((is_open, func.coalesce(sent.replaced_by, sent.id)), else_=sent.id)
    statement = (
        select(Article.canonical_url)
        .select_from(Delivery)
        .join(sent, sent.id == Delivery.variant_id)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .join(Variant, Variant.id == current)
        .join(Issue, Issue.id == Variant.issue_id)
        .join(VariantArticle, VariantArticle.variant_id == Variant.id)
        .join(Article, Article.id == VariantArticle.article_id)
        .where(Subscription.subscriber_id == subscription.subscriber_id, VariantArticle.place == place)
        .where(~(is_open & Variant.withdrawn_at.is_not(None)))
        .where(Issue.started_at <= at)
        .where(or_(DeliveryOutcome.outcome.is_(None), DeliveryOutcome.outcome.not_in(_NOT_GIVEN)))
    )
    if place == Place.CARRIED:
        statement = statement.where(Issue.newsletter_id == subscription.newsletter_id)
    return frozenset(session.execute(statement).scalars())


def _watermark(session: Session, subscription: Subscription, *, at: datetime) -> datetime | None:
    """Return where the reader's window started at that moment; None for the newsletter's own."""
    if subscription.watermark is None or subscription.watermark < at:
        return subscription.watermark
    given = (
        select(func.max(Issue.window_end))
        .join(Delivery, Delivery.issue_id == Issue.id)
        .where(Delivery.subscription_id == subscription.id, Issue.started_at <= at)
    )
    return session.execute(given).scalar_one()


def _aside(
    newsletter: Newsletter, subscription: Subscription, watermark: datetime | None, *, at: datetime
) -> Aside | None:
    if subscription.state != SubscriptionState.CONFIRMED:
        return Aside.NOT_CONFIRMED
    if subscription.paused_until is not None and subscription.paused_until > at:
        return Aside.PAUSED
    if subscription.rhythm == Rhythm.EACH or watermark is None:
        return None
    zone = schedules.zone(newsletter.timezone)
    is_same = _period(subscription.rhythm, watermark.astimezone(zone)) == _period(
        subscription.rhythm, at.astimezone(zone)
    )
    return _NOT_DUE[subscription.rhythm] if is_same else None


def _period(rhythm: Rhythm, local: datetime) -> tuple[int, ...]:
    if rhythm == Rhythm.WEEKLY:
        return local.isocalendar()[:2]
    return (local.year, local.month, local.day) if rhythm == Rhythm.DAILY else (local.year, local.month)
