"""The first page of a new installation: whoever was given the printed link creates the owner's account. Closed afterwards."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, clock, links
from mailer.db import transaction
from mailer.newsroom import accounts, installation
from mailer.web import dependencies
from mailer.web.admin import screens, session

router = APIRouter(prefix="/setup", route_class=screens.DeskRoute)

_FIELDS: Final = ("email", "name", "password")
_TOO_SHORT: Final = "Choose at least 12 characters; a sentence is easy to remember"
_LONGEST: Final = {"email": 254, "name": 120, "password": 1000}


@router.api_route("/{token}", methods=["GET", "HEAD"], dependencies=[session.ANYONE])
def show(request: Request, token: str) -> Response:
    """Ask for the owner's address and passphrase; opening the link changes nothing."""
    if not _is_genuine(token):
        return _closed(request)
    with transaction() as database:
        is_open = installation.is_open(database)
    return _form(request, token, {}, {}) if is_open else _closed(request)


@router.post("/{token}", dependencies=[session.ANYONE])
def create(request: Request, token: str, typed: session.Form) -> Response:
    """Create the owner, sign them in, and go on with the first run. Of two who press at once, one does."""
    session.check_origin(request)
    if not _is_genuine(token):
        return _closed(request)
    given = {name: typed.get(name, "").strip() for name in _FIELDS} | {"password": typed.get("password", "")}
    errors = _errors(given)
    language, now = dependencies.desk_language(request), clock.now()
    if errors:
        return _form(request, token, given, errors)
    with transaction() as database:
        installation.lock(database, now=now)
        if not installation.is_open(database):
            return _closed(request)
        account = accounts.create(
            database, given["email"], name=given["name"], password=given["password"], language=language, now=now
        )
        secret = accounts.open_session(database, account.id, now=now)
    response = screens.back("/admin/welcome")
    session.remember(response, secret)
    return response


def _is_genuine(token: str) -> bool:
    try:
        links.read_fresh(links.Purpose.SETUP, token, lifetime=links.SIGN_IN_LIFETIME, now=clock.now())
    except (links.TokenInvalid, links.TokenExpired):
        return False
    return True


def _errors(given: Mapping[str, str]) -> dict[str, str]:
    errors = {name: "This is too long" for name, most in _LONGEST.items() if len(given[name]) > most}
    try:
        addresses.normalise(given["email"])
    except addresses.AddressInvalid:
        errors["email"] = "Enter a full address, like name@example.com"
    if not given["name"]:
        errors["name"] = "Fill in this field"
    if len(given["password"]) < accounts.SHORTEST_PASSWORD:
        errors |= {"password": _TOO_SHORT}
    return errors


def _form(request: Request, token: str, given: Mapping[str, str], errors: Mapping[str, str]) -> Response:
    values = {name: given.get(name, "") for name in ("email", "name")}
    return screens.render_outside(
        request, "setup", status=422 if errors else 200, token=token, values=values, errors=errors
    )


def _closed(request: Request) -> Response:
    return screens.render_outside(request, "setup", status=410, token=None, values={}, errors={})
