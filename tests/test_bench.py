"""The bench: small runs through its command, and that its proof finds what it is there to find."""

import json
import shutil
import smtplib
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bench import proof, sinks
from mailer import clock, issues, scheduling, sending
from mailer.db import transaction
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.source import ROOT

needs_a_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="bench/fastsink.c is built with cc")
SMALL = ["--recipients", "240", "--seconds", "2", "--json"]


def bench(*arguments: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@needs_a_compiler
def test_kills_in_mid_send_lose_and_double_nobody() -> None:
    code, found = bench("kill", *SMALL, "--kills", "2", "--victim", "worker", "--victim", "child")
    assert code == 0, found
    assert found["passed"] is True
    assert found["kills"]
    assert (found["lost"], found["doubled"], found["ghosts"]) == (0, 0, 0)


@pytest.mark.slow
@needs_a_compiler
def test_two_hosts_share_an_issue_and_survive_each_others_kill() -> None:
    code, found = bench("kill", *SMALL, "--hosts", "2", "--workers", "1", "--kills", "1", "--victim", "worker")
    assert code == 0, found
    assert (found["hosts"], found["state"]) == (2, "sent")


@pytest.mark.slow
@needs_a_compiler
def test_stops_in_mid_send_leave_nothing_uncertain() -> None:
    code, found = bench("kill", *SMALL, "--signal", "term", "--kills", "2", "--victim", "worker", "--victim", "service")
    assert code == 0, found
    assert found["uncertain"] == 0


@needs_a_compiler
def test_an_issue_that_is_not_sent_in_time_fails_the_run_and_says_how_far_it_is() -> None:
    code, found = bench("kill", *SMALL, "--patience", "0.5")
    assert code == 1
    assert found["passed"] is False
    assert "The time is up: the issue is" in str(found["failure"])


@needs_a_compiler
def test_the_sink_has_written_down_a_message_before_it_answers(tmp_path: Path) -> None:
    log = tmp_path / "taken"
    with sinks.fast_sink(tmp_path, delay_ms=0, log=log) as port, smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("lettre@courrier.example", ["reader@example.org"], b"Subject: Bonjour\r\n\r\nBonjour\r\n")
        assert [one.recipient for one in sinks.taken(log)] == ["reader@example.org"]


@pytest.fixture
def sent(installation: SmtpInbox) -> tuple[int, list[sinks.Taken]]:
    """An issue that five readers got, and what the server would have written down."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        readers(session, newsletter, 5)
        issue_id = issues.draft(session, newsletter, now=clock.now()).id
    scheduling.start_issue(issue_id)
    sending.send_due(budget_seconds=10)
    return issue_id, [sinks.Taken(recipient=one.recipients[0], at=0.0) for one in installation.messages]


def test_the_proof_finds_nothing_wrong_when_nothing_is(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    assert len(taken) == 5
    assert proof.compare(issue_id, taken).is_flawless


def test_the_proof_finds_whom_the_server_never_saw(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, taken[1:])
    assert (found.lost, found.ghosts, found.is_flawless) == (1, 1, False)


def test_the_proof_finds_who_got_two(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, [*taken, taken[0]])
    assert (found.doubled, found.is_flawless) == (1, False)


def test_the_proof_finds_who_got_a_mail_that_the_ledger_knows_nothing_of(sent: tuple[int, list[sinks.Taken]]) -> None:
    issue_id, taken = sent
    found = proof.compare(issue_id, [*taken, sinks.Taken(recipient="stranger@example.org", at=0.0)])
    assert (found.unrecorded, found.is_flawless) == (1, False)
