"""Making good what a silent worker left: its journal tells what it had handed over (docs/decisions/0006)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.delivery import deliveries, journal, tallies
from mailer.delivery.transports.verdicts import Result, Verdict
from mailer.models.content import Issue, WhenUncertain
from mailer.models.deliveries import Deferral, Delivery, Outcome

ALIVE_OWNER_SECONDS: Final = 30
# What stands in the journal for a verdict; 1 is "handed over, no answer yet".
CODES: Final = {
    Verdict.ACCEPTED: 2,
    Verdict.REFUSED: 3,
    Verdict.DEFERRED: 4,
    Verdict.UNCERTAIN: 5,
    Verdict.BLOCKED: 6,
}
OUTCOMES: Final = {
    Verdict.ACCEPTED: Outcome.ACCEPTED,
    Verdict.REFUSED: Outcome.REFUSED,
    Verdict.UNCERTAIN: Outcome.UNCERTAIN,
}
# Nothing left the server for good: such a delivery is simply sent later.
_SENT_LATER: Final = {CODES[Verdict.DEFERRED], CODES[Verdict.BLOCKED]}

_T = TypeVar("_T", deliveries.Settled, deliveries.Deferred)

log = structlog.get_logger()


def make_good(session: Session, claim: deliveries.Claim, *, folder: Path, now: datetime) -> bool:
    """Record what the batch's previous owner did. False: it is alive after all, and keeps the batch.

    Reads that worker's journal in `folder`; remove it with journal.forget once this is committed.
    """
    if claim.previous_owner is None:
        return True
    try:
        known = journal.recover(folder, claim.previous_owner, batch=claim.batch_id, fence=claim.fence - 1)
    except journal.OwnerAlive:
        deliveries.put_off(session, claim, seconds=ALIVE_OWNER_SECONDS)
        return False
    settled = _settled(deliveries.unsettled_ids(session, claim), known)
    deferred: list[deliveries.Deferred] = []
    if resends(session, claim.issue_id):
        deferred = _deferred(session, [one for one in settled if one.outcome == Outcome.UNCERTAIN], now=now)
        settled = [one for one in settled if one.outcome != Outcome.UNCERTAIN]
    if claim.issue_id is not None:
        settled, deferred = _known(session, settled), _known(session, deferred)
    deliveries.record(session, claim, settled, deferred, now=now)
    log.warning("batch taken over", batch=claim.batch_id, recovered=len(settled), known=known is not None)
    return True


def resends(session: Session, issue_id: int | None) -> bool:
    """Tell whether deliveries of the issue whose answer was lost are to be sent again."""
    return issue_id is not None and session.get_one(Issue, issue_id).when_uncertain == WhenUncertain.RESEND


def resend(
    delivery_id: int, result: Result, *, attempt: int, variant_id: int | None, now: datetime
) -> deliveries.Deferred:
    """Put an uncertain delivery off instead of ending it, as the issue's policy says. `variant_id` may have arrived."""
    return deliveries.Deferred(
        delivery_id=delivery_id,
        attempt=attempt,
        reply=f"sent again, as chosen for uncertain ones: {result.reply}",
        retry_at=deliveries.next_retry(attempt, now=now),
        variant_id=variant_id,
    )


def _settled(waiting: list[int], known: dict[int, int] | None) -> list[deliveries.Settled]:
    """Tell what the journal proves. Without one, everything that was claimed is uncertain."""
    if known is None:
        words = "claimed by a worker that was lost with its journal"
        return [deliveries.Settled(delivery_id=one, outcome=Outcome.UNCERTAIN, reply=words) for one in waiting]
    words = "known from the journal of a worker that was killed"
    verdicts = {code: verdict for verdict, code in CODES.items()}
    return [
        deliveries.Settled(delivery_id=one, outcome=OUTCOMES[verdicts.get(known[one], Verdict.UNCERTAIN)], reply=words)
        for one in waiting
        if one in known and known[one] not in _SENT_LATER
    ]


def _deferred(session: Session, uncertain: list[deliveries.Settled], *, now: datetime) -> list[deliveries.Deferred]:
    ids = [one.delivery_id for one in uncertain]
    before, handed = _attempts(session, ids), _variants(session, ids)
    return [
        resend(
            one.delivery_id,
            Result(verdict=Verdict.UNCERTAIN, reply=one.reply),
            attempt=before.get(one.delivery_id, 0) + 1,
            variant_id=handed[one.delivery_id],
            now=now,
        )
        for one in uncertain
    ]


def _known(session: Session, recorded: Sequence[_T]) -> list[_T]:
    """Add whose provider it was, for those who watch."""
    providers = tallies.providers_of(session, [one.delivery_id for one in recorded])
    return [replace(one, provider=providers.get(one.delivery_id, tallies.OTHERS)) for one in recorded]


def _attempts(session: Session, ids: list[int]) -> dict[int, int]:
    """Count how often each of these deliveries was put off."""
    rows = session.execute(
        select(Deferral.delivery_id, func.max(Deferral.attempt))
        .where(Deferral.delivery_id.in_(ids))
        .group_by(Deferral.delivery_id)
    )
    return {row[0]: row[1] for row in rows}


def _variants(session: Session, ids: list[int]) -> dict[int, int]:
    """Return the variant that was handed over for each of these deliveries."""
    rows = session.execute(select(Delivery.id, Delivery.variant_id).where(Delivery.id.in_(ids)))
    return {row[0]: row[1] for row in rows}
