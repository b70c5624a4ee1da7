"""`mailer issue uncertain` and `mailer issue settle`: mails whose answer was lost. Commands of `mailer issue`."""

from typing import Annotated, Final

import typer

from mailer import clock, queue
from mailer.cli import output
from mailer.db import transaction
from mailer.delivery import ledger, settling
from mailer.issues import issues
from mailer.models.deliveries import Outcome, SettledAs

IssueId = Annotated[int, typer.Argument(metavar="ID", help="The issue's id, as in: mailer issue list")]

_BY: Final = "the command line"
_QUESTIONS: Final = {
    SettledAs.RESEND: "Send {count} uncertain mails of issue {id} again? Some readers may get it twice.",
    SettledAs.ACCEPTED: "Count {count} uncertain mails of issue {id} as accepted? They are not sent again.",
    SettledAs.REFUSED: "Count {count} uncertain mails of issue {id} as refused? They are not sent again.",
}
_DONE: Final = {
    SettledAs.RESEND: "{count} mails are sent again. Watch it: mailer issue watch {id}",
    SettledAs.ACCEPTED: "{count} mails count as accepted now.",
    SettledAs.REFUSED: "{count} mails count as refused now.",
}


def uncertain(
    issue_id: IssueId,
    after: Annotated[int, typer.Option(help="Go on after this delivery.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
) -> None:
    """List the deliveries whose answer was lost: the server may have taken them or not."""
    with transaction() as session:
        issues.get(session, issue_id)
        lines = ledger.log(session, issue_id, outcome=Outcome.UNCERTAIN, after_id=after, limit=limit)
    rows = [
        {"delivery": one.delivery_id, "address": one.address, "at": one.recorded_at, "reply": one.reply}
        for one in lines
    ]
    output.emit_rows(rows, columns=("delivery", "address", "at", "reply"), empty="No delivery is uncertain.")


def settle(
    issue_id: IssueId,
    resend: Annotated[bool, typer.Option("--resend", help="Send them again; some may get it twice.")] = False,
    accepted: Annotated[bool, typer.Option("--accepted", help="The server took them.")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="The server did not take them.")] = False,
    delivery: Annotated[list[int] | None, typer.Option(help="Only this delivery; may be given repeatedly.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Decide about an issue's uncertain deliveries: send them again, or say how they ended.

    Example:

      mailer issue settle 12 --accepted
    """
    chosen = [how for how, wanted in zip(SettledAs, (resend, accepted, refused), strict=True) if wanted]
    if len(chosen) != 1:
        output.fail("Say one of --resend, --accepted and --refused.", output.USAGE)
    how = chosen[0]
    if not yes:
        _confirm(issue_id, how, len(delivery) if delivery else None)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        count = settling.settle(session, issue, how, by=_BY, now=clock.now(), only=delivery or None)
        state = issue.state
    if how is SettledAs.RESEND and count:
        _ring()
    told = _DONE[how].format(count=count, id=issue_id) if count else "No delivery was uncertain; nothing was changed."
    output.emit({"id": issue_id, "how": how, "settled": count, "state": state}, text=told)


def _confirm(issue_id: int, how: SettledAs, count: int | None) -> None:
    output.need_terminal()
    if count is None:
        with transaction() as session:
            count = ledger.equation(session, issues.get(session, issue_id).id).uncertain
    typer.confirm(_QUESTIONS[how].format(count=count, id=issue_id), abort=True, err=True)


def _ring() -> None:
    try:
        queue.enqueue(queue.SEND)
    except queue.QueueUnavailable:
        output.say("Redis is away; they leave when it is back.")
