"""The list of what remains after the first run, on the overview until it is done."""

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer.db import transaction
from mailer.models.accounts import Role
from mailer.newsroom import installation, newsletters
from mailer.newsroom.installation import Todo
from mailer.web.admin import screens, session

router = APIRouter(prefix="/todo", route_class=screens.DeskRoute)


@dataclass(frozen=True, kw_only=True)
class Item:
    """What to do, why, and where. `may_dismiss`: nothing else can tell that it is done."""

    todo: Todo
    label: str
    why: str
    path: str
    may_dismiss: bool


# Label, reason, path ({slug}: of the first newsletter).
_ITEMS: Final = {
    Todo.NEWSLETTER: ("Name your site", "Its feed fills the newsletter; you see it at once.", "/admin/welcome/site"),
    Todo.SERVER: ("Choose a mail server", "Until then nothing leaves this server.", "/admin/settings/sending"),
    Todo.POSTAL: (
        "Enter the postal address",
        "The law asks for it at the foot of every issue.",
        "/admin/settings/general",
    ),
    Todo.DNS: (
        "Publish SPF, DKIM and DMARC",
        "Without these records, large providers refuse newsletters.",
        "/admin/settings/sending#dns",
    ),
    Todo.FORM: ("Put the form on your site", "A few lines to paste; it needs no script.", "/admin/forms"),
    Todo.IMPORT: (
        "Bring your readers along",
        "Import them with proof of their consent, or let them subscribe.",
        "/admin/subscribers",
    ),
    Todo.ISSUE: (
        "Send the first issue",
        "Look at it as a reader sees it, then send it.",
        "/admin/newsletters/{slug}/next",
    ),
}
_BY_HAND: Final = (Todo.DNS, Todo.FORM, Todo.IMPORT)


@router.post("/{todo}/done")
def dismiss(desk: session.Admin, todo: Todo) -> Response:
    """Call something done that nothing else can tell."""
    with transaction() as database:
        installation.dismiss(database, todo, now=desk.now)
    return screens.back("/admin")


def items(database: Session, desk: session.Desk) -> list[Item]:
    """List what remains, for whoever may do it; [] for everybody else."""
    if not desk.may(Role.ADMIN):
        return []
    slug = next((one.slug for one in newsletters.all_newsletters(database)), "")
    found = []
    for todo in installation.remaining(database):
        label, why, path = _ITEMS[todo]
        found.append(Item(todo=todo, label=label, why=why, path=path.format(slug=slug), may_dismiss=todo in _BY_HAND))
    return found
