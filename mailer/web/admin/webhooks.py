"""Settings > Webhooks: which other programs are told of what, and how each call went."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import i18n, queue
from mailer.db import transaction
from mailer.models.webhooks import Webhook, WebhookCall, WebhookEvent, WebhookOff
from mailer.newsroom import newsletters, webhook_words, webhooks
from mailer.web.admin import screens, session

router = APIRouter(prefix="/settings/webhooks", route_class=screens.DeskRoute)

WebhookId = Annotated[int, Path(ge=1, lt=2**63)]
PAGE_LENGTH: Final = 50
LARGEST_ID: Final = 2**63 - 1
_PATH: Final = "/admin/settings/webhooks"
# Of a form: event-issue.sent=yes.
_EVENT: Final = "event-"
_URL: Final = "Enter an address such as https://crm.example/hook; it starts with https:// and has no password in it"


@router.api_route("", methods=["GET", "HEAD"])
def index(request: Request, desk: session.Admin) -> Response:
    """List the webhooks, with a form to add one."""
    return _page(request, desk)


@router.post("")
def add(request: Request, desk: session.Admin) -> Response:
    """Have an address told from now on, and show its secret, once."""
    typed = {name: desk.typed(name)[: webhooks.LONGEST_URL + 1] for name in ("url", "newsletter")}
    chosen = _events(desk)
    try:
        with transaction() as database:
            found = newsletters.get(database, typed["newsletter"]) if typed["newsletter"] else None
            wanted = webhooks.Wanted(url=typed["url"], events=chosen, newsletter=found)
            made = webhooks.create(database, wanted, by=desk.name, now=desk.now)
    except webhooks.WebhookInvalid:
        return _page(request, desk, typed=typed, chosen=chosen, errors={"url": _URL})
    return _one(request, desk, made.id, secret=webhooks.secret(made))


@router.api_route("/{webhook_id}", methods=["GET", "HEAD"])
def show(request: Request, desk: session.Admin, webhook_id: WebhookId, before: int = 0) -> Response:
    """Show a webhook with the log of its calls, the newest first."""
    return _one(request, desk, webhook_id, before=before)


@router.post("/{webhook_id}")
def change(request: Request, desk: session.Admin, webhook_id: WebhookId) -> Response:
    """Change the address and the events."""
    url, chosen = desk.typed("url")[: webhooks.LONGEST_URL + 1], _events(desk)
    try:
        with transaction() as database:
            wanted = webhooks.Wanted(url=url, events=chosen)
            webhooks.edit(database, webhooks.get(database, webhook_id), wanted)
    except webhooks.WebhookInvalid:
        return _one(request, desk, webhook_id, typed={"url": url}, chosen=chosen, errors={"url": _URL})
    return screens.back(f"{_PATH}/{webhook_id}", done="saved")


@router.post("/{webhook_id}/test")
def test(desk: session.Admin, webhook_id: WebhookId) -> Response:
    """Send an event that tells of nothing."""
    with transaction() as database:
        webhooks.test(database, webhooks.get(database, webhook_id), now=desk.now)
    screens.ring(queue.CALL_WEBHOOKS)
    return screens.back(f"{_PATH}/{webhook_id}", done="webhook-called")


@router.post("/{webhook_id}/rotate")
def rotate(request: Request, desk: session.Admin, webhook_id: WebhookId) -> Response:
    """Make a new secret, and show it, once."""
    with transaction() as database:
        secret = webhooks.rotate(database, webhooks.get(database, webhook_id), now=desk.now)
    return _one(request, desk, webhook_id, secret=secret)


@router.post("/{webhook_id}/switch")
def switch(desk: session.Admin, webhook_id: WebhookId) -> Response:
    """Switch a webhook off, or on again."""
    with transaction() as database:
        found = webhooks.get(database, webhook_id)
        if desk.typed("act") == "off":
            webhooks.switch_off(database, found, WebhookOff.BY_HAND, now=desk.now)
        else:
            webhooks.switch_on(database, found)
    return screens.back(f"{_PATH}/{webhook_id}", done="saved")


@router.post("/{webhook_id}/replay")
def replay(desk: session.Admin, webhook_id: WebhookId) -> Response:
    """Tell once more of the event of an earlier call."""
    typed = desk.typed("call")
    call_id = min(int(typed), LARGEST_ID) if typed.isascii() and typed.isdigit() else 0
    with transaction() as database:
        webhooks.replay(database, webhook_id, call_id, now=desk.now)
    screens.ring(queue.CALL_WEBHOOKS)
    return screens.back(f"{_PATH}/{webhook_id}", done="webhook-called")


@router.post("/{webhook_id}/remove")
def remove(desk: session.Admin, webhook_id: WebhookId) -> Response:  # noqa: ARG001 - the role
    """Tell an address nothing any more."""
    with transaction() as database:
        webhooks.remove(database, webhook_id)
    return screens.back(_PATH, done="webhook-removed")


def _events(desk: session.Desk) -> list[WebhookEvent]:
    return [one for one in webhooks.EVENTS if desk.typed(f"{_EVENT}{one}")]


def _page(
    request: Request,
    desk: session.Desk,
    *,
    typed: Mapping[str, str] | None = None,
    chosen: list[WebhookEvent] | None = None,
    errors: Mapping[str, str] | None = None,
) -> Response:
    with transaction() as database:
        listed = webhooks.all_webhooks(database)
        every = newsletters.all_newsletters(database)
    return screens.render(
        request,
        desk,
        "settings_webhooks",
        here="settings",
        status=422 if errors else 200,
        webhooks=listed,
        newsletters=every,
        typed=typed or {"url": "", "newsletter": ""},
        chosen=chosen or [],
        errors=errors or {},
        **_words(desk),
    )


def _one(
    request: Request,
    desk: session.Desk,
    webhook_id: int,
    *,
    before: int = 0,
    secret: str | None = None,
    **refused: Any,
) -> Response:
    with transaction() as database:
        found = webhooks.get(database, webhook_id)
        return _render_one(request, desk, database, found, before=before, secret=secret, **refused)


def _render_one(
    request: Request, desk: session.Desk, database: Session, found: Webhook, *, before: int, **values: Any
) -> Response:
    after = before if 0 < before <= LARGEST_ID else None
    calls = webhooks.calls(database, found.id, before=after, limit=PAGE_LENGTH + 1)
    shown = {"typed": {"url": found.url}, "chosen": list(found.events), "errors": {}, **values}
    return screens.render(
        request,
        desk,
        "settings_webhook",
        here="settings",
        status=422 if shown["errors"] else 200,
        webhook=found,
        calls=calls[:PAGE_LENGTH],
        before=calls[PAGE_LENGTH - 1][0].id if len(calls) > PAGE_LENGTH else None,
        trouble=lambda call: _trouble(desk.language, call),
        **shown,
        **_words(desk),
    )


def _words(desk: session.Desk) -> dict[str, Any]:
    return {
        "events": [(one.value, webhook_words.EVENTS[one]) for one in webhooks.EVENTS],
        "event_words": lambda one: i18n.gettext(desk.language, webhook_words.EVENTS[one]),
        "call_states": webhook_words.STATES,
        "off_words": webhook_words.OFF,
    }


def _trouble(language: str, call: WebhookCall) -> str:
    if call.trouble is None:
        return ""
    return i18n.gettext(language, webhook_words.TROUBLES[call.trouble], status=call.status or "")
