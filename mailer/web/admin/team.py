"""Settings > Team: who belongs to the newsroom, what they may do, and inviting somebody."""

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n, queue
from mailer.db import transaction
from mailer.delivery import servers
from mailer.models.accounts import Account, Role, SecretKind
from mailer.newsroom import account_links, accounts, newsletters, team
from mailer.newsroom.team import Grant, Person
from mailer.web import pages
from mailer.web.admin import screens, session, words

router = APIRouter(prefix="/settings/team", route_class=screens.DeskRoute)

AccountId = Annotated[int, Path(ge=1, lt=2**63)]
_PATH: Final = "/admin/settings/team"
# Of a newsletter's right, in a form: right-courrier=editor.
_RIGHT: Final = "right-"
_ERRORS: Final = {
    "address": "Enter an email address that nobody of the team has yet",
    "name": "Enter a name of 1 to 100 characters",
    "role": "Choose a role, at all newsletters or at some; none above your own",
}


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Admin) -> Response:
    """List everybody, with a form to invite somebody."""
    return _page(request, desk)


@router.post("")
def invite(request: Request, desk: session.Admin) -> Response:
    """Invite somebody by mail or, where no mail can be sent, by a link that is shown once."""
    typed = {name: desk.typed(name)[:320] for name in ("email", "name", "language", "role")}
    language = i18n.choose(typed["language"], desk.language, among=i18n.DESK_LANGUAGES)
    errors = {} if 0 < len(typed["name"]) <= accounts.LONGEST_NAME else {"name": _ERRORS["name"]}
    try:
        grant = _grant(desk.form)
        if errors:
            return _page(request, desk, typed=typed, errors=errors)
        with transaction() as database:
            person = Person(email=typed["email"], name=typed["name"], language=language, grant=grant)
            account = team.invite(database, person, by=desk.rights, now=desk.now)
            link = _send_invitation(database, account, desk)
    except accounts.AccountInvalid:
        return _page(request, desk, typed=typed, errors={"email": _ERRORS["address"]})
    except team.TeamForbids:
        return _page(request, desk, typed=typed, errors={"role": _ERRORS["role"]})
    return _told(request, desk, link)


@router.post("/require")
def require(desk: session.Owner) -> Response:
    """Choose whether everybody must have a second factor."""
    with transaction() as database:
        team.require_second_factor(database, is_required=bool(desk.typed("is_required")))
    return screens.back(_PATH, done="saved")


@router.api_route("/{account_id}", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Admin, account_id: AccountId) -> Response:
    """Show what somebody may do."""
    return _person(request, desk, account_id)


@router.post("/{account_id}")
def change(request: Request, desk: session.Admin, account_id: AccountId) -> Response:
    """Change what somebody may do; they sign in again."""
    try:
        grant = _grant(desk.form)
        with transaction() as database:
            team.change(database, accounts.get(database, account_id), grant, by=desk.rights)
    except team.TeamForbids as refused:
        return _person(request, desk, account_id, refused=refused)
    return screens.back(_PATH, done="saved")


@router.post("/{account_id}/invite")
def invite_again(request: Request, desk: session.Admin, account_id: AccountId) -> Response:
    """Make a new invitation; the old link works no longer."""
    with transaction() as database:
        account = accounts.get(database, account_id)
        if not team.may_manage(account, desk.rights) or account.password_hash is not None:
            raise team.TeamForbids("Only who has no password yet can be invited again.")
        link = _send_invitation(database, account, desk)
    return _told(request, desk, link)


@router.post("/{account_id}/disable")
def disable(request: Request, desk: session.Admin, account_id: AccountId) -> Response:
    """Lock somebody out at once."""
    try:
        with transaction() as database:
            team.disable(database, accounts.get(database, account_id), by=desk.rights, now=desk.now)
    except team.TeamForbids as refused:
        return _person(request, desk, account_id, refused=refused)
    return screens.back(_PATH, done="saved")


@router.post("/{account_id}/enable")
def enable(desk: session.Admin, account_id: AccountId) -> Response:
    """Let somebody in again."""
    with transaction() as database:
        team.enable(database, accounts.get(database, account_id), by=desk.rights)
    return screens.back(_PATH, done="saved")


@router.post("/{account_id}/second-factor")
def reset_second_factor(desk: session.Owner, account_id: AccountId) -> Response:
    """Take away the second factor of somebody who has lost it."""
    with transaction() as database:
        team.reset_second_factor(database, accounts.get(database, account_id), by=desk.rights)
    return screens.back(f"{_PATH}/{account_id}", done="saved")


@router.post("/{account_id}/remove")
def remove(request: Request, desk: session.Admin, account_id: AccountId) -> Response:
    """Delete an account."""
    try:
        with transaction() as database:
            team.remove(database, accounts.get(database, account_id), by=desk.rights)
    except team.TeamForbids as refused:
        return _person(request, desk, account_id, refused=refused)
    return screens.back(_PATH, done="saved")


def _grant(form: Mapping[str, str]) -> Grant:
    """Read a form's roles. Raises TeamForbids for one that there is not."""
    at = {
        name.removeprefix(_RIGHT): _role(value)
        for name, value in form.items()
        if name.startswith(_RIGHT) and value.strip()
    }
    chosen = form.get("role", "").strip()
    return Grant(
        everywhere=_role(chosen) if chosen else None, at={slug: role for slug, role in at.items() if role is not None}
    )


def _role(value: str) -> Role:
    try:
        return Role(value.strip())
    except ValueError as error:
        raise team.TeamForbids("There is no such role.") from error


def _send_invitation(database: Session, account: Account, desk: session.Desk) -> str | None:
    """Have the invitation mailed; return its link where that is not possible."""
    if servers.routes(database) and newsletters.all_newsletters(database):
        account_links.request(database, account.email, SecretKind.INVITATION, now=desk.now)
        return None
    return account_links.show(database, account, SecretKind.INVITATION, now=desk.now)


def _told(request: Request, desk: session.Desk, link: str | None) -> Response:
    if link is not None:
        return _page(request, desk, link=link)
    screens.ring(queue.MAIL_DESK)
    return screens.back(_PATH, done="invited")


def _page(
    request: Request,
    desk: session.Desk,
    *,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    link: str | None = None,
) -> Response:
    with transaction() as database:
        listed, invited = team.people(database), team.invited_ids(database, now=desk.now)
        is_required = team.requires_second_factor(database)
        every = newsletters.all_newsletters(database)
    return screens.render(
        request,
        desk,
        "settings_team",
        here="settings",
        status=422 if errors else 200,
        people=listed,
        invited=invited,
        is_required=is_required,
        newsletters=every,
        typed={"email": "", "name": "", "language": desk.language, "role": "editor", **(typed or {})},
        rights={name.removeprefix(_RIGHT): value for name, value in desk.form.items() if name.startswith(_RIGHT)},
        link=link,
        errors=errors or {},
        **_choices(desk),
    )


def _person(
    request: Request, desk: session.Desk, account_id: int, *, refused: team.TeamForbids | None = None
) -> Response:
    with transaction() as database:
        account = next((one for one in team.people(database) if one.id == account_id), None)
        if account is None:
            raise accounts.AccountNotFound(f"There is no account {account_id}.")
        every = newsletters.all_newsletters(database)
        is_invited = account.id in team.invited_ids(database, now=desk.now)
    return screens.render(
        request,
        desk,
        "settings_person",
        here="settings",
        status=409 if refused else 200,
        person=account,
        is_invited=is_invited,
        newsletters=every,
        rights={one.newsletter.slug: one.role.value for one in account.rights},
        may_manage=team.may_manage(account, desk.rights),
        refused=refused is not None,
        **_choices(desk),
    )


def _choices(desk: session.Desk) -> dict[str, object]:
    most = desk.rights.everywhere or Role.VIEWER
    return {
        "choices": [role for role in reversed(Role) if role.rank <= most.rank],
        "meanings": words.ROLE_MEANINGS,
        "languages": [(code, pages.LANGUAGE_NAMES[code]) for code in i18n.DESK_LANGUAGES],
    }
