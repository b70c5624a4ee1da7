"""Choosing a password by a link that was mailed or shown once: when somebody is invited, and when the old one is lost."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, clock, queue
from mailer.db import transaction
from mailer.models.accounts import Account, SecretKind
from mailer.models.audit import Actor
from mailer.newsroom import account_links, accounts, guessing
from mailer.newsroom.guessing import Guess
from mailer.web import recording
from mailer.web.admin import screens, session, signing_in

router = APIRouter(route_class=screens.DeskRoute, dependencies=[session.ANYONE])


@router.api_route("/reset", methods=["GET", "HEAD"])
def ask(request: Request) -> Response:
    """Ask for the address of somebody who has lost the password."""
    return screens.render_outside(request, "reset", is_asked=False)


@router.post("/reset")
def request_link(request: Request, typed: session.Form) -> Response:
    """Have a link mailed; the answer and what is done for it are the same whether there is such an account or not."""
    session.check_origin(request)
    now, email = clock.now(), typed.get("email", "").strip()[:320]
    who = signing_in.guesser(request, Guess.MAIL, addresses.key(email))
    waits = guessing.wait(who, now=now)
    if waits is not None:
        return screens.wait(request, waits)
    guessing.note(who, now=now)
    if guessing.may_mail(who, now=now):
        with transaction() as database:
            account_links.request(database, email, SecretKind.RESET, now=now)
        screens.ring(queue.MAIL_DESK)
    return screens.render_outside(request, "reset", is_asked=True)


@router.api_route("/link/{token}", methods=["GET", "HEAD"])
def open_link(request: Request, token: str) -> Response:
    """Show the form of a link; mail scanners open links, so opening changes nothing."""
    try:
        with transaction() as database:
            secret = account_links.read(database, token, now=clock.now())
            return _form(request, token, database.get_one(Account, secret.account_id), secret.kind)
    except account_links.LinkDead:
        return _dead(request)


@router.post("/link/{token}")
def choose(request: Request, token: str, typed: session.Form) -> Response:
    """Set the password, end every other session, and let its owner in, past the second step if there is one."""
    session.check_origin(request)
    password, now = typed.get("password", ""), clock.now()
    try:
        with transaction() as database:
            secret = account_links.read(database, token, now=now)
            account, kind = database.get_one(Account, secret.account_id), secret.kind
            error = _complaint(password)
            if error is not None:
                return _form(request, token, account, kind, error=error)
            account_links.use(database, secret, password)
            act = f"choosing.choose.{kind}"
            recording.note(database, request, act, actor=Actor.ACCOUNT, actor_id=account.id, actor_name=account.name)
            return signing_in.let_in(request, database, account, signing_in.Opening())
    except account_links.LinkDead:
        return _dead(request)


def _complaint(password: str) -> str | None:
    if len(password) < accounts.SHORTEST_PASSWORD:
        return "Choose at least 12 characters; a few words are easy to keep in mind."
    if len(password) > accounts.LONGEST_PASSWORD:
        return "Choose at most 1,000 characters."
    return None


def _form(request: Request, token: str, account: Account, kind: SecretKind, *, error: str | None = None) -> Response:
    return screens.render_outside(
        request,
        "choose_password",
        status=422 if error else 200,
        language=account.language,
        token=token,
        email=account.email,
        is_invitation=kind == SecretKind.INVITATION,
        error=error,
    )


def _dead(request: Request) -> Response:
    return screens.render_outside(request, "choose_password", status=410, token=None)
