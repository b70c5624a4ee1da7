"""`mailer issue stats`: what was counted of an issue. A command of `mailer issue`."""

from typing import Annotated

import typer

from mailer.cli import output
from mailer.cli.settling import IssueId
from mailer.counting import tracking
from mailer.db import transaction
from mailer.issues import issues


def stats(
    issue_id: IssueId,
    judge_again: Annotated[
        bool, typer.Option("--judge-again", help="Apply this version's rules for machines to what is kept.")
    ] = False,
) -> None:
    """Show how often an issue was opened and its links were followed, by people and by machines.

    Only what its newsletter counts: mailer newsletter edit hebdo --set tracks_clicks=true (tracks_opens, tracks_readers).
    """
    with transaction() as session:
        issue = issues.get(session, issue_id)
        if judge_again:
            changed = tracking.judge_again(session, issue_id)
            output.say(f"{changed} events are judged otherwise now.")
        found = tracking.stats(session, issue_id)
        recipients = issue.recipients
    value = {
        "id": issue_id,
        "recipients": recipients,
        "opens": found.opens,
        "opens_by_machines": found.opens_by_machines,
        "clicks": found.clicks,
        "clicks_by_machines": found.clicks_by_machines,
        "readers_known": found.readers_known,
        "links": [{"url": one.url, "clicks": one.clicks, "by_machines": one.by_machines} for one in found.links],
    }
    lines = [
        f"opens   {found.opens:>7,}   by machines {found.opens_by_machines:,}",
        f"clicks  {found.clicks:>7,}   by machines {found.clicks_by_machines:,}",
        *(f"        {one.clicks:>7,}   {one.url}" for one in found.links),
    ]
    output.emit(value, text="\n".join(lines))
