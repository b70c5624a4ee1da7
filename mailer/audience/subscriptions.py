"""Subscriptions: confirmed, ended, resumed; every change writes one line of the consent log. Asking is in signups.py."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, joinedload

from mailer import addresses, links
from mailer.models.audience import (
    Consent,
    ConsentEvent,
    EndedReason,
    LeftBecause,
    SignupRequest,
    Subscriber,
    Subscription,
    SubscriptionState,
    SuppressedBecause,
    Suppression,
)
from mailer.models.content import Newsletter
from mailer.newsroom import outbox

UNDO_LIFETIME: Final = timedelta(days=30)
# What only the reader undoes, by a link in a mail to the address: it shows that the mailbox lives and who has it.
FORGIVABLE: Final = (SuppressedBecause.ERASED, SuppressedBecause.BOUNCED)
# Only who left by themselves may come back by a button.
OWN_WILL: Final = (EndedReason.UNSUBSCRIBED, EndedReason.ONE_CLICK)
# What other programs are told of (newsroom/outbox.py). Who is back after leaving counts as confirmed.
_TOLD: Final = (ConsentEvent.CONFIRMED, ConsentEvent.IMPORTED, ConsentEvent.RESUMED, ConsentEvent.ENDED)


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


def confirm(
    session: Session,
    subscription_id: int,
    *,
    asked_at: datetime,
    origin: Origin,
    now: datetime,
    detail: str | None = None,
) -> bool:
    """Confirm by a link made at `asked_at`. Returns False if it was confirmed already, which changes nothing.

    `detail` goes to the consent log. Raises SubscriptionNotFound, or SubscriptionGone if the reader left after the link
    was made.
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
        note_consent(session, subscription_id, ConsentEvent.CONFIRMED, origin=origin, now=now, detail=detail)
        forgive(session, get(session, subscription_id).subscriber.address)
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
        .values(state=SubscriptionState.CONFIRMED, ended_at=None, ended_reason=None, left_because=None)
        .execution_options(synchronize_session=False)
    )
    if not resumed.rowcount:  # type: ignore[attr-defined]
        return False
    note_consent(session, subscription_id, ConsentEvent.RESUMED, origin=origin, now=now)
    return True


def end_all(session: Session, subscription_id: int, *, origin: Origin, now: datetime) -> bool:
    """End every subscription of this one's reader, at their wish. Returns False if there was none left.

    Raises SubscriptionNotFound.
    """
    subscriber_id = get(session, subscription_id).subscriber_id
    statement = select(Subscription.id).where(
        Subscription.subscriber_id == subscriber_id, Subscription.state != SubscriptionState.ENDED
    )
    ended = [
        end(session, one, EndedReason.UNSUBSCRIBED, origin=origin, now=now)
        for one in session.execute(statement.order_by(Subscription.id)).scalars().all()
    ]
    return any(ended)


def resume_all(session: Session, subscription_id: int, *, origin: Origin, now: datetime) -> bool:
    """Undo `end` or `end_all`: what ended together comes back together. Returns False if this one could not.

    Raises SubscriptionNotFound.
    """
    one = get(session, subscription_id)
    statement = select(Subscription.id).where(
        Subscription.subscriber_id == one.subscriber_id,
        Subscription.ended_at == one.ended_at,
        Subscription.id != subscription_id,
    )
    others = session.execute(statement.order_by(Subscription.id)).scalars().all() if one.ended_at else []
    if not resume(session, subscription_id, origin=origin, now=now):
        return False
    for other in others:
        resume(session, other, origin=origin, now=now)
    return True


def explain(session: Session, subscription_id: int, because: LeftBecause, *, origin: Origin, now: datetime) -> bool:
    """Note why a reader left, if they left by themselves. Returns False if that is known or can't be told."""
    explained = session.execute(
        update(Subscription)
        .where(
            Subscription.id == subscription_id,
            Subscription.ended_reason.in_(OWN_WILL),
            Subscription.left_because.is_distinct_from(because),
        )
        .values(left_because=because)
        .execution_options(synchronize_session=False)
    )
    if not explained.rowcount:  # type: ignore[attr-defined]
        return False
    note_consent(
        session, subscription_id, ConsentEvent.CHANGED, origin=origin, now=now, detail=f"left_because={because}"
    )
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
    subscription = find_or_create(session, newsletter, address, language=language, origin=origin, now=now)
    if subscription.state == SubscriptionState.ENDED:
        raise SubscriptionGone("This reader has left; only they can come back, by the form.")
    if subscription.state == SubscriptionState.PENDING:
        subscription.state, subscription.confirmed_at = SubscriptionState.CONFIRMED, now
        session.flush()
        note_consent(session, subscription.id, ConsentEvent.IMPORTED, origin=origin, now=now)
    return subscription


def find_or_create(
    session: Session, newsletter: Newsletter, address: str, *, language: str, origin: Origin, now: datetime
) -> Subscription:
    """Return the subscription of an address, locked; a new one is pending, and its request logged."""
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


def reopen(session: Session, subscription: Subscription, *, language: str, origin: Origin, now: datetime) -> None:
    """Let somebody who left ask anew, as if for the first time."""
    subscription.state, subscription.language = SubscriptionState.PENDING, language
    subscription.requested_at, subscription.ended_at, subscription.ended_reason = now, None, None
    subscription.paused_until, subscription.watermark, subscription.source = None, None, origin.source
    subscription.left_because = None
    note_consent(session, subscription.id, ConsentEvent.REQUESTED, origin=origin, now=now)


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
    if event in _TOLD:
        reason = detail if event == ConsentEvent.ENDED else None
        outbox.note_readers(session, [outbox.Change(subscription_id=subscription_id, reason=reason, at=now)], now=now)


def is_suppressed(session: Session, address: str) -> bool:
    """Tell whether the address must not be mailed."""
    chosen = select(Suppression.address_hash).where(Suppression.address_hash == addresses.fingerprint(address))
    return session.execute(chosen).scalar_one_or_none() is not None


def may_ask(session: Session, address: str) -> bool:
    """Tell whether the form, and whoever has the mailbox, may have this address mailed: erased and bounced ones too."""
    chosen = select(Suppression.reason).where(Suppression.address_hash == addresses.fingerprint(address))
    return session.execute(chosen).scalar_one_or_none() in (None, *FORGIVABLE)


def forgive(session: Session, address: str) -> None:
    """Let an erased or bounced address be mailed again: its reader has come back by a link in a mail to it."""
    hashed = addresses.fingerprint(address)
    session.execute(delete(Suppression).where(Suppression.address_hash == hashed, Suppression.reason.in_(FORGIVABLE)))


def truncate(host: str | None) -> str | None:
    """Cut an IP address to its /24 or /48 network, which is all that is ever stored. None if it is no address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


def delete_unconfirmed(session: Session, *, now: datetime) -> int:
    """Erase subscriptions that were not confirmed within 7 days of being asked for, last by the form. Returns how many."""
    stale = now - links.CONFIRM_LIFETIME
    is_asked_again = select(SignupRequest.id).where(SignupRequest.subscription_id == Subscription.id).exists()
    is_stale = Subscription.requested_at <= stale
    orphan = ~select(Subscription.id).where(Subscription.subscriber_id == Subscriber.id).exists()
    # First the forms: one that is left is younger, and the link that it was answered by still works.
    session.execute(delete(SignupRequest).where(SignupRequest.created_at <= stale))
    unconfirmed = (Subscription.state == SubscriptionState.PENDING, is_stale, ~is_asked_again)
    gone = session.execute(delete(Subscription).where(*unconfirmed).returning(Subscription.id)).scalars().all()
    session.execute(delete(Subscriber).where(orphan, Subscriber.created_at <= stale))
    return len(gone)
