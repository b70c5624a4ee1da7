"""What follows from what came back: who is mailed no more, what the newsroom must hear, and which issue stops.

A hard bounce and a complaint act at once, soft bounces when there were enough of them in a row, and a refusal of us never
costs a reader. Whoever confirmed after the mail had left has proved that the mailbox lives, and stays.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from mailer import settings
from mailer.audience import suppressions
from mailer.delivery import ledger
from mailer.issues import issues
from mailer.models.audience import EndedReason, Subscriber, Subscription, SuppressedBecause
from mailer.models.content import Issue, IssueState, Newsletter, PauseReason, Variant
from mailer.models.deliveries import Delivery, DeliveryOutcome, Outcome
from mailer.models.desk import DeskEvent
from mailer.models.returns import Return, ReturnKind
from mailer.newsroom import alerts

# Gmail asks senders to stay below the first and never to reach the second.
WARN_SHARE: Final = 0.001
PAUSE_SHARE: Final = 0.003
# One complaint among a hundred readers is one complaint, and no rate.
LEAST_COMPLAINTS: Final = 3
# Refusals of us in an issue before the newsroom hears of them, and how long the words of a server are in that mail.
LEAST_BLOCKED: Final = 3
_LOOK_BACK: Final = 20


def handle(session: Session, *, now: datetime, limit: int = 500) -> int:
    """Let the oldest reports that wait take effect. Returns how many were handled; 0 when none waits.

    Several workers at once share them. Doing it twice does nothing the second time.
    """
    waiting = select(Return).where(Return.handled_at.is_(None)).order_by(Return.id).limit(limit)
    found = list(session.execute(waiting.with_for_update(skip_locked=True)).scalars())
    if not found:
        return 0
    about = _about(session, [one.delivery_id for one in found if one.delivery_id is not None])
    told = [(one, about[one.delivery_id]) for one in found if one.delivery_id in about]
    gone = {row.subscriber_id: SuppressedBecause.COMPLAINED for one, row in told if one.kind == ReturnKind.COMPLAINT}
    for one, row in told:
        if row.subscriber_id in gone or not _still_holds(row):
            continue
        is_soft = one.kind == ReturnKind.SOFT
        if one.kind == ReturnKind.HARD or (is_soft and _is_the_last_straw(session, row.subscriber_id, one)):
            gone[row.subscriber_id] = SuppressedBecause.BOUNCED
    _end(session, gone, now=now)
    _tell(session, told, now=now)
    session.execute(update(Return).where(Return.id.in_([one.id for one in found])).values(handled_at=now))
    return len(found)


def is_any_waiting(session: Session) -> bool:
    """Tell whether a report waits to take effect."""
    return bool(session.execute(select(select(Return.id).where(Return.handled_at.is_(None)).exists())).scalar_one())


def complaint_share(session: Session, issue_id: int) -> tuple[int, int]:
    """Count an issue's complaints, and the deliveries that were accepted and so could be complained of."""
    complaints = (
        select(func.count())
        .select_from(Return)
        .join(Delivery, Delivery.id == Return.delivery_id)
        .where(Delivery.issue_id == issue_id, Return.kind == ReturnKind.COMPLAINT)
    )
    return int(session.execute(complaints).scalar_one()), ledger.equation(session, issue_id).accepted


@dataclass(frozen=True, kw_only=True)
class _Sent:
    """Whom a delivery went to, and when; `confirmed_at` is when its reader last did so."""

    issue_id: int | None
    newsletter_id: int
    subscriber_id: int
    confirmed_at: datetime | None
    recorded_at: datetime | None


def _about(session: Session, delivery_ids: Sequence[int]) -> dict[int, _Sent]:
    """Return whom deliveries went to; those to the newsroom and to erased readers are not among them."""
    rows = session.execute(
        select(
            Delivery.id,
            Delivery.issue_id,
            Variant.newsletter_id,
            Subscription.subscriber_id,
            Subscription.confirmed_at,
            DeliveryOutcome.recorded_at,
        )
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .outerjoin(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .where(Delivery.id.in_(delivery_ids))
    ).all()
    return {
        delivery_id: _Sent(
            issue_id=issue_id,
            newsletter_id=newsletter_id,
            subscriber_id=subscriber_id,
            confirmed_at=confirmed_at,
            recorded_at=recorded_at,
        )
        for delivery_id, issue_id, newsletter_id, subscriber_id, confirmed_at, recorded_at in rows
    }


def _still_holds(row: _Sent) -> bool:
    return row.confirmed_at is None or row.recorded_at is None or row.confirmed_at <= row.recorded_at


def _is_the_last_straw(session: Session, subscriber_id: int, last: Return) -> bool:
    """Tell whether enough mails in a row came back softly, over enough days; one that did not come back ends the row."""
    rows = session.execute(
        select(Delivery.id, func.min(Return.at).label("at"))
        .join(Subscription, Subscription.id == Delivery.subscription_id)
        .join(DeliveryOutcome, DeliveryOutcome.delivery_id == Delivery.id)
        .outerjoin(Return, (Return.delivery_id == Delivery.id) & (Return.kind == ReturnKind.SOFT))
        .where(Subscription.subscriber_id == subscriber_id, Delivery.id <= last.delivery_id)
        .where(DeliveryOutcome.outcome.in_((Outcome.ACCEPTED, Outcome.REFUSED)))
        .group_by(Delivery.id)
        .order_by(Delivery.id.desc())
        .limit(max(settings.load().soft_bounces, _LOOK_BACK))
    ).all()
    in_a_row = []
    for row in rows:
        if row.at is None:
            break
        in_a_row.append(row.at)
    chosen = settings.load()
    long_enough = timedelta(days=chosen.soft_bounce_days)
    return len(in_a_row) >= chosen.soft_bounces and max(in_a_row) - min(in_a_row) >= long_enough


def _end(session: Session, gone: dict[int, SuppressedBecause], *, now: datetime) -> None:
    """End all subscriptions of these readers, each with its line in the consent log, and suppress their addresses."""
    for because, reason in _ENDS.items():
        ids = sorted(one for one, why in gone.items() if why == because)
        if not ids:
            continue
        session.execute(_END, {"ids": ids, "reason": reason.value, "now": now})
        found = session.execute(select(Subscriber.address).where(Subscriber.id.in_(ids))).scalars().all()
        suppressions.add(session, found, because, now=now)


_ENDS: Final = {
    SuppressedBecause.COMPLAINED: EndedReason.COMPLAINED,
    SuppressedBecause.BOUNCED: EndedReason.BOUNCED,
}
_END: Final = text("""
WITH locked AS (
    SELECT id FROM subscriptions WHERE subscriber_id = ANY(:ids) AND state <> 'ended' ORDER BY id FOR UPDATE
), ended AS (
    UPDATE subscriptions s SET state = 'ended', ended_at = :now, ended_reason = :reason FROM locked
    WHERE s.id = locked.id RETURNING s.id
)
INSERT INTO consents (subscription_id, event, at, detail) SELECT id, 'ended', :now, :reason FROM ended
""")


def _tell(session: Session, told: Iterable[tuple[Return, _Sent]], *, now: datetime) -> None:
    """Have the newsroom hear of refusals of us and of complaints, and stop an issue that too many complain of."""
    told = list(told)
    blocked: dict[int, Return] = {row.newsletter_id: one for one, row in told if one.kind == ReturnKind.OURS}
    for newsletter_id, one in sorted(blocked.items()):
        _tell_of_blocks(session, newsletter_id, one, now=now)
    for issue_id in sorted({row.issue_id for one, row in told if one.kind == ReturnKind.COMPLAINT and row.issue_id}):
        _weigh_complaints(session, issue_id, now=now)


def _tell_of_blocks(session: Session, newsletter_id: int, last: Return, *, now: datetime) -> None:
    """Note once a day that servers refuse our mail as such, when several did."""
    lately = (
        select(func.count())
        .select_from(Return)
        .join(Delivery, Delivery.id == Return.delivery_id)
        .join(Variant, Variant.id == Delivery.variant_id)
        .where(Return.kind == ReturnKind.OURS, Return.received_at > now - timedelta(days=1))
        .where(Variant.newsletter_id == newsletter_id)
    )
    count = int(session.execute(lately).scalar_one())
    if count >= LEAST_BLOCKED:
        newsletter = session.get_one(Newsletter, newsletter_id)
        # Not whom it was meant for: the mail to the newsroom stays where erasing a reader does not reach.
        words = re.sub(r"<?[^\s<>@]+@[^\s<>@]+", "…", last.words or last.status or "")
        values = {"number": str(count), "words": words}
        alerts.note(session, newsletter, DeskEvent.BLOCKED, about=f"{now:%Y-%m-%d}", values=values, now=now)


def _weigh_complaints(session: Session, issue_id: int, *, now: datetime) -> None:
    complaints, accepted = complaint_share(session, issue_id)
    if complaints < LEAST_COMPLAINTS or complaints < WARN_SHARE * accepted:
        return
    issue = session.execute(select(Issue).where(Issue.id == issue_id).with_for_update()).scalar_one()
    values = {"number": str(complaints), "accepted": str(accepted)}
    if complaints >= PAUSE_SHARE * accepted and issue.state == IssueState.SENDING:
        issues.pause(session, issue, f"{complaints} of {accepted}", code=PauseReason.COMPLAINTS, now=now)
    else:
        alerts.note_issue(session, issue, DeskEvent.COMPLAINTS, values=values, now=now)
