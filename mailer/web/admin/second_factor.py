"""Setting up one's second factor: a QR code and the secret to type, a first code, recovery codes shown once."""

import io

import segno
from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from mailer import settings
from mailer.db import transaction
from mailer.newsroom import accounts, guessing, second_factors, team
from mailer.newsroom.guessing import Guess
from mailer.web.admin import screens, session, signing_in

router = APIRouter(prefix="/account/second-factor", route_class=screens.DeskRoute)


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Own) -> Response:
    """Explain it, and offer to begin, or to switch it off."""
    return _page(request, desk)


@router.post("")
def begin(request: Request, desk: session.Own) -> Response:
    """Make a secret, and show it until a code has confirmed it."""
    request.state.changed_nothing = True
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        if account.totp_confirmed_at is None:
            secret = second_factors.begin(database, account)
            return _page(request, desk, secret=secret)
    return _page(request, desk)


@router.post("/confirm")
def confirm(request: Request, desk: session.Own) -> Response:
    """Switch it on with the first code."""
    who = signing_in.guesser(request, Guess.CODE, str(desk.account_id))
    waits = guessing.wait(who, now=desk.now)
    if waits is not None:
        return screens.wait(request, waits)
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        if account.totp_confirmed_at is not None or account.totp_secret is None:
            return screens.back("/admin/account/second-factor")
        try:
            codes = second_factors.confirm(database, account, desk.typed("code")[:40], now=desk.now)
        except second_factors.CodeWrong:
            guessing.note(who, now=desk.now)
            secret, error = second_factors.begin(database, account), "The code is wrong. Is your phone’s clock right?"
            return _page(request, desk, secret=secret, errors={"code": error})
        accounts.close_sessions(database, account.id, keep=desk.token)
    return _page(request, desk, codes=codes)


@router.post("/codes")
def renew_codes(request: Request, desk: session.Own) -> Response:
    """Make new recovery codes in place of the old ones."""
    return _proven(request, desk, is_off=False)


@router.post("/remove")
def remove(request: Request, desk: session.Own) -> Response:
    """Switch it off."""
    return _proven(request, desk, is_off=True)


def _proven(request: Request, desk: session.Desk, *, is_off: bool) -> Response:
    """Do what takes one's password once more: who finds a desk unattended must not get at it for good."""
    who = signing_in.guesser(request, Guess.CODE, str(desk.account_id))
    waits = guessing.wait(who, now=desk.now)
    if waits is not None:
        return screens.wait(request, waits)
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        if account.totp_confirmed_at is None:
            return screens.back("/admin/account/second-factor")
        if accounts.authenticate(database, account.email, desk.form.get("password", "")) is None:
            guessing.note(who, now=desk.now)
            return _page(request, desk, errors={"password": "This is not your password."})
        if not is_off:
            return _page(request, desk, codes=second_factors.renew_codes(database, account))
        second_factors.remove(database, account)
        accounts.close_sessions(database, account.id, keep=desk.token)
    return screens.back("/admin/account", done="saved")


def _page(
    request: Request,
    desk: session.Desk,
    *,
    secret: str | None = None,
    codes: list[str] | None = None,
    errors: dict[str, str] | None = None,
) -> Response:
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        is_on, left = account.totp_confirmed_at is not None, second_factors.count_codes(database, account.id)
        address = second_factors.address(account, secret, issuer=settings.load().public_host) if secret else ""
        is_required = team.requires_second_factor(database)
    return screens.render(
        request,
        desk,
        "second_factor",
        here="account",
        status=422 if errors else 200,
        secret=" ".join(secret[place : place + 4] for place in range(0, len(secret), 4)) if secret else None,
        picture=_picture(address) if address else None,
        codes=codes,
        is_on=is_on or codes is not None,
        left=left,
        is_required=is_required,
        errors=errors or {},
    )


def _picture(address: str) -> Markup:
    """Draw a QR code, dark on light whatever the page's colours, since not all cameras read it otherwise."""
    drawn = io.BytesIO()
    made = segno.make(address, error="m", micro=False)
    # No classes: it needs no style of ours.
    bare = {"xmldecl": False, "nl": False, "svgclass": None, "lineclass": None}
    made.save(drawn, kind="svg", scale=5, border=4, dark="#000", light="#fff", **bare)
    return Markup(drawn.getvalue().decode())  # noqa: S704 - drawn by segno from modules, the text is not in it
