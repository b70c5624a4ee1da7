"""Signing in, by password or by a link that the command line prints, with a code where an account has that, and out."""

import hashlib
import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, clock, links, settings
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.links import Purpose
from mailer.models.accounts import Account
from mailer.models.audit import Actor
from mailer.newsroom import accounts, guessing, second_factors
from mailer.newsroom.guessing import Guess, Guesser
from mailer.web import dependencies, recording
from mailer.web.admin import browsers, kept, screens, session

router = APIRouter(route_class=screens.DeskRoute)

# Checking a password takes 64 MiB and much of a core for a moment: a flood of guesses must not take everything.
_CHECKING: Final = threading.BoundedSemaphore(2)
_PATIENCE_SECONDS: Final = 3
# Between the password and the code.
STEP_LIFETIME: Final = timedelta(minutes=10)
# A browser that has signed an account in before does not wait for what strangers tried elsewhere.
KNOWN_COOKIE: Final = "mailer_known"
_KNOWN_LIFETIME: Final = timedelta(days=365)
# Only pages of the desk: never another site.
_NEXT: Final = re.compile(r"/admin[\w/.-]*\Z")
WRONG: Final = "The address and the password don’t belong together."


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What happens once somebody is let in: where to, with which form that came too late, and what the log says."""

    leads_to: str = "/admin"
    held: str = ""
    action: str = "signing_in.sign_in"


@router.api_route("/sign-in", methods=["GET", "HEAD"], dependencies=[session.ANYONE])
def form(request: Request, next: str = "") -> Response:  # noqa: A002
    """Ask for address and password."""
    return screens.sign_in(request, leads_to=inside(next))


@router.post("/sign-in", dependencies=[session.ANYONE])
def sign_in(request: Request, typed: session.Form) -> Response:
    """Open a session, or say that address and password do not fit without telling which is wrong."""
    session.check_origin(request)
    now, email = clock.now(), typed.get("email", "").strip()[:320]
    who = guesser(request, Guess.PASSWORD, addresses.key(email))
    waits = guessing.wait(who, now=now)
    if waits is not None:
        return screens.wait(request, waits)
    opening = Opening(leads_to=inside(typed.get("next", "")), held=typed.get("kept", ""))
    if not _CHECKING.acquire(timeout=_PATIENCE_SECONDS):
        return screens.wait(request, guessing.MINUTE)
    try:
        with transaction() as database:
            account = accounts.authenticate(database, email, typed.get("password", "")[: accounts.LONGEST_PASSWORD])
            if account is not None:
                return let_in(request, database, account, opening)
    finally:
        _CHECKING.release()
    guessing.note(who, now=now)
    return screens.sign_in(request, status=422, email=email, leads_to=opening.leads_to, error=WRONG, held=opening.held)


@router.post("/second-step", dependencies=[session.ANYONE])
def take_code(request: Request, typed: session.Form) -> Response:
    """Open the session of somebody whose password was right, if the code is, too."""
    session.check_origin(request)
    now, step = clock.now(), typed.get("step", "")
    with transaction() as database:
        found = _read_step(database, step, now=now)
        if found is None:
            return screens.sign_in(request, status=422, leads_to="/admin", error="That took too long. Start again.")
        account, opening = found
        who = guesser(request, Guess.CODE, str(account.id))
        waits = guessing.wait(who, now=now)
        if waits is not None:
            return screens.wait(request, waits)
        try:
            second_factors.take(database, account, typed.get("code", "")[:40], now=now)
        except second_factors.CodeWrong:
            guessing.note(who, now=now)
            return _ask_code(request, step, held=typed.get("kept", ""), error="The code is wrong, or was used already.")
        return open_session(request, database, account, Opening(**{**vars(opening), "held": typed.get("kept", "")}))


@router.api_route("/sign-in/{token}", methods=["GET", "HEAD"], dependencies=[session.ANYONE])
def open_link(request: Request, token: str) -> Response:
    """Show the button of a sign-in link; mail scanners open links, so opening changes nothing."""
    return _by_link(request, token, is_pressed=False)


@router.post("/sign-in/{token}", dependencies=[session.ANYONE])
def press_button(request: Request, token: str) -> Response:
    """Sign the link's account in."""
    session.check_origin(request)
    return _by_link(request, token, is_pressed=True)


@router.post("/sign-out")
def sign_out(desk: session.Own) -> Response:
    """End this browser's session."""
    with transaction() as database:
        accounts.close_session(database, desk.token)
    response = screens.back("/admin/sign-in")
    response.delete_cookie(session.COOKIE, httponly=True, samesite="lax")
    return response


def let_in(request: Request, database: Session, account: Account, opening: Opening) -> Response:
    """Open a session, or ask for the code first if the account has a second factor."""
    if account.totp_confirmed_at is not None:
        return _ask_code(request, _write_step(account, opening, now=clock.now()), held=opening.held)
    return open_session(request, database, account, opening)


def open_session(request: Request, database: Session, account: Account, opening: Opening) -> Response:
    """Open a new session, whatever cookie the browser came with; an old one ends. A form that came too late is shown."""
    now, network = clock.now(), subscriptions.truncate(dependencies.client_host(request))
    accounts.close_session(database, request.cookies.get(session.COOKIE, ""))
    browser = browsers.name(request.headers.get("user-agent", ""))
    token = accounts.open_session(database, account.id, now=now, browser=browser, network=network)
    recording.note(database, request, opening.action, actor=Actor.ACCOUNT, actor_id=account.id, actor_name=account.name)
    response: Response = screens.back(opening.leads_to)
    held = kept.unpack(opening.held)
    if held is not None:
        response = screens.again(request, held, language=account.language, token=token)
    session.remember(response, token)
    _know(response, account)
    return response


def guesser(request: Request, guess: Guess, account: str) -> Guesser:
    """Say who tries something with an account, which is named by its address or its number."""
    network = subscriptions.truncate(dependencies.client_host(request))
    return Guesser(guess=guess, account=account, network=network, browser=account if _knows(request, account) else None)


def inside(path: str) -> str:
    """Return a path of the desk, whatever was asked for: never another site."""
    return path if _NEXT.match(path) else "/admin"


def _by_link(request: Request, token: str, *, is_pressed: bool) -> Response:
    now = clock.now()
    try:
        link = links.read_fresh(Purpose.SIGN_IN, token, lifetime=links.SIGN_IN_LIFETIME, now=now)
    except (links.TokenInvalid, links.TokenExpired):
        return screens.render_outside(request, "sign_in_link", status=410, name=None, token=None)
    with transaction() as database:
        account = accounts.of_link(database, link.id, made_at=link.issued_at)
        if account is None:
            return screens.render_outside(request, "sign_in_link", status=410, name=None, token=None)
        if is_pressed:
            return let_in(request, database, account, Opening(action="signing_in.press_button"))
    return screens.render_outside(request, "sign_in_link", name=account.name, token=token)


def _ask_code(request: Request, step: str, *, held: str, error: str | None = None) -> Response:
    status = 422 if error else 200
    return screens.render_outside(request, "second_step", status=status, step=step, held=held, error=error)


def _write_step(account: Account, opening: Opening, *, now: datetime) -> str:
    """Seal that the first step was right, until the password changes or somebody takes too long."""
    parts = (str(int(now.timestamp())), str(account.id), _mark(account), opening.leads_to, opening.action)
    return links.seal(Purpose.SECOND_STEP, "\n".join(parts))


def _read_step(database: Session, step: str, *, now: datetime) -> tuple[Account, Opening] | None:
    try:
        seconds, account_id, mark, leads_to, action = links.unseal(Purpose.SECOND_STEP, step).split("\n")
        account = accounts.get(database, int(account_id))
    except (links.TokenInvalid, accounts.AccountNotFound, ValueError):
        return None
    is_fresh = 0 <= now.timestamp() - int(seconds) <= STEP_LIFETIME.total_seconds()
    if not is_fresh or account.disabled_at is not None or mark != _mark(account):
        return None
    return account, Opening(leads_to=leads_to, action=action)


def _mark(account: Account) -> str:
    return hashlib.sha256(f"{account.password_hash}:{account.totp_confirmed_at}".encode()).hexdigest()[:16]


def _know(response: Response, account: Account) -> None:
    about = addresses.key(account.email).encode()
    response.set_cookie(
        KNOWN_COOKIE,
        links.sign(Purpose.KNOWN_BROWSER, account.id, about=about),
        max_age=int(_KNOWN_LIFETIME.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=settings.load().public_url.startswith("https://"),
    )


def _knows(request: Request, account: str) -> bool:
    """Tell whether this browser has signed in the account of that address before. Of numbers it knows nothing."""
    try:
        links.read(Purpose.KNOWN_BROWSER, request.cookies.get(KNOWN_COOKIE, ""), about=account.encode())
    except links.TokenInvalid:
        return False
    return True
