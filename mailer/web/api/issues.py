"""Issues before they leave: list, show, draft, edit, arrange, preview, check."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.issues import duplicates, explanations, gate, handwriting, issues, selection, variants
from mailer.issues.contents import Placed
from mailer.mail import mails
from mailer.models.content import Article, Issue, IssueState, Layout
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters
from mailer.web.api import access, acting, issue_shapes, paging
from mailer.web.api.issue_shapes import Checked, IssueBrief, IssueWhole, MailPreview, NextIssue
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Page, Slug
from mailer.web.problems import Problem

router = APIRouter(route_class=ApiRoute, tags=["Issues"])

_MOST_PLACED = 100
_Version = Annotated[
    str | None, Field(max_length=40, description="`version` of the issue as you read it; then nobody’s change is lost.")
]


class IssueDraft(Body):
    """Nothing, for an issue made of the newest articles; or the subject and text of one that is written by hand."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{}, {"subject": "Un numéro spécial", "body": "Bonjour,\n\nvoici…"}]}
    )

    subject: Annotated[str, Field(max_length=200)] = ""
    preview_text: Annotated[str, Field(max_length=300)] = ""
    body: (
        Annotated[str, Field(max_length=200_000, description="Markdown; docs/operating.md tells of article blocks.")]
        | None
    ) = None
    respects_rhythm: bool = False


class IssueChange(Body):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"subject": "L’eau du Syr-Daria"}]})

    subject: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    preview_text: Annotated[str, Field(max_length=300)] | None = None
    introduction: Annotated[str, Field(max_length=5000)] | None = None
    body: Annotated[str, Field(max_length=200_000)] | None = None
    version: _Version = None


class Placing(Body):
    """An article and how it stands: as the lead (at most one), a card or a brief."""

    id: Annotated[int, Field(ge=1, lt=2**63)]
    layout: Layout = Layout.CARD


class Arrangement(Body):
    """All articles of an issue, in order. Those left out of it go to no reader of this issue."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"articles": [{"id": 812, "layout": "lead"}, {"id": 811}]}]}
    )

    articles: Annotated[list[Placing], Field(min_length=1, max_length=_MOST_PLACED)]
    version: _Version = None


@router.get("/issues", **access.needs(Scope.READ))
def list_issues(
    call: access.Current,
    request: Request,
    response: Response,
    newsletter: Annotated[str | None, Query(max_length=63, description="Only of this newsletter.")] = None,
    state: Annotated[IssueState | None, Query(description="Only in this state.")] = None,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[IssueBrief]:
    """List issues, newest first."""
    before = paging.position(request, cursor)
    statement = select(Issue).options(joinedload(Issue.newsletter)).order_by(Issue.id.desc()).limit(limit + 1)
    if call.newsletter_id is not None:
        statement = statement.where(Issue.newsletter_id == call.newsletter_id)
    if state is not None:
        statement = statement.where(Issue.state == state)
    if before is not None:
        statement = statement.where(Issue.id < before)
    with transaction() as session:
        if newsletter is not None:
            statement = statement.where(Issue.newsletter_id == call.newsletter(session, newsletter).id)
        found = list(session.execute(statement).scalars())
    page, following = paging.cut(request, response, found, limit, [one.id for one in found])
    return Page(data=[issue_shapes.brief(one) for one in page], next=following)


@router.get("/newsletters/{slug}/next", **access.needs(Scope.READ))
def show_next_issue(
    call: access.Current,
    slug: Slug,
    at: Annotated[AwareDatetime | None, Query(description="As of this moment; now, if left out.")] = None,
    reader: Annotated[
        str | None,
        Query(alias="as", max_length=320, description="As this reader gets it; needs the scope subscribers too."),
    ] = None,
) -> NextIssue:
    """Tell what the next issue would hold, and why. Changes nothing."""
    if reader is not None and Scope.SUBSCRIBERS not in call.scopes:
        raise Problem(
            "scope_missing", "To see an issue as a reader gets it, the token needs the scope “subscribers” too."
        )
    with transaction() as session:
        newsletter = call.newsletter(session, slug)
        told = explanations.explain(session, newsletter, at=at or call.now, now=call.now, subscriber=reader)
        due_at = newsletters.next_slot(newsletter, now=call.now)
        return issue_shapes.coming(slug, told.selection, due_at=due_at, aside=told.aside_words)


@router.post("/newsletters/{slug}/issues", status_code=201, response_model=IssueWhole, **access.needs(Scope.ISSUES))
def draft_issue(call: access.Current, slug: Slug, wanted: IssueDraft) -> Response:
    """Draft an issue, of the newest articles or written by hand. Nothing leaves by it."""
    if wanted.body is not None:
        with transaction() as session:
            newsletter_id = call.newsletter(session, slug).id
        # Reads the pages of articles that are not known yet, so outside of any transaction.
        handwriting.look_up(newsletter_id, wanted.body)
    with acting.change(call) as session:
        newsletter = call.newsletter(session, slug)
        if wanted.body is None:
            issue = issues.draft(session, newsletter, now=call.now)
        else:
            written = handwriting.Draft(
                subject=wanted.subject,
                body=wanted.body,
                preview_text=wanted.preview_text,
                respects_rhythm=wanted.respects_rhythm,
            )
            issue = handwriting.draft(session, newsletter, written, now=call.now)
        return acting.answer(call, issue_shapes.whole(session, issue), status=201)


@router.get("/issues/{issue_id}", **access.needs(Scope.READ))
def show_issue(call: access.Current, issue_id: Id) -> IssueWhole:
    """Show an issue with its words and articles."""
    with transaction() as session:
        return issue_shapes.whole(session, call.issue(session, issue_id))


@router.patch("/issues/{issue_id}", response_model=IssueWhole, **access.needs(Scope.ISSUES))
def edit_issue(call: access.Current, issue_id: Id, change: IssueChange) -> Response:
    """Change an issue’s words while it is a draft or scheduled."""
    if change.body is not None:
        with transaction() as session:
            newsletter_id = call.issue(session, issue_id).newsletter_id
        handwriting.look_up(newsletter_id, change.body)
    with acting.change(call) as session:
        issue = unchanged(session, call, issue_id, change.version)
        names = ("subject", "preview_text", "introduction")
        texts = {
            name: getattr(change, name) if getattr(change, name) is not None else getattr(issue, name) for name in names
        }
        issues.edit(session, issue, **texts, now=call.now)
        if change.body is not None:
            handwriting.rewrite(session, issue, change.body, now=call.now)
        return acting.answer(call, issue_shapes.whole(session, issue))


@router.put("/issues/{issue_id}/articles", response_model=IssueWhole, **access.needs(Scope.ISSUES))
def arrange_issue(call: access.Current, issue_id: Id, wanted: Arrangement) -> Response:
    """Set an issue’s articles and their order: of those in it and those that it could take (see the next issue)."""
    with acting.change(call) as session:
        issue = unchanged(session, call, issue_id, wanted.version)
        issues.arrange(session, issue, _placed(session, issue, wanted, call), now=call.now)
        return acting.answer(call, issue_shapes.whole(session, issue))


@router.post("/issues/{issue_id}/automatic", response_model=IssueWhole, **access.needs(Scope.ISSUES))
def arrange_issue_automatically(call: access.Current, issue_id: Id) -> Response:
    """Choose and order the articles anew, as if the issue were made now."""
    with acting.change(call) as session:
        issue = call.issue(session, issue_id, is_locked=True)
        chosen = selection.select_articles(session, issue.newsletter, now=call.now).chosen
        placed = [(one.article, one.layout) for one in chosen if one.layout is not None]
        issues.arrange(session, issue, placed, now=call.now)
        return acting.answer(call, issue_shapes.whole(session, issue))


@router.post("/issues/{issue_id}/duplicate", status_code=201, response_model=IssueWhole, **access.needs(Scope.ISSUES))
def duplicate_issue(call: access.Current, issue_id: Id) -> Response:
    """Draft a copy of an issue. Nobody gets an article twice by it."""
    with acting.change(call) as session:
        made = duplicates.duplicate(session, call.issue(session, issue_id), now=call.now)
        return acting.answer(call, issue_shapes.whole(session, made), status=201)


@router.get("/issues/{issue_id}/preview", **access.needs(Scope.READ))
def preview_issue(call: access.Current, issue_id: Id) -> MailPreview:
    """Return the mail’s HTML and plain text, by the renderer that sends it."""
    with transaction() as session:
        issue = call.issue(session, issue_id)
        content = variants.edition(session, issue, in_order(issues.placed(session, issue_id)))
        newsletter = issue.newsletter
    made = mails.preview(newsletter, issue, content, newsletter.language, now=call.now)
    return MailPreview(subject=made.subject, preview_text=issue.preview_text, html=made.html, text=made.text)


@router.get("/issues/{issue_id}/checks", **access.needs(Scope.READ))
def show_checks(call: access.Current, issue_id: Id) -> Checked:
    """Check the mail as it is now; of links and pictures, tell what they answered last."""
    with transaction() as session:
        issue = call.issue(session, issue_id)
        found = gate.look(session, issue, in_order(issues.placed(session, issue_id)), now=call.now)
        return issue_shapes.checked(found, asked_at=issue.checked_at)


@router.post("/issues/{issue_id}/checks", response_model=Checked, **access.needs(Scope.ISSUES))
def check_issue(call: access.Current, issue_id: Id) -> Response:
    """Check the mail and ask its links and pictures too; takes some seconds."""
    acting.look_back(call)
    with transaction() as session:
        issue = call.issue(session, issue_id)
        made = gate.specimens(session, issue, in_order(issues.placed(session, issue_id)), now=call.now)
    found = gate.inspect(made, gate.ask(made))
    with acting.change(call) as session:
        issues.note_findings(session, call.issue(session, issue_id), found, now=call.now)
        return acting.answer(call, issue_shapes.checked(found, asked_at=call.now))


def in_order(placed: Placed) -> Placed:
    """Order articles as the mail shows them: the lead, the cards, the briefs."""
    return [entry for layout in Layout for entry in placed if entry[1] == layout]


def unchanged(session: Session, call: access.Call, issue_id: int, version: str | None) -> Issue:
    """Lock an issue for a change. Raises IssueNotFound, and Problem if it is not as the caller last saw it."""
    issue = call.issue(session, issue_id, is_locked=True)
    if version is not None and version != issue.updated_at.isoformat():
        raise Problem("changed_meanwhile")
    return issue


def _placed(session: Session, issue: Issue, wanted: Arrangement, call: access.Call) -> list[tuple[Article, Layout]]:
    known = {article.id: article for article, _ in issues.placed(session, issue.id)}
    if not {one.id for one in wanted.articles} <= known.keys():
        found = selection.select_articles(session, issue.newsletter, now=call.now)
        every = (*found.chosen, *found.left_out)
        known |= {one.article.id: one.article for one in every if one.why not in selection.FINAL}
    errors = [
        {"field": f"body.articles.{place}.id", "message": "The issue can’t take this article."}
        for place, one in enumerate(wanted.articles)
        if one.id not in known
    ]
    if len({one.id for one in wanted.articles}) < len(wanted.articles):
        errors.append({"field": "body.articles", "message": "Each article once."})
    if sum(one.layout == Layout.LEAD for one in wanted.articles) > 1:
        errors.append({"field": "body.articles", "message": "At most one article is the lead."})
    if errors:
        raise Problem("invalid", errors=errors)
    return list(in_order([(known[one.id], one.layout) for one in wanted.articles]))
