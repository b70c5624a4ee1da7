"""From a started issue to the SMTP server and back into the ledger."""

import os
import signal
import subprocess
import sys
import time

import pytest
from sqlalchemy import select, update

from mailer import clock, settings
from mailer.audience import signups, subscriptions
from mailer.db import transaction
from mailer.delivery import deliveries, journal, ledger, sending
from mailer.issues import issues
from mailer.models.audience import EndedReason
from mailer.models.content import IssueState
from mailer.models.deliveries import Batch, Outcome
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_signup
from tests.smtp_server import DROP, scripted_server
from tests.started import equation, started_issue, state, use_server


def test_an_issue_reaches_every_reader_once_and_is_sent(installation: SmtpInbox) -> None:
    issue_id = started_issue(7, batch_size=3)
    sending.send_due(budget_seconds=10)
    assert sorted(one.recipients[0] for one in installation.messages) == [f"r{n}@example.org" for n in range(7)]
    assert equation(issue_id) == ledger.Equation(recipients=7, accepted=7, refused=0, skipped=0, uncertain=0)
    assert state(issue_id) == IssueState.SENT


def test_no_copy_names_another_reader(installation: SmtpInbox) -> None:
    started_issue(5)
    sending.send_due(budget_seconds=10)
    for one in installation.messages:
        others = {f"r{n}@example.org" for n in range(5)} - set(one.recipients)
        assert not any(other.encode() in one.content for other in others)


def test_a_reader_who_leaves_after_the_freeze_gets_nothing(installation: SmtpInbox) -> None:
    issue_id = started_issue(3)
    with transaction() as session:
        subscriptions.end(session, 2, EndedReason.ONE_CLICK, origin=subscriptions.Origin(), now=clock.now())
    sending.send_due(budget_seconds=10)
    assert len(installation.messages) == 2
    assert equation(issue_id) == ledger.Equation(recipients=3, accepted=2, refused=0, skipped=1, uncertain=0)
    assert state(issue_id) == IssueState.SENT


def test_a_paused_issue_waits_and_goes_on(installation: SmtpInbox) -> None:
    issue_id = started_issue(3)
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "by hand", now=clock.now())
    sending.send_due(budget_seconds=10)
    assert installation.messages == []
    with transaction() as session:
        issues.resume(session, issues.get(session, issue_id), now=clock.now())
    sending.send_due(budget_seconds=10)
    assert len(installation.messages) == 3


def test_a_batch_taken_over_from_a_dead_worker_respects_a_pause(installation: SmtpInbox) -> None:
    issue_id = started_issue(3)
    gone = journal.Journal(settings.load().journal_dir, capacity=1)
    gone.abandon()
    with transaction() as session:
        lost = deliveries.claim(session, owner=gone.owner, lease_seconds=-1, now=clock.now())
        issues.pause(session, issues.get(session, issue_id), "by hand", now=clock.now())
    assert lost is not None
    sending.send_due(budget_seconds=5)
    assert installation.messages == []
    assert state(issue_id) == IssueState.PAUSED


def test_cancelling_settles_the_rest_as_skipped(installation: SmtpInbox) -> None:
    issue_id = started_issue(3)
    with transaction() as session:
        issues.cancel(session, issues.get(session, issue_id), now=clock.now())
    sending.send_due(budget_seconds=10)
    assert installation.messages == []
    assert equation(issue_id).skipped == 3
    assert state(issue_id) == IssueState.CANCELLED


def test_a_deferred_delivery_is_tried_again_later_and_then_accepted(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    greylisted = ["r1@example.org"]

    def script(at: str, who: str) -> str | None:
        return "450 4.2.0 greylisted" if at == "RCPT" and who in greylisted else None

    issue_id = started_issue(3)
    with scripted_server(script) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        assert equation(issue_id).accepted == 2
        assert state(issue_id) == IssueState.SENDING
        greylisted.clear()
        sending.send_due(budget_seconds=10)
        assert len(server.accepted) == 2, "before its time"
        with transaction() as session:
            session.execute(update(Batch).values(due_at=clock.now()))
            session.execute(deliveries.update(deliveries.Deferral).values(retry_at=clock.now()))
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert state(issue_id) == IssueState.SENT
    assert server.recipients.count("r1@example.org") == 1


def test_a_refused_address_is_recorded_with_the_servers_words(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(2)
    with scripted_server(
        lambda at, who: "550 5.1.1 no such user" if at == "RCPT" and who.startswith("r0") else None
    ) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    with transaction() as session:
        lines = ledger.log(session, issue_id, outcome=Outcome.REFUSED, after_id=0, limit=10)
    assert [(line.address, line.reply) for line in lines] == [("r0@example.org", "550 5.1.1 no such user")]


def test_a_lost_answer_after_the_dot_is_uncertain_and_not_sent_again(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(3)
    seen: list[str] = []

    def script(at: str, who: str) -> str | None:
        if at == "CONTENT":
            seen.append(who)
        return DROP if at == "CONTENT" and who == "r1@example.org" else None

    with scripted_server(script) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert equation(issue_id) == ledger.Equation(recipients=3, accepted=2, refused=0, skipped=0, uncertain=1)
    assert seen.count("r1@example.org") == 1
    assert state(issue_id) == IssueState.SENT


def test_a_server_that_is_away_costs_nothing_and_the_issue_says_why(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(3)
    use_server("smtp://127.0.0.1:1", monkeypatch)
    sending.send_due(budget_seconds=10)
    assert equation(issue_id).waiting == 3 or equation(issue_id).settled == 0
    with transaction() as session:
        assert "cannot be reached" in (issues.get(session, issue_id).state_reason or "")


def test_a_refused_sender_pauses_the_issue_with_the_reason(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(3)
    with scripted_server(lambda at, _: "550 5.7.1 not your domain" if at == "MAIL" else None) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    with transaction() as session:
        issue = issues.get(session, issue_id)
        assert issue.state == IssueState.PAUSED
        assert "not your domain" in (issue.state_reason or "")


def test_a_late_owner_cannot_record(installation: SmtpInbox) -> None:
    started_issue(2)
    with transaction() as session:
        first = deliveries.claim(session, owner="elsewhere.1", lease_seconds=-200, now=clock.now())
        second = deliveries.claim(session, owner="here.2", lease_seconds=60, now=clock.now())
    assert first is not None
    assert second is not None
    assert second.previous_owner == "elsewhere.1"
    settled = [deliveries.Settled(delivery_id=first.first_id, outcome=Outcome.ACCEPTED, reply="250")]
    with pytest.raises(deliveries.LeaseLost), transaction() as session:
        deliveries.record(session, first, settled, [], now=clock.now())
    with transaction() as session:
        assert session.execute(select(deliveries.DeliveryOutcome.delivery_id)).all() == []


def test_a_batch_of_a_lost_machine_is_uncertain_not_doubled(installation: SmtpInbox) -> None:
    issue_id = started_issue(2)
    with transaction() as session:
        assert deliveries.claim(session, owner="elsewhere.1", lease_seconds=-200, now=clock.now()) is not None
    sending.send_due(budget_seconds=10)
    assert installation.messages == []
    assert equation(issue_id).uncertain == 2


def test_kill_9_in_mid_send_loses_and_doubles_nothing(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_LEASE_SECONDS", "2")
    monkeypatch.setenv("MAILER_TICK_SECONDS", "0.5")
    monkeypatch.setenv("MAILER_SMTP_CONNECTIONS", "4")
    with scripted_server(delay_seconds=0.005) as server:
        use_server(server.url, monkeypatch)
        issue_id = started_issue(200, batch_size=50)
        code = "from mailer.delivery import sending; sending.send_due(budget_seconds=60)"
        worker = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
        deadline = time.monotonic() + 20
        while len(server.accepted) < 30 and time.monotonic() < deadline:
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        while state(issue_id) != IssueState.SENT and time.monotonic() < deadline + 20:
            sending.send_due(budget_seconds=5)
            time.sleep(0.2)
        sending.shut_down()
        time.sleep(0.1)
    found = equation(issue_id)
    assert found.holds
    assert found.recipients == 200
    got = server.recipients
    assert len(got) == len(set(got)), "doubled"
    assert found.uncertain <= 4
    assert 200 - len(got) <= found.uncertain, "lost"


def test_a_confirmation_overtakes_an_issue(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SMTP_CONNECTIONS", "1")
    settings.load.cache_clear()
    started_issue(5, batch_size=1)
    with transaction() as session:
        request_id = a_signup(session, newsletters.get(session, "courrier"), now=clock.now())
        signups.handle(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=10)
    assert installation.messages[0].recipients == ("lea@example.org",)
    assert len(installation.messages) == 6
