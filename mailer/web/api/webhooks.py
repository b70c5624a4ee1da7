"""Webhooks: who is told of what; the log of calls, with replay; test events; new secrets."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import queue
from mailer.db import transaction
from mailer.models.tokens import Scope
from mailer.models.webhooks import (
    CallState,
    CallTrouble,
    Webhook,
    WebhookCall,
    WebhookEvent,
    WebhookMessage,
    WebhookOff,
)
from mailer.newsroom import webhooks
from mailer.web.api import access, acting, paging
from mailer.web.api.route import ApiRoute
from mailer.web.api.shapes import Body, Id, Listed, Page, Shape

router = APIRouter(prefix="/webhooks", route_class=ApiRoute, tags=["Webhooks"])

_Url = Annotated[str, Field(min_length=8, max_length=webhooks.LONGEST_URL)]
_Events = Annotated[list[WebhookEvent], Field(max_length=len(WebhookEvent))]


class WebhookStanding(Shape):
    """An address that is told of events; no events chosen means all. `newsletter` is null for all newsletters."""

    id: int
    url: str
    events: list[WebhookEvent]
    newsletter: str | None
    created_by: str
    created_at: datetime
    failing_since: datetime | None
    off_since: datetime | None
    off_because: WebhookOff | None


class WebhookMade(WebhookStanding):
    """A webhook with the secret that its calls are signed with; it is shown this once."""

    secret: str


class NewWebhook(Body):
    """Which address is to be told, of which events (none: all), of which newsletter (none: all that the token sees)."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://crm.example/hook", "events": ["subscriber.confirmed"]}]}
    )

    url: _Url
    events: _Events = Field(default_factory=list)
    newsletter: Annotated[str, Field(max_length=63)] | None = None


class WebhookChange(Body):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_on": True}]})

    url: _Url | None = None
    events: _Events | None = None
    is_on: bool | None = None


class CallLine(Shape):
    """One event told to one webhook: tried until it is answered or given up. `webhook_id` in its header is `message`."""

    id: int
    message: str
    event: WebhookEvent
    data: dict[str, Any]
    state: CallState
    attempts: int
    due_at: datetime
    trouble: CallTrouble | None
    status: int | None
    milliseconds: int | None
    last_at: datetime | None


class CallBegun(Shape):
    """A call that waits for a worker; the list of calls tells how it goes."""

    id: int
    state: CallState


@router.get("", **access.needs(Scope.ADMIN))
def list_webhooks(call: access.Current) -> Listed[WebhookStanding]:
    """List the webhooks, oldest first."""
    with transaction() as session:
        found = webhooks.all_webhooks(session, newsletter_id=call.newsletter_id)
        return Listed(data=[WebhookStanding(**_kept(one)) for one in found])


@router.post("", status_code=201, response_model=WebhookMade, **access.needs(Scope.ADMIN))
def add_webhook(call: access.Current, wanted: NewWebhook) -> Response:
    """Have an address told from now on. The answer has the secret, which is not shown again."""
    with acting.change(call) as session:
        if wanted.newsletter is None:
            call.need_all()
        newsletter = call.newsletter(session, wanted.newsletter) if wanted.newsletter is not None else None
        asked = webhooks.Wanted(url=wanted.url, events=wanted.events, newsletter=newsletter)
        made = webhooks.create(session, asked, by=call.by, now=call.now)
        return acting.answer(call, WebhookMade(**_kept(made), secret=webhooks.secret(made)), status=201)


@router.get("/{webhook_id}", **access.needs(Scope.ADMIN))
def show_webhook(call: access.Current, webhook_id: Id) -> WebhookStanding:
    """Show a webhook."""
    with transaction() as session:
        return WebhookStanding(**_kept(_find(session, call, webhook_id)))


@router.patch("/{webhook_id}", response_model=WebhookStanding, **access.needs(Scope.ADMIN))
def change_webhook(call: access.Current, webhook_id: Id, change: WebhookChange) -> Response:
    """Change a webhook, or switch it off and on. What happens while it is off is not told later."""
    with acting.change(call) as session:
        found = _find(session, call, webhook_id)
        events = change.events if change.events is not None else [WebhookEvent(one) for one in found.events]
        webhooks.edit(session, found, webhooks.Wanted(url=change.url or found.url, events=events))
        if change.is_on is True:
            webhooks.switch_on(session, found)
        if change.is_on is False:
            webhooks.switch_off(session, found, WebhookOff.BY_HAND, now=call.now)
        return acting.answer(call, WebhookStanding(**_kept(found)))


@router.delete("/{webhook_id}", status_code=204, response_class=Response, **access.needs(Scope.ADMIN))
def remove_webhook(call: access.Current, webhook_id: Id) -> Response:
    """Tell an address nothing any more, and forget what it was told."""
    with acting.change(call) as session:
        _find(session, call, webhook_id)
        webhooks.remove(session, webhook_id)
    return Response(status_code=204)


@router.post("/{webhook_id}/rotate", response_model=WebhookMade, **access.needs(Scope.ADMIN))
def rotate_webhook(call: access.Current, webhook_id: Id) -> Response:
    """Give a webhook a new secret. For 24 hours calls carry the signatures of both, so that nothing is missed."""
    with acting.change(call) as session:
        found = _find(session, call, webhook_id)
        secret = webhooks.rotate(session, found, now=call.now)
        return acting.answer(call, WebhookMade(**_kept(found), secret=secret))


@router.post("/{webhook_id}/test", status_code=202, response_model=CallBegun, **access.needs(Scope.ADMIN))
def test_webhook(call: access.Current, webhook_id: Id) -> Response:
    """Send an event that tells of nothing."""
    with acting.change(call) as session:
        made = webhooks.test(session, _find(session, call, webhook_id), now=call.now)
        answer = acting.answer(call, CallBegun(id=made, state=CallState.WAITING), status=202)
    acting.ring(queue.CALL_WEBHOOKS)
    return answer


@router.get("/{webhook_id}/calls", **access.needs(Scope.ADMIN))
def list_calls(
    call: access.Current,
    request: Request,
    response: Response,
    webhook_id: Id,
    limit: paging.Limit = paging.USUAL,
    cursor: paging.Cursor = None,
) -> Page[CallLine]:
    """List what a webhook was told, the newest first. Kept for 30 days."""
    before = paging.position(request, cursor)
    with transaction() as session:
        _find(session, call, webhook_id)
        found = webhooks.calls(session, webhook_id, before=before, limit=limit + 1)
    page, following = paging.cut(request, response, found, limit, [one.id for one, _ in found])
    return Page(data=[_line(one, message) for one, message in page], next=following)


@router.post(
    "/{webhook_id}/calls/{call_id}/replay", status_code=202, response_model=CallBegun, **access.needs(Scope.ADMIN)
)
def replay_call(call: access.Current, webhook_id: Id, call_id: Id) -> Response:
    """Tell a webhook once more of an earlier event, with the same message id."""
    with acting.change(call) as session:
        _find(session, call, webhook_id)
        made = webhooks.replay(session, webhook_id, call_id, now=call.now)
        answer = acting.answer(call, CallBegun(id=made, state=CallState.WAITING), status=202)
    acting.ring(queue.CALL_WEBHOOKS)
    return answer


def _find(session: Session, call: access.Call, webhook_id: int) -> Webhook:
    found = webhooks.get(session, webhook_id)
    if not call.sees(found.newsletter_id):
        raise webhooks.WebhookNotFound(f"There is no webhook {webhook_id}.")
    call.about_id = found.newsletter_id
    return found


def _kept(one: Webhook) -> dict[str, Any]:
    kept = {name: getattr(one, name) for name in WebhookStanding.model_fields if name != "newsletter"}
    return {**kept, "newsletter": one.newsletter.slug if one.newsletter else None}


def _line(one: WebhookCall, message: WebhookMessage) -> CallLine:
    told: dict[str, Any] = {"message": webhooks.message_id(message.id), "event": message.event, "data": message.values}
    kept = {name: getattr(one, name) for name in CallLine.model_fields if name not in told}
    return CallLine(**told, **kept)
