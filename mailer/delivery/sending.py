"""Sending: claim batches, keep the transports busy, record what became of every message. The core of the worker.

A batch is under a lease with a fence, so a worker that was thought dead can't write; a journal on local disk says what
was handed over before a kill, so its successor neither loses nor doubles anything (docs/decisions/0006). Several batches
are open at once, so that connections never wait for the last answers of one.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Final

import psycopg
import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.db import transaction
from mailer.delivery import breaker, copies, deliveries, journal, rates, routing, runs, servers, takeover
from mailer.delivery.runs import Run
from mailer.delivery.transports.pool import Trouble
from mailer.delivery.transports.verdicts import MAIL, SIZE, Result, Verdict
from mailer.issues import issues
from mailer.mail import dkim
from mailer.models.content import PauseReason

LOOK_AGAIN_SECONDS: Final = 0.5
# Each open batch has a journal, which is an open file.
MOST_RUNS: Final = 64
# When the round's time is up: how long a reply may take before what has not left is taken back.
UNWIND_SECONDS: Final = 10.0
# A stop is shorter: the whole worker must be gone within 15 s.
STOP_UNSENT_SECONDS: Final = 2.0
STOP_SECONDS: Final = 8.0
# When a batch that can't be sent as things are is looked at again.
HELD_SECONDS: Final = 60.0
DATABASE_AWAY_SECONDS: Final = 1.0

log = structlog.get_logger()


def send_due(*, budget_seconds: float, only_urgent: bool = False, meanwhile: Callable[[], None] | None = None) -> int:
    """Send batches that are due until there are none or the time is up. Returns how many batches were worked on.

    What is under way when the time is up is finished, and the rest handed back. With `only_urgent`, only confirmations.
    `meanwhile` is called twice a second, for what must not wait until a process is free.
    Talks to the database, Redis and the SMTP servers.
    """
    return _sender().round(budget_seconds=budget_seconds, only_urgent=only_urgent, meanwhile=meanwhile)


def stop_when(is_stopping: Callable[[], bool]) -> None:
    """Ask `is_stopping` between messages: once it says yes, a round ends within seconds. For the worker's entry point."""
    _STOP.append(is_stopping)


def shut_down() -> None:
    """End the process's sending: wait for answers a little, record, close connections and journals."""
    if _sender.cache_info().currsize:
        _sender().close()
        _sender.cache_clear()
    copies.forget()


_STOP: Final[list[Callable[[], bool]]] = []


@functools.cache
def _sender() -> "Sender":
    """The process's sender, kept over rounds; made after the fork, at first use."""
    return Sender()


class Sender:
    """The batches that this process has open, and what hears from the transports about them."""

    def __init__(self) -> None:
        self._journals: list[journal.Journal] = []
        self._runs: dict[int, Run] = {}
        self._run_of: dict[int, Run] = {}
        self._breakers: dict[int, breaker.Breaker] = {}
        self._finished: list[Run] = []
        self._meanwhile: Callable[[], None] | None = None
        self._pauses: dict[int, Trouble] = {}
        self._turn = 0
        self._over_since = self._nothing_until = self._urgent_at = self._away_until = 0.0
        self._rates = rates.Rates(settings.load().redis_url)
        self._dispatcher = routing.begin(self._rates, self)

    def round(self, *, budget_seconds: float, only_urgent: bool, meanwhile: Callable[[], None] | None) -> int:
        """See send_due."""
        end = time.monotonic() + budget_seconds
        self._meanwhile = meanwhile
        self._nothing_until = self._urgent_at = self._over_since = 0.0
        begun = 0
        if not self._runs and servers.are_ours():
            with self._database():
                with transaction() as session:
                    routes = servers.routes(session)
                self._dispatcher = routing.renewed(self._dispatcher, routes, self)
        self._dispatcher.turn(0)
        while True:
            now = time.monotonic()
            if now >= end or is_stopping():
                self._unwind(now)
                if not self._runs or (is_stopping() and now - self._over_since > STOP_SECONDS + STOP_UNSENT_SECONDS):
                    break
                if now - self._over_since > UNWIND_SECONDS and not is_stopping():
                    # Somebody thinks about a message for minutes: let the others go on meanwhile.
                    end, self._over_since = now + budget_seconds, 0.0
            else:
                opened = self._open_more(now, only_urgent=only_urgent)
                begun += opened
                if not opened and not self._runs:
                    break
            self._dispatcher.turn(0.1)
            self._settle_up()
        self._dispatcher.rest()
        return begun

    def close(self) -> None:
        """Break off what is under way, record it, and end. What can't be recorded stays in the journals."""
        self._dispatcher.hand_back()
        self._dispatcher.close()
        self._settle_up(at_once=True)
        self._rates.close()
        for one in self._journals:
            one.close()

    # What the transports say.

    def handed(self, key: int) -> None:
        """Note in the journal that the content of a message is about to leave."""
        self._run_of[key].journal.handed(key)

    def settled(self, key: int, result: Result) -> None:
        """Take the verdict on a message."""
        run = self._run_of.pop(key, None)
        if run is None:
            return  # of a batch that was taken over meanwhile
        run.journal.settled(key, takeover.CODES[result.verdict])
        issue_id = run.claim.issue_id
        if issue_id is not None:
            self._watch(issue_id, result)
        if result.verdict is Verdict.BLOCKED and result.stage in (MAIL, SIZE) and issue_id is not None:
            run.hold(key, 0)  # the issue is paused; this one has not had its try
        else:
            run.take(key, result)
        self._note_end(run)

    def held(self, key: int, seconds: float, trouble: Trouble | None) -> None:
        """Take back a message that did not leave."""
        run = self._run_of.pop(key, None)
        if run is None:
            return
        run.hold(key, seconds)
        if trouble is not None and run.claim.issue_id is not None:
            run.trouble = trouble
            if trouble.is_ours:
                self._stop_issue(run.claim.issue_id, trouble)
        self._note_end(run)

    def _note_end(self, run: Run) -> None:
        if not run.open:
            self._finished.append(run)

    def _watch(self, issue_id: int, result: Result) -> None:
        watcher = self._breakers.get(issue_id)
        if watcher is None:
            watcher = self._breakers[issue_id] = breaker.Breaker()
        reason = watcher.see(result)
        if reason is not None:
            self._stop_issue(issue_id, Trouble(code=reason, words=result.reply, is_ours=True))

    def _stop_issue(self, issue_id: int, trouble: Trouble) -> None:
        """Begin nothing more of an issue; it is paused as soon as the loop comes round to the database."""
        if issue_id in self._pauses:
            return
        self._pauses[issue_id] = trouble
        for run in list(self._runs.values()):
            if run.claim.issue_id == issue_id:
                self._take_back(run)

    def _take_back(self, run: Run) -> None:
        for key in self._dispatcher.withdraw(run.open.keys()):
            del self._run_of[key]
            run.hold(key, 0)
        self._note_end(run)

    # Opening batches.

    def _open_more(self, now: float, *, only_urgent: bool) -> int:
        """Open batches while the transports could run out of messages; confirmations in any case, twice a second."""
        if now < self._away_until or self._owes_records() or not self._dispatcher.is_usable():
            return 0
        opened = 0
        if now >= self._urgent_at:
            self._urgent_at = now + LOOK_AGAIN_SECONDS
            if self._meanwhile is not None:
                with self._database():
                    self._meanwhile()
            while len(self._runs) < MOST_RUNS and self._open_one(only_urgent=True):
                opened += 1
        while not only_urgent and now >= self._nothing_until and self._dispatcher.wants_more():
            if len(self._runs) >= MOST_RUNS or not self._open_one(only_urgent=False):
                self._nothing_until = now + LOOK_AGAIN_SECONDS
                break
            opened += 1
        return opened

    def _open_one(self, *, only_urgent: bool) -> bool:
        """Claim a batch and queue its messages. False when none is due."""
        own = self._journals.pop() if self._journals else self._new_journal()
        run: Run | None = None
        has_failed = True
        with self._database():
            run = self._claim(own, only_urgent=only_urgent)
            has_failed = False
        if has_failed:
            own.abandon()  # the claim may have been committed; an empty journal says that nothing was handed over
        elif run is None:
            self._journals.append(own)
        if run is None:
            return False
        own.begin(batch=run.claim.batch_id, fence=run.claim.fence)
        self._runs[run.claim.batch_id] = run
        self._run_of.update(dict.fromkeys(run.open, run))
        messages = [copies.outgoing(copies.loaded(one.variant_id), one) for one in run.open.values()]
        self._dispatcher.add(messages, urgent=run.claim.issue_id is None)
        self._note_end(run)
        return True

    def _claim(self, own: journal.Journal, *, only_urgent: bool) -> Run | None:
        """Claim the next batch; one taken over from a silent worker is first made good from that worker's journal."""
        chosen = settings.load()
        while True:
            self._turn += 1
            with transaction() as session:
                claim = deliveries.claim(
                    session,
                    owner=own.owner,
                    lease_seconds=chosen.lease_seconds,
                    foreign_seconds=chosen.takeover_seconds,
                    now=clock.now(),
                    only_urgent=only_urgent,
                    turn=self._turn,
                )
                if claim is None:
                    return None
                if not takeover.make_good(session, claim, folder=chosen.journal_dir, now=clock.now()):
                    continue
                run = runs.begin(session, claim, own)
                self._compile(session, run)
            if claim.previous_owner is not None:
                journal.forget(chosen.journal_dir, claim.previous_owner)
            return run

    def _compile(self, session: Session, run: Run) -> None:
        try:
            for variant_id in {one.variant_id for one in run.open.values()}:
                copies.load(session, variant_id)
        except dkim.KeyInvalid as error:
            run.hold_all(HELD_SECONDS)
            if run.claim.issue_id is not None:
                self._stop_issue(run.claim.issue_id, Trouble(code="signing_failed", words=str(error), is_ours=True))

    def _new_journal(self) -> journal.Journal:
        chosen = settings.load()
        return journal.Journal(chosen.journal_dir, capacity=chosen.batch_size)

    # Recording.

    def _settle_up(self, *, at_once: bool = False) -> None:
        """Record what ended, pause what must stop, and look after batches that are open for long."""
        now = time.monotonic()
        if now < self._away_until and not at_once:
            return
        for issue_id in list(self._pauses):
            with self._database():
                self._pause(issue_id)
        finished, self._finished = self._finished, []
        for run in dict.fromkeys(finished):
            if not self._close_run(run):
                self._finished.append(run)
        for run in [one for one in self._runs.values() if now - one.looked_at > LOOK_AGAIN_SECONDS]:
            run.looked_at = now
            self._look(run)

    def _look(self, run: Run) -> None:
        """Record what there is, keep the lease, and see who left or who paused."""
        with self._database(run):
            with transaction() as session:
                run.record(session)
                deliveries.renew(session, run.claim, lease_seconds=settings.load().lease_seconds)
                may_go_on, gone = deliveries.withdrawn(session, run.claim, run.revision)
            run.recorded()
            for key in self._dispatcher.withdraw(gone & run.open.keys()):
                del self._run_of[key]
                run.skip(key, "unsubscribed")
            if not may_go_on:
                self._take_back(run)
            self._note_end(run)

    def _close_run(self, run: Run) -> bool:
        """Record the rest of a batch and give it back. False when the database is away: later, then."""
        claim, is_closed = run.claim, False
        with self._database(run):
            with transaction() as session:
                run.record(session)
                deliveries.release(session, claim, due_at=run.due_at, now=clock.now())
                self._note(session, run)
            is_closed = True
        if not is_closed:
            return claim.batch_id not in self._runs
        self._forget(run)
        if claim.issue_id is not None:
            with self._database(), transaction() as session:
                issues.finish(session, claim.issue_id, now=clock.now())
        return True

    def _note(self, session: Session, run: Run) -> None:
        if run.claim.issue_id is None or run.claim.issue_id in self._pauses:
            return
        if run.trouble is not None:
            code = PauseReason(run.trouble.code)
            issues.note(session, run.claim.issue_id, f"{run.trouble.words}; trying again", code=code)
        elif run.accepted:
            issues.note(session, run.claim.issue_id, None)

    def _pause(self, issue_id: int) -> None:
        trouble = self._pauses[issue_id]
        log.error("issue paused", issue=issue_id, reason=trouble.code)
        with contextlib.suppress(issues.IssueStateForbids), transaction() as session:
            issue = issues.get(session, issue_id)
            issues.pause(session, issue, trouble.words, code=PauseReason(trouble.code), now=clock.now())
        del self._pauses[issue_id]
        self._breakers.pop(issue_id, None)

    def _forget(self, run: Run) -> None:
        """Let go of a batch that is recorded, or no longer ours."""
        self._runs.pop(run.claim.batch_id, None)
        for key in run.open:
            self._run_of.pop(key, None)
        if run.open:
            self._dispatcher.drop(run.open.keys())
        self._journals.append(run.journal)

    @contextlib.contextmanager
    def _database(self, run: Run | None = None) -> Iterator[None]:
        """Work with the database. When it is away nothing more is begun until it is back; the journals know the rest."""
        try:
            yield
        except (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
            # psycopg's own come from COPY.
            log.warning("database away", error=type(getattr(error, "orig", error)).__name__)
            self._away_until = time.monotonic() + DATABASE_AWAY_SECONDS
            self._dispatcher.is_stopped = True
            if run is not None:
                run.is_unsure = True
        except deliveries.LeaseLost as error:
            log.warning("lease lost", error=str(error))
            if run is not None:
                self._forget(run)
        except Exception:
            if run is None:
                raise
            # Left to a takeover, which reads the journal; this process must not stumble over it for ever.
            log.exception("batch given up", batch=run.claim.batch_id)
            self._forget(run)
            self._journals.remove(run.journal)
            run.journal.abandon()
        else:
            self._dispatcher.is_stopped = self._owes_records()

    def _owes_records(self) -> bool:
        """Tell whether results wait that the database did not take: without room for them nothing may leave."""
        return any(run.is_unsure for run in self._runs.values())

    def _unwind(self, now: float) -> None:
        """Hand back what waits, and in time break off what has not left."""
        if not self._over_since:
            self._over_since = now
        self._dispatcher.hand_back()
        over = now - self._over_since
        if is_stopping():
            if over > STOP_UNSENT_SECONDS:
                self._dispatcher.break_off(after_seconds=0, content_too=over > STOP_SECONDS)
        else:
            self._dispatcher.break_off(after_seconds=UNWIND_SECONDS, content_too=False)


def is_stopping() -> bool:
    """Tell whether the worker was asked to stop."""
    return any(asked() for asked in _STOP)
