"""One claimed batch while it is being sent: what is still open of it, and what waits to be recorded."""

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.audience import moves
from mailer.delivery import deliveries, returned, takeover
from mailer.delivery.journal import Journal
from mailer.delivery.transports.lanes import domain_of
from mailer.delivery.transports.pool import Trouble
from mailer.delivery.transports.verdicts import Result, Verdict
from mailer.issues import replacements
from mailer.models.content import Issue, IssueState
from mailer.models.deliveries import Deferral, DeliveryOutcome, Outcome

# However long a quota or a server is said to need: an operator may mend it meanwhile.
LONGEST_HOLD_SECONDS: Final = 300.0


@dataclass(kw_only=True, eq=False)
class Run:
    """A batch in hand. `open` are the deliveries without a verdict; `due_at` is when those handed back may be tried."""

    claim: deliveries.Claim
    journal: Journal
    resends: bool
    # Of the issue, when its variants were read.
    revision: int
    open: dict[int, deliveries.Recipient]
    settled: list[deliveries.Settled] = field(default_factory=list)
    deferred: list[deliveries.Deferred] = field(default_factory=list)
    due_at: datetime | None = None
    trouble: Trouble | None = None
    accepted: int = 0
    looked_at: float = field(default_factory=time.monotonic)
    # The database broke off while recording: it may or may not have been done.
    is_unsure: bool = False

    def take(self, key: int, result: Result) -> None:
        """Take a verdict."""
        one = self.open.pop(key)
        verdict = result.verdict
        if verdict is Verdict.UNCERTAIN and self.resends:
            again = takeover.resend(key, result, attempt=one.attempts + 1, variant_id=one.variant_id, now=clock.now())
            self.deferred.append(replace(again, provider=domain_of(one.address)))
        elif verdict in takeover.OUTCOMES:
            self.accepted += verdict is Verdict.ACCEPTED
            outcome = takeover.OUTCOMES[verdict]
            self.settled.append(_settled(one, outcome, result.reply))
        else:
            self._put_off(one, result.reply)

    def hold(self, key: int, seconds: float) -> None:
        """Keep a delivery that did not leave for the batch's next claim, in `seconds` at the earliest."""
        del self.open[key]
        at = clock.now() + timedelta(seconds=min(seconds, LONGEST_HOLD_SECONDS))
        self.due_at = at if self.due_at is None else min(self.due_at, at)

    def hold_all(self, seconds: float) -> None:
        """Keep everything that is open for the batch's next claim."""
        for key in list(self.open):
            self.hold(key, seconds)

    def skip(self, key: int, reason: str) -> None:
        """End a delivery that must not be mailed."""
        self.settled.append(_settled(self.open.pop(key), Outcome.SKIPPED, reason))

    def record(self, session: Session) -> None:
        """Write what was collected; call `recorded` once that is committed. Raises LeaseLost."""
        if self.is_unsure and _is_recorded(session, self.settled, self.deferred):
            self.recorded()
        if self.settled or self.deferred:
            now = clock.now()
            deliveries.record(session, self.claim, self.settled, self.deferred, now=now)
            returned.note(session, returned.refused(self.settled, now=now), now=now)

    def recorded(self) -> None:
        """Forget what is in the ledger now."""
        self.settled, self.deferred, self.is_unsure = [], [], False

    def _put_off(self, one: deliveries.Recipient, reply: str) -> None:
        now = clock.now()
        attempt = one.attempts + 1
        if now - (one.first_deferred_at or now) > timedelta(hours=settings.load().retry_hours):
            words = f"gave up after {attempt} attempts: {reply}"
            self.settled.append(_settled(one, Outcome.REFUSED, words))
            return
        retry_at = deliveries.next_retry(attempt, now=now)
        self.deferred.append(
            deliveries.Deferred(
                delivery_id=one.delivery_id,
                attempt=attempt,
                reply=reply,
                retry_at=retry_at,
                provider=domain_of(one.address),
            )
        )


def begin(session: Session, claim: deliveries.Claim, journal: Journal) -> Run:
    """Read a batch's recipients and settle at once those that must not be mailed."""
    issue = None if claim.issue_id is None else session.get_one(Issue, claim.issue_id)
    emptied = replacements.take(session, claim) if issue is not None and issue.revision else frozenset()
    found = deliveries.recipients(session, claim, now=clock.now())
    if issue is None:
        found = moves.readdress(session, found)
    run = Run(
        claim=claim,
        journal=journal,
        resends=takeover.resends(session, claim.issue_id),
        revision=issue.revision if issue is not None else 0,
        open={one.delivery_id: one for one in found},
    )
    for one in found:
        reason = one.reason or (replacements.NOTHING_LEFT if one.variant_id in emptied else None)
        if reason is not None:
            run.skip(one.delivery_id, reason)
    if issue is not None and issue.state == IssueState.CANCELLED:
        known = {one.delivery_id for one in run.settled}
        rest = [one for one in deliveries.unsettled_ids(session, claim) if one not in known]
        run.settled += [skipped(one, "the issue was cancelled") for one in rest]
        run.open = {}
    # A batch taken over from a silent worker may belong to an issue that was paused meanwhile.
    elif issue is not None and issue.state != IssueState.SENDING:
        run.hold_all(0)
    return run


def skipped(delivery_id: int, reason: str) -> deliveries.Settled:
    """Make the outcome of a delivery that must not be mailed."""
    return deliveries.Settled(delivery_id=delivery_id, outcome=Outcome.SKIPPED, reply=reason)


def _settled(one: deliveries.Recipient, outcome: Outcome, reply: str) -> deliveries.Settled:
    return deliveries.Settled(
        delivery_id=one.delivery_id,
        outcome=outcome,
        reply=reply,
        provider=one.address.rpartition("@")[2],
        attempts=one.attempts,
    )


def _is_recorded(session: Session, settled: list[deliveries.Settled], deferred: list[deliveries.Deferred]) -> bool:
    """Tell whether a group that was given to deliveries.record is in the ledger: all of it, or nothing."""
    if settled:
        return session.get(DeliveryOutcome, settled[0].delivery_id) is not None
    return bool(deferred) and session.get(Deferral, (deferred[0].delivery_id, deferred[0].attempt)) is not None
