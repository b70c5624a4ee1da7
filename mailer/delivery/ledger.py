"""Reading the ledger: the equation, and what became of every delivery.

recipients = accepted + refused + skipped + uncertain, or the issue isn't finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, func, literal_column, select
from sqlalchemy.orm import Session

from mailer.models.audience import Subscriber, Subscription
from mailer.models.deliveries import Batch, BatchState, Deferral, Delivery, DeliveryOutcome, Outcome


@dataclass(frozen=True, kw_only=True)
class Equation:
    """What became of an issue's recipients so far. `waiting` includes the deferred ones."""

    recipients: int
    accepted: int
    refused: int
    skipped: int
    uncertain: int

    @property
    def settled(self) -> int:
        """Count those that ended."""
        return self.accepted + self.refused + self.skipped + self.uncertain

    @property
    def waiting(self) -> int:
        """Count those that have not ended."""
        return self.recipients - self.settled

    @property
    def holds(self) -> bool:
        """Tell whether every recipient is accounted for."""
        return self.recipients == self.settled


def equation(session: Session, issue_id: int) -> Equation:
    """Add up what became of an issue's recipients, from its batches' counters: a few thousand rows for a million readers."""
    row = session.execute(
        select(
            func.coalesce(func.sum(Batch.size), 0),
            func.coalesce(func.sum(Batch.accepted), 0),
            func.coalesce(func.sum(Batch.refused), 0),
            func.coalesce(func.sum(Batch.skipped), 0),
            func.coalesce(func.sum(Batch.uncertain), 0),
        ).where(Batch.issue_id == issue_id)
    ).one()
    size, accepted, refused, skipped, uncertain = (int(number) for number in row)
    return Equation(recipients=size, accepted=accepted, refused=refused, skipped=skipped, uncertain=uncertain)


def is_done(session: Session, issue_id: int) -> bool:
    """Tell whether every batch of the issue has ended."""
    waiting = select(Batch.id).where(Batch.issue_id == issue_id, Batch.state != BatchState.DONE)
    return not session.execute(select(waiting.exists())).scalar_one()


def count_ledger(session: Session, issue_id: int) -> Equation:
    """Count the same from the ledger itself, row by row: the proof, once, when an issue ends."""
    rows = session.execute(
        select(DeliveryOutcome.outcome, func.count())
        .select_from(Delivery)
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(*_of_issue(issue_id))
        .group_by(DeliveryOutcome.outcome)
    ).all()
    counts = {row[0]: int(row[1]) for row in rows}
    return Equation(
        recipients=sum(counts.values()),
        accepted=counts.get(Outcome.ACCEPTED, 0),
        refused=counts.get(Outcome.REFUSED, 0),
        skipped=counts.get(Outcome.SKIPPED, 0),
        uncertain=counts.get(Outcome.UNCERTAIN, 0),
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    """One delivery as the log shows it. `address` is None once the reader was erased; `outcome` None while it waits."""

    delivery_id: int
    address: str | None
    outcome: Outcome | None
    reply: str | None
    recorded_at: datetime | None


def log(session: Session, issue_id: int, *, outcome: Outcome | None, after_id: int, limit: int) -> list[Line]:
    """List an issue's deliveries in order of id, from after `after_id`; only those that ended as `outcome`, if given."""
    statement = (
        select(
            Delivery.id, Subscriber.address, DeliveryOutcome.outcome, DeliveryOutcome.reply, DeliveryOutcome.recorded_at
        )
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .outerjoin(Subscription, Subscription.id == Delivery.subscription_id)
        .outerjoin(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .where(*_of_issue(issue_id), Delivery.id > after_id)
        .order_by(Delivery.id)
        .limit(limit)
    )
    if outcome is not None:
        statement = statement.where(DeliveryOutcome.outcome == outcome, DeliveryOutcome.delivery_id > after_id)
    if outcome not in (None, Outcome.ACCEPTED):
        # As the index of those who were not reached has it.
        statement = statement.where(literal_column("outcomes.outcome <> 'accepted'"))
    return [_line(row) for row in session.execute(statement)]


def of_reader(session: Session, issue_id: int, address_key: str) -> Line | None:
    """Return what became of an issue for one reader, by the key of their address; None if it was not for them."""
    row = session.execute(
        select(
            Delivery.id, Subscriber.address, DeliveryOutcome.outcome, DeliveryOutcome.reply, DeliveryOutcome.recorded_at
        )
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(Subscriber.address_key == address_key, Delivery.issue_id == issue_id)
    ).one_or_none()
    return None if row is None else _line(row)


def count_deferred(session: Session, issue_id: int) -> int:
    """Count the deliveries that a server put off and that have not ended."""
    ended = select(DeliveryOutcome.delivery_id).where(DeliveryOutcome.delivery_id == Deferral.delivery_id).exists()
    first, last = _ends(issue_id)
    put_off = (
        select(func.count(Deferral.delivery_id.distinct()))
        .join(Delivery, Delivery.id == Deferral.delivery_id)
        .where(Deferral.delivery_id >= first, Deferral.delivery_id <= last, Delivery.issue_id == issue_id, ~ended)
    )
    return session.execute(put_off).scalar_one()


def count_given(session: Session, issue_id: int) -> dict[int, int]:
    """Count the deliveries of an issue that were accepted or are uncertain, by variant. Reads every one of them."""
    rows = session.execute(
        select(Delivery.variant_id, func.count())
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(*_of_issue(issue_id), DeliveryOutcome.outcome.in_((Outcome.ACCEPTED, Outcome.UNCERTAIN)))
        .group_by(Delivery.variant_id)
    )
    return {row[0]: row[1] for row in rows}


def _line(row: Sequence[Any]) -> Line:
    return Line(delivery_id=row[0], address=row[1], outcome=row[2], reply=row[3], recorded_at=row[4])


def _of_issue(issue_id: int) -> tuple[ColumnElement[bool], ...]:
    # Deliveries are indexed by id only; an issue's lie between its batches' ends.
    first, last = _ends(issue_id)
    return Delivery.issue_id == issue_id, Delivery.id >= first, Delivery.id <= last


def _ends(issue_id: int) -> tuple[ScalarSelect[int], ScalarSelect[int]]:
    first = select(func.min(Batch.first_id)).where(Batch.issue_id == issue_id).scalar_subquery()
    last = select(func.max(Batch.last_id)).where(Batch.issue_id == issue_id).scalar_subquery()
    return first, last
