"""Settings, Sending: mail servers with their order and limits, the sandbox, checking a server, and the records of the DNS."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import settings
from mailer.db import transaction
from mailer.delivery import servers
from mailer.delivery.transports import checking
from mailer.issues import trials
from mailer.mail import dkim, inlining, rendering
from mailer.mail_settings import Transport
from mailer.models.trials import Trial
from mailer.newsroom import installation, newsletters
from mailer.web.admin import screens, server_form, session, trying

router = APIRouter(prefix="/settings/sending", route_class=screens.DeskRoute)

ServerId = Annotated[int, Path(ge=1, lt=2**63)]
_PATH: Final = "/admin/settings/sending"


@router.api_route("", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Admin) -> Response:
    """List the mail servers, and say who chooses them."""
    return _page(request, desk)


@router.post("/sandbox")
def use_sandbox(desk: session.Admin) -> Response:
    """Have mail caught on this machine, or let it leave."""
    with transaction() as database:
        installation.lock(database, now=desk.now)
        servers.use_sandbox(database, desk.typed("act") == "on", now=desk.now)
    return screens.back(_PATH, done="saved")


@router.post("/check")
def check(request: Request, desk: session.Admin) -> Response:
    """Connect to every server in use and log in, without a mail."""
    request.state.changed_nothing = True
    with transaction() as database:
        routes = servers.routes(database)
    chosen = settings.load()
    results = [checking.check(one, helo_name=chosen.helo_name or chosen.public_host) for one in routes]
    return _page(request, desk, results=results)


@router.post("/test")
def test(request: Request, desk: session.Admin) -> Response:
    """Send the newest draft as a test to one address, and show what the server answered."""
    with transaction() as database:
        draft = installation.newest_draft(database)
    address = desk.typed("address")
    if draft is None:
        return _page(
            request, desk, errors={"address": "There is no draft to send. Draft an issue first"}, address=address
        )
    errors, told = try_sending(desk, draft, address)
    return _page(request, desk, errors=errors, told=told, address=address)


@router.api_route("/new", methods=["GET", "HEAD"])
def ask(request: Request, desk: session.Admin) -> Response:
    """Ask for one more server."""
    return _form(request, desk, None, server_form.EMPTY)


@router.post("/new")
def add(request: Request, desk: session.Admin) -> Response:
    """Fill in, check or keep a server."""
    return _act(request, desk, None)


@router.api_route("/{server_id}", methods=["GET", "HEAD"])
def look(request: Request, desk: session.Admin, server_id: ServerId) -> Response:
    """Show a kept server, without its password."""
    with transaction() as database:
        values = server_form.stored(servers.get(database, server_id))
    return _form(request, desk, server_id, values)


@router.post("/{server_id}")
def edit(request: Request, desk: session.Admin, server_id: ServerId) -> Response:
    """Change, check or remove a server; issues under way go on by the new ones within seconds."""
    if desk.typed("act") == "remove":
        with transaction() as database:
            servers.remove(database, server_id)
        return screens.back(_PATH, done="saved")
    return _act(request, desk, server_id)


def try_sending(desk: session.Desk, issue_id: int, address: str) -> tuple[dict[str, str], list[Trial]]:
    """Send an issue to one address as a test. Returns sentences by field, and what became of it. Talks to the server."""
    try:
        return {}, trials.send(issue_id, [address], by=desk.name, now=desk.now)
    except trials.TrialInvalid:
        return {"address": "Enter a full address, like name@example.com"}, []
    except trials.TrialLimitReached:
        return {"address": "Too many tests left within the hour. Wait a while, then try again."}, []
    except (rendering.TemplateInvalid, inlining.InliningFailed, dkim.KeyInvalid) as error:
        return {"address": str(error)}, []


def _act(request: Request, desk: session.Desk, server_id: int | None) -> Response:
    values, errors = server_form.typed(desk), server_form.complaints(desk)
    act = desk.typed("act")
    if errors or act == "fill":
        request.state.changed_nothing = True
        return _form(request, desk, server_id, values, errors=errors)
    try:
        entered = servers.read_form(values)
        with transaction() as database:
            kept = servers.get(database, server_id) if server_id is not None else None
        if act == "check":
            request.state.changed_nothing = True
            return _form(request, desk, server_id, values, checked=server_form.check(entered, kept))
        with transaction() as database:
            if server_id is None:
                servers.add(database, entered, now=desk.now)
            else:
                servers.edit(database, server_id, entered, now=desk.now)
    except servers.ServerInvalid as error:
        return _form(request, desk, server_id, values, errors=error.errors)
    return screens.back(_PATH, done="saved")


def _form(
    request: Request,
    desk: session.Desk,
    server_id: int | None,
    values: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    checked: checking.Checked | None = None,
) -> Response:
    with transaction() as database:
        kept = servers.get(database, server_id) if server_id is not None else None
        has_password = kept is not None and kept.sealed_password is not None
        name = kept.name if kept is not None else ""
    return screens.render(
        request,
        desk,
        "settings_server",
        here="settings",
        status=422 if errors else 200,
        server_id=server_id,
        name=name,
        has_password=has_password,
        **server_form.shown(values, errors=errors, checked=checked),
    )


def _page(
    request: Request,
    desk: session.Desk,
    *,
    errors: Mapping[str, str] | None = None,
    results: Sequence[checking.Checked] = (),
    told: Sequence[Trial] = (),
    address: str = "",
) -> Response:
    with transaction() as database:
        values = _seen(database)
    return screens.render(
        request,
        desk,
        "settings_sending",
        here="settings",
        status=422 if errors else 200,
        results=results,
        told=told,
        address=address or desk.email,
        errors=dict(errors or {}),
        meanings=server_form.MEANINGS,
        trial_meanings=trying.MEANINGS,
        **values,
    )


def _seen(database: Session) -> dict[str, Any]:
    chosen = settings.load()
    routes = servers.routes(database)
    domains = sorted({one.sender_address.rpartition("@")[2] for one in newsletters.all_newsletters(database)})
    return {
        "are_ours": servers.are_ours(),
        "is_caught": servers.is_sandbox(database),
        "has_inbox": chosen.inbox_smtp_url is not None,
        "routes": [_plain(one) for one in routes],
        "servers": [] if chosen.routes else servers.listed(database),
        "domains": [(domain, [key.selector for key in chosen.dkim if key.domain == domain]) for domain in domains],
        "has_draft": installation.newest_draft(database) is not None,
    }


def _plain(one: Transport) -> dict[str, object]:
    """What may be shown of a server that the environment names: nothing secret."""
    address = one.url.partition("://")[2].rpartition("@")[2].partition("?")[0]
    return {
        "name": one.name,
        "address": address.rstrip("/"),
        "security": one.url.partition("://")[0],
        "order": one.order,
        "per_second": one.per_second,
        "per_hour": one.per_hour,
        "per_day": one.per_day,
        "domains": one.domains,
    }
