"""`mailer issue test|undo|retry|duplicate`, and the moments for undoing after `mailer issue send`."""

import time
from datetime import datetime
from typing import Annotated

import typer

from mailer import clock, queue
from mailer.cli import output
from mailer.cli.settling import IssueId
from mailer.db import transaction
from mailer.issues import approvals, duplicates, issues, leaving, trials
from mailer.models.content import IssueState
from mailer.models.trials import TrialVerdict

LOOK_SECONDS = 0.2


def try_out(
    issue_id: IssueId,
    address: Annotated[list[str], typer.Argument(help="Where to send it: up to five addresses.")],
    as_reader: Annotated[
        str | None, typer.Option("--as", metavar="ADDRESS", help="As this reader would get it.")
    ] = None,
) -> None:
    """Send an issue to look at, with [Test] before its subject; shows what the mail server answered.

    Example:

      mailer issue test 12 camille@courrier.example
    """
    told = trials.send(issue_id, address, as_reader=as_reader, by="the command line", now=clock.now())
    rows = [
        {
            "address": one.address,
            "verdict": one.verdict,
            "server": one.server,
            "seconds": one.seconds,
            "reply": one.reply,
        }
        for one in told
    ]
    output.emit_rows(rows, columns=("address", "verdict", "server", "seconds", "reply"), empty="")
    accepted = sum(one.verdict == TrialVerdict.ACCEPTED for one in told)
    if accepted < len(told):
        raise typer.Exit(output.DONE_IN_PART if accepted else output.FAILED)


def undo(issue_id: IssueId) -> None:
    """Take back an issue that was sent a moment ago and has not left yet: it is a draft again."""
    with transaction() as session:
        leaving.take_back(session, issues.get(session, issue_id), now=clock.now())
    output.emit({"id": issue_id, "state": IssueState.DRAFT}, text=f"Issue {issue_id} is a draft again. Nothing left.")


def retry(issue_id: IssueId) -> None:
    """Have an issue that failed before anything left leave once more."""
    with transaction() as session:
        issue = issues.get(session, issue_id)
        approvals.require(session, issue, None, now=clock.now())
        issues.reopen(session, issue, now=clock.now())
        at = leaving.leave(session, issue, now=clock.now())
    tell(issue_id, at)


def duplicate(
    issue_id: IssueId,
    for_others: Annotated[
        bool, typer.Option("--for-others", help="Of a cancelled issue: for those whom it did not reach.")
    ] = False,
) -> None:
    """Draft a copy of an issue. Nobody gets an article twice, so only those get the copy who have not had it."""
    with transaction() as session:
        made = duplicates.duplicate(session, issues.get(session, issue_id), for_others=for_others, now=clock.now())
    output.emit(
        {"id": made.id, "state": made.state}, text=f"Drafted issue {made.id}. Send it: mailer issue send {made.id}"
    )


def tell(issue_id: int, at: datetime) -> None:
    """Say when an issue leaves and how it is taken back; ring for a worker if that is now."""
    seconds = round((at - clock.now()).total_seconds())
    if seconds > 0:
        output.say(f"Leaving in {seconds} s. mailer issue undo {issue_id} takes it back until then.")
        return
    try:
        queue.enqueue(queue.START_ISSUE, issue_id)
    except queue.QueueUnavailable:
        output.say("Redis is away; the issue is scheduled for now and leaves when it is back.")


def wait_or_undo(issue_id: int, at: datetime) -> None:
    """Wait until an issue leaves; Ctrl-C takes it back, and ends the command."""
    try:
        while (left := (at - clock.now()).total_seconds()) > 0:
            time.sleep(min(left, LOOK_SECONDS))
    except KeyboardInterrupt:
        undo(issue_id)
        raise
