"""What happened with one reader, newest first, and which of the last issues they got, with the server's words.

Each is one statement, however much there is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import CompoundSelect, Select, Text, case, cast, func, literal, null, select, union_all
from sqlalchemy.orm import Session

from mailer.models.audience import Consent, Subscription
from mailer.models.content import Issue, IssueState, Newsletter, Variant
from mailer.models.deliveries import Deferral, Delivery, DeliveryOutcome
from mailer.models.readers import AddressChange
from mailer.models.tracking import Event, VariantLink

# What moments of these kinds are; those of the consent log are named as there, those of mails by their outcome.
DEFERRED: Final = "deferred"
MOVE_ASKED: Final = "move_asked"
CLICKED: Final = "clicked"
OPENED: Final = "opened"
_STARTED: Final = (IssueState.SENDING, IssueState.PAUSED, IssueState.SENT, IssueState.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened. `mail` is the kind of mail that it was about, `about` its subject; otherwise `about` is what
    the consent log says, or where a link leads. `words` are the server's.
    """

    at: datetime
    what: str
    newsletter: str | None
    mail: str | None
    issue_id: int | None
    about: str | None
    words: str | None
    source: str | None
    form_version: str | None
    network: str | None


@dataclass(frozen=True, kw_only=True)
class Got:
    """What became of an issue for a reader: `outcome` is None while it waits; without `delivery_id` it was not for them."""

    issue_id: int
    number: int | None
    subject: str
    newsletter: str
    timezone: str
    started_at: datetime
    is_over: bool
    delivery_id: int | None
    outcome: str | None
    words: str | None
    recorded_at: datetime | None
    is_put_off: bool
    had_asked: bool
    had_left: bool


def moments(
    session: Session, subscriber_id: int, newsletter_ids: Collection[int] | None, *, skip: int = 0, limit: int
) -> list[Moment]:
    """List what happened with a reader, newest first: what they asked and changed, their mails, and what they followed if
    they agreed to that being known. None for all newsletters.
    """
    found = _moments(subscriber_id, newsletter_ids).subquery()
    rows = session.execute(
        select(found, Newsletter.name)
        .outerjoin(Newsletter, Newsletter.id == found.c.newsletter_id)
        .order_by(found.c.at.desc(), found.c.rank.desc(), found.c.id.desc())
        .offset(skip)
        .limit(limit)
    )
    return [
        Moment(
            at=row.at,
            what=row.what,
            newsletter=row.name,
            mail=row.mail,
            issue_id=row.issue_id,
            about=row.about,
            words=row.words,
            source=row.source,
            form_version=row.form_version,
            network=row.network,
        )
        for row in rows
    ]


def got(session: Session, subscriber_id: int, newsletter_ids: Collection[int] | None, *, limit: int) -> list[Got]:
    """Tell of the last issues of a reader's newsletters whether they got each, newest first."""
    put_off = select(Deferral.delivery_id).where(Deferral.delivery_id == Delivery.id).exists()
    statement = (
        select(
            Issue,
            Newsletter.name,
            Newsletter.timezone,
            Delivery.id.label("delivery_id"),
            DeliveryOutcome.outcome,
            DeliveryOutcome.reply,
            DeliveryOutcome.recorded_at,
            put_off.label("is_put_off"),
            Subscription.confirmed_at,
            Subscription.ended_at,
        )
        .join(Newsletter, Newsletter.id == Issue.newsletter_id)
        .join(Subscription, Subscription.newsletter_id == Newsletter.id)
        .outerjoin(Delivery, (Delivery.issue_id == Issue.id) & (Delivery.subscription_id == Subscription.id))
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(Subscription.subscriber_id == subscriber_id, Issue.state.in_(_STARTED), *_seen(newsletter_ids))
        .order_by(Issue.started_at.desc(), Issue.id.desc())
        .limit(limit)
    )
    return [_got(row) for row in session.execute(statement)]


def _got(row: Any) -> Got:
    issue = row.Issue
    return Got(
        issue_id=issue.id,
        number=issue.number,
        subject=issue.subject,
        newsletter=row.name,
        timezone=row.timezone,
        started_at=issue.started_at,
        is_over=issue.finished_at is not None,
        delivery_id=row.delivery_id,
        outcome=row.outcome.value if row.outcome else None,
        words=row.reply,
        recorded_at=row.recorded_at,
        is_put_off=row.is_put_off,
        had_asked=row.confirmed_at is not None and row.confirmed_at <= issue.started_at,
        had_left=row.ended_at is not None and row.ended_at <= issue.started_at,
    )


def _moments(subscriber_id: int, newsletter_ids: Collection[int] | None) -> CompoundSelect[Any]:
    of_reader = (Subscription.subscriber_id == subscriber_id, *_seen(newsletter_ids))
    moved = select(
        AddressChange.asked_at.label("at"),
        literal(1).label("rank"),
        AddressChange.id.label("id"),
        literal(MOVE_ASKED).label("what"),
        cast(null(), Subscription.newsletter_id.type).label("newsletter_id"),
        _none("mail"),
        cast(null(), Issue.id.type).label("issue_id"),
        _none("about"),
        _none("words"),
        _none("source"),
        _none("form_version"),
        _none("network"),
    ).where(AddressChange.subscriber_id == subscriber_id)
    return union_all(
        moved,
        _consents().where(*of_reader),
        _mails(DeliveryOutcome.recorded_at, cast(DeliveryOutcome.outcome, Text), DeliveryOutcome.reply, rank=3)
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(*of_reader),
        _mails(Deferral.recorded_at, literal(DEFERRED), Deferral.reply, rank=2)
        .join(Deferral, Deferral.delivery_id == Delivery.id)
        .where(*of_reader),
        _followed().where(*of_reader),
    )


def _consents() -> Select[Any]:
    return select(
        Consent.at,
        literal(4),
        Consent.id,
        cast(Consent.event, Text),
        Subscription.newsletter_id,
        _none("mail"),
        null(),
        Consent.detail,
        _none("words"),
        Consent.source,
        Consent.form_version,
        Consent.network,
    ).join(Subscription, Subscription.id == Consent.subscription_id)


def _mails(at: Any, what: Any, words: Any, *, rank: int) -> Select[Any]:
    return (
        select(
            at,
            literal(rank),
            Delivery.id,
            what,
            Subscription.newsletter_id,
            cast(Variant.kind, Text),
            Variant.issue_id,
            Variant.subject,
            words,
            _none("source"),
            _none("form_version"),
            _none("network"),
        )
        .select_from(Delivery)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(Variant, Variant.id == Delivery.variant_id)
    )


def _followed() -> Select[Any]:
    return (
        select(
            Event.at,
            literal(5),
            Event.id,
            case((Event.link > 0, CLICKED), else_=OPENED),
            Subscription.newsletter_id,
            cast(Variant.kind, Text),
            Variant.issue_id,
            func.coalesce(VariantLink.url, Variant.subject),
            _none("words"),
            _none("source"),
            _none("form_version"),
            Event.network,
        )
        .join(Subscription, Subscription.id == Event.subscription_id)
        .join(Variant, Variant.id == Event.variant_id)
        .outerjoin(VariantLink, (VariantLink.variant_id == Event.variant_id) & (VariantLink.number == Event.link))
        .where(Event.machine.is_(None))
    )


def _none(name: str) -> Any:
    return cast(null(), Text).label(name)


def _seen(newsletter_ids: Collection[int] | None) -> tuple[Any, ...]:
    return () if newsletter_ids is None else (Subscription.newsletter_id.in_(newsletter_ids),)
