"""A whole service to break: worker, beat, a slow SMTP server; and `check`, which tells what must hold whatever broke."""

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.embedded.processes import Supervisor
from mailer.issues import issues
from mailer.models.content import Feed, IssueState, Newsletter
from mailer.models.deliveries import Outcome
from mailer.newsroom import newsletters
from tests.factories import a_newsletter, an_article, readers
from tests.smtp_server import Script, ScriptedServer, scripted_server

READERS = 180
PATIENCE_SECONDS = 60
# Progress after a fault has ended, I6 of the reliability rules; the lease and the tick below are what it is made of.
RESUME_SECONDS = 30
# Slow enough that a fault meets a send under way.
SERVER_DELAY_SECONDS = 0.02
SETTINGS = {
    "MAILER_SMTP_CONNECTIONS": "2",
    "MAILER_TICK_SECONDS": "0.5",
    "MAILER_LEASE_SECONDS": "2",
    "MAILER_BATCH_SIZE": "20",
}
# The database itself refuses to change an outcome, and notes each state that an issue goes through.
WATCH = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'outcomes are only ever added'; END $$;
CREATE TRIGGER only_added BEFORE UPDATE OR DELETE ON outcomes FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE moves (issue_id bigint, origin text, target text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO moves VALUES (new.id, old.state, new.state); RETURN NULL; END $$;
CREATE TRIGGER note_moves AFTER UPDATE OF state ON issues FOR EACH ROW
WHEN (old.state IS DISTINCT FROM new.state) EXECUTE FUNCTION note();
"""
LEGAL = {
    ("draft", "scheduled"),
    ("scheduled", "draft"),
    ("scheduled", "sending"),
    ("draft", "sending"),
    ("draft", "failed"),
    ("scheduled", "failed"),
    ("draft", "cancelled"),
    ("scheduled", "cancelled"),
    ("sending", "paused"),
    ("paused", "sending"),
    ("sending", "cancelled"),
    ("paused", "cancelled"),
    ("sending", "sent"),
}


@dataclass(kw_only=True)
class Service:
    """What runs, and the issue that it sends."""

    supervisor: Supervisor  # of worker and beat
    stack: Stack
    server: ScriptedServer
    begun: list[tuple[float, str]]  # when the server heard of which recipient, on the monotonic clock
    issue_id: int = 0

    def begin(self) -> None:
        """Send an issue now, and return when a fifth of its readers have it."""
        with transaction() as session:
            issue = issues.draft(session, self.newsletter(session), now=clock.now())
            issues.schedule_now(session, issue, now=clock.now())
            self.issue_id = issue.id
        self.wait_for_share(0.2)

    def wait_for_share(self, share: float) -> None:
        """Return when that part of the readers have it, while others still wait."""
        wait_for(lambda: len(self.server.accepted) >= READERS * share)
        assert self.state() == IssueState.SENDING, "the send was over before the fault"

    def wait_for_progress(self, within_seconds: float = RESUME_SECONDS) -> None:
        """Return when one more reader has it, or all have. Nothing for that long fails the test."""
        before = len(self.server.accepted)
        wait_for(lambda: len(self.server.accepted) > before or self.state() == IssueState.SENT, seconds=within_seconds)

    def newsletter(self, session: Session) -> Newsletter:
        """The one whose readers wait."""
        return newsletters.get(session, "courrier")

    def state(self) -> IssueState:
        """Where the issue stands."""
        with transaction() as session:
            return issues.get(session, self.issue_id).state

    def begun_after(self, moment: float, addresses: Sequence[str] | None = None, *, until: float = float("inf")) -> int:
        """Count the mails begun after a moment, to some readers (None: to all)."""
        chosen = None if addresses is None else frozenset(addresses)
        return sum(moment < at < until and (chosen is None or address in chosen) for at, address in self.begun)


@contextmanager
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Service]:
    """Run worker and beat, with `environment` for them alone, and end them however far they are."""
    begun: list[tuple[float, str]] = []
    with (
        scripted_server(_noting(begun), delay_seconds=SERVER_DELAY_SECONDS) as server,
        Supervisor() as supervisor,
    ):
        for name, value in {**SETTINGS, "MAILER_SMTP_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        settings.load.cache_clear()
        with redis.Redis.from_url(settings.load().redis_url) as client:
            client.flushdb()
        stack = Stack(environment=environment, folder=tmp_path)
        for child in (stack.worker(), stack.beat()):
            supervisor.start(child)
        _make_readership()
        yield Service(supervisor=supervisor, stack=stack, server=server, begun=begun)
        # A stop in good order has a test of its own, and takes seconds.
        for name in supervisor.running():
            supervisor.end(name, signal.SIGKILL)


def wait_for(is_so: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return when it is so; fail the test when it does not come about."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(0.05)


def check(service: Service, *, ends_as: IssueState = IssueState.SENT, uncertain: int = 0, absent: int = 0) -> None:
    """Wait for the issue's end; then compare the ledger, its counters and what the server really took.

    `uncertain` deliveries at most may be so; `absent` are the readers who were erased meanwhile, nameless in the ledger.
    """
    wait_for(lambda: _is_finished(service.issue_id))
    with transaction() as session:
        issue = issues.get(session, service.issue_id)
        counted, summed = ledger.count_ledger(session, issue.id), ledger.equation(session, issue.id)
        lines = ledger.log(session, issue.id, outcome=None, after_id=0, limit=10 * READERS)
        rows = session.execute(text("SELECT origin, target FROM moves WHERE issue_id = :id"), {"id": issue.id})
        moves = [(row[0], row[1]) for row in rows]
    got = Counter(service.server.recipients)
    known = {line.address: line.outcome for line in lines if line.address is not None}
    lost = [one for one, outcome in known.items() if outcome in (None, Outcome.ACCEPTED) and one not in got]
    ghosts = [one for one in got if known.get(one, Outcome.ACCEPTED) not in (Outcome.ACCEPTED, Outcome.UNCERTAIN)]
    assert not [one for one, times in got.items() if times > 1], "I2: somebody got two"
    assert (lost, ghosts) == ([], []), "I1: somebody was lost, or got what the ledger denies"
    assert len(lines) - len(known) <= absent
    assert (issue.state, counted.holds, counted.recipients) == (ends_as, True, READERS), "I3: finished before it was"
    assert issue.recipients == counted.recipients == summed.recipients
    assert counted == summed, "I7: the counters differ from the ledger"
    assert counted.accepted <= len(got) <= counted.accepted + counted.uncertain, "I7: the server took something else"
    assert counted.uncertain <= uncertain
    assert set(moves) <= LEGAL


def one_text(service: Service) -> set[bytes]:
    """Return the mails as they were taken, each without what is one reader's own: a single one, when nothing changed."""
    return {_without_reader(content) for _, content in service.server.accepted}


def _without_reader(content: bytes) -> bytes:
    content = content.replace(b"=\r\n", b"")  # soft line breaks fall elsewhere in longer addresses
    for own in (
        rb"(?m)^(To|Date|Message-ID|List-[A-Za-z-]+|X-[A-Za-z-]+):.*\r\n(?:[ \t].*\r\n)*",
        rb"r\d+@example\.org",
    ):
        content = re.sub(own, b"", content)
    return re.sub(rb"/(u|p|c)/[\w.=~-]+", b"/token", content)


def _noting(begun: list[tuple[float, str]]) -> Script:
    def script(stage: str, argument: str) -> None:
        if stage == "RCPT":
            begun.append((time.monotonic(), argument))

    return script


def _make_readership() -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        readers(session, newsletter, READERS)
        # Nobody answers at the feed's made-up address.
        session.execute(update(Feed).values(last_read_at=now, next_read_at=now + timedelta(days=1)))
        session.execute(text("TRUNCATE moves"))


def _is_finished(issue_id: int) -> bool:
    with transaction() as session:
        return issues.get(session, issue_id).finished_at is not None
