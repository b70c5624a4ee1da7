"""An issue before it is sent: its words, its articles and their order, and how it will look."""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mailer import addresses, i18n
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.issues import candidates, issues, readings, recipients, reviewing, selection, slots, trials
from mailer.issues.contents import Placed
from mailer.mail import inlining, mails, rendering
from mailer.models.choices import Pin
from mailer.models.content import Article, Issue, Layout, Newsletter
from mailer.newsroom import newsletters
from mailer.web.admin import inspecting, screens, session, words

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

IssueId = Annotated[int, Path(ge=1, lt=2**63)]

SUBJECT_HINT: Final = 60
LEFT_OUT_SHOWN: Final = 50
VIEWS: Final = {
    "desktop": "Desktop",
    "phone": "Phone",
    "dark": "Dark",
    "inverted": "Inverted",
    "no-images": "No images",
    "text": "Plain text",
}
_ALWAYS: Final[dict[str, Any]] = {
    "layouts": list(Layout),
    "subject_hint": SUBJECT_HINT,
    "views": list(VIEWS.items()),
    "has_frame": True,
}
PREVIEW_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src {images}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)
TOO_LONG: Final = {
    "subject": "Enter 200 characters at most",
    "preview_text": "Enter 300 characters at most",
    "introduction": "Enter 5000 characters at most",
}
# What programs do that know no dark mode of a mail: colours are turned over, pictures are not.
_TURNED_OVER: Final = (
    "<style>html{filter:invert(1) hue-rotate(180deg);background:#000}img{filter:invert(1) hue-rotate(180deg)}</style>"
)
_DARK_QUERY: Final = re.compile(r"\(\s*prefers-color-scheme\s*:\s*dark\s*\)")
# "812.3.card": an article that was excluded, and where it stood.
_WAS: Final = re.compile(r"(?P<article>\d{1,18})\.(?P<place>\d{1,4})\.(?P<layout>lead|card|brief)")
# Why nothing can be shown as a reader gets it.
UNREADABLE: Final[dict[type[Exception], str]] = {
    addresses.AddressInvalid: "This address is no reader of the newsletter.",
    subscriptions.SubscriptionNotFound: "This address is no reader of the newsletter.",
    readings.NothingForReader: "Nothing of this issue is left that this reader wants and has not had.",
}


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
    placed = in_order(issues.placed(database, issue.id))
    view = view if view in VIEWS else "phone"
    is_due = issue.scheduled_at is not None and issue.scheduled_at <= desk.now
    return screens.render(
        request,
        desk,
        "compose",
        here="issues",
        status=refused.status if refused else 200,
        errors=refused.errors if refused else {},
        refused=refused,
        issue=issue,
        newsletter=issue.newsletter,
        placed=placed,
        movable=_movable(placed),
        is_refused=False,
        **inspecting.values(desk, inspecting.look(database, issue, placed, desk)),
        is_leaving=is_due,
        refresh_seconds=3 if is_due and not refused else None,
        view=view,
        has_htmx=True,
        unsaved=None,
        **_facts(database, issue, desk),
        **_candidates(request, database, issue, placed, desk),
        **_shown(request, database, issue, placed, desk),
        **_ALWAYS | _decided(database, issue),
    )


def _facts(database: Session, issue: Issue, desk: session.Desk) -> dict[str, object]:
    """Return what is saved, by whom, to whom it would go, and how the last test went."""
    counted = recipients.count(database, issue, now=desk.now)
    return {
        "saved": {name: getattr(issue, name) for name in (*issues.LENGTHS, "body")},
        "changed_by": issue.changed_by or i18n.gettext(desk.language, "Somebody"),
        "version": issue.updated_at.isoformat(),
        "counted": counted,
        "readers": counted.recipients,
        "tested": next(iter(trials.latest(database, issue.id, limit=1)), None),
    }


def _candidates(
    request: Request, database: Session, issue: Issue, placed: Placed, desk: session.Desk
) -> dict[str, object]:
    """Return what is not in the issue and may be, what was searched for, and what was excluded a moment ago."""
    outside = _outside(database, issue.newsletter, placed, now=desk.now)
    wanted = request.query_params.get("q", "").strip()[:200]
    pins = select(Pin.article_id).where(Pin.newsletter_id == issue.newsletter_id, Pin.until > desk.now)
    gone = _WAS.fullmatch(request.query_params.get("was", ""))
    return {
        "outside": outside[:LEFT_OUT_SHOWN],
        "outside_count": len(outside),
        "newer": sum(may_join and one.article.first_seen_at > issue.created_at for one, may_join in outside),
        "q": wanted,
        "matching": candidates.find(database, issue, wanted) if wanted else [],
        "pins": set(database.execute(pins).scalars()),
        "was": gone.groupdict() if gone else None,
    }


def _shown(request: Request, database: Session, issue: Issue, placed: Placed, desk: session.Desk) -> dict[str, object]:
    """Return what the preview shows: the edition, or what the reader `as` would get."""
    reader, problem = request.query_params.get("as", "").strip()[:320], None
    try:
        reading = _reading(database, issue, placed, reader, desk)
    except tuple(UNREADABLE) as error:
        problem = UNREADABLE[type(error)]
        reading = _reading(database, issue, placed, "", desk)
    is_text = request.query_params.get("view") == "text"
    return {
        "shown_to": {"as": reader} if reader else {},
        "reader_problem": problem,
        "inbox": reading.content,
        "mail": _preview(issue, reading, desk) if is_text else None,
    }


def _reading(database: Session, issue: Issue, placed: Placed, reader: str, desk: session.Desk) -> readings.Reading:
    if reader:
        return readings.of_reader(database, issue, placed, reader, now=desk.now)
    return readings.of_edition(database, issue, placed)


def _leaving_page(request: Request, desk: session.Desk, database: Session, issue: Issue) -> Response:
    """Show an issue that can still be taken back, and for how long."""
    left = (issue.scheduled_at or desk.now) - desk.now
    seconds = max(int(left.total_seconds()), 0)
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
def preview(
    request: Request,
    desk: session.Current,
    issue_id: IssueId,
    view: str = "phone",
    reader: Annotated[str, Query(alias="as", max_length=320)] = "",
) -> Response:
    """Return the very HTML that mail programs get, dark or light whatever the browser prefers; no script can run in it."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        placed = in_order(issues.placed(database, issue.id))
        try:
            reading = _reading(database, issue, placed, reader.strip(), desk)
        except tuple(UNREADABLE):
            reading = readings.of_edition(database, issue, placed)
        mail = _preview(issue, reading, desk)
    if isinstance(mail, str):
        values = {"detail": mail, "is_framed": True}
        return screens.render_outside(request, "preview_broken", status=422, language=desk.language, **values)
    html = mail.html
    is_dark = view == "dark"
    html = _DARK_QUERY.sub("(min-width:0)" if is_dark else "(max-width:1px)", html)
    html = html.replace('content="light dark"', 'content="dark"' if is_dark else 'content="light"')
    if view == "inverted":
        html = html.replace("</head>", f"{_TURNED_OVER}</head>", 1)
    images = "'none'" if view == "no-images" else "https: data: http://localhost:*"
    headers = {**screens.HEADERS, "Content-Security-Policy": PREVIEW_POLICY.format(images=images)}
    return HTMLResponse(html, headers=headers)


@router.post("/envelope")
def edit_envelope(request: Request, desk: session.Writer, issue_id: IssueId) -> Response:
    """Change subject, preview text and introduction. What can't be taken stays in the form.

    htmx asks again and again while somebody types, and gets a line that says whether it is saved.
    """
    texts = {name: desk.typed(name).replace("\r\n", "\n") for name in issues.LENGTHS}
    is_autosave = "hx-request" in request.headers
    with transaction() as database:
        issue = lock(database, issue_id)
        refused = _edit(database, issue, texts, desk)
        if is_autosave:
            return _saved(request, desk, issue, refused)
        if refused is not None:
            return page(request, desk, database, issue, refused=refused)
    return screens.back(f"/admin/issues/{issue_id}", done="saved")


def _edit(database: Session, issue: Issue, texts: Mapping[str, str], desk: session.Desk) -> Refused | None:
    is_late = desk.typed("version") != issue.updated_at.isoformat()
    if is_late and issue.state in issues.EDITABLE_STATES:
        return Refused(texts=texts, errors={}, status=409)
    try:
        issues.edit(database, issue, **texts, now=desk.now)
    except issues.IssueTextTooLong as error:
        return Refused(texts=texts, errors={name: TOO_LONG[name] for name in error.names}, status=422)
    issue.changed_by = desk.name
    return None


def _saved(request: Request, desk: session.Desk, issue: Issue, refused: Refused | None) -> Response:
    """Return the line beside the envelope's title; the version goes with it, for the page's other forms."""
    unsaved = None
    if refused is not None:
        unsaved = "Not saved: somebody changed it meanwhile." if refused.status == 409 else "Not saved: it is too long."
        request.state.changed_nothing = True
    distance = functools.partial(words.distance, desk.language, now=desk.now)
    line = screens.fragment(desk.language, "_saved", issue=issue, unsaved=unsaved, distance=distance)
    told = {} if refused is not None else {"X-Version": issue.updated_at.isoformat()}
    return HTMLResponse(line, headers={**screens.HEADERS, **told})


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


def _preview(issue: Issue, reading: readings.Reading, desk: session.Desk) -> mails.Preview | str:
    """Render the mail as it is now; what is wrong with its template comes back as a sentence that names the place."""
    fields = {**reading.attributes, **({"name": reading.name} if reading.name else {})}
    try:
        return mails.preview(issue.newsletter, issue, reading.content, reading.language, now=desk.now, fields=fields)
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
