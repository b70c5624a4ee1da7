"""`mailer issue create --body` and `mailer issue edit`: issues that are written by hand."""

from typing import Annotated

import typer

from mailer import clock
from mailer.cli import output
from mailer.cli.settling import IssueId
from mailer.db import transaction
from mailer.issues import handwriting, issues, markdown
from mailer.issues.markdown import BodyInvalid, Problem
from mailer.newsroom import newsletters

Body = Annotated[
    typer.FileBinaryRead | None,
    typer.Option(metavar="FILE", help="Its text in Markdown, with lines like [[article 812]]; - reads it from stdin."),
]
Subject = Annotated[str | None, typer.Option(help="The subject.")]
PreviewText = Annotated[str | None, typer.Option(help="Shown after the subject in the inbox.")]


def read(body: typer.FileBinaryRead) -> str:
    """Read a text. Raises BodyInvalid for what is no UTF-8 or too long."""
    content = body.read(markdown.MOST_BYTES + 1)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > markdown.MOST_BYTES:
            raise BodyInvalid(Problem.TOO_LONG, count=len(content), most=markdown.MOST_BYTES) from error
        raise BodyInvalid(Problem.NO_TEXT) from error


def draft(slug: str, wanted: handwriting.Draft) -> int:
    """Draft an issue of a text, after reading the articles that it names. Returns its id. Talks to the network."""
    with transaction() as session:
        newsletter_id = newsletters.get(session, slug).id
    handwriting.look_up(newsletter_id, wanted.body)
    with transaction() as session:
        return handwriting.draft(session, newsletters.get(session, slug), wanted, now=clock.now()).id


def edit(issue_id: IssueId, subject: Subject = None, preview_text: PreviewText = None, body: Body = None) -> None:
    """Change the words of an issue before it is sent; its text only if it was written by hand. What is left out stays.

    Example:

      mailer issue edit 12 --subject "Un numéro spécial" --body numero.md
    """
    text = None if body is None else read(body)
    if text is not None:
        with transaction() as session:
            issue = issues.get(session, issue_id)
            issues.require_written(issue)
            newsletter_id = issue.newsletter_id
        handwriting.look_up(newsletter_id, text)
    with transaction() as session:
        issue, now = issues.get(session, issue_id), clock.now()
        issues.edit(
            session,
            issue,
            subject=issue.subject if subject is None else subject,
            preview_text=issue.preview_text if preview_text is None else preview_text,
            introduction=issue.introduction,
            now=now,
        )
        if text is not None:
            handwriting.rewrite(session, issue, text, now=now)
        value = {"id": issue.id, "subject": issue.subject, "preview_text": issue.preview_text}
    output.emit(value, text=f"Changed issue {issue_id}: {value['subject']}")
