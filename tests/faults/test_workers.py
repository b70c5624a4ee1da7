"""Workers and beat are killed, stopped, frozen or doubled in the middle of a send."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mailer import clock, queue
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import IssueState
from mailer.models.deliveries import Batch, BatchState
from tests.faults import service as whole
from tests.faults.service import Service, check

CONNECTIONS = 2
LEASE_SECONDS = 2
CLICKS = 50


def test_a_worker_process_is_killed(service: Service) -> None:
    service.begin()
    os.kill(processes(service)[0], signal.SIGKILL)
    service.wait_for_progress()
    check(service, uncertain=CONNECTIONS)


def test_the_whole_worker_is_killed(service: Service) -> None:
    service.begin()
    children = processes(service)
    service.supervisor.end("worker", signal.SIGKILL)
    for child in children:
        wait_until_gone(child)
    service.supervisor.start(service.stack.worker())
    service.wait_for_progress()
    check(service, uncertain=2 * CONNECTIONS)


def test_the_worker_is_stopped_and_started(service: Service) -> None:
    service.begin()
    began = time.monotonic()
    service.supervisor.end("worker")
    assert time.monotonic() - began < 15
    service.supervisor.start(service.stack.worker())
    service.wait_for_progress()
    check(service)


def test_a_worker_process_is_frozen_for_longer_than_its_lease(service: Service) -> None:
    service.begin()
    child = processes(service)[0]
    os.kill(child, signal.SIGSTOP)
    time.sleep(3 * LEASE_SECONDS)
    os.kill(child, signal.SIGCONT)
    check(service)


@pytest.mark.slow
def test_another_machine_takes_over_from_a_frozen_one_which_then_wakes_up(service: Service, tmp_path: Path) -> None:
    service.begin()
    frozen = processes(service)
    for child in frozen:
        os.kill(child, signal.SIGSTOP)
    in_their_hands = claimed()
    second = tmp_path / "second"
    second.mkdir()
    other = replace(service.stack, folder=second, extra={"MAILER_JOURNAL_DIR": str(second / "journal")})
    service.supervisor.start(replace(other.worker(), name="other worker"))
    try:
        whole.wait_for(lambda: service.state() == IssueState.SENT, seconds=200)
    finally:
        for child in frozen:
            os.kill(child, signal.SIGCONT)
    time.sleep(3)
    check(service, uncertain=in_their_hands)


def test_two_beats_send_one_issue(service: Service, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = replace(service.stack, folder=tmp_path / "second").beat()
    service.supervisor.start(replace(second, name="second beat"))
    service.begin()
    check(service)


def test_fifty_clicks_on_send_send_one_issue(service: Service) -> None:
    with transaction() as session:
        service.issue_id = issues.draft(session, service.newsletter(session), now=clock.now()).id
    together = threading.Barrier(CLICKS)

    def click() -> None:
        together.wait()
        try:
            with transaction() as session:
                issues.schedule_now(session, issues.get(session, service.issue_id), now=clock.now())
        except issues.IssueStateForbids:
            pass  # somebody else's click came first, and the worker was quick
        queue.enqueue(queue.START_ISSUE, service.issue_id)

    threads = [threading.Thread(target=click) for _ in range(CLICKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(service)


def claimed() -> int:
    """Count the deliveries in batches that some worker has claimed, without those recorded."""
    settled = Batch.accepted + Batch.refused + Batch.skipped + Batch.uncertain
    with transaction() as session:
        open_ones = select(func.sum(Batch.size - settled)).where(Batch.state == BatchState.CLAIMED)
        return int(session.execute(open_ones).scalar_one() or 0)


def processes(service: Service) -> list[int]:
    """Return the worker's child processes, those that send."""
    pid = service.supervisor.running()["worker"]
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pid: int) -> None:
    whole.wait_for(lambda: not Path(f"/proc/{pid}").exists())
