"""`mailer issue pull`, `mailer issue replace` and `mailer article correct`: articles of issues that have left."""

from typing import Annotated, Final

import typer

from mailer import clock
from mailer.cli import output
from mailer.cli.settling import IssueId
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import amending, issues, pulling
from mailer.issues.amending import Act
from mailer.models.content import Issue
from mailer.models.corrections import ChangeKind

ArticleId = Annotated[int, typer.Argument(metavar="ARTICLE", help="The article's id, as in: mailer issue show")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Despite = Annotated[bool, typer.Option("--despite-checks", help="Whatever the checks find in the new mails.")]
Subject = Annotated[
    str | None, typer.Option(help="A new subject for the rest, in place of one that tells of the article.")
]

_BY: Final = "the command line"
_WORDS: Final = {
    ChangeKind.PULLED: "pulled",
    ChangeKind.REPLACED: "put anew, corrected",
    ChangeKind.CORRECTED: "corrected in the web copy",
}


def pull(
    issue_id: IssueId,
    article_id: ArticleId,
    note: Annotated[str, typer.Option(help="Told in the next issue to the readers who had it; nothing if empty.")] = "",
    subject: Subject = None,
    despite_checks: Despite = False,
    yes: Yes = False,
) -> None:
    """Take an article out of an issue that is being sent, for all who have not got theirs. This can't be undone.

    Example:

      mailer issue pull 129 812 --note "We have withdrawn this article: its source was wrong."
    """
    if not yes:
        _confirm(issue_id, article_id, "Take “{title}” out of {count} mails of issue {id} that have not left?")
    act = Act(by=_BY, now=clock.now(), note=note, subject=subject, despite_checks=despite_checks)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        pulling.pull(session, issue, article_id, act)
        value = _value(issue, article_id)
    output.emit(value, text=f"Article {article_id} is out of the rest of issue {issue_id}; workers notice in a second.")


def replace(
    issue_id: IssueId,
    article_id: ArticleId,
    note: Annotated[str, typer.Option(help="What was wrong: told in the next issue to the readers who had it.")],
    subject: Subject = None,
    despite_checks: Despite = False,
    yes: Yes = False,
) -> None:
    """Give those who have not got an issue yet an article as it is now, and tell the others that it was corrected.

    Example:

      mailer issue replace 129 812 --note "The dam is 335 metres high, not 235."
    """
    if not yes:
        _confirm(
            issue_id, article_id, "Put “{title}” as it is now into {count} mails of issue {id} that have not left?"
        )
    act = Act(by=_BY, now=clock.now(), note=note, subject=subject, despite_checks=despite_checks)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        pulling.replace_article(session, issue, article_id, act)
        value = _value(issue, article_id)
    output.emit(value, text=f"The rest of issue {issue_id} gets article {article_id} as it is now.")


def correct(
    article_id: Annotated[int, typer.Argument(metavar="ID")],
    note: Annotated[str, typer.Option(help="What was wrong and what is right, in the newsletter's language.")],
) -> None:
    """Correct an article that was sent: web copies get its present words and the note, and the next issue tells its readers.

    Example:

      mailer article correct 812 --note "The dam is 335 metres high, not 235."
    """
    with transaction() as session:
        held = amending.correct(session, article_id, note, by=_BY, now=clock.now())
        ids = [one.id for one in held]
        under_way = [one.id for one in held if pulling.can_change(one)]
    lines = [f"Corrected in the web copy of {len(ids)} issues: {', '.join(map(str, ids))}."]
    lines += [
        f"Issue {one} is still being sent. For the rest: mailer issue replace {one} {article_id}" for one in under_way
    ]
    output.emit({"article": article_id, "issues": ids, "under_way": under_way}, text="\n".join(lines))


def values(changes: list[amending.Change]) -> list[dict[str, object]]:
    """Return an issue's history for --json."""
    return [
        {
            "kind": one.kind,
            "article": one.article_id,
            "title": one.title,
            "note": one.note,
            "by": one.by,
            "at": one.at,
            "had": one.had,
        }
        for one in changes
    ]


def lines(changes: list[amending.Change]) -> list[str]:
    """Say an issue's history."""
    return [
        f"  {one.at:%Y-%m-%d %H:%M} UTC  {_WORDS[one.kind]} by {one.by}: “{one.title}”; {one.had or 0} readers had it before"
        + (f"\n        {one.note}" if one.note else "")
        for one in changes
    ]


def _value(issue: Issue, article_id: int) -> dict[str, object]:
    return {"id": issue.id, "article": article_id, "subject": issue.subject, "revision": issue.revision}


def _confirm(issue_id: int, article_id: int, question: str) -> None:
    output.need_terminal()
    with transaction() as session:
        count = ledger.equation(session, issues.get(session, issue_id).id).waiting
        title = amending.article_of(session, article_id).title
    typer.confirm(question.format(title=title, count=count, id=issue_id), abort=True, err=True)
