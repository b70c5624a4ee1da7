"""The progress of an issue in a terminal: a bar on a TTY, a line every 10 seconds elsewhere, objects with --json."""

import time
from dataclasses import dataclass
from typing import Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mailer import clock
from mailer.audience import hours
from mailer.cli import output
from mailer.db import transaction
from mailer.delivery import ledger, remedies
from mailer.issues import issues, schedules
from mailer.models.content import IssueState, PauseReason

LOOK_SECONDS: Final = 0.5
LINE_SECONDS: Final = 10
# While all that is left waits for its readers’ hour.
WAITING_SECONDS: Final = 600
ENDED: Final = (IssueState.SENT, IssueState.CANCELLED, IssueState.FAILED, IssueState.DRAFT)


def watch(issue_id: int) -> None:
    """Show the progress until the issue ends; Ctrl-C detaches and the sending goes on.

    Ends the command with an exit code of its own when the issue failed or did not reach every recipient.
    """
    try:
        if output.CHOICES.as_json or not output.console().is_terminal or output.CHOICES.quiet:
            last = _lines(issue_id)
        else:
            last = _bar(issue_id)
    except KeyboardInterrupt:
        output.say(f"Still sending. mailer issue pause {issue_id} stops it.")
        raise
    if last.state == IssueState.FAILED:
        raise typer.Exit(output.FAILED)
    if last.state == IssueState.CANCELLED or last.equation.refused or last.equation.uncertain:
        raise typer.Exit(output.DONE_IN_PART)


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """Where an issue stands. `why` holds what happened, what to do and the server's words, as far as known."""

    state: IssueState
    code: PauseReason | None
    reason: str | None
    why: tuple[str, ...]
    equation: ledger.Equation
    waiting: hours.Waiting | None
    timezone: str

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left to do before the next reader's hour."""
        return self.waiting is not None and self.waiting.readers == self.equation.waiting

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def _look(issue_id: int) -> _Seen:
    with transaction() as session:
        issue = issues.get(session, issue_id)
        return _Seen(
            state=issue.state,
            code=issue.state_code,
            reason=issue.state_reason,
            why=remedies.explain(issue.state_code, issue.state_reason),
            equation=ledger.equation(session, issue_id),
            waiting=hours.waiting(session, issue_id, now=clock.now()),
            timezone=issue.newsletter.timezone,
        )


def _lines(issue_id: int) -> _Seen:
    told, was_at_rest = 0.0, False
    told_why: tuple[str, ...] = ()
    while True:
        seen = _look(issue_id)
        pause = WAITING_SECONDS if seen.is_at_rest and was_at_rest else 1 if output.CHOICES.as_json else LINE_SECONDS
        if seen.has_ended or time.monotonic() - told >= pause:
            told, was_at_rest = time.monotonic(), seen.is_at_rest
            output.emit(_value(issue_id, seen), text=_sentence(seen))
            if seen.why != told_why and not output.CHOICES.as_json:
                output.say("\n".join(seen.why))
            told_why = seen.why
        if seen.has_ended:
            return seen
        time.sleep(LOOK_SECONDS)


def _bar(issue_id: int) -> _Seen:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    told_why: tuple[str, ...] = ()
    with Progress(*columns, console=output.console()) as progress:
        task = progress.add_task("sending", total=None, words="")
        while True:
            seen = _look(issue_id)
            found = seen.equation
            words = f"{found.refused} refused, {found.uncertain} uncertain{_at_their_hour(seen)}"
            # The time that is left is told of those that are due.
            total = found.recipients - (seen.waiting.readers if seen.waiting else 0) or None
            progress.update(task, description=seen.state.value, completed=found.settled, total=total, words=words)
            if seen.why != told_why:
                progress.console.print("\n".join(seen.why), highlight=False, markup=False)
                told_why = seen.why
            if seen.has_ended:
                break
            time.sleep(LOOK_SECONDS)
    output.say(_sentence(seen))
    return seen


def _value(issue_id: int, seen: _Seen) -> dict[str, object]:
    found = seen.equation
    return {
        "id": issue_id,
        "state": seen.state,
        "state_code": seen.code,
        "state_reason": seen.reason,
        "recipients": found.recipients,
        "accepted": found.accepted,
        "refused": found.refused,
        "skipped": found.skipped,
        "uncertain": found.uncertain,
        "waiting": found.waiting,
        "waiting_for_hour": seen.waiting.readers if seen.waiting else 0,
        "last_hour": seen.waiting.last_at if seen.waiting else None,
    }


def _sentence(seen: _Seen) -> str:
    found = seen.equation
    parts = (
        f"{found.accepted} accepted + {found.refused} refused + {found.skipped} skipped + {found.uncertain} uncertain"
    )
    waiting = f" + {found.waiting} waiting" if found.waiting else ""
    return f"{seen.state}: {found.recipients} recipients = {parts}{waiting}{_at_their_hour(seen)}"


def _at_their_hour(seen: _Seen) -> str:
    if seen.waiting is None or seen.has_ended:
        return ""
    last = seen.waiting.last_at.astimezone(schedules.zone(seen.timezone))
    verb = "reader gets" if seen.waiting.readers == 1 else "readers get"
    return f"; {seen.waiting.readers} {verb} it at their hour, the last on {last:%d %B at %H:%M} ({seen.timezone})"
