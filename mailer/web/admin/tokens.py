"""Settings > Tokens: which other programs get in by the API, and what each may do."""

from collections.abc import Mapping
from datetime import datetime, time
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.content import Newsletter
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters, tokens
from mailer.web.admin import screens, session
from mailer.web.api import reference

router = APIRouter(prefix="/settings/tokens", route_class=screens.DeskRoute)

TokenId = Annotated[int, Path(ge=1, lt=2**63)]
_PATH: Final = "/admin/settings/tokens"
# Of a form: scope-read=yes.
_SCOPE: Final = "scope-"
_NAME: Final = "Enter the program that it is for, in 1 to 100 characters"
_SCOPES: Final = "Choose at least one thing that it may do"
_EXPIRES: Final = "Enter a day to come, or leave it empty"


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Admin) -> Response:
    """List the tokens, with a form to make one."""
    return _page(request, desk)


@router.post("")
def create(request: Request, desk: session.Admin) -> Response:
    """Make a token and show it, once."""
    typed = {name: desk.typed(name)[:200] for name in ("name", "newsletter", "expires")}
    scopes = [one for one in Scope if desk.typed(f"{_SCOPE}{one}")]
    with transaction() as database:
        found = newsletters.get(database, typed["newsletter"]) if typed["newsletter"] else None
        until = _end_of(typed["expires"], found)
        errors = {} if 0 < len(" ".join(typed["name"].split())) <= tokens.LONGEST_NAME else {"name": _NAME}
        if not scopes:
            errors[f"{_SCOPE}{Scope.READ}"] = _SCOPES
        if typed["expires"] and (until is None or until <= desk.now):
            errors["expires"] = _EXPIRES
        if not errors:
            wanted = tokens.Wanted(name=typed["name"], scopes=scopes, newsletter=found, expires_at=until)
            _, secret = tokens.create(database, wanted, by=desk.name, now=desk.now)
    if errors:
        return _page(request, desk, typed=typed, scopes=scopes, errors=errors)
    return _page(request, desk, secret=secret)


@router.post("/{token_id}/revoke")
def revoke(desk: session.Admin, token_id: TokenId) -> Response:  # noqa: ARG001 - the role
    """Let a program in no longer."""
    with transaction() as database:
        _revoke(database, token_id)
    return screens.back(_PATH, done="token-revoked")


def _revoke(database: Session, token_id: int) -> None:
    """Revoke a token; one that is gone already is as it should be."""
    if token_id in {one.id for one in tokens.all_tokens(database)}:
        tokens.revoke(database, token_id)


def _end_of(day: str, newsletter: Newsletter | None) -> datetime | None:
    try:
        zone = schedules.zone(newsletter.timezone if newsletter else "UTC")
        return datetime.combine(datetime.fromisoformat(day).date(), time.max, zone) if day else None
    except (ValueError, OverflowError):
        return None


def _page(
    request: Request,
    desk: session.Desk,
    *,
    typed: Mapping[str, str] | None = None,
    scopes: list[Scope] | None = None,
    errors: Mapping[str, str] | None = None,
    secret: str | None = None,
) -> Response:
    with transaction() as database:
        listed = tokens.all_tokens(database)
        every = newsletters.all_newsletters(database)
    return screens.render(
        request,
        desk,
        "settings_tokens",
        here="settings",
        status=422 if errors else 200,
        tokens=listed,
        newsletters=every,
        typed=typed or {"name": "", "newsletter": "", "expires": ""},
        chosen=scopes or [],
        scopes=reference.SCOPES,
        secret=secret,
        errors=errors or {},
    )
