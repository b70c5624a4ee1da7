"""All that is kept of a reader: how they get at it without an old mail, take it with them, and have it erased.

TABLES names every table with something of a reader in it; a test finds one that is missing there.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, ScalarSelect, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import InstrumentedAttribute, Session, joinedload

from mailer import addresses
from mailer.audience import subscriptions
from mailer.delivery import deliveries
from mailer.mail import mails
from mailer.models.audience import (
    Consent,
    SignupRequest,
    Subscriber,
    Subscription,
    SubscriptionState,
    SuppressedBecause,
    Suppression,
)
from mailer.models.base import Base
from mailer.models.content import Issue, MailKind, Newsletter, Variant
from mailer.models.deliveries import Batch, Deferral, Delivery, DeliveryOutcome
from mailer.models.readers import AddressChange, LinkRequest
from mailer.models.returns import Return
from mailer.models.tracking import Event
from mailer.models.webhooks import WebhookMessage

DAY: Final = timedelta(days=1)
LINKS_A_DAY: Final = 3
# Of a server's words: its codes, "550 5.1.1". The rest may hold an address, or a part of one.
_CODES: Final = r"\d{3}(?:[ -]\d\.\d{1,3}\.\d{1,3})?"


class ReaderNotFound(LookupError):
    """No subscriber has this address or number."""


@dataclass(frozen=True, kw_only=True)
class Happened:
    """One moment with a reader: an event of the consent log, or an outcome of a mail, whose subject `about` then is."""

    at: datetime
    what: str
    about: str | None
    source: str | None = None
    network: str | None = None


def request_link(session: Session, address: str, *, now: datetime) -> int:
    """Note that somebody wants the link to all that is an address's, without looking whether it is known. Returns an id."""
    values = {"address": address, "created_at": now}
    return session.execute(insert(LinkRequest).values(**values).returning(LinkRequest.id)).scalar_one()


def send_link(session: Session, request_id: int, *, now: datetime) -> int | None:
    """Queue the mail with the link, if the address gets a newsletter. Returns the delivery's id, or None.

    Doing it twice does nothing the second time.
    """
    address = session.execute(
        delete(LinkRequest).where(LinkRequest.id == request_id).returning(LinkRequest.address)
    ).scalar_one_or_none()
    if address is None or subscriptions.is_suppressed(session, address):
        return None
    subscription = session.execute(
        select(Subscription)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(Subscriber.address_key == addresses.key(address), Subscription.state == SubscriptionState.CONFIRMED)
        .order_by(Subscription.confirmed_at.desc(), Subscription.id.desc())
        .limit(1)
        .with_for_update(of=Subscriber)
    ).scalar_one_or_none()
    if subscription is None or _count_links(session, subscription.subscriber_id, since=now - DAY) >= LINKS_A_DAY:
        return None
    newsletter = session.get_one(Newsletter, subscription.newsletter_id)
    variant_id = mails.notice_variant(session, newsletter, MailKind.MANAGE, subscription.language, now=now)
    return deliveries.queue_one(session, subscription_id=subscription.id, variant_id=variant_id, now=now)


def waiting_links(session: Session, *, before: datetime, limit: int, after: datetime | None = None) -> list[int]:
    """List requests for the link that no task has answered, oldest first; with `after`, only younger ones."""
    chosen = select(LinkRequest.id).where(LinkRequest.created_at < before).order_by(LinkRequest.created_at)
    if after is not None:
        chosen = chosen.where(LinkRequest.created_at > after)
    return list(session.execute(chosen.limit(limit)).scalars())


def find(session: Session, address: str) -> Subscriber:
    """Find a reader by address. Raises AddressInvalid or ReaderNotFound."""
    key = addresses.key(addresses.normalise(address))
    found = session.execute(select(Subscriber).where(Subscriber.address_key == key)).scalar_one_or_none()
    if found is None:
        raise ReaderNotFound("No subscriber has this address.")
    return found


def standing(session: Session, subscriber_id: int) -> Sequence[Subscription]:
    """List a reader's subscriptions in order of id, with their newsletters."""
    return (
        session.execute(
            select(Subscription)
            .where(Subscription.subscriber_id == subscriber_id)
            .order_by(Subscription.id)
            .options(joinedload(Subscription.newsletter), joinedload(Subscription.subscriber))
        )
        .scalars()
        .all()
    )


def timeline(session: Session, subscriber_id: int, *, limit: int = 100) -> list[Happened]:
    """List what a reader agreed to and changed, and how the newest of their mails ended, in order of time."""
    consents = session.execute(
        select(Consent)
        .join(Subscription, Subscription.id == Consent.subscription_id)
        .where(Subscription.subscriber_id == subscriber_id)
        .order_by(Consent.id)
    ).scalars()
    mailed = session.execute(
        select(DeliveryOutcome, Variant.subject)
        .join(Delivery, Delivery.id == DeliveryOutcome.delivery_id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .where(Subscription.subscriber_id == subscriber_id)
        .order_by(DeliveryOutcome.recorded_at.desc())
        .limit(limit)
    )
    happened = [
        Happened(at=one.at, what=one.event.value, about=one.detail, source=one.source, network=one.network)
        for one in consents
    ]
    happened += [Happened(at=one.recorded_at, what=one.outcome.value, about=subject) for one, subject in mailed]
    return sorted(happened, key=lambda one: one.at)


def export(session: Session, subscriber_id: int) -> dict[str, list[dict[str, object]]]:
    """Return all that is kept of a reader, as rows by table; moments and hashes are as in the tables. Raises ReaderNotFound."""
    subscriber = _get(session, subscriber_id)
    taken: dict[str, list[dict[str, object]]] = {}
    for name, belongs in TABLES.items():
        table = Base.metadata.tables[name]
        rows = session.execute(select(table).where(belongs(subscriber)).order_by(*table.primary_key.columns))
        taken[name] = [dict(row._mapping) for row in rows]
    return taken


def as_json(kept: dict[str, list[dict[str, object]]]) -> str:
    """Write what `export` returned for people to read and programs to take over: moments in ISO 8601, hashes in hexadecimal."""
    return json.dumps(kept, indent=2, ensure_ascii=False, default=_plain) + "\n"


def erase(session: Session, subscriber_id: int, *, now: datetime) -> None:
    """Erase all that is kept of a reader but the hash of the address, which keeps imports from bringing them back.

    Mails that are queued are skipped; of past ones the numbers remain, which lead to nobody. Raises ReaderNotFound.
    """
    subscriber = _get(session, subscriber_id)
    _silence_servers(session, subscriber)
    for column in (LinkRequest.address, SignupRequest.address, AddressChange.old_address, AddressChange.new_address):
        session.execute(delete(column.class_).where(_is_address(column, subscriber)))
    values = {
        "address_hash": addresses.fingerprint(subscriber.address),
        "reason": SuppressedBecause.ERASED,
        "created_at": now,
    }
    session.execute(upsert(Suppression).values(**values).on_conflict_do_nothing())
    session.execute(delete(Subscriber).where(Subscriber.id == subscriber_id))
    session.expire_all()


def clean_up(session: Session, *, now: datetime) -> None:
    """Forget what has served its time: requests for the link that nobody could answer for a day, moves to another address of
    a month ago, and servers' words about mails whose reader was erased while they were on their way.
    """
    session.execute(delete(LinkRequest).where(LinkRequest.created_at < now - DAY))
    session.execute(delete(AddressChange).where(AddressChange.asked_at < now - 30 * DAY))
    _cut_replies(session, select(Delivery.id).where(Delivery.subscription_id.is_(None)).scalar_subquery())


def _get(session: Session, subscriber_id: int) -> Subscriber:
    statement = select(Subscriber).where(Subscriber.id == subscriber_id).with_for_update()
    found = session.execute(statement.execution_options(populate_existing=True)).scalar_one_or_none()
    if found is None:
        raise ReaderNotFound("This reader was erased.")
    return found


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else value.isoformat() if isinstance(value, datetime) else str(value)


def _count_links(session: Session, subscriber_id: int, *, since: datetime) -> int:
    return session.execute(
        select(func.count())
        .select_from(Batch)
        .join(Delivery, Delivery.id == Batch.first_id)
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .where(Subscription.subscriber_id == subscriber_id, Batch.issue_id.is_(None), Batch.due_at > since)
        .where(Variant.kind == MailKind.MANAGE)
    ).scalar_one()


def _silence_servers(session: Session, subscriber: Subscriber) -> None:
    """Cut what servers said about a reader's mails to the codes: their words name the address."""
    _cut_replies(session, _deliveries(subscriber))
    local = re.escape(subscriber.address.rpartition("@")[0])
    cut = func.regexp_replace(Issue.state_reason, f"{local}@[^[:space:]>]*", "…", "gi")
    session.execute(
        update(Issue)
        .where(Issue.state_reason.is_not(None), Issue.state_reason != cut)
        .values(state_reason=cut)
        .execution_options(synchronize_session=False)
    )


def _cut_replies(session: Session, delivery_ids: ScalarSelect[int]) -> None:
    for told in (DeliveryOutcome, Deferral):
        codes = func.substring(told.reply, _CODES)
        session.execute(
            update(told)
            .where(told.delivery_id.in_(delivery_ids), told.reply != codes)
            .values(reply=codes)
            .execution_options(synchronize_session=False)
        )
    came_back = (Return.delivery_id.in_(delivery_ids), Return.words.is_not(None))
    session.execute(update(Return).where(*came_back).values(words=None).execution_options(synchronize_session=False))


def _subscriptions(subscriber: Subscriber) -> ScalarSelect[int]:
    return select(Subscription.id).where(Subscription.subscriber_id == subscriber.id).scalar_subquery()


def _deliveries(subscriber: Subscriber) -> ScalarSelect[int]:
    return select(Delivery.id).where(Delivery.subscription_id.in_(_subscriptions(subscriber))).scalar_subquery()


def _is_address(column: InstrumentedAttribute[str], subscriber: Subscriber) -> ColumnElement[bool]:
    # Not all letters are made small by PostgreSQL as they are by Python.
    return or_(column == subscriber.address, func.lower(column) == subscriber.address_key)


# Every table with something of a reader in it, and which of its rows are a given one's.
TABLES: Final[dict[str, Callable[[Subscriber], ColumnElement[bool]]]] = {
    "subscribers": lambda one: Subscriber.id == one.id,
    "subscriptions": lambda one: Subscription.subscriber_id == one.id,
    "consents": lambda one: Consent.subscription_id.in_(_subscriptions(one)),
    "signup_requests": lambda one: or_(
        SignupRequest.subscription_id.in_(_subscriptions(one)), _is_address(SignupRequest.address, one)
    ),
    "link_requests": lambda one: _is_address(LinkRequest.address, one),
    "address_changes": lambda one: AddressChange.subscriber_id == one.id,
    "deliveries": lambda one: Delivery.subscription_id.in_(_subscriptions(one)),
    "outcomes": lambda one: DeliveryOutcome.delivery_id.in_(_deliveries(one)),
    "returns": lambda one: Return.delivery_id.in_(_deliveries(one)),
    "deferrals": lambda one: Deferral.delivery_id.in_(_deliveries(one)),
    "events": lambda one: Event.subscription_id.in_(_subscriptions(one)),
    "webhook_messages": lambda one: WebhookMessage.subscription_id.in_(_subscriptions(one)),
    "suppressions": lambda one: Suppression.address_hash == addresses.fingerprint(one.address),
}
