"""The desk's search, its keys, and how it looks: a page each, which the keys ⌘K, / and ? open."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, joinedload
from starlette.requests import Request
from starlette.responses import Response

from mailer import addresses, settings
from mailer.db import transaction
from mailer.models.audience import Subscriber, Subscription
from mailer.models.content import Issue
from mailer.newsroom import newsletters
from mailer.web import pages
from mailer.web.admin import menu, screens, session

router = APIRouter(route_class=screens.DeskRoute)

MOST_FOUND: Final = 10
_YEAR: Final = 365 * 24 * 3600
# What can be done to a newsletter, by the words under which it is found.
_OF_NEWSLETTER: Final = (
    ("/next", "Next issue"),
    ("/write", "Write an issue"),
    ("/articles", "Articles"),
    ("/feeds", "Feeds"),
    ("/topics", "Topics"),
    ("", "Settings"),
)
KEYS: Final = (
    ("⌘K, Ctrl K", "Search", False),
    ("/", "Search", True),
    ("?", "Show the keys", True),
    ("g o", "Go to the overview", True),
    ("g i", "Go to the issues", True),
    ("g a", "Go to the articles", True),
    ("g s", "Go to the subscribers", True),
    ("n", "New: the page’s first action", True),
    ("j k", "Next or previous row", True),
    ("Enter", "Open the row", False),
    ("⌥↑ ⌥↓", "Move an article up or down", False),
    ("p", "Pin the article", True),
    ("x", "Exclude the article", True),
    ("1 2 3", "Lead, card or brief", True),
)


@router.api_route("/search", methods=["GET", "HEAD"])
def search(request: Request, desk: session.Current, q: str = "") -> Response:
    """Find pages and actions, issues by their subject or number, and a reader by the exact address."""
    wanted = q.strip()[:200].replace("\0", "")
    with transaction() as database:
        pages_found = _pages(database, desk, wanted)
        issues_found = _issues(database, desk, wanted) if wanted else []
        reader_id = _reader(database, desk, wanted)
    return screens.render(
        request,
        desk,
        "search",
        here="",
        q=wanted,
        pages_found=pages_found,
        issues_found=issues_found,
        reader_id=reader_id,
    )


@router.api_route("/keys", methods=["GET", "HEAD"])
def keys(request: Request, desk: session.Current) -> Response:
    """Show the keyboard map."""
    return screens.render(request, desk, "keys", here="", keys=KEYS)


@router.post("/theme")
def choose_theme(request: Request, desk: session.Own) -> Response:
    """Choose how the desk looks in this browser; the server renders it so, without a flash of the other."""
    request.state.changed_nothing = True
    leads_to = desk.typed("from")
    answer = screens.back(leads_to if leads_to.startswith("/admin") and "\\" not in leads_to else "/admin")
    chosen = desk.typed("theme")
    if chosen in screens.THEMES:
        is_secure = settings.load().public_url.startswith("https://")
        answer.set_cookie(
            screens.THEME_COOKIE, chosen, max_age=_YEAR, path="/admin", samesite="lax", httponly=True, secure=is_secure
        )
    return answer


def _pages(database: Session, desk: session.Desk, wanted: str) -> list[tuple[str, str, str]]:
    """Return address, label and newsletter of the pages whose words hold what was typed."""
    found = [(path, label, "") for _, path, label in menu.ENTRIES]
    for one in newsletters.all_newsletters(database):
        if desk.sees(one.id):
            found += [(f"/admin/newsletters/{one.slug}{path}", label, one.name) for path, label in _OF_NEWSLETTER]
    words = wanted.casefold().split()
    said = pages.translation(desk.language)
    return [
        (path, label, name)
        for path, label, name in found
        if all(word in f"{said(label)} {label} {name}".casefold() for word in words)
    ][:MOST_FOUND]


def _issues(database: Session, desk: session.Desk, wanted: str) -> list[Issue]:
    escaped = wanted.replace("%", r"\%").replace("_", r"\_")
    matches: ColumnElement[bool] = Issue.subject.ilike(f"%{escaped}%")
    if wanted.isascii() and wanted.isdecimal() and len(wanted) < 10:
        matches |= Issue.number == int(wanted)
    statement = select(Issue).where(matches).options(joinedload(Issue.newsletter)).order_by(Issue.id.desc())
    if desk.newsletter_ids is not None:
        statement = statement.where(Issue.newsletter_id.in_(desk.newsletter_ids))
    return list(database.execute(statement.limit(MOST_FOUND)).scalars())


def _reader(database: Session, desk: session.Desk, wanted: str) -> int | None:
    try:
        key = addresses.key(addresses.normalise(wanted))
    except addresses.AddressInvalid:
        return None
    statement = select(Subscriber.id).where(Subscriber.address_key == key)
    if desk.newsletter_ids is not None:
        ours = select(Subscription.subscriber_id).where(Subscription.newsletter_id.in_(desk.newsletter_ids))
        statement = statement.where(Subscriber.id.in_(ours))
    return database.execute(statement).scalar_one_or_none()
