"""An article of an issue that has left: corrected for those who have it, put anew or taken out for the rest."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.feeds.text import one_line
from mailer.issues import amending, corrections, gate, issues, pulling
from mailer.mail import inlining, rendering
from mailer.models.content import Issue
from mailer.web.admin import articles, composing, inspecting, screens, session

router = APIRouter(prefix="/issues/{issue_id}/articles/{article_id}", route_class=screens.DeskRoute)

_DONE: Final = {"pull": "pulled", "replace": "replaced", "correct": "corrected"}


@router.api_route("", methods=["GET", "HEAD"])
def ask(
    request: Request, desk: session.Current, issue_id: composing.IssueId, article_id: articles.ArticleId
) -> Response:
    """Say what can be done about the article, and what each choice means."""
    with transaction() as database:
        return _page(request, desk, database, _sent(database, issue_id), article_id)


@router.post("")
def act(
    request: Request, desk: session.Editor, issue_id: composing.IssueId, article_id: articles.ArticleId
) -> Response:
    """Do what was chosen; when it can't be done, the page comes again with the reason and what was typed."""
    how = desk.typed("how")
    if how not in _DONE:
        return screens.back(f"/admin/issues/{issue_id}/articles/{article_id}")
    try:
        with transaction() as database:
            _do(database, desk, _sent(database, issue_id), article_id)
    except corrections.CorrectionInvalid as error:
        problem = i18n.gettext(desk.language, error.problem, **error.values)
        return _again(request, desk, issue_id, article_id, errors={"note": problem})
    except issues.IssueTextTooLong:
        return _again(request, desk, issue_id, article_id, errors={"subject": "Enter 200 characters at most"})
    except gate.ChecksFailed as error:
        return _again(request, desk, issue_id, article_id, seen=inspecting.Seen(findings=error.findings))
    except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
        return _again(request, desk, issue_id, article_id, seen=inspecting.Seen(problem=str(error)))
    return screens.back(f"/admin/issues/{issue_id}", done=_DONE[how])


def _do(database: Session, desk: session.Desk, issue: Issue, article_id: int) -> None:
    how, note = desk.typed("how"), desk.typed("note")
    if how == "correct":
        amending.correct(database, article_id, note, by=desk.name, now=desk.now)
        return
    subject = one_line(desk.typed("subject"))
    wish = amending.Act(
        by=desk.name,
        now=desk.now,
        note=note,
        subject=subject if subject and subject != issue.subject else None,
        despite_checks=bool(desk.typed("despite_checks")),
    )
    if how == "pull":
        pulling.pull(database, issue, article_id, wish)
    else:
        pulling.replace_article(database, issue, article_id, wish)


def _sent(database: Session, issue_id: int) -> Issue:
    issue = issues.get(database, issue_id)
    if issue.started_at is None:
        raise issues.IssueStateForbids(f"Issue {issue.id} is {issue.state}: arrange its articles instead.")
    return issue


def _again(
    request: Request,
    desk: session.Desk,
    issue_id: int,
    article_id: int,
    *,
    errors: dict[str, str] | None = None,
    seen: inspecting.Seen | None = None,
) -> Response:
    with transaction() as database:
        return _page(request, desk, database, _sent(database, issue_id), article_id, errors=errors or {}, seen=seen)


def _page(
    request: Request,
    desk: session.Desk,
    database: Session,
    issue: Issue,
    article_id: int,
    *,
    errors: dict[str, str] | None = None,
    seen: inspecting.Seen | None = None,
) -> Response:
    article = amending.article_of(database, article_id)
    can_change = pulling.can_change(issue)
    return screens.render(
        request,
        desk,
        "amend",
        here="issues",
        status=422 if errors or seen else 200,
        issue=issue,
        newsletter=issue.newsletter,
        article=article,
        before=amending.words_sent(database, issue, article),
        equation=ledger.equation(database, issue.id),
        can_change=can_change,
        how=desk.typed("how") or ("pull" if can_change else "correct"),
        note=desk.typed("note"),
        subject=desk.typed("subject") or issue.subject,
        errors=errors or {},
        seen=seen,
        finding_words=lambda finding: inspecting.words(desk.language, finding),
    )
