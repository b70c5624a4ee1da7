"""`mailer issue check`, and what `mailer issue send` does about its findings."""

from typing import Annotated

import typer
from sqlalchemy.orm import Session

from mailer import clock
from mailer.cli import output
from mailer.cli.settling import IssueId
from mailer.db import transaction
from mailer.issues import findings, gate, issues
from mailer.issues.findings import Finding
from mailer.models.content import Issue


def check(
    issue_id: IssueId,
    no_links: Annotated[
        bool, typer.Option("--no-links", help="Do not ask links and pictures over the network.")
    ] = False,
) -> None:
    """Check an issue's mails as readers would get them. Ends with exit code 7 if something would hold it back.

    Example:

      mailer issue check 12
    """
    now = clock.now()
    with transaction() as session:
        made = _specimens(session, issues.get(session, issue_id))
    found = gate.inspect(made, None if no_links else gate.ask(made))
    with transaction() as session:
        issues.note_findings(session, issues.get(session, issue_id), found, now=now)
    blocks = bool(findings.blocking(found))
    value = {"id": issue_id, "blocks": blocks, "findings": [one.as_dict() for one in found]}
    output.emit(value, text="\n".join(_lines(found)) or f"Issue {issue_id}: nothing found.")
    if blocks:
        raise typer.Exit(output.CHECKS_FAILED)


def fail_if_blocked(session: Session, issue: Issue) -> None:
    """End the command if the checks would hold back an issue that is about to leave. Asks no links."""
    blocking = findings.blocking(gate.inspect(_specimens(session, issue), None))
    if blocking:
        output.say("\n".join(_lines(blocking)))
        words = f"The checks hold issue {issue.id} back; mend it, or send it with --despite-checks."
        output.fail(words, output.CHECKS_FAILED)


def let_pass(session: Session, issue: Issue) -> None:
    """Let an issue leave despite what is found now and what was found last."""
    found = findings.blocking([*gate.inspect(_specimens(session, issue), None), *gate.of_issue(issue)])
    issues.let_pass(session, issue, {one.code for one in found}, now=clock.now())


def _specimens(session: Session, issue: Issue) -> list[gate.Specimen]:
    if issue.state not in issues.EDITABLE_STATES:
        raise issues.IssueStateForbids(f"Issue {issue.id} is {issue.state}; there is nothing to check before sending.")
    return gate.specimens(session, issue, issues.placed(session, issue.id), now=clock.now())


def _lines(found: list[Finding]) -> list[str]:
    return [f"{one.severity:6} {one.code:19} {one.where}: {one.words}" for one in found]
