"""Sending: claim a batch, hand it to the transport, record what became of it. The core of the worker.

A batch is under a lease with a fence, so a worker that was thought dead can't write; a journal on local disk says what
was handed over before a kill, so its successor neither loses nor doubles anything (docs/decisions/0006).
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

import structlog
from sqlalchemy.orm import Session

from mailer import clock, deliveries, i18n, issues, journal, links, message, settings
from mailer.db import transaction
from mailer.models.content import Issue, IssueState, Newsletter, Variant
from mailer.models.deliveries import Outcome
from mailer.transports import outgoing, route, smtp

RECORD_EVERY: Final = 250
LOOK_AGAIN_SECONDS: Final = 0.5
# A batch that is begun gets at least this long, however little of the time given to `send_due` is left.
SHORTEST_SECONDS: Final = 2
ROUTE_PAUSE: Final = timedelta(seconds=30)
ALIVE_OWNER_SECONDS: Final = 30

CODES: Final = {
    outgoing.Verdict.ACCEPTED: 2,
    outgoing.Verdict.REFUSED: 3,
    outgoing.Verdict.DEFERRED: 4,
    outgoing.Verdict.UNCERTAIN: 5,
}
OUTCOMES: Final = {
    outgoing.Verdict.ACCEPTED: Outcome.ACCEPTED,
    outgoing.Verdict.REFUSED: Outcome.REFUSED,
    outgoing.Verdict.UNCERTAIN: Outcome.UNCERTAIN,
}

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Mail:
    """What all deliveries of one variant share."""

    compiled: message.CompiledMessage
    sender: str
    language: str
    issue_id: int

    @property
    def domain(self) -> str:
        return self.sender.rpartition("@")[2]


@dataclass(kw_only=True)
class _Run:
    """One claimed batch while it is being sent."""

    claim: deliveries.Claim
    until: float  # on the monotonic clock: no message is taken after it, so that a stop waits for seconds only
    pending: dict[int, deliveries.Recipient]
    settled: list[deliveries.Settled] = field(default_factory=list)
    deferred: list[deliveries.Deferred] = field(default_factory=list)
    last_taken: int = 0
    stopped: bool = False


def send_due(*, budget_seconds: float) -> int:
    """Send batches that are due until there are none or the time is up. Returns how many batches were worked on.

    What is under way when the time is up is finished, and the rest of its batch handed back. Talks to the database and the
    SMTP server.
    """
    end = time.monotonic() + budget_seconds
    batches = 0
    while time.monotonic() < end:
        claim = _claim()
        if claim is None:
            break
        batches += 1
        try:
            if not _send_batch(claim, until=max(end, time.monotonic() + SHORTEST_SECONDS)):
                break
        except deliveries.LeaseLost as error:
            log.warning("lease lost", batch=claim.batch_id, error=str(error))
    return batches


def _claim() -> deliveries.Claim | None:
    """Claim the next batch; one taken over from a dead worker is first made good from that worker's journal."""
    while True:
        recovered_from = None
        with transaction() as session:
            lease = settings.load().lease_seconds
            claim = deliveries.claim(session, owner=_journal().owner, lease_seconds=lease, now=clock.now())
            if claim is not None and claim.previous_owner is not None:
                if not _take_over(session, claim, claim.previous_owner):
                    continue
                recovered_from = claim.previous_owner
        if recovered_from is not None:
            journal.forget(settings.load().journal_dir, recovered_from)
        return claim


def _take_over(session: Session, claim: deliveries.Claim, owner: str) -> bool:
    """Record what a silent worker did. False: it is alive after all, and keeps the batch."""
    folder = settings.load().journal_dir
    try:
        known = journal.recover(folder, owner, batch=claim.batch_id, fence=claim.fence - 1)
    except journal.OwnerAlive:
        deliveries.put_off(session, claim, seconds=ALIVE_OWNER_SECONDS)
        return False
    settled = _recovered(deliveries.unsettled_ids(session, claim), known)
    deliveries.record(session, claim, settled, [], now=clock.now())
    log.warning("batch taken over", batch=claim.batch_id, recovered=len(settled), known=known is not None)
    return True


def _recovered(waiting: list[int], known: dict[int, int] | None) -> list[deliveries.Settled]:
    """Tell what a dead worker's journal proves. Without one, everything that it had claimed is uncertain."""
    if known is None:
        words = "claimed by a worker that was lost with its journal"
        return [deliveries.Settled(delivery_id=one, outcome=Outcome.UNCERTAIN, reply=words) for one in waiting]
    verdicts = {code: verdict for verdict, code in CODES.items()}
    settled = []
    for delivery_id in waiting:
        verdict = verdicts.get(known.get(delivery_id, 0), outgoing.Verdict.UNCERTAIN)
        # Not in the journal: never begun. Deferred: nothing left the server for good. Both are simply sent later.
        if delivery_id in known and verdict is not outgoing.Verdict.DEFERRED:
            words = "known from the journal of a worker that was killed"
            settled.append(deliveries.Settled(delivery_id=delivery_id, outcome=OUTCOMES[verdict], reply=words))
    return settled


def _send_batch(claim: deliveries.Claim, *, until: float) -> bool:
    """Send one batch and give it back. False when the route fails and trying the next batch makes no sense."""
    with transaction() as session:
        run = _prepare(session, claim, until=until)
    due_at, goes_on = clock.now(), True
    try:
        if run.pending and not run.stopped:
            _journal().begin(batch=claim.batch_id, fence=claim.fence)
            _pool().send(_messages(run), count=len(run.pending), on_handed=_journal().handed, on_result=_collector(run))
            _note(claim, None)
    except route.RouteUnavailable as error:
        log.warning("route unavailable", batch=claim.batch_id, error=str(error))
        _note(claim, f"{error}; trying again")
        due_at, goes_on = clock.now() + ROUTE_PAUSE, False
    except route.RouteMisconfigured as error:
        log.error("route misconfigured", batch=claim.batch_id, error=str(error))
        _pause(claim, str(error))
        due_at, goes_on = clock.now() + ROUTE_PAUSE, False
    finally:
        with transaction() as session:
            _record(session, run)
            deliveries.release(session, claim, due_at=due_at)
    if claim.issue_id is not None:
        with transaction() as session:
            issues.finish(session, claim.issue_id, now=clock.now())
    return goes_on


def _prepare(session: Session, claim: deliveries.Claim, *, until: float) -> _Run:
    """Read a batch's recipients and settle at once those that must not be mailed."""
    state = None if claim.issue_id is None else session.get_one(Issue, claim.issue_id).state
    found = deliveries.recipients(session, claim, now=clock.now())
    run = _Run(claim=claim, until=until, pending={one.delivery_id: one for one in found if one.reason is None})
    run.last_taken = claim.first_id - 1
    for one in found:
        if one.reason is not None:
            run.settled.append(_skipped(one.delivery_id, one.reason))
    if state == IssueState.CANCELLED:
        known = {one.delivery_id for one in run.settled}
        rest = [one for one in deliveries.unsettled_ids(session, claim) if one not in known]
        run.settled += [_skipped(one, "the issue was cancelled") for one in rest]
    # A batch taken over from a dead worker may belong to an issue that was paused meanwhile.
    if state not in (None, IssueState.SENDING):
        run.pending, run.stopped = {}, True
    for variant_id in {one.variant_id for one in run.pending.values()}:
        _mail(variant_id)
    return run


def _messages(run: _Run) -> Iterator[outgoing.Outgoing]:
    """Yield the batch's messages. Twice a second: keep the lease, record results, and look who left or who paused."""
    looked = time.monotonic()
    for one in list(run.pending.values()):
        now = time.monotonic()
        if now - looked > LOOK_AGAIN_SECONDS or len(run.settled) >= RECORD_EVERY:
            looked = now
            with transaction() as session:
                _record(session, run)
                deliveries.renew(session, run.claim, lease_seconds=settings.load().lease_seconds)
                may_go_on, gone = deliveries.withdrawn(session, run.claim, after_id=run.last_taken)
            for delivery_id in gone & run.pending.keys():
                del run.pending[delivery_id]
                run.settled.append(_skipped(delivery_id, "unsubscribed"))
            if not may_go_on or now > run.until:
                return
        run.last_taken = one.delivery_id
        if one.delivery_id in run.pending:
            yield _outgoing(one)


def _outgoing(one: deliveries.Recipient) -> outgoing.Outgoing:
    mail = _mail(one.variant_id)
    sign = functools.partial(links.sign, id=one.subscription_id)

    def content() -> bytes:
        now = clock.now()
        reader = message.Reader(
            address=one.address,
            since=_since(mail.language, one.confirmed_at.date()) if one.confirmed_at else "",
            confirm="" if mail.issue_id else links.sign_now(links.Purpose.CONFIRM, one.subscription_id, now),
            unsubscribe=sign(links.Purpose.UNSUBSCRIBE, extra=mail.issue_id),
            oneclick=sign(links.Purpose.ONE_CLICK, extra=mail.issue_id),
            preferences=sign(links.Purpose.PREFERENCES),
            message_id=links.message_id(one.delivery_id, mail.domain),
        )
        return mail.compiled.fill(reader, now=now)

    return outgoing.Outgoing(key=one.delivery_id, sender=mail.sender, recipient=one.address, content=content)


def _collector(run: _Run) -> smtp.OnResult:
    def collect(delivery_id: int, result: outgoing.Result) -> None:
        _journal().settled(delivery_id, CODES[result.verdict])
        one = run.pending.pop(delivery_id)
        if result.verdict is outgoing.Verdict.DEFERRED:
            _defer(run, one, result.reply)
        else:
            run.settled.append(
                deliveries.Settled(delivery_id=delivery_id, outcome=OUTCOMES[result.verdict], reply=result.reply)
            )

    return collect


def _defer(run: _Run, one: deliveries.Recipient, reply: str) -> None:
    now = clock.now()
    attempt = one.attempts + 1
    since = one.first_deferred_at or now
    if now - since > timedelta(hours=settings.load().retry_hours):
        words = f"gave up after {attempt} attempts: {reply}"
        run.settled.append(deliveries.Settled(delivery_id=one.delivery_id, outcome=Outcome.REFUSED, reply=words))
        return
    retry_at = deliveries.next_retry(attempt, now=now)
    run.deferred.append(
        deliveries.Deferred(delivery_id=one.delivery_id, attempt=attempt, reply=reply, retry_at=retry_at)
    )


def _record(session: Session, run: _Run) -> None:
    """Write what was collected. If the transaction fails, the journal still has it and the lease will run out."""
    if run.settled or run.deferred:
        deliveries.record(session, run.claim, run.settled, run.deferred, now=clock.now())
        run.settled, run.deferred = [], []


def _skipped(delivery_id: int, reason: str) -> deliveries.Settled:
    return deliveries.Settled(delivery_id=delivery_id, outcome=Outcome.SKIPPED, reply=reason)


def _note(claim: deliveries.Claim, reason: str | None) -> None:
    if claim.issue_id is not None:
        with transaction() as session:
            issues.note(session, claim.issue_id, reason)


def _pause(claim: deliveries.Claim, reason: str) -> None:
    if claim.issue_id is None:
        return
    try:
        with transaction() as session:
            issues.pause(session, issues.get(session, claim.issue_id), reason, now=clock.now())
    except issues.IssueStateForbids:
        log.info("already stopped", issue=claim.issue_id)


@functools.lru_cache(maxsize=64)
def _mail(variant_id: int) -> _Mail:
    """Compile a variant, once per process: it never changes."""
    with transaction() as session:
        variant = session.get_one(Variant, variant_id)
        sender = session.get_one(Newsletter, variant.newsletter_id).sender_address
    compiled = message.compile_message(
        nonce=variant.nonce, headers=variant.headers, subject=variant.subject, text=variant.text, html=variant.html
    )
    return _Mail(compiled=compiled, sender=sender, language=variant.language, issue_id=variant.issue_id or 0)


@functools.lru_cache(maxsize=4096)
def _since(language: str, day: date) -> str:
    return i18n.format_date(language, day, "long")


@functools.cache
def _pool() -> smtp.SmtpPool:
    """The process's connections, kept over batches; made after the fork, at first use."""
    chosen = settings.load()
    return smtp.SmtpPool(
        route.route_from_url(
            chosen.smtp_url,
            helo_name=chosen.helo_name or chosen.public_host,
            connections=chosen.smtp_connections,
            timeout_seconds=chosen.smtp_timeout_seconds,
        )
    )


@functools.cache
def _journal() -> journal.Journal:
    chosen = settings.load()
    return journal.Journal(chosen.journal_dir, capacity=chosen.batch_size)


def shut_down() -> None:
    """Close the process's connections and journal, between two batches."""
    if _pool.cache_info().currsize:
        _pool().close()
        _pool.cache_clear()
    if _journal.cache_info().currsize:
        _journal().close()
        _journal.cache_clear()
