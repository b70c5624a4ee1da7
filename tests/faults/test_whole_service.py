"""Real worker and beat while things break under them: nobody is lost, nobody gets two, and sending goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from mailer import clock, issues, ledger, settings
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.embedded.processes import Supervisor
from mailer.models.content import IssueState
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.smtp_server import ScriptedServer, scripted_server

READERS = 240
PATIENCE_SECONDS = 60
# Slow enough that the fault meets a send under way: about 60 messages a second.
SERVER_DELAY_SECONDS = 0.008


@contextmanager
def sending_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Supervisor, Stack, ScriptedServer, int]]:
    """A worker, beat, and an issue on its way to READERS through a slow server."""
    with scripted_server(delay_seconds=SERVER_DELAY_SECONDS) as server, Supervisor() as supervisor:
        chosen = {
            "MAILER_SMTP_URL": server.url,
            "MAILER_SMTP_CONNECTIONS": "2",
            "MAILER_TICK_SECONDS": "0.5",
            "MAILER_LEASE_SECONDS": "2",
            "MAILER_BATCH_SIZE": "20",
        }
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        settings.load.cache_clear()
        redis.Redis.from_url(settings.load().redis_url).flushdb()
        stack = Stack(environment={}, folder=tmp_path)
        for child in (stack.worker(), stack.beat()):
            supervisor.start(child)
        with transaction() as session:
            newsletter = a_newsletter(session)
            an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
            readers(session, newsletter, READERS)
            issue = issues.draft(session, newsletter, now=clock.now())
            issues.schedule_now(session, issue, now=clock.now())
            issue_id = issue.id
        wait_for(lambda: len(server.accepted) >= READERS // 5)
        yield supervisor, stack, server, issue_id
        wait_for(lambda: state(issue_id) == IssueState.SENT)
        supervisor.stop()


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def state(issue_id: int) -> IssueState:
    with transaction() as session:
        return issues.get(session, issue_id).state


def check(server: ScriptedServer, issue_id: int, *, uncertain: int) -> None:
    """Compare the ledger with what the server really took."""
    with transaction() as session:
        found = ledger.count_ledger(session, issue_id)
    got = server.recipients
    assert len(got) == len(set(got)), "somebody got two"
    assert found.holds
    assert found.recipients == READERS
    assert found.uncertain <= uncertain
    assert READERS - len(got) <= found.uncertain, "somebody was lost"
    assert found.accepted <= len(got)


def test_redis_is_emptied_in_mid_send(installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sending_service(tmp_path, monkeypatch) as (_, _, server, issue_id):
        redis.Redis.from_url(settings.load().redis_url).flushdb()
    check(server, issue_id, uncertain=0)


def test_a_worker_process_is_killed_in_mid_send(
    installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending_service(tmp_path, monkeypatch) as (supervisor, _, server, issue_id):
        child = Path(f"/proc/{supervisor.running()['worker']}/task/{supervisor.running()['worker']}/children")
        os.kill(int(child.read_text().split()[0]), signal.SIGKILL)
    check(server, issue_id, uncertain=2)


def test_the_worker_is_stopped_and_started_in_mid_send(
    installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending_service(tmp_path, monkeypatch) as (supervisor, stack, server, issue_id):
        began = time.monotonic()
        supervisor.end("worker")
        assert time.monotonic() - began < 15
        supervisor.start(stack.worker())
    check(server, issue_id, uncertain=0)


def test_two_beats_send_one_issue(installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sending_service(tmp_path, monkeypatch) as (supervisor, _, server, issue_id):
        (tmp_path / "second").mkdir()
        second = Stack(environment={}, folder=tmp_path / "second").beat()
        supervisor.start(replace(second, name="second beat"))
    check(server, issue_id, uncertain=0)


def test_pausing_stops_within_seconds_and_resuming_goes_on(
    installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sending_service(tmp_path, monkeypatch) as (_, _, server, issue_id):
        with transaction() as session:
            issues.pause(session, issues.get(session, issue_id), "test", now=clock.now())
        time.sleep(2)
        taken = len(server.accepted)
        time.sleep(2)
        assert len(server.accepted) == taken
        with transaction() as session:
            issues.resume(session, issues.get(session, issue_id), now=clock.now())
    check(server, issue_id, uncertain=0)
