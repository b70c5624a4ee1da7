"""One's own account: language, password, where one is signed in, keys, and the way to the second factor."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n
from mailer.db import transaction
from mailer.newsroom import accounts, guessing, second_factors
from mailer.newsroom.guessing import Guess
from mailer.web import pages
from mailer.web.admin import screens, session, signing_in

router = APIRouter(prefix="/account", route_class=screens.DeskRoute)


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Own) -> Response:
    """Show everything that one can change about oneself."""
    return _page(request, desk)


@router.post("/language")
def change_language(desk: session.Own) -> Response:
    """Change the language of one's pages and mails, and one's name."""
    name = " ".join(desk.typed("name").split())[: accounts.LONGEST_NAME]
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        account.language = i18n.choose(desk.typed("language"), account.language, among=i18n.DESK_LANGUAGES)
        account.name = name or account.name
    return screens.back("/admin/account", done="saved")


@router.post("/password")
def change_password(request: Request, desk: session.Own) -> Response:
    """Change one's password, and end one's sessions everywhere else."""
    old, new = desk.form.get("old", ""), desk.form.get("new", "")
    who = signing_in.guesser(request, Guess.CODE, str(desk.account_id))
    waits = guessing.wait(who, now=desk.now)
    if waits is not None:
        return screens.wait(request, waits)
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        errors: dict[str, str] = {}
        if account.password_hash is not None and accounts.authenticate(database, account.email, old) is None:
            guessing.note(who, now=desk.now)
            errors["old"] = "This is not your password."
        elif not accounts.SHORTEST_PASSWORD <= len(new) <= accounts.LONGEST_PASSWORD:
            errors["new"] = "Choose at least 12 characters; a few words are easy to keep in mind."
        if errors:
            return _page(request, desk, errors=errors)
        accounts.set_password(database, account, new, keep=desk.token)
    return screens.back("/admin/account", done="password")


@router.post("/sessions/{name}/end")
def end_session(desk: session.Own, name: str) -> Response:
    """Sign one of one's browsers out."""
    with transaction() as database:
        accounts.close_named(database, desk.account_id, name)
    return screens.back("/admin/account", done="signed-out")


@router.post("/sessions/end")
def end_sessions(desk: session.Own) -> Response:
    """Sign out everywhere but here."""
    with transaction() as database:
        accounts.close_sessions(database, desk.account_id, keep=desk.token)
    return screens.back("/admin/account", done="signed-out")


@router.post("/keys")
def change_keys(desk: session.Own) -> Response:
    """Switch single keys as shortcuts on or off."""
    with transaction() as database:
        accounts.get(database, desk.account_id).has_single_keys = bool(desk.typed("has_single_keys"))
    return screens.back("/admin/account", done="saved")


def _page(request: Request, desk: session.Desk, *, errors: dict[str, str] | None = None) -> Response:
    with transaction() as database:
        account = accounts.get(database, desk.account_id)
        listed = [
            (accounts.session_name(one.token_hash), one, accounts.is_session(one, desk.token))
            for one in accounts.sessions(database, desk.account_id, now=desk.now)
        ]
        codes = second_factors.count_codes(database, desk.account_id)
    return screens.render(
        request,
        desk,
        "own_account",
        here="account",
        status=422 if errors else 200,
        account=account,
        sessions=listed,
        codes=codes,
        languages=[(code, pages.LANGUAGE_NAMES[code]) for code in i18n.DESK_LANGUAGES],
        errors=errors or {},
    )
