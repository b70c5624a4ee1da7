"""`bin/bench send`: an issue to N readers through the whole service, side by side with Postfix's smtp-source.

Measured from asking for the issue to the ledger's last row: freeze, Celery, personalised copies, outcomes. The
reference sends as many messages of the same size over as many connections to the same sink, in the same run.
"""

import json
import os
import platform
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select, text

from bench import processes, sinks
from mailer import clock, issues, ledger, links, message, newsletters, queue, settings
from mailer.cli.demo_installation import NEWSLETTER
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.embedded import sample
from mailer.embedded.processes import Supervisor
from mailer.embedded.services import Services
from mailer.migrations import run as migrations
from mailer.models.content import Article, IssueState, Variant

RUNS = 3
_READERS = text("""
WITH made AS (
    INSERT INTO subscribers (address, address_key, created_at)
    SELECT 'reader' || n || '@example' || n % 50 || '.org', 'reader' || n || '@example' || n % 50 || '.org', now()
    FROM generate_series(1, :count) n RETURNING id
)
INSERT INTO subscriptions (subscriber_id, newsletter_id, state, language, requested_at, confirmed_at)
SELECT id, :newsletter_id, 'confirmed', 'fr', now(), now() FROM made
""")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One issue and one reference run."""

    seconds: float
    reference_seconds: float | None
    equation: ledger.Equation
    cpu: dict[str, float]
    peak_rss_mb: float


def send(
    messages: Annotated[int, typer.Option(help="Readers of the issue.")] = 20_000,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 2,
    connections: Annotated[int, typer.Option(help="SMTP connections of each worker process.")] = 10,
    sessions: Annotated[int, typer.Option(help="Connections of smtp-source.")] = 10,
    delay_ms: Annotated[int, typer.Option(help="How long the server waits before it answers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure sending an issue, as a ratio to smtp-source in the same run; median of three with the range."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = supervisor.private_directory("mailer-bench-")
        servers = stack.enter_context(Services(folder, supervisor=supervisor))
        port = stack.enter_context(sinks.fast_sink(folder, delay_ms=delay_ms))
        os.environ |= {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "MAILER_SECRET_KEY": "a secret for measuring, long enough",
            "MAILER_PUBLIC_URL": "https://lettre.courrier.example",
            "MAILER_SMTP_URL": f"smtp://127.0.0.1:{port}",
            "MAILER_SMTP_CONNECTIONS": str(connections),
            "MAILER_JOURNAL_DIR": str(folder / "journal"),
            "MAILER_TICK_SECONDS": "1",
        }
        migrations.upgrade(settings.load().database_url)
        _fill(messages)
        machine = Stack(environment={}, folder=folder, worker_processes=workers)
        for child in (machine.worker(), machine.beat()):
            supervisor.start(child)
        postgres = _postgres_pid(folder)
        time.sleep(4)  # until the worker's processes are there
        runs = [_run(supervisor, port, postgres, messages=messages, sessions=sessions) for _ in range(RUNS)]
    result = _result(runs, messages=messages, workers=workers, connections=connections, delay_ms=delay_ms)
    typer.echo(json.dumps(result) if as_json else "\n".join(f"{name:28} {value}" for name, value in result.items()))


def _fill(messages: int) -> None:
    """Make the sample newsletter with as many confirmed readers."""
    with transaction() as session:
        now = clock.now()
        values = {**NEWSLETTER, "site_url": "https://courrier.example"}
        newsletter = newsletters.create(session, "courrier", values=values, now=now)
        newsletters.add_feed(session, newsletter, "https://courrier.example/feed.xml", now=now)
        for feed in newsletters.feeds(session, newsletter):
            feed.next_read_at = now + timedelta(days=1)
        session.execute(_READERS, {"count": messages, "newsletter_id": newsletter.id})
    with transaction() as session:
        session.execute(text("ANALYZE"))


def _run(supervisor: Supervisor, port: int, postgres: int, *, messages: int, sessions: int) -> Run:
    issue_id = _draft()
    worker = processes.family(supervisor.running()["worker"])
    before = {"worker": processes.cpu_seconds(worker), "postgres": processes.cpu_seconds(processes.family(postgres))}
    began = time.perf_counter()
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue_id), now=clock.now())
    queue.enqueue(queue.START_ISSUE, issue_id)
    while not _is_sent(issue_id):
        supervisor.check()
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    after = {"worker": processes.cpu_seconds(worker), "postgres": processes.cpu_seconds(processes.family(postgres))}
    with transaction() as session:
        found = ledger.count_ledger(session, issue_id)
    size = _size_of(issue_id)
    return Run(
        seconds=seconds,
        reference_seconds=sinks.smtp_source_seconds(port, messages=messages, size_bytes=size, sessions=sessions),
        equation=found,
        cpu={name: (after[name] - before[name]) / messages * 1e6 for name in before},
        peak_rss_mb=processes.peak_rss_mb(worker),
    )


def _draft() -> int:
    """Draft an issue of twelve new articles."""
    with transaction() as session:
        now = clock.now()
        newsletter = newsletters.get(session, "courrier")
        feed = newsletters.feeds(session, newsletter)[0]
        for number, one in enumerate(sample.articles(started_at=now, later_at=None)):
            key = f"{one.slug}-{now.timestamp()}"
            url = f"https://courrier.example/{key}"
            words: dict[str, object] = {"title": one.title, "excerpt": one.excerpt, "topics": [one.topic]}
            dates = {"published_at": now - timedelta(seconds=number + 1), "first_seen_at": now, "updated_at": now}
            picture = f"https://courrier.example/{one.slug}.jpg"
            session.add(
                Article(feed_id=feed.id, guid=key, url=url, canonical_url=key, image_url=picture, **words, **dates)
            )
        session.flush()
        return issues.draft(session, newsletter, now=now + timedelta(milliseconds=1)).id


def _is_sent(issue_id: int) -> bool:
    with transaction() as session:
        return issues.get(session, issue_id).state == IssueState.SENT


def _size_of(issue_id: int) -> int:
    """Return the bytes of one reader's copy."""
    with transaction() as session:
        found = session.execute(select(Variant).where(Variant.issue_id == issue_id)).scalar_one()
    compiled = message.compile_message(
        nonce=found.nonce, headers=found.headers, subject=found.subject, text=found.text, html=found.html
    )
    token = "T" * links.TOKEN_LENGTH
    reader = message.Reader(
        address="reader1@example1.org",
        unsubscribe=token,
        oneclick=token,
        preferences=token,
        message_id=links.message_id(1, "courrier.example"),
    )
    return len(compiled.fill(reader, now=clock.now()))


def _postgres_pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def _result(runs: list[Run], *, messages: int, workers: int, connections: int, delay_ms: int) -> dict[str, object]:
    rates = sorted(messages / run.seconds for run in runs)
    ratios = sorted(run.reference_seconds / run.seconds for run in runs if run.reference_seconds)
    references = sorted(messages / run.reference_seconds for run in runs if run.reference_seconds)
    found = runs[-1].equation
    return {
        "messages": messages,
        "workers": workers,
        "connections": connections,
        "delay_ms": delay_ms,
        "messages_per_second": round(statistics.median(rates)),
        "smtp_source_per_second": round(statistics.median(references))
        if references
        else "smtp-source is not installed",
        "ratio": round(statistics.median(ratios), 2) if ratios else None,
        "spread": [round(ratios[0], 2), round(ratios[-1], 2)] if ratios else None,
        "cpu_us_per_message": {
            name: round(statistics.median(run.cpu[name] for run in runs), 1) for name in runs[0].cpu
        },
        "peak_rss_mb": round(max(run.peak_rss_mb for run in runs)),
        "equation": f"{found.recipients} = {found.accepted} + {found.refused} + {found.skipped} + {found.uncertain}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
    }
