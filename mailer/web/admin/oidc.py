"""Signing in through the newsroom's own sign-in service (OpenID Connect): away, and back again."""

from typing import Final

import structlog
from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mailer import clock, i18n, settings
from mailer.db import transaction
from mailer.models.accounts import Account
from mailer.newsroom import accounts, oidc
from mailer.newsroom.oidc import Identity
from mailer.web import dependencies
from mailer.web.admin import screens, session, signing_in

router = APIRouter(prefix="/oidc", route_class=screens.DeskRoute, dependencies=[session.ANYONE])

COOKIE: Final = "mailer_oidc"
_UNKNOWN: Final = "Nobody of the team has this address. Ask an owner or an admin to invite you."
_FAILED: Final = "The sign-in service could not say who you are. Try again, or use your password."

log = structlog.get_logger()


@router.api_route("", methods=["GET", "HEAD"])
def leave(request: Request, next: str = "") -> Response:  # noqa: A002
    """Send the browser to the other service. Nothing is changed but a cookie of the browser's own."""
    if not oidc.is_on():
        return screens.problem(request, 404)
    try:
        started = oidc.begin(leads_to=signing_in.inside(next), now=clock.now())
    except oidc.OidcFailed as failed:
        return _refused(request, _FAILED, failed)
    response = RedirectResponse(started.url, status_code=303, headers=screens.HEADERS)
    response.set_cookie(
        COOKIE,
        started.sealed,
        max_age=int(oidc.LIFETIME.total_seconds()),
        path="/admin/oidc",
        httponly=True,
        samesite="lax",
        secure=settings.load().public_url.startswith("https://"),
    )
    return response


@router.api_route("/return", methods=["GET"])
def come_back(request: Request, state: str = "", code: str = "") -> Response:
    """Open the session of whom the other service vouches for, if this very browser was sent there."""
    now = clock.now()
    if not oidc.is_on():
        return screens.problem(request, 404)
    try:
        identity = oidc.finish(sealed=request.cookies.get(COOKIE, ""), state=state, code=code, now=now)
    except oidc.OidcFailed as failed:
        return _refused(request, _FAILED, failed)
    with transaction() as database:
        account = _account(request, database, identity)
        response: Response
        if account is None:
            response = screens.sign_in(request, status=403, leads_to="/admin", error=_UNKNOWN)
        else:
            opening = signing_in.Opening(leads_to=signing_in.inside(identity.leads_to), action="oidc.come_back")
            response = signing_in.let_in(request, database, account, opening)
    response.delete_cookie(COOKIE, path="/admin/oidc", httponly=True, samesite="lax")
    return response


def _account(request: Request, database: Session, identity: Identity) -> Account | None:
    """Return the account of the address, made now if its domain is to be let in; None for everybody else."""
    try:
        return accounts.find(database, identity.email)
    except accounts.AccountNotFound:
        role = oidc.role_for(identity.email)
    language = i18n.choose(dependencies.desk_language(request), among=i18n.DESK_LANGUAGES)
    name = " ".join(identity.name.split())[: accounts.LONGEST_NAME]
    if role is None:
        return None
    try:
        return accounts.add(database, identity.email, name=name, language=language, role=role, now=clock.now())
    except accounts.AccountInvalid:
        # The address is one of somebody who was locked out.
        return None


def _refused(request: Request, error: str, failed: oidc.OidcFailed) -> Response:
    log.warning("sign-in by another service failed", error=str(failed))
    return screens.sign_in(request, status=403, leads_to="/admin", error=error)
