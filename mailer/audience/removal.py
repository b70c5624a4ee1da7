"""Ending the subscriptions of all readers that a filter finds, at the newsroom's wish: one statement, each with its proof."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, func, insert, literal, select, update
from sqlalchemy.orm import Session

from mailer.audience import filters
from mailer.audience.subscriptions import Origin
from mailer.models.audience import Consent, ConsentEvent, EndedReason, Subscriber, Subscription, SubscriptionState
from mailer.newsroom import outbox

# So many are told to other programs at a time.
_TOLD_AT_ONCE: Final = 5000


def count(session: Session, wanted: filters.Filter, sight: filters.Sight, *, now: datetime) -> int:
    """Count, one by one, the subscriptions that `end` would end."""
    return session.execute(select(func.count()).select_from(_found(wanted, sight, now=now).subquery())).scalar_one()


def end(session: Session, wanted: filters.Filter, sight: filters.Sight, *, origin: Origin, now: datetime) -> list[int]:
    """End every subscription that is found and has not ended, with a line of the consent log each. Returns their ids.

    They ended because the newsroom removed them, so the button of `resume` brings none of them back.
    """
    locked = _found(wanted, sight, now=now).order_by(Subscription.id).with_for_update(of=Subscription).cte("locked")
    ended = (
        update(Subscription)
        .where(Subscription.id.in_(select(locked.c.id)), Subscription.state != SubscriptionState.ENDED)
        .values(state=SubscriptionState.ENDED, ended_at=now, ended_reason=EndedReason.REMOVED)
        .returning(Subscription.id)
        .cte("ended")
    )
    values = (ConsentEvent.ENDED, now, origin.source, origin.network, EndedReason.REMOVED.value)
    columns = (Consent.event, Consent.at, Consent.source, Consent.network, Consent.detail)
    row = [literal(value, column.type) for value, column in zip(values, columns, strict=True)]
    noted = insert(Consent).from_select([Consent.subscription_id, *columns], select(ended.c.id, *row))
    ids = list(session.execute(noted.returning(Consent.subscription_id)).scalars())
    changes = [outbox.Change(subscription_id=one, reason=EndedReason.REMOVED.value, at=now) for one in ids]
    for start in range(0, len(changes), _TOLD_AT_ONCE):
        outbox.note_readers(session, changes[start : start + _TOLD_AT_ONCE], now=now)
    return ids


def _found(wanted: filters.Filter, sight: filters.Sight, *, now: datetime) -> Select[Any]:
    return (
        select(Subscription.id)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(*filters.conditions(wanted, sight, now=now), Subscription.state != SubscriptionState.ENDED)
    )
