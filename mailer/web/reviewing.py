"""The links in mails to the newsroom: send, hold or drop an issue. Opening one changes nothing, its button does."""

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import clock, i18n, links, queue
from mailer.db import transaction
from mailer.issues import issues, reviewing, slots
from mailer.models.content import Issue
from mailer.models.desk import DeskMail, ReviewAct
from mailer.newsroom import deskmail
from mailer.web import dependencies
from mailer.web.admin import screens, words

router = APIRouter(prefix="/review")


@router.api_route("/{act}/{token}", methods=["GET", "HEAD"])
def open_link(request: Request, act: ReviewAct, token: str) -> Response:
    """Ask for a press of the button; mail scanners open links, so opening changes nothing."""
    try:
        with transaction() as session:
            _, issue = _read(session, act, token)
            if issue.state not in issues.EDITABLE_STATES:
                return _page(request, session, issue, act, "over")
            return _page(request, session, issue, act, "ask", token=token)
    except (links.TokenInvalid, deskmail.LinkDead):
        return _dead(request)


@router.post("/{act}/{token}")
def press_button(request: Request, act: ReviewAct, token: str) -> Response:
    """Do it; a second time changes nothing."""
    now = clock.now()
    try:
        with transaction() as session:
            mail, issue = _read(session, act, token)
            reviewing.answer(session, issue.id, act, by=mail.address, now=now)
            response = _page(request, session, issues.get(session, issue.id), act, "done")
    except reviewing.AnswerTooLate:
        with transaction() as session:
            return _page(request, session, _read(session, act, token)[1], act, "over")
    except (links.TokenInvalid, deskmail.LinkDead):
        return _dead(request)
    if act == ReviewAct.SEND and issue.scheduled_at is not None and issue.scheduled_at <= now:
        screens.ring(queue.START_ISSUE, issue.id)
    return response


def _read(session: Session, act: ReviewAct, token: str) -> tuple[DeskMail, Issue]:
    mail = deskmail.read_link(session, act, token)
    return mail, issues.get(session, mail.issue_id or 0)


def _page(
    request: Request,
    session: Session,
    issue: Issue,
    act: ReviewAct,
    step: str,
    *,
    token: str | None = None,
) -> Response:
    newsletter = issue.newsletter
    language = i18n.choose(dependencies.chosen_language(request), newsletter.language, among=i18n.DESK_LANGUAGES)
    slot = slots.of_issue(session, issue.id)
    ahead = slot.slot_at if slot is not None and slot.slot_at > clock.now() else None
    return screens.render_outside(
        request,
        "answer",
        language=language,
        status=410 if step == "over" else 200,
        step=step,
        act=act.value,
        action=f"/review/{act}/{token}",
        issue=issue,
        newsletter=newsletter,
        slot=words.moment(language, ahead, newsletter.timezone) if ahead else None,
        articles=len(issues.placed(session, issue.id)),
    )


def _dead(request: Request) -> Response:
    return screens.render_outside(request, "answer", status=404, step="dead", act="", issue=None, newsletter=None)
