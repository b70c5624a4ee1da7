"""Settling uncertain deliveries: somebody says how those ended whose answer was lost, or has them sent again."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from psycopg.errors import LockNotAvailable
from sqlalchemy import delete, func, insert, literal, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from mailer.delivery import deliveries
from mailer.issues import issues
from mailer.models.content import Issue
from mailer.models.deliveries import (
    Batch,
    BatchState,
    Deferral,
    Delivery,
    DeliveryOutcome,
    Outcome,
    SettledAs,
    Settlement,
)

_IN_USE: Final = (
    "A worker is sending some of these deliveries’ batches, so nothing was settled. "
    "Pause the issue, or try again in a minute."
)


class BatchInUse(Exception):
    """A worker is sending a batch that holds some of the deliveries to be settled."""


def settle(
    session: Session,
    issue: Issue,
    how: SettledAs,
    *,
    by: str,
    now: datetime,
    only: Sequence[int] | None = None,
) -> int:
    """Settle an issue's uncertain deliveries (of the ids in `only`, if given) and return how many there were.

    `accepted` and `refused` end them so; `resend` opens them again, and the issue with them: ring SEND afterwards. Those
    who left meanwhile are skipped then. Doing it twice changes nothing. Raises BatchInUse, and for `resend`
    IssueStateForbids if the issue was cancelled.
    """
    # Whoever finishes the issue counts under this lock too, and must not count halfway.
    session.refresh(issue, ["state"], with_for_update=True)
    found = _uncertain(session, issue.id, only)
    if not found:
        return 0
    if how is SettledAs.RESEND:
        issues.send_again(session, issue, now=now)
    for batch_id, ids in found.items():
        if how is SettledAs.RESEND:
            _open_again(session, ids, by=by, now=now)
        else:
            _end(session, ids, how, by=by, now=now)
        _recount(session, batch_id, len(ids), how, now=now)
    count = sum(len(ids) for ids in found.values())
    session.execute(insert(Settlement).values(issue_id=issue.id, how=how, count=count, by=by, at=now))
    return count


def settlements(session: Session, issue_id: int) -> list[Settlement]:
    """List what was decided about an issue's uncertain deliveries, oldest first."""
    statement = select(Settlement).where(Settlement.issue_id == issue_id).order_by(Settlement.id)
    return list(session.execute(statement).scalars())


def _uncertain(session: Session, issue_id: int, only: Sequence[int] | None) -> dict[int, list[int]]:
    """Lock the batches that hold uncertain deliveries; return these by batch. Workers pass them by meanwhile."""
    columns = (Batch.id, Batch.state, Batch.first_id, Batch.last_id)
    holding = select(*columns).where(Batch.issue_id == issue_id, Batch.uncertain > 0)
    if only is not None:
        inside = select(Delivery.id).where(Delivery.id.in_(only), Delivery.id.between(Batch.first_id, Batch.last_id))
        holding = holding.where(inside.exists())
    try:
        # Not waiting for a worker's transaction: one that holds a batch may want the issue next, which we hold.
        batches = session.execute(holding.order_by(Batch.id).with_for_update(nowait=True)).all()
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            raise BatchInUse(_IN_USE) from error
        raise
    if any(batch.state == BatchState.CLAIMED for batch in batches):
        raise BatchInUse(_IN_USE)
    return {one.id: ids for one in batches if (ids := _ids(session, issue_id, one.first_id, one.last_id, only))}


def _ids(session: Session, issue_id: int, first_id: int, last_id: int, only: Sequence[int] | None) -> list[int]:
    statement = (
        select(Delivery.id)
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(Delivery.issue_id == issue_id, Delivery.id.between(first_id, last_id))
        .where(DeliveryOutcome.outcome == Outcome.UNCERTAIN)
    )
    if only is not None:
        statement = statement.where(Delivery.id.in_(only))
    return list(session.execute(statement).scalars())


def _end(session: Session, ids: Iterable[int], how: SettledAs, *, by: str, now: datetime) -> None:
    """Give uncertain deliveries their end; the last words stay, and who said so is added."""
    decided = f"; {how} according to {by}, {now:%Y-%m-%d %H:%M} UTC"[: deliveries.REPLY_LENGTH]
    words = func.left(func.coalesce(DeliveryOutcome.reply, ""), deliveries.REPLY_LENGTH - len(decided))
    session.execute(
        update(DeliveryOutcome)
        .where(DeliveryOutcome.delivery_id.in_(ids))
        .values(outcome=Outcome(how.value), reply=words + decided)
        .execution_options(synchronize_session=False)
    )


def _open_again(session: Session, ids: Iterable[int], *, by: str, now: datetime) -> None:
    """Take the end of uncertain deliveries away. A deferral that is over at once keeps the trace of the first attempt."""
    ended = DeliveryOutcome.delivery_id.in_(ids)
    last = select(func.coalesce(func.max(Deferral.attempt), 0) + 1).where(
        Deferral.delivery_id == DeliveryOutcome.delivery_id
    )
    words = func.left(literal(f"uncertain; sent again by {by}: ") + func.coalesce(DeliveryOutcome.reply, ""), 200)
    traces = select(
        DeliveryOutcome.delivery_id,
        last.correlate(DeliveryOutcome).scalar_subquery(),
        words,
        literal(now),
        literal(now),
        Delivery.variant_id,
    )
    traces = traces.join(Delivery, Delivery.id == DeliveryOutcome.delivery_id).where(ended)
    columns = ["delivery_id", "attempt", "reply", "recorded_at", "retry_at", "variant_id"]
    session.execute(insert(Deferral).from_select(columns, traces))
    session.execute(delete(DeliveryOutcome).where(ended).execution_options(synchronize_session=False))


def _recount(session: Session, batch_id: int, count: int, how: SettledAs, *, now: datetime) -> None:
    """Keep a batch's sums exact; one with open deliveries waits for a worker again."""
    values: dict[str, object] = {"uncertain": Batch.uncertain - count}
    if how is SettledAs.RESEND:
        values |= {"state": BatchState.QUEUED, "due_at": now}
    elif how is SettledAs.ACCEPTED:
        values["accepted"] = Batch.accepted + count
    else:
        values["refused"] = Batch.refused + count
    session.execute(
        update(Batch).where(Batch.id == batch_id).values(**values).execution_options(synchronize_session=False)
    )
