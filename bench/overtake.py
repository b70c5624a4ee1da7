"""`bin/bench overtake`: how long a confirmation mail takes while an issue to a million readers is being sent."""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from bench import installation, report, sinks
from bench.send import Machinery, Plan, running, wait_for
from mailer import clock, queue
from mailer.audience import signups, subscriptions
from mailer.db import transaction
from mailer.models.content import IssueState
from mailer.newsroom import newsletters

PATIENCE_SECONDS = 60.0


def overtake(
    messages: Annotated[int, typer.Option(help="Readers of the issue.")] = 1_000_000,
    signups: Annotated[int, typer.Option(min=2, help="How many people sign up meanwhile.")] = 60,
    delay_ms: Annotated[int, typer.Option(help="How long the server waits before it answers.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure from sign-up to the server's acceptance of the confirmation, behind an issue that is being sent."""
    report.print_result(measure(messages, signups, delay_ms), as_json=as_json)


def measure(messages: int, signups: int, delay_ms: int) -> dict[str, object]:
    """Start the issue, sign up twice a second, and look when the sink took each confirmation."""
    plan = Plan(
        messages=messages, workers=2, connections=10, sessions=10, delay_ms=delay_ms, sink=sinks.Sink.FAST, runs=1
    )
    with TemporaryDirectory() as place:
        log = Path(place) / "taken"
        with running(plan, log=log) as machinery:
            issue_id = installation.draft()
            installation.start(issue_id)
            wait_for(machinery, issue_id, IssueState.SENDING)
            asked = {}
            for number in range(signups):
                address = f"newcomer{number}@example.org"
                asked[address] = time.time()
                _sign_up(address)
                time.sleep(0.5)
            is_still_sending = installation.state_of(issue_id) == IssueState.SENDING
            seconds = sorted(_wait(machinery, log, asked))
    return {
        "messages": messages,
        "signups": signups,
        "p50_seconds": round(statistics.median(seconds), 2),
        "p95_seconds": round(statistics.quantiles(seconds, n=20)[-1], 2),
        "longest_seconds": round(seconds[-1], 2),
        "issue_was_still_sending": is_still_sending,
        "machine": report.machine(),
    }


def _sign_up(address: str) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        asked = signups.Asked(address=address, language="fr")
        request_id = signups.request(session, newsletter.id, asked, origin=subscriptions.Origin(), now=clock.now())
    queue.enqueue(queue.HANDLE_SIGNUP, request_id)


def _wait(machinery: Machinery, log: Path, asked: dict[str, float]) -> list[float]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        machinery.supervisor.check()
        taken = {one.recipient: one.at for one in sinks.taken(log) if one.recipient in asked}
        if len(taken) == len(asked):
            return [taken[address] - at for address, at in asked.items()]
        if time.monotonic() > deadline:
            missing = len(asked) - len(taken)
            raise TimeoutError(f"{missing} confirmations did not arrive within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.5)
