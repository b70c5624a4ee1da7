"""The progress of an issue in a terminal: a bar on a TTY, a line every 10 seconds elsewhere, objects with --json."""

import time
from typing import Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from mailer import issues, ledger
from mailer.cli import output
from mailer.db import transaction
from mailer.models.content import IssueState

LOOK_SECONDS: Final = 0.5
LINE_SECONDS: Final = 10
ENDED: Final = (IssueState.SENT, IssueState.CANCELLED, IssueState.FAILED, IssueState.DRAFT)


def watch(issue_id: int) -> None:
    """Show the progress until the issue ends; Ctrl-C detaches and the sending goes on.

    Ends the command with an exit code of its own when the issue failed or did not reach every recipient.
    """
    try:
        if output.CHOICES.as_json or not output.console().is_terminal or output.CHOICES.quiet:
            state, found = _lines(issue_id)
        else:
            state, found = _bar(issue_id)
    except KeyboardInterrupt:
        output.say(f"Still sending. mailer issue pause {issue_id} stops it.")
        raise
    if state == IssueState.FAILED:
        raise typer.Exit(output.FAILED)
    if state == IssueState.CANCELLED or found.refused or found.uncertain:
        raise typer.Exit(output.DONE_IN_PART)


def _look(issue_id: int) -> tuple[IssueState, str | None, ledger.Equation]:
    with transaction() as session:
        issue = issues.get(session, issue_id)
        return issue.state, issue.state_reason, ledger.equation(session, issue_id)


def _lines(issue_id: int) -> tuple[IssueState, ledger.Equation]:
    told = 0.0
    while True:
        state, reason, found = _look(issue_id)
        has_ended = state in ENDED
        if has_ended or time.monotonic() - told >= (1 if output.CHOICES.as_json else LINE_SECONDS):
            told = time.monotonic()
            value = {
                "id": issue_id,
                "state": state,
                "state_reason": reason,
                "recipients": found.recipients,
                "accepted": found.accepted,
                "refused": found.refused,
                "skipped": found.skipped,
                "uncertain": found.uncertain,
                "waiting": found.waiting,
            }
            output.emit(value, text=_sentence(state, found))
        if has_ended:
            return state, found
        time.sleep(LOOK_SECONDS)


def _bar(issue_id: int) -> tuple[IssueState, ledger.Equation]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=output.console()) as progress:
        task = progress.add_task("sending", total=None, words="")
        while True:
            state, reason, found = _look(issue_id)
            words = f"{found.refused} refused, {found.uncertain} uncertain" + (f" · {reason}" if reason else "")
            total = found.recipients or None
            progress.update(task, description=state.value, completed=found.settled, total=total, words=words)
            if state in ENDED:
                break
            time.sleep(LOOK_SECONDS)
    output.say(_sentence(state, found))
    return state, found


def _sentence(state: IssueState, found: ledger.Equation) -> str:
    parts = (
        f"{found.accepted} accepted + {found.refused} refused + {found.skipped} skipped + {found.uncertain} uncertain"
    )
    waiting = f" + {found.waiting} waiting" if found.waiting else ""
    return f"{state}: {found.recipients} recipients = {parts}{waiting}"
