"""An issue before it is sent: its words, its articles and their order, and how it will look."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mailer.db import transaction
from mailer.issues import issues, reviewing, selection, slots, variants
from mailer.issues.contents import Content, Placed
from mailer.mail import inlining, mails, rendering
from mailer.models.content import Article, Issue, Layout, Newsletter
from mailer.newsroom import newsletters
from mailer.web.admin import inspecting, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

IssueId = Annotated[int, Path(ge=1, lt=2**63)]

SUBJECT_HINT: Final = 60
LEFT_OUT_SHOWN: Final = 50
VIEWS: Final = {
    "desktop": "Desktop",
    "phone": "Phone",
    "dark": "Dark",
    "no-images": "No images",
    "text": "Plain text",
}
_ALWAYS: Final[dict[str, Any]] = {
    "layouts": list(Layout),
    "subject_hint": SUBJECT_HINT,
    "views": list(VIEWS.items()),
    "has_frame": True,
}
_PREVIEW_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src {images}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
TOO_LONG: Final = {
    "subject": "Enter 200 characters at most",
    "preview_text": "Enter 300 characters at most",
    "introduction": "Enter 5000 characters at most",
}
_DARK_QUERY: Final = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)")


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What was typed into the envelope and could not be taken: it stays in the form, with the complaints by field."""

    texts: Mapping[str, str]
    errors: Mapping[str, str]
    status: int


def page(
    request: Request,
    desk: session.Desk,
    database: Session,
    issue: Issue,
    *,
    view: str = "phone",
    refused: Refused | None = None,
) -> Response:
    """Show a draft or scheduled issue with everything that can still be changed."""
    if issue.is_leaving and refused is None:
        return _leaving_page(request, desk, database, issue)
    newsletter = issue.newsletter
    placed = in_order(issues.placed(database, issue.id))
    view = view if view in VIEWS else "phone"
    is_leaving = issue.scheduled_at is not None and issue.scheduled_at <= desk.now
    outside = _outside(database, newsletter, placed, now=desk.now)
    return screens.render(
        request,
        desk,
        "compose",
        here="issues",
        status=refused.status if refused else 200,
        errors=refused.errors if refused else {},
        refused=refused,
        saved={name: getattr(issue, name) for name in (*issues.LENGTHS, "body")},
        issue=issue,
        newsletter=newsletter,
        placed=placed,
        movable=_movable(placed),
        outside=outside[:LEFT_OUT_SHOWN],
        outside_count=len(outside),
        readers=newsletters.count_readers(database, newsletter.id),
        version=issue.updated_at.isoformat(),
        is_refused=False,
        **inspecting.values(desk, inspecting.look(database, issue, placed, desk)),
        is_leaving=is_leaving,
        refresh_seconds=3 if is_leaving and not refused else None,
        view=view,
        **arranging_values(request, database, issue, placed, desk),
        mail=_preview(issue, variants.edition(database, issue, placed), desk) if view == "text" else None,
        **_ALWAYS | _decided(database, issue),
    )


def _leaving_page(request: Request, desk: session.Desk, database: Session, issue: Issue) -> Response:
    """Show an issue that can still be taken back, and for how long."""
    assert issue.scheduled_at is not None
    seconds = max(int((issue.scheduled_at - desk.now).total_seconds()), 0)
    return screens.render(
        request,
        desk,
        "leaving",
        here="issues",
        issue=issue,
        newsletter=issue.newsletter,
        readers=newsletters.count_readers(database, issue.newsletter_id),
        time_left=f"{seconds // 60}:{seconds % 60:02}",
        # Often enough for the seconds to be right, and soon once it has left.
        refresh_seconds=min(10, max(seconds, 2)),
        has_frame=True,
    )


@router.api_route("/preview", methods=["GET", "HEAD"])
def preview(request: Request, desk: session.Current, issue_id: IssueId, view: str = "phone") -> Response:
    """Return the very HTML that mail programs get, dark or light whatever the browser prefers; no script can run in it."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        placed = in_order(issues.placed(database, issue.id))
        content = variants.edition(database, issue, placed)
    mail = _preview(issue, content, desk)
    if isinstance(mail, str):
        values = {"detail": mail, "is_framed": True}
        return screens.render_outside(request, "preview_broken", status=422, language=desk.language, **values)
    html = mail.html
    is_dark = view == "dark"
    html = _DARK_QUERY.sub("(min-width:0)" if is_dark else "(max-width:1px)", html)
    html = html.replace('content="light dark"', 'content="dark"' if is_dark else 'content="light"')
    images = "'none'" if view == "no-images" else "https: data: http://localhost:*"
    headers = {**screens.HEADERS, "Content-Security-Policy": _PREVIEW_POLICY.format(images=images)}
    return HTMLResponse(html, headers=headers)


@router.post("/envelope")
def edit_envelope(request: Request, desk: session.Writer, issue_id: IssueId) -> Response:
    """Change subject, preview text and introduction. What can't be taken stays in the form."""
    texts = {name: desk.typed(name).replace("\r\n", "\n") for name in issues.LENGTHS}
    with transaction() as database:
        issue = lock(database, issue_id)
        is_late = desk.typed("version") != issue.updated_at.isoformat()
        if is_late and issue.state in issues.EDITABLE_STATES:
            return page(request, desk, database, issue, refused=Refused(texts=texts, errors={}, status=409))
        try:
            issues.edit(database, issue, **texts, now=desk.now)
        except issues.IssueTextTooLong as error:
            refused = Refused(texts=texts, errors={name: TOO_LONG[name] for name in error.names}, status=422)
            return page(request, desk, database, issue, refused=refused)
    return screens.back(f"/admin/issues/{issue_id}", done="saved")


def open_for(database: Session, desk: session.Desk, issue_id: int) -> Issue:
    """Lock an issue for a change. Raises IssueNotFound, or IssueStateForbids if somebody changed it after the page was shown."""
    issue = lock(database, issue_id)
    if desk.typed("version") != issue.updated_at.isoformat():
        raise issues.IssueStateForbids("Somebody changed this issue after you opened it, so nothing was done.")
    issue.changed_by = desk.name
    return issue


def in_order(placed: Placed) -> list[tuple[Article, Layout]]:
    """Order articles as the mail shows them: the lead, the cards, the briefs."""
    return [entry for layout in Layout for entry in placed if entry[1] == layout]


def lock(database: Session, issue_id: int) -> Issue:
    """Read an issue that is about to be changed, so that nobody else changes it meanwhile. Raises IssueNotFound."""
    database.execute(select(Issue.id).where(Issue.id == issue_id).with_for_update())
    return issues.get(database, issue_id)


def _decided(database: Session, issue: Issue) -> dict[str, Any]:
    """What became of the issue so far, if the schedule made it, and what the newsroom decided by links."""
    return {"slot": slots.of_issue(database, issue.id), "decisions": reviewing.acts(database, issue.id)}


def _preview(issue: Issue, content: Content, desk: session.Desk) -> mails.Preview | str:
    """Render the mail as it is now; what is wrong with its template comes back as a sentence that names the place."""
    newsletter = issue.newsletter
    try:
        return mails.preview(newsletter, issue, content, newsletter.language, now=desk.now)
    except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
        return str(error)


def _outside(
    database: Session, newsletter: Newsletter, placed: Placed, *, now: datetime
) -> list[tuple[selection.Choice, bool]]:
    """List the candidates that are not in the issue, and whether an editor may add them."""
    found = selection.select_articles(database, newsletter, now=now)
    inside = {article.id for article, _ in placed}
    every = (*found.chosen, *found.left_out)
    return [(one, one.why not in selection.FINAL) for one in every if one.article.id not in inside]


def _movable(placed: Placed) -> list[tuple[bool, bool]]:
    """Tell for each article whether it can go up and down: among those of its own layout."""
    layouts = [None, *(layout for _, layout in placed), None]
    return [(layouts[at - 1] == layouts[at], layouts[at + 1] == layouts[at]) for at in range(1, len(layouts) - 1)]
