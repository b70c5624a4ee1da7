"""Uncertain deliveries at the desk: what is done about them beforehand, who they are, and how they are settled."""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from mailer import queue
from mailer.db import transaction
from mailer.delivery import ledger, settling
from mailer.issues import issues
from mailer.models.content import WhenUncertain
from mailer.models.deliveries import Outcome, SettledAs
from mailer.web.admin import composing, screens, session

router = APIRouter(prefix="/issues/{issue_id}", route_class=screens.DeskRoute)

PAGE_LENGTH: Final = 50
LARGEST_ID: Final = 2**63 - 1
_IDS: Final = re.compile(r"[0-9]{1,19}(,[0-9]{1,19}){0,99}\Z")

Ticked = Annotated[list[str] | None, Query(max_length=PAGE_LENGTH)]


@router.api_route("/uncertain", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Current, issue_id: composing.IssueId, after: int = 0) -> Response:
    """List the uncertain deliveries, a page at a time, to be settled all or singly."""
    after = after if 0 < after <= LARGEST_ID else 0
    with transaction() as database:
        issue = issues.get(database, issue_id)
        count = ledger.equation(database, issue_id).uncertain
        decided = settling.settlements(database, issue_id)
        lines = ledger.log(database, issue_id, outcome=Outcome.UNCERTAIN, after_id=after, limit=PAGE_LENGTH + 1)
    return screens.render(
        request,
        desk,
        "uncertain",
        here="issues",
        issue=issue,
        newsletter=issue.newsletter,
        count=count,
        decided=decided,
        lines=lines[:PAGE_LENGTH],
        after=lines[PAGE_LENGTH - 1].delivery_id if len(lines) > PAGE_LENGTH else None,
    )


@router.api_route("/settle", methods=["GET", "HEAD"])
def ask(
    request: Request, desk: session.Current, issue_id: composing.IssueId, how: SettledAs, delivery: Ticked = None
) -> Response:
    """Say what a decision means before it is made, for all uncertain deliveries or those that were ticked."""
    only = _ids(",".join(delivery or ()))
    with transaction() as database:
        issue = issues.get(database, issue_id)
        count = ledger.equation(database, issue_id).uncertain if only is None else len(only)
    ids = ",".join(map(str, only or []))
    return screens.render(
        request,
        desk,
        "settle",
        here="issues",
        issue=issue,
        newsletter=issue.newsletter,
        count=count,
        how=how,
        ids=ids,
    )


@router.post("/settle")
def settle(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Settle them; those that are sent again leave within seconds."""
    only, typed = _ids(desk.typed("deliveries")), desk.typed("how")
    path = f"/admin/issues/{issue_id}"
    if typed not in tuple(SettledAs):
        return screens.back(f"{path}/uncertain")
    how = SettledAs(typed)
    with transaction() as database:
        count = settling.settle(database, issues.get(database, issue_id), how, by=desk.name, now=desk.now, only=only)
    if count and how is SettledAs.RESEND:
        screens.ring(queue.SEND)
    return screens.back(path, done=f"settled-{how}" if count else "settled-nothing")


@router.post("/when-uncertain")
def choose(desk: session.Editor, issue_id: composing.IssueId) -> Response:
    """Choose what happens to mails whose answer will be lost."""
    with transaction() as database:
        issue = issues.get(database, issue_id)
        issues.set_when_uncertain(database, issue, chosen(desk) or issue.when_uncertain, now=desk.now)
    return screens.back(f"/admin/issues/{issue_id}", done="saved")


def chosen(desk: session.Desk) -> WhenUncertain | None:
    """Return what a form with the two choices says; None if it has none."""
    typed = desk.typed("when_uncertain")
    return WhenUncertain(typed) if typed in tuple(WhenUncertain) else None


def _ids(text: str) -> list[int] | None:
    """Read the ticked deliveries; None means all. What is no list of ids is none of them."""
    if not text:
        return None
    return [min(int(one), LARGEST_ID) for one in text.split(",")] if _IDS.match(text) else []
