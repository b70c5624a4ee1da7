"""`bin/bench freeze`: how long freezing an issue's recipients takes, and how fast batches are claimed right afterwards.

Right afterwards, because the planner knows nothing yet about a million fresh rows.
"""

import os
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

import typer

from bench import installation, report
from mailer import clock, settings
from mailer.db import transaction
from mailer.delivery import deliveries, journal, runs
from mailer.embedded.processes import Supervisor
from mailer.embedded.services import Services
from mailer.issues import issues
from mailer.migrations import run as migrations

CLAIMS = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """One issue: seconds to freeze it, and deliveries a second that one process can claim, read and hand back."""

    freeze_seconds: float
    claimed_per_second: float


def freeze(
    messages: Annotated[int, typer.Option(help="Readers of the issue.")] = 1_000_000,
    repeats: Annotated[int, typer.Option("--runs", min=1, help="How often; the median and the range are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure freezing an issue's recipients and claiming from the fresh rows."""
    report.print_result(measure(messages, repeats), as_json=as_json)


def measure(messages: int, repeats: int) -> dict[str, object]:
    """Freeze as many issues on a fresh installation."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = supervisor.private_directory("mailer-bench-")
        servers = stack.enter_context(Services(folder, supervisor=supervisor))
        os.environ |= installation.environment(
            database_url=servers.database_url, redis_url=servers.redis_url, smtp_port=1, journal_dir=folder / "journal"
        )
        installation.forget()
        migrations.upgrade(settings.load().database_url)
        installation.fill(messages)
        results = [_run() for _ in range(repeats)]
    frozen = [one.freeze_seconds for one in results]
    claimed = [one.claimed_per_second for one in results]
    return {
        "messages": messages,
        "freeze_seconds": round(statistics.median(frozen), 2),
        "freeze_spread": [round(min(frozen), 2), round(max(frozen), 2)],
        "claimed_per_second": round(statistics.median(claimed)),
        "claimed_spread": [round(min(claimed)), round(max(claimed))],
        "runs": repeats,
        "machine": report.machine(),
    }


def _run() -> Run:
    issue_id = installation.draft()
    chosen = settings.load()
    began = time.perf_counter()
    with transaction() as session:
        issue = issues.get(session, issue_id)
        issues.start(session, issue, batch_size=chosen.batch_size, now=clock.now())
    frozen = time.perf_counter()
    own = journal.Journal(chosen.journal_dir, capacity=chosen.batch_size)
    count = sum(_claim(own, turn) for turn in range(CLAIMS))
    seconds = time.perf_counter() - frozen
    own.close()
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "measured", now=clock.now())
    return Run(freeze_seconds=frozen - began, claimed_per_second=count / seconds)


def _claim(own: journal.Journal, turn: int) -> int:
    """Claim a batch as a worker does; return how many deliveries it has."""
    with transaction() as session:
        claim = deliveries.claim(session, owner=own.owner, lease_seconds=3600, now=clock.now(), turn=turn)
        return len(runs.begin(session, claim, own).open) if claim is not None else 0
