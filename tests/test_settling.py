"""Uncertain deliveries: who may settle them, what becomes of them, and that the sums stay exact."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from mailer import clock
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.delivery import deliveries, ledger, sending, settling
from mailer.issues import issues
from mailer.models.audience import EndedReason
from mailer.models.content import Issue, IssueState
from mailer.models.deliveries import Batch, BatchState, Deferral, Delivery, DeliveryOutcome, Outcome, SettledAs
from tests.conftest import SmtpInbox
from tests.factories import NOW, a_newsletter, an_article, readers

LATER = NOW + timedelta(hours=1)
BY = "Camille"


def an_issue(session: Session, *, reader_count: int = 4, batch_size: int = 2) -> Issue:
    """An issue that is being sent."""
    newsletter = a_newsletter(session)
    an_article(session, newsletter, "eau", seen=NOW - timedelta(hours=1))
    readers(session, newsletter, reader_count)
    issue = issues.draft(session, newsletter, now=NOW)
    issues.start(session, issue, batch_size=batch_size, now=NOW)
    return issue


def end_batch(session: Session, *outcomes: Outcome) -> None:
    """A worker claims the next batch and its deliveries end so; a missing outcome leaves the delivery open."""
    claim = deliveries.claim(session, owner="host.1", lease_seconds=60, now=NOW)
    assert claim is not None
    ids = deliveries.unsettled_ids(session, claim)
    settled = [
        deliveries.Settled(delivery_id=one, outcome=outcome, reply="no answer after the final dot")
        for one, outcome in zip(ids, outcomes, strict=False)
    ]
    deliveries.record(session, claim, settled, [], now=NOW)
    deliveries.release(session, claim, due_at=NOW + timedelta(minutes=5), now=NOW)


def a_sent_issue(session: Session) -> Issue:
    """Four readers: one mail was accepted, three are uncertain, in two batches."""
    issue = an_issue(session)
    end_batch(session, Outcome.ACCEPTED, Outcome.UNCERTAIN)
    end_batch(session, Outcome.UNCERTAIN, Outcome.UNCERTAIN)
    assert issues.finish(session, issue.id, now=NOW)
    session.flush()
    return issue


def sums(session: Session, issue: Issue) -> tuple[int, int, int]:
    """Accepted, refused and uncertain ones, by the batches' counters, which must agree with the rows."""
    found = ledger.equation(session, issue.id)
    assert found == ledger.count_ledger(session, issue.id)
    return found.accepted, found.refused, found.uncertain


def uncertain_ids(session: Session, issue: Issue) -> list[int]:
    lines = ledger.log(session, issue.id, outcome=Outcome.UNCERTAIN, after_id=0, limit=100)
    return [line.delivery_id for line in lines]


def test_uncertain_deliveries_are_counted_as_somebody_says(session: Session) -> None:
    issue = a_sent_issue(session)
    assert settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER) == 3
    assert sums(session, issue) == (4, 0, 0)
    assert (issue.state, issue.finished_at) == (IssueState.SENT, NOW)


def test_the_last_words_stay_with_who_said_so_and_when(session: Session) -> None:
    issue = a_sent_issue(session)
    settling.settle(session, issue, SettledAs.REFUSED, by=BY, now=LATER)
    replies = session.execute(select(DeliveryOutcome.reply).where(DeliveryOutcome.outcome == Outcome.REFUSED)).scalars()
    assert set(replies) == {"no answer after the final dot; refused according to Camille, 2026-11-20 07:00 UTC"}


def test_long_last_words_are_cut_and_not_who_said_so(session: Session) -> None:
    issue = a_sent_issue(session)
    session.execute(update(DeliveryOutcome).values(reply="x" * deliveries.REPLY_LENGTH))
    settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER)
    reply = ledger.log(session, issue.id, outcome=None, after_id=0, limit=9)[-1].reply or ""
    assert len(reply) == deliveries.REPLY_LENGTH
    assert reply.endswith("x; accepted according to Camille, 2026-11-20 07:00 UTC")


def test_settling_twice_changes_nothing(session: Session) -> None:
    issue = a_sent_issue(session)
    settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER)
    assert settling.settle(session, issue, SettledAs.REFUSED, by=BY, now=LATER) == 0
    assert settling.settle(session, issue, SettledAs.RESEND, by=BY, now=LATER) == 0
    assert sums(session, issue) == (4, 0, 0)
    assert issue.state == IssueState.SENT


def test_a_decision_is_kept_for_good(session: Session) -> None:
    issue = a_sent_issue(session)
    settling.settle(session, issue, SettledAs.REFUSED, by=BY, now=LATER, only=uncertain_ids(session, issue)[:1])
    settling.settle(session, issue, SettledAs.RESEND, by="the command line", now=LATER)
    kept = [(one.how, one.count, one.by, one.at) for one in settling.settlements(session, issue.id)]
    assert kept == [(SettledAs.REFUSED, 1, BY, LATER), (SettledAs.RESEND, 2, "the command line", LATER)]


def test_single_deliveries_are_settled_and_the_others_left(session: Session) -> None:
    issue = a_sent_issue(session)
    first, *others = uncertain_ids(session, issue)
    assert settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER, only=[first]) == 1
    assert uncertain_ids(session, issue) == others
    assert sums(session, issue) == (2, 0, 2)


def test_what_is_not_uncertain_or_not_of_the_issue_is_never_touched(session: Session) -> None:
    issue = a_sent_issue(session)
    accepted = ledger.log(session, issue.id, outcome=Outcome.ACCEPTED, after_id=0, limit=9)[0].delivery_id
    assert settling.settle(session, issue, SettledAs.REFUSED, by=BY, now=LATER, only=[accepted, 10**12]) == 0
    assert sums(session, issue) == (1, 0, 3)


def test_resending_opens_the_deliveries_and_the_issue_again(session: Session) -> None:
    issue = a_sent_issue(session)
    assert settling.settle(session, issue, SettledAs.RESEND, by=BY, now=LATER) == 3
    assert sums(session, issue) == (1, 0, 0)
    assert (issue.state, issue.finished_at) == (IssueState.SENDING, None)
    assert ledger.equation(session, issue.id).waiting == 3
    assert deliveries.count_due(session, now=LATER, limit=9) == 2
    assert not issues.finish(session, issue.id, now=LATER)


def test_a_delivery_that_is_sent_again_keeps_the_trace_of_the_first_attempt(session: Session) -> None:
    issue = a_sent_issue(session)
    (first, *_) = uncertain_ids(session, issue)
    settling.settle(session, issue, SettledAs.RESEND, by=BY, now=LATER, only=[first])
    (trace,) = session.execute(select(Deferral)).scalars()
    assert (trace.delivery_id, trace.attempt, trace.retry_at) == (first, 1, LATER)
    assert trace.reply == "uncertain; sent again by Camille: no answer after the final dot"


def test_the_batch_of_an_issue_on_its_way_that_still_waits_stays_as_exact(session: Session) -> None:
    issue = an_issue(session, reader_count=2)
    end_batch(session, Outcome.UNCERTAIN)
    settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER)
    batch = session.execute(select(Batch)).scalar_one()
    assert (batch.state, batch.accepted, batch.uncertain) == (BatchState.QUEUED, 1, 0)
    assert issue.state == IssueState.SENDING


def test_a_paused_issue_stays_paused(session: Session) -> None:
    issue = an_issue(session)
    end_batch(session, Outcome.UNCERTAIN, Outcome.UNCERTAIN)
    issues.pause(session, issue, "by hand", now=NOW)
    settling.settle(session, issue, SettledAs.RESEND, by=BY, now=LATER)
    assert issue.state == IssueState.PAUSED


def test_nothing_is_sent_again_of_a_cancelled_issue(session: Session) -> None:
    issue = an_issue(session)
    end_batch(session, Outcome.UNCERTAIN, Outcome.UNCERTAIN)
    issues.cancel(session, issue, now=NOW)
    with pytest.raises(issues.IssueStateForbids, match="cancelled"):
        settling.settle(session, issue, SettledAs.RESEND, by=BY, now=LATER)
    assert settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER) == 2


def test_a_batch_that_a_worker_holds_is_left_alone(session: Session) -> None:
    issue = an_issue(session)
    end_batch(session, Outcome.UNCERTAIN, Outcome.UNCERTAIN)
    settled = uncertain_ids(session, issue)
    end_batch(session, Outcome.UNCERTAIN)
    assert deliveries.claim(session, owner="host.2", lease_seconds=60, now=NOW + timedelta(minutes=6)) is not None
    with pytest.raises(settling.BatchInUse, match="try again"):
        settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER)
    assert sums(session, issue) == (0, 0, 3)
    assert settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER, only=settled) == 2


def test_whoever_left_meanwhile_is_not_mailed_again(installation: SmtpInbox) -> None:
    with transaction() as session:
        issue = a_sent_issue(session)
        for subscription_id in session.execute(
            select(Delivery.subscription_id).order_by(Delivery.id).limit(2)
        ).scalars():
            subscriptions.end(session, subscription_id or 0, EndedReason.UNSUBSCRIBED, origin=Origin(), now=LATER)
        settling.settle(session, issue, SettledAs.RESEND, by=BY, now=clock.now())
    sending.send_due(budget_seconds=10)
    with transaction() as session:
        found = ledger.equation(session, issue.id)
        assert (found.accepted, found.skipped, found.uncertain) == (3, 1, 0)
        assert issues.get(session, issue.id).state == IssueState.SENT
    assert sorted(one.recipients for one in installation.messages) == [("r2@example.org",), ("r3@example.org",)]


def test_a_worker_in_the_middle_of_a_record_is_not_waited_for(installation: SmtpInbox) -> None:
    with transaction() as session:
        issue_id = a_sent_issue(session).id
    with transaction() as worker, transaction() as session:
        worker.execute(select(Batch.id).order_by(Batch.id).limit(1).with_for_update()).scalar_one()
        issue = issues.get(session, issue_id)
        with pytest.raises(settling.BatchInUse):
            settling.settle(session, issue, SettledAs.ACCEPTED, by=BY, now=LATER)
        session.rollback()


def test_of_many_who_settle_at_once_one_does(installation: SmtpInbox) -> None:
    with transaction() as session:
        issue_id = a_sent_issue(session).id
    settled: list[int] = []

    def settle(how: SettledAs) -> None:
        with transaction() as session:
            settled.append(settling.settle(session, issues.get(session, issue_id), how, by=BY, now=LATER))

    threads = [threading.Thread(target=settle, args=(how,)) for how in (*SettledAs, *SettledAs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(settled) == [0, 0, 0, 0, 0, 3]
    with transaction() as session:
        assert ledger.equation(session, issue_id) == ledger.count_ledger(session, issue_id)
        assert session.execute(select(func.sum(Batch.uncertain))).scalar_one() == 0
