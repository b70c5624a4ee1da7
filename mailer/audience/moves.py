"""A reader's move to another address: the new one is asked by mail, then all subscriptions follow, and the old one is told."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.audience import subscriptions, wishes
from mailer.audience.subscriptions import Origin, SubscriptionGone, SubscriptionNotFound
from mailer.delivery import deliveries
from mailer.delivery.deliveries import Recipient
from mailer.mail import mails
from mailer.models.audience import ConsentEvent, EndedReason, Subscriber, Subscription, SubscriptionState
from mailer.models.content import MailKind, Variant
from mailer.models.readers import AddressChange

DAY: Final = timedelta(days=1)
# Mails that a reader can have sent to addresses they type, and that one address is sent by any readers.
ASKED_A_DAY: Final = 3


def ask(session: Session, subscription_id: int, address: str, *, now: datetime) -> int | None:
    """Queue the mail that asks a new address whether it wants what this reader gets. Returns the delivery's id.

    None if nothing leaves: the address is the reader's own, must not be mailed, or was asked often enough today. The reader
    is not to learn which. Raises AddressInvalid or SubscriptionNotFound.
    """
    address = addresses.normalise(address)
    subscription = subscriptions.get(session, subscription_id)
    subscriber = _lock(session, subscription.subscriber_id)
    is_known = addresses.key(address) == subscriber.address_key
    if is_known or not subscriptions.may_ask(session, address) or _was_asked(session, subscriber, address, now=now):
        return None
    kind, language = MailKind.CHANGE_ADDRESS, subscription.language
    variant_id = mails.notice_variant(session, subscription.newsletter, kind, language, now=now)
    delivery_id = deliveries.queue_one(session, subscription_id=subscription_id, variant_id=variant_id, now=now)
    values = {
        "subscriber_id": subscriber.id,
        "old_address": subscriber.address,
        "new_address": address,
        "confirmation_id": delivery_id,
        "asked_at": now,
    }
    session.execute(insert(AddressChange).values(**values))
    return delivery_id


def find(session: Session, confirmation_id: int) -> tuple[AddressChange, Subscription]:
    """Return the move that a mail asked for, and the subscription that the mail was about.

    Raises SubscriptionNotFound once either was erased, and SubscriptionGone if the reader moved elsewhere meanwhile.
    """
    found = session.execute(
        select(AddressChange)
        .where(AddressChange.confirmation_id == confirmation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if found is None:
        raise SubscriptionNotFound("This move to another address is no longer known.")
    subscriber = session.get_one(Subscriber, found.subscriber_id)
    if found.done_at is None and subscriber.address_key != addresses.key(found.old_address):
        raise SubscriptionGone("The reader has moved to yet another address since.")
    return found, _shown(session, subscriber.id)


def confirm(session: Session, confirmation_id: int, *, origin: Origin, now: datetime) -> Subscription:
    """Let a reader's subscriptions go to the new address from now on, mails in the queue included, and tell the old one.

    If the new address is a reader's too, both become one. A second time changes nothing. Raises as `find`, and
    SubscriptionGone if the new address must not be mailed.
    """
    change, subscription = find(session, confirmation_id)
    if change.done_at is not None:
        return subscription
    if not subscriptions.may_ask(session, change.new_address):
        raise SubscriptionGone("The new address is suppressed and must not be mailed.")
    subscriptions.forgive(session, change.new_address)
    mover = _lock(session, change.subscriber_id)
    key = addresses.key(change.new_address)
    other = session.execute(
        select(Subscriber).where(Subscriber.address_key == key).with_for_update()
    ).scalar_one_or_none()
    if other is None:
        mover.address, mover.address_key = change.new_address, key
        session.flush()
        for one in _of(session, mover.id):
            subscriptions.note_consent(session, one.id, ConsentEvent.MOVED, origin=origin, now=now)
    else:
        _merge(session, mover, other, origin=origin, now=now)
    owner_id = mover.id if other is None else other.id
    subscription = _shown(session, owner_id)
    kind, language = MailKind.ADDRESS_CHANGED, subscription.language
    variant_id = mails.notice_variant(session, subscription.newsletter, kind, language, now=now)
    notice_id = deliveries.queue_one(session, subscription_id=subscription.id, variant_id=variant_id, now=now)
    done = {"subscriber_id": owner_id, "done_at": now, "notice_id": notice_id}
    session.execute(update(AddressChange).where(AddressChange.id == change.id).values(**done))
    if other is not None and not _of(session, mover.id):
        session.delete(mover)
        session.flush()
    return subscription


def moved_since(session: Session, subscriber_id: int, moment: datetime) -> bool:
    """Tell whether a reader moved to another address after a moment: links from before went to the old one."""
    later = AddressChange.done_at > moment
    chosen = select(AddressChange.id).where(AddressChange.subscriber_id == subscriber_id, later).limit(1)
    return session.execute(chosen).scalar_one_or_none() is not None


def readdress(session: Session, recipients: Sequence[Recipient]) -> list[Recipient]:
    """Give the mails of a move the addresses they are for: the new one that is asked, and the old one that is told.

    Those of a move that was forgotten get a reason not to be mailed.
    """
    ids = [one.delivery_id for one in recipients]
    rows = session.execute(
        select(AddressChange).where(or_(AddressChange.confirmation_id.in_(ids), AddressChange.notice_id.in_(ids)))
    ).scalars()
    places: dict[int, str] = {}
    for row in rows:
        places[row.confirmation_id] = row.new_address
        if row.notice_id is not None:
            places[row.notice_id] = row.old_address
    kinds = (MailKind.CHANGE_ADDRESS, MailKind.ADDRESS_CHANGED)
    variants = {one.variant_id for one in recipients}
    of_moves = set(
        session.execute(select(Variant.id).where(Variant.id.in_(variants), Variant.kind.in_(kinds))).scalars()
    )
    return [_sent_to(one, places.get(one.delivery_id)) if one.variant_id in of_moves else one for one in recipients]


def _sent_to(one: Recipient, address: str | None) -> Recipient:
    if address is None:
        return dataclasses.replace(one, address="", reason=one.reason or "erased")
    return dataclasses.replace(one, address=address)


def _merge(session: Session, mover: Subscriber, other: Subscriber, *, origin: Origin, now: datetime) -> None:
    """Make one reader of two: `other`, whose address is the new one, gets all that only `mover` had."""
    theirs = {one.newsletter_id: one for one in _of(session, other.id)}
    for one in _of(session, mover.id):
        twin = theirs.get(one.newsletter_id)
        if twin is None:
            one.subscriber_id = other.id
            session.flush()
            subscriptions.note_consent(session, one.id, ConsentEvent.MOVED, origin=origin, now=now)
            continue
        was_confirmed = one.state == SubscriptionState.CONFIRMED
        subscriptions.end(session, one.id, EndedReason.MOVED, origin=origin, now=now)
        if was_confirmed and twin.state != SubscriptionState.CONFIRMED and twin.ended_reason != EndedReason.COMPLAINED:
            _revive(session, twin, one, origin=origin, now=now)
    other.name = other.name or mover.name
    other.attributes = {**mover.attributes, **other.attributes}
    moves = update(AddressChange).where(AddressChange.subscriber_id == mover.id)
    session.execute(moves.values(subscriber_id=other.id).execution_options(synchronize_session=False))


def _revive(session: Session, twin: Subscription, one: Subscription, *, origin: Origin, now: datetime) -> None:
    """Let an address that had left, or had not confirmed yet, have the newsletter as the moving reader had it."""
    twin.state, twin.confirmed_at, twin.watermark = SubscriptionState.CONFIRMED, now, one.watermark
    twin.ended_at, twin.ended_reason, twin.left_because = None, None, None
    session.flush()
    subscriptions.note_consent(session, twin.id, ConsentEvent.MOVED, origin=origin, now=now)
    wishes.choose(session, twin.id, wishes.of(one), origin=origin, now=now)


def _was_asked(session: Session, subscriber: Subscriber, address: str, *, now: datetime) -> bool:
    is_theirs = AddressChange.subscriber_id == subscriber.id
    is_it = func.lower(AddressChange.new_address) == address.lower()
    counts = session.execute(
        select(func.count().filter(is_theirs), func.count().filter(is_it)).where(AddressChange.asked_at > now - DAY)
    ).one()
    return max(counts) >= ASKED_A_DAY


def _lock(session: Session, subscriber_id: int) -> Subscriber:
    statement = select(Subscriber).where(Subscriber.id == subscriber_id).with_for_update()
    return session.execute(statement.execution_options(populate_existing=True)).scalar_one()


def _of(session: Session, subscriber_id: int) -> Sequence[Subscription]:
    statement = select(Subscription).where(Subscription.subscriber_id == subscriber_id).order_by(Subscription.id)
    return session.execute(statement.execution_options(populate_existing=True)).scalars().all()


def _shown(session: Session, subscriber_id: int) -> Subscription:
    """Return the subscription that stands for all of a reader's: a confirmed one if there is one."""
    is_confirmed = Subscription.state == SubscriptionState.CONFIRMED
    found = session.execute(
        select(Subscription.id)
        .where(Subscription.subscriber_id == subscriber_id)
        .order_by(is_confirmed.desc(), Subscription.id)
        .limit(1)
    ).scalar_one()
    return subscriptions.get(session, found)
