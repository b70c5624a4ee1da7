"""Writing an issue by hand: a text in Markdown, with lines that stand for articles."""

from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.db import transaction
from mailer.issues import handwriting, issues, markdown
from mailer.issues.markdown import BodyInvalid, Problem
from mailer.newsroom import newsletters
from mailer.web.admin import composing, screens, session

router = APIRouter(route_class=screens.DeskRoute)


@router.api_route("/newsletters/{slug}/write", methods=["GET", "HEAD"])
def write(request: Request, desk: session.Current, slug: session.Slug) -> Response:
    """Show an empty form."""
    return _page(request, desk, slug, typed={}, errors={})


@router.post("/newsletters/{slug}/write")
def draft(request: Request, desk: session.Writer, slug: session.Slug) -> Response:
    """Make a draft of what was written; what can't be one stays in the form."""
    typed = {name: desk.typed(name).replace("\r\n", "\n") for name in ("subject", "preview_text", "body")}
    typed["respects_rhythm"] = desk.typed("respects_rhythm")
    wanted = handwriting.Draft(
        subject=typed["subject"],
        body=typed["body"],
        preview_text=typed["preview_text"],
        respects_rhythm=bool(typed["respects_rhythm"]),
    )
    try:
        with transaction() as database:
            newsletter_id = newsletters.get(database, slug).id
        handwriting.look_up(newsletter_id, wanted.body)
        with transaction() as database:
            issue_id = handwriting.draft(database, newsletters.get(database, slug), wanted, now=desk.now).id
    except BodyInvalid as error:
        field = "subject" if error.problem == Problem.NO_SUBJECT else "body"
        return _page(request, desk, slug, typed=typed, errors={field: words(desk.language, error)})
    except issues.IssueTextTooLong as error:
        errors = {name: composing.TOO_LONG[name] for name in error.names}
        return _page(request, desk, slug, typed=typed, errors=errors)
    return screens.back(f"/admin/issues/{issue_id}", done="drafted")


@router.post("/issues/{issue_id}/body")
def rewrite(request: Request, desk: session.Writer, issue_id: composing.IssueId) -> Response:
    """Change the text of a draft. What can't be taken stays in the form."""
    body = desk.typed("body").replace("\r\n", "\n")
    with transaction() as database:
        issue = issues.get(database, issue_id)
        issues.require_written(issue)
        newsletter_id = issue.newsletter_id
        is_late = desk.typed("version") != issue.updated_at.isoformat()
    problem: BodyInvalid | None = None
    if not is_late:
        try:
            handwriting.look_up(newsletter_id, body)
        except BodyInvalid as error:
            problem = error
    with transaction() as database:
        issue = composing.lock(database, issue_id)
        if problem is None and desk.typed("version") == issue.updated_at.isoformat():
            try:
                handwriting.rewrite(database, issue, body, now=desk.now)
            except BodyInvalid as error:
                problem = error
            else:
                return screens.back(f"/admin/issues/{issue_id}", done="saved")
        issues.require_written(issue)
        errors = {} if problem is None else {"body": words(desk.language, problem)}
        refused = composing.Refused(texts={"body": body}, errors=errors, status=422 if problem else 409)
        return composing.page(request, desk, database, issue, refused=refused)


def words(language: str, error: BodyInvalid) -> str:
    """Say what is wrong with a text in the language."""
    return i18n.gettext(language, markdown.WORDS[error.problem], **error.values)


def _page(
    request: Request, desk: session.Desk, slug: str, *, typed: Mapping[str, str], errors: Mapping[str, str]
) -> Response:
    with transaction() as database:
        newsletter = newsletters.get(database, slug)
        readers = newsletters.count_readers(database, newsletter.id)
    return screens.render(
        request,
        desk,
        "write",
        here="issues",
        status=422 if errors else 200,
        newsletter=newsletter,
        readers=readers,
        texts={"subject": "", "preview_text": "", "body": "", "respects_rhythm": "", **typed},
        errors=errors,
    )
