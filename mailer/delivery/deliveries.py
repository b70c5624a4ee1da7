"""The ledger's rules: claim a batch, record outcomes, hand back. Recipients are frozen in freezing.py, read in ledger.py."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, func, insert, literal, null, or_, select, update
from sqlalchemy.orm import Session

from mailer.delivery import tallies
from mailer.models.audience import SignupRequest, Subscriber, Subscription, SubscriptionState
from mailer.models.content import Issue, IssueState, MailKind, Variant
from mailer.models.deliveries import Batch, BatchState, Deferral, Delivery, DeliveryOutcome, Outcome

REPLY_LENGTH: Final = 200
FIRST_RETRY: Final = timedelta(minutes=5)
RETRY_FACTOR: Final = 1.5
LONGEST_RETRY: Final = timedelta(hours=4)
FOR_NEWSROOM: Final = (MailKind.REVIEW, MailKind.ALERT, MailKind.DESK_ACCOUNT)
# A cancelled issue's batches are claimed too: the rest is recorded as skipped.
MAY_GO: Final = (IssueState.SENDING, IssueState.CANCELLED)


class LeaseLost(Exception):
    """Another worker has taken the batch over: what this one would write is refused."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A batch that is ours until the lease ends. `previous_owner` is set when it was taken over from a silent worker."""

    batch_id: int
    issue_id: int | None
    first_id: int
    last_id: int
    size: int
    fence: int
    owner: str
    previous_owner: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipient:
    """One delivery of a claimed batch. `reason` is set when it must not be mailed after all."""

    delivery_id: int
    variant_id: int
    subscription_id: int
    address: str
    confirmed_at: datetime | None
    attempts: int
    first_deferred_at: datetime | None
    reason: str | None
    name: str | None = None
    # Of a confirmation or notice: where the last form for this subscription came from.
    network: str | None = None
    agrees_to_tracking: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


Settled = tallies.Settled
Deferred = tallies.Deferred


def queue_one(
    session: Session, *, subscription_id: int | None = None, address: str | None = None, variant_id: int, now: datetime
) -> int:
    """Queue one confirmation or notice, as a batch of its own that overtakes issues. Returns the delivery's id.

    It goes to a subscription, or to an `address` of the newsroom.
    """
    to = {"subscription_id": subscription_id, "address": address}
    delivery_id = session.execute(
        insert(Delivery).values(variant_id=variant_id, **to).returning(Delivery.id)
    ).scalar_one()
    session.execute(insert(Batch).values(first_id=delivery_id, last_id=delivery_id, size=1, due_at=now))
    return delivery_id


def count_due(session: Session, *, now: datetime, limit: int) -> int:
    """Count the batches that a worker could claim now, up to `limit`."""
    active = select(Issue.id).where(Issue.state.in_(MAY_GO))
    may_go = or_(Batch.issue_id.is_(None), Batch.issue_id.in_(active))
    waiting = select(Batch.id).where(*_waits(now), may_go).limit(limit)
    silent = select(Batch.id).where(*_is_silent()).limit(limit)
    due = waiting.union_all(silent).limit(limit).subquery()
    return session.execute(select(func.count()).select_from(due)).scalar_one()


def claim(
    session: Session,
    *,
    owner: str,
    lease_seconds: float,
    now: datetime,
    foreign_seconds: float = 120,
    only_urgent: bool = False,
    turn: int = 0,
) -> Claim | None:
    """Take the next batch that is due; None when there is nothing to do.

    Confirmations come first, then what silent workers left, then issues in turns (`turn` grows from call to call), so
    that a small issue is not held up by a big one. Of another machine a silent batch is taken over only after
    `foreign_seconds`, since only there lies the journal that tells what was handed over. `owner` begins with the machine's
    name and a dot. Leases are told by the database's clock, the same for all workers.
    """
    found = _first(session, Batch.issue_id.is_(None), *_waits(now)) or _first(session, *_silent(owner, foreign_seconds))
    if found is None and not only_urgent:
        active = sorted(session.execute(select(Issue.id).where(Issue.state.in_(MAY_GO))).scalars())
        for place in range(len(active)):
            issue_id = active[(turn + place) % len(active)]
            found = _first(session, Batch.issue_id == issue_id, *_waits(now))
            if found is not None:
                break
    return None if found is None else _take(session, found, owner=owner, lease_seconds=lease_seconds)


def _first(session: Session, *conditions: ColumnElement[bool]) -> Batch | None:
    return session.execute(
        select(Batch)
        .where(*conditions)
        .order_by(Batch.due_at, Batch.id)
        .limit(1)
        .with_for_update(of=Batch, skip_locked=True)
    ).scalar_one_or_none()


def _take(session: Session, found: Batch, *, owner: str, lease_seconds: float) -> Claim:
    previous_owner = found.owner if found.state == BatchState.CLAIMED else None
    session.execute(
        update(Batch)
        .where(Batch.id == found.id)
        .values(state=BatchState.CLAIMED, owner=owner, fence=Batch.fence + 1, lease_until=_lease_end(lease_seconds))
        .execution_options(synchronize_session=False)
    )
    return Claim(
        batch_id=found.id,
        issue_id=found.issue_id,
        first_id=found.first_id,
        last_id=found.last_id,
        size=found.size,
        fence=found.fence + 1,
        owner=owner,
        previous_owner=previous_owner,
    )


def put_off(session: Session, claim: Claim, *, seconds: float) -> None:
    """Leave a batch to the owner it was taken from, who proved to be alive, for `seconds` more."""
    _update_claimed(session, claim, owner=claim.previous_owner, lease_until=_lease_end(seconds), fence=claim.fence - 1)


def renew(session: Session, claim: Claim, *, lease_seconds: float) -> None:
    """Keep the batch for another lease. Raises LeaseLost."""
    _update_claimed(session, claim, lease_until=_lease_end(lease_seconds))


def recipients(session: Session, claim: Claim, *, now: datetime) -> Sequence[Recipient]:
    """Read the deliveries of a claimed batch that have not ended and are not deferred past `now`, in order of id."""
    last = (
        select(
            func.max(Deferral.attempt).label("attempts"),
            func.min(Deferral.recorded_at).label("first_at"),
            func.max(Deferral.retry_at).label("retry_at"),
        )
        .where(Deferral.delivery_id == Delivery.id)
        .lateral()
    )
    rows = session.execute(
        select(
            Delivery.id,
            Delivery.variant_id,
            Delivery.subscription_id,
            func.coalesce(Delivery.address, Subscriber.address),
            Subscriber.name,
            Subscriber.attributes,
            Subscription.state,
            Subscription.confirmed_at,
            Subscription.tracking_agreed_at,
            Variant.kind,
            last.c.attempts,
            last.c.first_at,
            _network(claim),
        )
        .join(Variant, Variant.id == Delivery.variant_id)
        .outerjoin(Subscription, Subscription.id == Delivery.subscription_id)
        .outerjoin(Subscriber, Subscriber.id == Subscription.subscriber_id)
        .outerjoin(last, literal(True))
        .where(*_unsettled(claim), or_(last.c.retry_at.is_(None), last.c.retry_at <= now))
        .order_by(Delivery.id)
    )
    return [_recipient(row) for row in rows]


def withdrawn(session: Session, claim: Claim, revision: int) -> tuple[bool, frozenset[int]]:
    """Look again while a batch is being sent: (may it go on, deliveries that must not be mailed now).

    It may not when the issue has another revision: the batch is handed back then, and claimed with the new variants.
    """
    if claim.issue_id is None:
        return True, frozenset()
    issue = session.execute(select(Issue.state, Issue.revision).where(Issue.id == claim.issue_id)).one()
    gone = session.execute(
        select(Delivery.id)
        .outerjoin(Subscription, Subscription.id == Delivery.subscription_id)
        .where(
            Delivery.id.between(claim.first_id, claim.last_id),
            Delivery.issue_id == claim.issue_id,
            or_(Subscription.id.is_(None), Subscription.state != SubscriptionState.CONFIRMED),
        )
    ).scalars()
    return issue.state == IssueState.SENDING and issue.revision == revision, frozenset(gone)


def unsettled_ids(session: Session, claim: Claim) -> list[int]:
    """List the deliveries of a claimed batch that have not ended."""
    return list(session.execute(select(Delivery.id).where(*_unsettled(claim)).order_by(Delivery.id)).scalars())


def record(
    session: Session, claim: Claim, settled: Sequence[Settled], deferred: Sequence[Deferred], *, now: datetime
) -> None:
    """Write outcomes and deferrals of a claimed batch, and count them. Raises LeaseLost, having written nothing."""
    counts = Counter(one.outcome for one in settled)
    _update_claimed(
        session,
        claim,
        accepted=Batch.accepted + counts[Outcome.ACCEPTED],
        refused=Batch.refused + counts[Outcome.REFUSED],
        skipped=Batch.skipped + counts[Outcome.SKIPPED],
        uncertain=Batch.uncertain + counts[Outcome.UNCERTAIN],
    )
    cursor = session.connection().connection.cursor()
    with cursor.copy("COPY outcomes (delivery_id, outcome, reply, recorded_at) FROM STDIN") as copy:
        for one in settled:
            copy.write_row((one.delivery_id, one.outcome.value, _storable(one.reply), now))
    if deferred:
        rows = [
            {
                "delivery_id": one.delivery_id,
                "attempt": one.attempt,
                "reply": _storable(one.reply),
                "recorded_at": now,
                "retry_at": one.retry_at,
                "variant_id": one.variant_id,
            }
            for one in deferred
        ]
        session.execute(insert(Deferral), rows)
    if claim.issue_id is not None:
        tallies.add(session, claim.issue_id, settled, deferred, now=now)


def release(session: Session, claim: Claim, *, due_at: datetime | None, now: datetime) -> None:
    """End the claim: the batch is done if all its deliveries ended, else due again at `due_at`, or at its first retry.

    `due_at` is when those that were not tried are worth trying, None if there are none. Raises LeaseLost.
    """
    settled = Batch.accepted + Batch.refused + Batch.skipped + Batch.uncertain
    left = session.execute(
        select(Batch.size - settled).where(Batch.id == claim.batch_id, Batch.fence == claim.fence)
    ).scalar_one_or_none()
    if left and due_at is None:
        waiting = select(Delivery.id).where(*_unsettled(claim))
        due_at = session.execute(
            select(func.min(Deferral.retry_at)).where(Deferral.delivery_id.in_(waiting), Deferral.retry_at > now)
        ).scalar_one()
    _update_claimed(
        session,
        claim,
        state=BatchState.QUEUED if left else BatchState.DONE,
        due_at=due_at or now,
        owner=None,
        lease_until=None,
    )


def next_retry(attempts: int, *, now: datetime) -> datetime:
    """Tell when a delivery is tried again after its `attempts`-th temporary refusal (RFC 5321 4.5.4.1)."""
    return now + min(FIRST_RETRY * RETRY_FACTOR ** (attempts - 1), LONGEST_RETRY)


def _waits(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Batch.state == BatchState.QUEUED, Batch.due_at <= now


def _is_silent() -> tuple[ColumnElement[bool], ...]:
    return Batch.state == BatchState.CLAIMED, Batch.lease_until < func.clock_timestamp()


def _silent(owner: str, foreign_seconds: float) -> tuple[ColumnElement[bool], ...]:
    machine = owner.partition(".")[0]
    long_ago = func.clock_timestamp() - timedelta(seconds=foreign_seconds)
    mine = Batch.owner.startswith(f"{machine}.", autoescape=True)
    return *_is_silent(), or_(mine, Batch.lease_until < long_ago)


def _unsettled(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    same_issue = Delivery.issue_id == claim.issue_id if claim.issue_id is not None else Delivery.issue_id.is_(None)
    ended = select(DeliveryOutcome.delivery_id).where(DeliveryOutcome.delivery_id == Delivery.id).exists()
    return Delivery.id.between(claim.first_id, claim.last_id), same_issue, ~ended


def _update_claimed(session: Session, claim: Claim, **values: object) -> None:
    done = session.execute(
        update(Batch)
        .where(Batch.id == claim.batch_id, Batch.fence == claim.fence, Batch.state == BatchState.CLAIMED)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise LeaseLost(f"batch {claim.batch_id} was taken over from {claim.owner}")


def _network(claim: Claim) -> ColumnElement[Any]:
    if claim.issue_id is not None:
        return null()
    newest = select(SignupRequest.network).where(SignupRequest.subscription_id == Delivery.subscription_id)
    return newest.order_by(SignupRequest.id.desc()).limit(1).scalar_subquery()


def _recipient(row: Sequence[Any]) -> Recipient:
    # In the order of the query in `recipients`; by name it would cost as much as sending's own bookkeeping.
    (
        delivery_id,
        variant_id,
        subscription_id,
        address,
        name,
        attributes,
        state,
        confirmed_at,
        agreed_at,
        kind,
        attempts,
        first_at,
        network,
    ) = row
    return Recipient(
        delivery_id=delivery_id,
        variant_id=variant_id,
        subscription_id=subscription_id or 0,
        address=address or "",
        confirmed_at=confirmed_at,
        attempts=attempts or 0,
        first_deferred_at=first_at,
        reason=_reason_against(subscription_id, state, kind),
        name=name,
        network=network,
        agrees_to_tracking=agreed_at is not None,
        attributes=attributes or {},
    )


def _reason_against(subscription_id: int | None, state: SubscriptionState | None, kind: MailKind) -> str | None:
    """Tell why a delivery must not be mailed; None when it may."""
    if kind in FOR_NEWSROOM:
        return None if subscription_id is None else "not for readers"
    if subscription_id is None or state is None:
        return "erased"
    expected = SubscriptionState.PENDING if kind == MailKind.CONFIRM else SubscriptionState.CONFIRMED
    if state == expected:
        return None
    return "unsubscribed" if state == SubscriptionState.ENDED else f"subscription is {state}"


def _lease_end(seconds: float) -> ColumnElement[datetime]:
    return func.clock_timestamp() + timedelta(seconds=seconds)


def _storable(reply: str) -> str:
    return reply.replace("\0", "")[:REPLY_LENGTH]
