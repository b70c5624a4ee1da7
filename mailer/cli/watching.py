"""The progress of an issue in a terminal: a bar on a TTY, a line every 10 seconds elsewhere, objects with --json."""

import time
from dataclasses import dataclass
from typing import Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mailer import issues, ledger, remedies
from mailer.cli import output
from mailer.db import transaction
from mailer.models.content import IssueState, PauseReason

LOOK_SECONDS: Final = 0.5
LINE_SECONDS: Final = 10
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
        )


def _lines(issue_id: int) -> _Seen:
    told = 0.0
    told_why: tuple[str, ...] = ()
    while True:
        seen = _look(issue_id)
        if seen.has_ended or time.monotonic() - told >= (1 if output.CHOICES.as_json else LINE_SECONDS):
            told = time.monotonic()
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
            words = f"{found.refused} refused, {found.uncertain} uncertain"
            total = found.recipients or None
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
    }


def _sentence(seen: _Seen) -> str:
    found = seen.equation
    parts = (
        f"{found.accepted} accepted + {found.refused} refused + {found.skipped} skipped + {found.uncertain} uncertain"
    )
    waiting = f" + {found.waiting} waiting" if found.waiting else ""
    return f"{seen.state}: {found.recipients} recipients = {parts}{waiting}"
