"""When sending stops by itself, who goes first, and what a worker that is asked to stop does."""

import threading
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from mailer import clock
from mailer.audience import signups
from mailer.db import transaction
from mailer.delivery import deliveries, ledger, sending
from mailer.issues import issues
from mailer.models.content import IssueState, WhenUncertain
from mailer.models.deliveries import Batch, Deferral
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article, readers
from tests.smtp_server import DROP, scripted_server
from tests.started import equation, started_issue, state, use_server


def pause_reason(issue_id: int) -> tuple[IssueState, str | None]:
    with transaction() as session:
        issue = issues.get(session, issue_id)
        return issue.state, issue.state_code


def test_too_many_refusals_pause_the_issue_and_resuming_goes_on(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(100, batch_size=50)
    bad = [True]
    with scripted_server(lambda at, _: "550 5.1.1 unknown" if at == "RCPT" and bad else None) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        assert pause_reason(issue_id) == (IssueState.PAUSED, "too_many_refused")
        assert 21 <= equation(issue_id).refused < 50
        bad.clear()
        with transaction() as session:
            issues.resume(session, issues.get(session, issue_id), now=clock.now())
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    found = equation(issue_id)
    assert state(issue_id) == IssueState.SENT
    assert found.holds
    assert found.accepted == len(set(server.recipients)) == 100 - found.refused


def test_being_blocked_pauses_and_ends_nobody(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_id = started_issue(30)
    with scripted_server(lambda at, _: "554 5.7.1 reputation" if at == "CONTENT" else None) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert pause_reason(issue_id) == (IssueState.PAUSED, "blocked")
    assert equation(issue_id).settled == 0


def test_a_refused_login_pauses_with_the_reason(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_id = started_issue(3)
    with scripted_server(
        lambda at, _: "535 5.7.8 wrong password" if at == "AUTH" else None, extensions=("PIPELINING", "AUTH PLAIN")
    ) as server:
        use_server(server.url.replace("//", "//u:p@"), monkeypatch)
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert pause_reason(issue_id) == (IssueState.PAUSED, "login_refused")
    assert equation(issue_id).settled == 0


def test_an_uncertain_delivery_is_sent_again_where_the_issue_says_so(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = started_issue(3)
    with transaction() as session:
        issues.get(session, issue_id).when_uncertain = WhenUncertain.RESEND
    dropped: list[str] = []

    def script(at: str, who: str) -> str | None:
        if at == "CONTENT" and who == "r1@example.org" and not dropped:
            dropped.append(who)
            return DROP
        return None

    with scripted_server(script) as server:
        use_server(server.url, monkeypatch)
        sending.send_due(budget_seconds=10)
        assert equation(issue_id).accepted == 2
        with transaction() as session:
            session.execute(update(Batch).values(due_at=clock.now()))
            session.execute(update(Deferral).values(retry_at=clock.now()))
        sending.send_due(budget_seconds=10)
        sending.shut_down()
    assert equation(issue_id) == ledger.Equation(recipients=3, accepted=3, refused=0, skipped=0, uncertain=0)
    assert server.recipients.count("r1@example.org") == 1


def test_a_small_issue_is_not_held_up_by_a_big_one(installation: SmtpInbox) -> None:
    with transaction() as session:
        now = clock.now()
        for slug, count in (("grand", 30), ("petit", 3)):
            newsletter = a_newsletter(session, slug)
            an_article(session, newsletter, slug, seen=now - timedelta(minutes=1))
            readers(session, newsletter, count)
            issues.start(session, issues.draft(session, newsletter, now=now), batch_size=1, now=now)
        turns = [
            deliveries.claim(session, owner="here.1", lease_seconds=60, now=clock.now(), turn=turn) for turn in range(6)
        ]
    assert [one.issue_id for one in turns if one is not None].count(2) == 3


def test_a_message_in_doubt_for_long_does_not_stop_the_others(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_SMTP_CONNECTIONS", "2")
    issue_id = started_issue(40, batch_size=10)
    release = threading.Event()

    def script(at: str, who: str) -> None:
        if at == "CONTENT" and who == "r5@example.org":
            release.wait(30)

    with scripted_server(script) as server:
        use_server(server.url, monkeypatch)
        thread = threading.Thread(target=sending.send_due, kwargs={"budget_seconds": 10})
        thread.start()
        deadline = time.monotonic() + 10
        while len(server.accepted) < 38 and time.monotonic() < deadline:
            time.sleep(0.02)
        others = len(server.accepted)
        release.set()
        thread.join()
        sending.shut_down()
    # One more had its envelope sent along with the content in doubt.
    assert others >= 38
    assert equation(issue_id).accepted == 40


def test_only_confirmations_are_sent_when_only_they_are_asked_for(installation: SmtpInbox) -> None:
    issue_id = started_issue(5)
    with transaction() as session:
        request_id = a_signup(session, newsletters.get(session, "courrier"), now=clock.now())
        signups.handle(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=10, only_urgent=True)
    assert [one.recipients[0] for one in installation.messages] == ["lea@example.org"]
    assert equation(issue_id).settled == 0


def test_a_worker_that_is_asked_to_stop_hands_back_what_waits(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_SMTP_CONNECTIONS", "2")
    issue_id = started_issue(200, batch_size=50)
    with scripted_server(delay_seconds=0.01) as server:
        use_server(server.url, monkeypatch)
        monkeypatch.setattr(sending, "_STOP", [lambda: len(server.accepted) > 20])
        began = time.monotonic()
        sending.send_due(budget_seconds=60)
        assert time.monotonic() - began < 5
        sending.shut_down()
    found = equation(issue_id)
    assert (found.uncertain, found.refused, found.skipped) == (0, 0, 0)
    assert found.accepted == len(server.accepted) < 200
    with transaction() as session:
        assert set(session.execute(select(Batch.state)).scalars()) <= {"queued", "done"}
