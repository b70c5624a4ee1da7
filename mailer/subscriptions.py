"""Subscriptions: asked for, confirmed, ended, resumed. Every change writes one line of the consent log."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, joinedload

from mailer import addresses, deliveries, links, mails
from mailer.models.audience import (
    Consent,
    ConsentEvent,
    EndedReason,
    SignupRequest,
    Subscriber,
    Subscription,
    SubscriptionState,
    Suppression,
)
from mailer.models.content import MailKind, Newsletter
from mailer.models.deliveries import Batch, Delivery

# At most one mail in ten minutes and three a day to an address that somebody types into the form.
SHORT_PAUSE: Final = timedelta(minutes=10)
DAY: Final = timedelta(days=1)
NOTICES_A_DAY: Final = 3
UNDO_LIFETIME: Final = timedelta(days=30)
# Only who left by themselves may come back by a button.
OWN_WILL: Final = (EndedReason.UNSUBSCRIBED, EndedReason.ONE_CLICK)


class SubscriptionNotFound(LookupError):
    """The link's subscription was erased."""


class SubscriptionGone(Exception):
    """The link was made before the reader left, so it can't bring them back."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a reader's act came from: proof for the consent log. `network` is truncated to /24 or /48."""

    source: str | None = None
    form_version: str | None = None
    network: str | None = None


def request(
    session: Session, newsletter: Newsletter, address: str, *, language: str, origin: Origin, now: datetime
) -> int:
    """Store what somebody typed into the form, without looking whether the address is known. Returns the request's id.

    `address` must be normalised. A task decides later which mail leaves (`handle_request`).
    """
    values = {
        "newsletter_id": newsletter.id,
        "address": address,
        "language": language,
        "source": origin.source,
        "form_version": origin.form_version or "",
        "network": origin.network,
        "created_at": now,
    }
    return session.execute(insert(SignupRequest).values(**values).returning(SignupRequest.id)).scalar_one()


def handle_request(session: Session, request_id: int, *, now: datetime) -> int | None:
    """Do what a sign-up asks for: queue a confirmation, a notice, or nothing. Returns the delivery's id, if one was queued.

    Doing it twice does nothing the second time.
    """
    asked = session.execute(
        select(SignupRequest)
        .where(SignupRequest.id == request_id, SignupRequest.handled_at.is_(None))
        .with_for_update(skip_locked=True)
    ).scalar_one_or_none()
    if asked is None:
        return None
    asked.handled_at = now
    if is_suppressed(session, asked.address):
        return None
    newsletter = session.get_one(Newsletter, asked.newsletter_id)
    origin = Origin(source=asked.source, form_version=asked.form_version, network=asked.network)
    subscription = _find_or_create(session, newsletter, asked.address, language=asked.language, origin=origin, now=now)
    asked.subscription_id = subscription.id
    if not _may_be_mailed(session, subscription.id, now=now):
        return None
    kind = MailKind.ALREADY if subscription.state == SubscriptionState.CONFIRMED else MailKind.CONFIRM
    if subscription.state == SubscriptionState.ENDED:
        _to_pending(session, subscription, language=asked.language, origin=origin, now=now)
    session.flush()
    variant_id = mails.notice_variant(session, newsletter, kind, subscription.language, now=now)
    return deliveries.queue_one(session, subscription_id=subscription.id, variant_id=variant_id, now=now)


def waiting_requests(session: Session, *, before: datetime, limit: int, after: datetime | None = None) -> list[int]:
    """List sign-ups that no task has handled, oldest first; with `after`, only younger ones."""
    chosen = [SignupRequest.handled_at.is_(None), SignupRequest.created_at < before]
    if after is not None:
        chosen.append(SignupRequest.created_at > after)
    return list(
        session.execute(
            select(SignupRequest.id).where(*chosen).order_by(SignupRequest.created_at).limit(limit)
        ).scalars()
    )


def get(session: Session, subscription_id: int) -> Subscription:
    """Read a subscription with its subscriber and newsletter. Raises SubscriptionNotFound."""
    found = session.execute(
        select(Subscription)
        .where(Subscription.id == subscription_id)
        .options(joinedload(Subscription.subscriber), joinedload(Subscription.newsletter))
        .execution_options(populate_existing=True)
    ).scalar_one_or_none()
    if found is None:
        raise SubscriptionNotFound("This subscription no longer exists.")
    return found


def of_request(session: Session, request_id: int) -> int | None:
    """Tell which subscription a sign-up led to; None before it was handled."""
    return session.execute(
        select(SignupRequest.subscription_id).where(SignupRequest.id == request_id)
    ).scalar_one_or_none()


def get_request(session: Session, request_id: int) -> SignupRequest | None:
    """Read what somebody typed into the form; None once it was erased."""
    return session.get(SignupRequest, request_id)


def confirm(session: Session, subscription_id: int, *, asked_at: datetime, origin: Origin, now: datetime) -> bool:
    """Confirm by a link made at `asked_at`. Returns False if it was confirmed already, which changes nothing.

    Raises SubscriptionNotFound, or SubscriptionGone if the reader left after the link was made.
    """
    confirmed = session.execute(
        update(Subscription)
        .where(
            Subscription.id == subscription_id,
            Subscription.state == SubscriptionState.PENDING,
            # The link's time has whole seconds.
            Subscription.requested_at < asked_at + timedelta(seconds=1),
        )
        .values(state=SubscriptionState.CONFIRMED, confirmed_at=now)
        .execution_options(synchronize_session=False)
    )
    if confirmed.rowcount:  # type: ignore[attr-defined]
        note_consent(session, subscription_id, ConsentEvent.CONFIRMED, origin=origin, now=now)
        return True
    if get(session, subscription_id).state != SubscriptionState.CONFIRMED:
        raise SubscriptionGone(f"This link was made on {asked_at:%Y-%m-%d}, before the subscription ended.")
    return False


def end(session: Session, subscription_id: int, reason: EndedReason, *, origin: Origin, now: datetime) -> bool:
    """End a subscription. Returns False if it had ended already, which changes nothing. Raises SubscriptionNotFound."""
    ended = session.execute(
        update(Subscription)
        .where(Subscription.id == subscription_id, Subscription.state != SubscriptionState.ENDED)
        .values(state=SubscriptionState.ENDED, ended_at=now, ended_reason=reason)
        .execution_options(synchronize_session=False)
    )
    if ended.rowcount:  # type: ignore[attr-defined]
        note_consent(session, subscription_id, ConsentEvent.ENDED, origin=origin, now=now, detail=reason.value)
        return True
    get(session, subscription_id)
    return False


def resume(session: Session, subscription_id: int, *, origin: Origin, now: datetime) -> bool:
    """Undo an unsubscription by a link that only that mailbox has, within 30 days. Returns False if it was not ended so."""
    resumed = session.execute(
        update(Subscription)
        .where(
            Subscription.id == subscription_id,
            Subscription.state == SubscriptionState.ENDED,
            Subscription.ended_reason.in_(OWN_WILL),
            Subscription.ended_at > now - UNDO_LIFETIME,
            Subscription.confirmed_at.is_not(None),
        )
        .values(state=SubscriptionState.CONFIRMED, ended_at=None, ended_reason=None)
        .execution_options(synchronize_session=False)
    )
    if not resumed.rowcount:  # type: ignore[attr-defined]
        return False
    note_consent(session, subscription_id, ConsentEvent.RESUMED, origin=origin, now=now)
    return True


def can_resume(subscription: Subscription, *, now: datetime) -> bool:
    """Tell whether `resume` would bring this reader back."""
    return (
        subscription.ended_reason in OWN_WILL
        and subscription.confirmed_at is not None
        and subscription.ended_at is not None
        and subscription.ended_at > now - UNDO_LIFETIME
    )


def add(
    session: Session, newsletter: Newsletter, address: str, *, language: str, proof: str, now: datetime
) -> Subscription:
    """Enter a reader whose consent the operator can prove, as confirmed.

    Raises AddressInvalid, and SubscriptionGone for one who left or is suppressed: nobody is ever revived.
    """
    address = addresses.normalise(address)
    if is_suppressed(session, address):
        raise SubscriptionGone("This address is suppressed and must not be mailed.")
    origin = Origin(source=proof)
    subscription = _find_or_create(session, newsletter, address, language=language, origin=origin, now=now)
    if subscription.state == SubscriptionState.ENDED:
        raise SubscriptionGone("This reader has left; only they can come back, by the form.")
    if subscription.state == SubscriptionState.PENDING:
        subscription.state, subscription.confirmed_at = SubscriptionState.CONFIRMED, now
        session.flush()
        note_consent(session, subscription.id, ConsentEvent.IMPORTED, origin=origin, now=now)
    return subscription


def note_consent(
    session: Session,
    subscription_id: int,
    event: ConsentEvent,
    *,
    origin: Origin,
    now: datetime,
    detail: str | None = None,
) -> None:
    """Write one line of the consent log."""
    values = {
        "subscription_id": subscription_id,
        "event": event,
        "at": now,
        "source": origin.source,
        "form_version": origin.form_version,
        "network": origin.network,
        "detail": detail,
    }
    session.execute(insert(Consent).values(**values))


def is_suppressed(session: Session, address: str) -> bool:
    """Tell whether the address must not be mailed."""
    chosen = select(Suppression.address_hash).where(Suppression.address_hash == addresses.fingerprint(address))
    return session.execute(chosen).scalar_one_or_none() is not None


def truncate(host: str | None) -> str | None:
    """Cut an IP address to its /24 or /48 network, which is all that is ever stored. None if it is no address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def delete_unconfirmed(session: Session, *, now: datetime) -> int:
    """Erase subscriptions and sign-ups that were not confirmed while their link worked. Returns how many."""
    stale = now - links.CONFIRM_LIFETIME - DAY
    unconfirmed = (Subscription.state == SubscriptionState.PENDING, Subscription.requested_at < stale)
    orphan = ~select(Subscription.id).where(Subscription.subscriber_id == Subscriber.id).exists()
    session.execute(delete(SignupRequest).where(SignupRequest.created_at < stale))
    gone = session.execute(delete(Subscription).where(*unconfirmed).returning(Subscription.id)).scalars().all()
    session.execute(delete(Subscriber).where(orphan, Subscriber.created_at < stale))
    return len(gone)


def _find_or_create(
    session: Session, newsletter: Newsletter, address: str, *, language: str, origin: Origin, now: datetime
) -> Subscription:
    key = addresses.key(address)
    session.execute(
        upsert(Subscriber).values(address=address, address_key=key, created_at=now).on_conflict_do_nothing()
    )
    subscriber_id = session.execute(select(Subscriber.id).where(Subscriber.address_key == key)).scalar_one()
    created = session.execute(
        upsert(Subscription)
        .values(
            subscriber_id=subscriber_id,
            newsletter_id=newsletter.id,
            state=SubscriptionState.PENDING,
            language=language,
            source=origin.source,
            requested_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Subscription.id)
    ).scalar_one_or_none()
    if created is not None:
        note_consent(session, created, ConsentEvent.REQUESTED, origin=origin, now=now)
    return session.execute(
        select(Subscription)
        .where(Subscription.subscriber_id == subscriber_id, Subscription.newsletter_id == newsletter.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one()


def _to_pending(session: Session, subscription: Subscription, *, language: str, origin: Origin, now: datetime) -> None:
    subscription.state, subscription.language = SubscriptionState.PENDING, language
    subscription.requested_at, subscription.ended_at, subscription.ended_reason = now, None, None
    subscription.paused_until, subscription.watermark = None, None
    note_consent(session, subscription.id, ConsentEvent.REQUESTED, origin=origin, now=now)


def _may_be_mailed(session: Session, subscription_id: int, *, now: datetime) -> bool:
    """Hold back when a confirmation or notice was queued a moment ago, or too many were today."""
    queued = session.execute(
        select(Batch.due_at)
        .join(Delivery, Delivery.id == Batch.first_id)
        .where(Delivery.subscription_id == subscription_id, Batch.issue_id.is_(None), Batch.due_at > now - DAY)
    ).scalars()
    earlier = sorted(queued)
    return len(earlier) < NOTICES_A_DAY and (not earlier or now - earlier[-1] >= SHORT_PAUSE)
