"""`bin/bench send`: an issue to N readers through the whole service, side by side with Postfix's smtp-source.

Measured from asking for the issue to the ledger's last row: freeze, Celery, personalised copies, outcomes. The
reference sends as many messages of the same size in as many sessions to the same sink, in the same run: as it comes, with a
connection for each message, and with its option -d, which keeps connections as we do.
"""

import functools
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select, text

from bench import installation, processes, report, sinks
from mailer import clock, settings
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.delivery import copies, deliveries, ledger
from mailer.embedded.processes import Supervisor
from mailer.embedded.services import Services
from mailer.migrations import run as migrations
from mailer.models.content import IssueState, Variant

_STEADY = text("""
SELECT percentile_disc(0.1) WITHIN GROUP (ORDER BY o.recorded_at), percentile_disc(0.9) WITHIN GROUP (ORDER BY o.recorded_at)
FROM outcomes o JOIN deliveries d ON d.id = o.delivery_id WHERE d.issue_id = :issue_id
""")
# Until the worker's processes are there.
_START_SECONDS = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured. `sessions` are the reference's connections; `sink` is fast, or Postfix's smtp-sink."""

    messages: int
    workers: int
    connections: int
    sessions: int
    delay_ms: int
    sink: sinks.Sink
    runs: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One issue and one reference run."""

    seconds: float
    freeze_seconds: float
    reference_seconds: float | None
    kept_seconds: float | None
    equation: ledger.Equation
    cpu: dict[str, float]
    peak_rss_mb: float
    steady_us: float


@dataclass(frozen=True, kw_only=True)
class Machinery:
    """A service that is ready to send to a sink."""

    supervisor: Supervisor
    sink_port: int
    postgres: int  # process id

    def families(self) -> dict[str, list[int]]:
        """List the processes whose CPU time is counted."""
        return {
            "worker": processes.family(self.supervisor.running()["worker"]),
            "postgres": processes.family(self.postgres),
        }


def send(
    messages: Annotated[int, typer.Option(help="Readers of the issue.")] = 20_000,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    connections: Annotated[int, typer.Option(help="SMTP connections of each worker process.")] = 10,
    sessions: Annotated[
        int | None, typer.Option(help="Connections of smtp-source; by default 10, or with a delay as many as ours.")
    ] = None,
    delay_ms: Annotated[int, typer.Option(help="How long the server waits before it answers.")] = 0,
    sink: Annotated[
        sinks.Sink, typer.Option(help="The server: our fast one, or Postfix's smtp-sink.")
    ] = sinks.Sink.FAST,
    runs: Annotated[int, typer.Option(min=1, help="How often; the median and the range are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure sending an issue, as a ratio to smtp-source in the same run; median of three with the range."""
    plan = Plan(
        messages=messages,
        workers=workers,
        connections=connections,
        sessions=sessions or (workers * connections if delay_ms else 10),
        delay_ms=delay_ms,
        sink=sink,
        runs=runs,
    )
    report.print_result(measure(plan), as_json=as_json)


def measure(plan: Plan) -> dict[str, object]:
    """Run the plan on a fresh installation."""
    with running(plan) as machinery:
        return _result([_run(machinery, plan) for _ in range(plan.runs)], plan)


@contextmanager
def running(plan: Plan, *, log: Path | None = None) -> Iterator[Machinery]:
    """Start services, a sink (which logs what it takes, if asked to), a worker and beat; make the readers."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = supervisor.private_directory("mailer-bench-")
        servers = stack.enter_context(Services(folder, supervisor=supervisor))
        port = stack.enter_context(sinks.run(plan.sink, folder, delay_ms=plan.delay_ms, log=log))
        os.environ |= installation.environment(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            smtp_port=port,
            journal_dir=folder / "journal",
        )
        os.environ |= {"MAILER_SMTP_CONNECTIONS": str(plan.connections), "MAILER_TICK_SECONDS": "1"}
        installation.forget()
        migrations.upgrade(settings.load().database_url)
        installation.fill(plan.messages)
        machine = Stack(environment={}, folder=folder, worker_processes=plan.workers)
        for child in (machine.worker(), machine.beat()):
            supervisor.start(child)
        postmaster = (folder / "postgres" / "postmaster.pid").read_text().splitlines()[0]
        time.sleep(_START_SECONDS)
        yield Machinery(supervisor=supervisor, sink_port=port, postgres=int(postmaster))


def _run(machinery: Machinery, plan: Plan) -> Run:
    issue_id = installation.draft()
    families = machinery.families()
    before = {name: processes.cpu_seconds(pids) for name, pids in families.items()}
    began = time.perf_counter()
    installation.start(issue_id)
    wait_for(machinery, issue_id, IssueState.SENDING, IssueState.SENT)
    frozen = time.perf_counter()
    wait_for(machinery, issue_id, IssueState.SENT)
    seconds = time.perf_counter() - began
    after = {name: processes.cpu_seconds(pids) for name, pids in machinery.families().items()}
    with transaction() as session:
        found = ledger.count_ledger(session, issue_id)
    reference = functools.partial(
        sinks.smtp_source_seconds,
        machinery.sink_port,
        messages=plan.messages,
        size_bytes=_size_of(issue_id),
        sessions=plan.sessions,
    )
    return Run(
        seconds=seconds,
        freeze_seconds=frozen - began,
        reference_seconds=reference(),
        kept_seconds=reference(keeps=True),
        equation=found,
        cpu={name: (after[name] - before[name]) / plan.messages * 1e6 for name in before},
        peak_rss_mb=processes.peak_rss_mb(families["worker"]),
        steady_us=_steady_us(issue_id, plan.messages),
    )


def wait_for(machinery: Machinery, issue_id: int, *states: IssueState) -> None:
    """Wait until an issue is in one of `states`; an error if a process of the service ends."""
    while installation.state_of(issue_id) not in states:
        machinery.supervisor.check()
        time.sleep(0.02)


def _steady_us(issue_id: int, messages: int) -> float:
    """Return the time per message in mid-send, from the tenth to the ninetieth percentile: without start and end."""
    with transaction() as session:
        tenth, ninetieth = session.execute(_STEADY, {"issue_id": issue_id}).one()
    return float((ninetieth - tenth).total_seconds()) / (0.8 * messages) * 1e6


def _size_of(issue_id: int) -> int:
    """Return the bytes of one reader's copy."""
    with transaction() as session:
        variant = session.execute(select(Variant.id).where(Variant.issue_id == issue_id)).scalar_one()
        copies.load(session, variant)
    reader = deliveries.Recipient(
        delivery_id=1,
        variant_id=variant,
        subscription_id=1,
        address="reader1@example1.org",
        confirmed_at=clock.now(),
        attempts=0,
        first_deferred_at=None,
        reason=None,
    )
    return len(copies.outgoing(copies.loaded(variant), reader).content())


def _result(runs: list[Run], plan: Plan) -> dict[str, object]:
    ratios = [run.reference_seconds / run.seconds for run in runs if run.reference_seconds]
    references = [plan.messages / run.reference_seconds for run in runs if run.reference_seconds]
    kept = [run.kept_seconds / run.seconds for run in runs if run.kept_seconds]
    found = runs[-1].equation
    return {
        "messages": plan.messages,
        "workers": plan.workers,
        "connections": plan.connections,
        "sessions": plan.sessions,
        "delay_ms": plan.delay_ms,
        "sink": sinks.name(plan.sink),
        "messages_per_second": round(statistics.median(plan.messages / run.seconds for run in runs)),
        "smtp_source_per_second": round(statistics.median(references)) if references else sinks.NO_SMTP_SOURCE,
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
        "spread": [round(min(ratios), 2), round(max(ratios), 2)] if ratios else None,
        # The same with smtp-source -d, which keeps its connections as we do.
        "ratio_to_kept_connections": round(statistics.median(kept), 2) if kept else None,
        "cpu_us_per_message": {
            name: round(statistics.median(run.cpu[name] for run in runs), 1) for name in runs[0].cpu
        },
        "steady_us_per_message": round(statistics.median(run.steady_us for run in runs), 1),
        "freeze_seconds": round(statistics.median(run.freeze_seconds for run in runs), 2),
        "peak_rss_mb": round(max(run.peak_rss_mb for run in runs)),
        "equation": f"{found.recipients} = {found.accepted} + {found.refused} + {found.skipped} + {found.uncertain}",
        "runs": plan.runs,
        "machine": report.machine(),
    }
