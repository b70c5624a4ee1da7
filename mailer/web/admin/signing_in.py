"""Signing in, by password or by a link that the command line prints, and out."""

import re
import threading
from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import clock, links
from mailer.db import transaction
from mailer.models.accounts import Account
from mailer.newsroom import accounts
from mailer.web.admin import kept, screens, session

router = APIRouter(route_class=screens.DeskRoute)

# Checking a password takes 64 MiB and much of a core for a moment: a flood of guesses must not take everything.
_CHECKING: Final = threading.BoundedSemaphore(2)
_PATIENCE_SECONDS: Final = 3
# Only pages of the desk: never another site.
_NEXT: Final = re.compile(r"/admin[\w/.-]*\Z")


@router.api_route("/sign-in", methods=["GET", "HEAD"])
def form(request: Request, next: str = "") -> Response:  # noqa: A002
    """Ask for address and password."""
    return screens.sign_in(request, leads_to=_inside(next))


@router.post("/sign-in")
def sign_in(request: Request, typed: session.Form) -> Response:
    """Open a session, or say that address and password do not fit without telling which is wrong."""
    session.check_origin(request)
    email = typed.get("email", "").strip()[:320]
    leads_to = _inside(typed.get("next", ""))
    if not _CHECKING.acquire(timeout=_PATIENCE_SECONDS):
        return screens.problem(request, 429)
    try:
        with transaction() as database:
            account = accounts.authenticate(database, email, typed.get("password", "")[:1000])
            if account is not None:
                return _open(request, database, account, leads_to, held=kept.unpack(typed.get("kept", "")))
    finally:
        _CHECKING.release()
    error = "The address and the password don’t belong together."
    held = typed.get("kept", "")
    return screens.sign_in(request, status=422, email=email, leads_to=leads_to, error=error, held=held)


@router.api_route("/sign-in/{token}", methods=["GET", "HEAD"])
def open_link(request: Request, token: str) -> Response:
    """Show the button of a sign-in link; mail scanners open links, so opening changes nothing."""
    return _by_link(request, token, is_pressed=False)


@router.post("/sign-in/{token}")
def press_button(request: Request, token: str) -> Response:
    """Sign the link's account in."""
    session.check_origin(request)
    return _by_link(request, token, is_pressed=True)


@router.post("/sign-out")
def sign_out(desk: session.Current) -> Response:
    """End this browser's session."""
    with transaction() as database:
        accounts.close_session(database, desk.token)
    response = screens.back("/admin/sign-in")
    response.delete_cookie(session.COOKIE, httponly=True, samesite="lax")
    return response


def _by_link(request: Request, token: str, *, is_pressed: bool) -> Response:
    now = clock.now()
    try:
        link = links.read_fresh(links.Purpose.SIGN_IN, token, lifetime=links.SIGN_IN_LIFETIME, now=now)
    except (links.TokenInvalid, links.TokenExpired):
        return screens.render_outside(request, "sign_in_link", status=410, name=None, token=None)
    with transaction() as database:
        account = accounts.of_link(database, link.id, made_at=link.issued_at)
        if account is None:
            return screens.render_outside(request, "sign_in_link", status=410, name=None, token=None)
        if is_pressed:
            return _open(request, database, account, "/admin")
    return screens.render_outside(request, "sign_in_link", name=account.name, token=token)


def _open(
    request: Request, database: Session, account: Account, leads_to: str, *, held: kept.Kept | None = None
) -> Response:
    """Open a new session, whatever cookie the browser came with; an old one ends. A form that came too late is shown."""
    accounts.close_session(database, request.cookies.get(session.COOKIE, ""))
    token = accounts.open_session(database, account.id, now=clock.now())
    response: Response = screens.back(leads_to)
    if held is not None:
        response = screens.again(request, held, language=account.language, token=token)
    session.remember(response, token)
    return response


def _inside(path: str) -> str:
    return path if _NEXT.match(path) else "/admin"
