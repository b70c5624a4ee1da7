"""Telling other programs what happened: claimed, called without a transaction open, written down.

A worker that dies meanwhile loses nothing: what it had taken comes due again. So an event may be told twice, never less.
"""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore
import httpx
import structlog
from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from mailer import __version__, clock, settings
from mailer.db import transaction
from mailer.feeds import network
from mailer.models.audience import Subscriber, Subscription
from mailer.models.content import Issue
from mailer.models.desk import DeskEvent
from mailer.models.webhooks import (
    CallState,
    CallTrouble,
    Webhook,
    WebhookCall,
    WebhookEvent,
    WebhookMessage,
    WebhookOff,
)
from mailer.newsroom import alerts, newsletters, webhooks

CONNECT_SECONDS: Final = 5.0
# Who is called holds the call for so long; then it is somebody else's.
LEASE: Final = timedelta(seconds=60)
# How long after each failure it is tried again: about a day in all.
WAITS: Final = tuple(
    timedelta(seconds=one) for one in (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 6 * 3600, 10 * 3600)
)
LONGEST_RETRY_AFTER: Final = timedelta(hours=1)
# After a failure the other events for the same address wait too, so that one dead server holds up nobody else.
QUIET: Final = timedelta(seconds=30)
PATIENCE: Final = timedelta(days=5)
_BODY_BYTES: Final = 64 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A call to make: where to, signed with which secrets, and what is told."""

    call_id: int
    webhook_id: int
    url: str
    message: str
    body: bytes
    secrets: tuple[str, ...]
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a call; `trouble` is None for success. `retry_after` is what the other side asked for."""

    trouble: CallTrouble | None
    status: int | None = None
    milliseconds: int = 0
    retry_after: timedelta | None = None


def is_any_due(session: Session, *, now: datetime) -> bool:
    """Tell whether somebody is to be told of something now."""
    return session.execute(_due(now).limit(1)).first() is not None


def call_due(*, budget_seconds: float) -> int:
    """Tell what is due, one after the other, until nothing is or the time is over. Returns how many calls were made.

    Talks to the network. Opens its own transactions.
    """
    ends_at, made = time.monotonic() + budget_seconds, 0
    while True:
        with transaction() as session:
            taken = _take(session, now=clock.now())
        if taken is None:
            return made
        answer = _call(taken)
        with transaction() as session:
            _record(session, taken, answer, now=clock.now())
        made += 1
        if time.monotonic() >= ends_at:
            return made


def sign(secret: str, message: str, seconds: int, body: bytes) -> str:
    """Sign a call as Standard Webhooks has it: version, and HMAC-SHA256 of id, time and body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{message}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode('ascii')}"


def _due(now: datetime) -> Select[WebhookCall]:
    is_ready = or_(Webhook.quiet_until.is_(None), Webhook.quiet_until <= now, Webhook.off_since.is_not(None))
    return (
        select(WebhookCall)
        .join(Webhook, Webhook.id == WebhookCall.webhook_id)
        .where(WebhookCall.state == CallState.WAITING, WebhookCall.due_at <= now, is_ready)
        .order_by(WebhookCall.due_at, WebhookCall.id)
    )


def _take(session: Session, *, now: datetime) -> Taken | None:
    """Claim the call that is due first; those of webhooks that are off are given up on the way."""
    while True:
        chosen = _due(now).limit(1).with_for_update(of=WebhookCall, skip_locked=True)
        call = session.execute(chosen).scalar_one_or_none()
        if call is None:
            return None
        webhook = session.get_one(Webhook, call.webhook_id)
        message = session.get_one(WebhookMessage, call.message_id)
        if webhook.off_since is not None and message.event is not WebhookEvent.TEST:
            call.state, call.trouble = CallState.GIVEN_UP, CallTrouble.SWITCHED_OFF
            session.flush()
            continue
        call.attempts += 1
        call.due_at = now + LEASE
        session.flush()
        return Taken(
            call_id=call.id,
            webhook_id=webhook.id,
            url=webhook.url,
            message=webhooks.message_id(message.id),
            body=_body(session, message),
            secrets=tuple(webhooks.signing(webhook, now=now)),
            attempt=call.attempts,
        )


def _body(session: Session, message: WebhookMessage) -> bytes:
    """Say what happened. A reader's address is read now: of one who was erased meanwhile it is null."""
    data = dict(message.values)
    if message.subscription_id is not None:
        address = select(Subscriber.address).join(Subscription, Subscription.subscriber_id == Subscriber.id)
        found = session.execute(address.where(Subscription.id == message.subscription_id)).scalar_one_or_none()
        data["address"] = found
    if "issue_id" in data:
        recipients = select(Issue.recipients).where(Issue.id == data["issue_id"])
        data["recipients"] = session.execute(recipients).scalar_one_or_none()
    told = {"type": message.event.value, "timestamp": message.happened_at.isoformat(), "data": data}
    return json.dumps(told, ensure_ascii=False).encode()


def _call(taken: Taken) -> Answer:
    started = time.monotonic()
    answer = _post(taken)
    spent = round(1000 * (time.monotonic() - started))
    log.info(
        "webhook called", webhook=taken.webhook_id, call=taken.call_id, status=answer.status, trouble=answer.trouble
    )
    return Answer(trouble=answer.trouble, status=answer.status, milliseconds=spent, retry_after=answer.retry_after)


def _post(taken: Taken) -> Answer:
    seconds = int(clock.now().timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"mailer/{__version__}",
        "webhook-id": taken.message,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(sign(one, taken.message, seconds, taken.body) for one in taken.secrets),
    }
    try:
        with (
            network.open_client(
                deadline=network.Deadline.after(settings.load().webhook_seconds),
                connect_seconds=CONNECT_SECONDS,
                private_networks=settings.load().webhook_private_networks,
            ) as client,
            client.stream("POST", taken.url, content=taken.body, headers=headers) as response,
        ):
            # What it says is of no interest, and is not read.
            return _judged(response)
    except network.AddressRefused:
        return Answer(trouble=CallTrouble.PRIVATE_ADDRESS)
    except network.NameUnknown:
        return Answer(trouble=CallTrouble.NAME_UNKNOWN)
    except (network.OutOfTime, httpcore.TimeoutException):
        return Answer(trouble=CallTrouble.TIMEOUT)
    except (httpcore.NetworkError, httpcore.ProtocolError, httpx.InvalidURL, OSError):
        return Answer(trouble=CallTrouble.UNREACHABLE)


def _judged(response: httpx.Response) -> Answer:
    status = response.status_code
    if 200 <= status < 300:
        return Answer(trouble=None, status=status)
    if 300 <= status < 400:
        return Answer(trouble=CallTrouble.REDIRECT, status=status)
    return Answer(trouble=CallTrouble.STATUS, status=status, retry_after=_retry_after(response))


def _retry_after(response: httpx.Response) -> timedelta | None:
    asked = response.headers.get("retry-after", "")
    if response.status_code not in (429, 503) or not asked:
        return None
    if asked.isdecimal():
        wished = timedelta(seconds=min(int(asked[:9]), 86_400))
    else:
        try:
            wished = parsedate_to_datetime(asked) - clock.now()
        except (ValueError, TypeError):
            return None
    return max(timedelta(), min(wished, LONGEST_RETRY_AFTER))


def _record(session: Session, taken: Taken, answer: Answer, *, now: datetime) -> None:
    """Write down what came of a call, unless its webhook was removed meanwhile."""
    webhook = session.get(Webhook, taken.webhook_id, with_for_update=True)
    call = session.get(WebhookCall, taken.call_id, with_for_update=True)
    # Somebody else has taken it since, because this took longer than its lease.
    if webhook is None or call is None or call.state != CallState.WAITING or call.attempts != taken.attempt:
        return
    call.trouble, call.status, call.milliseconds, call.last_at = answer.trouble, answer.status, answer.milliseconds, now
    if answer.trouble is None:
        call.state = CallState.ANSWERED
        webhook.failing_since, webhook.quiet_until = None, None
        return
    webhook.failing_since = webhook.failing_since or now
    wait = _wait(call.attempts, answer)
    webhook.quiet_until = now + min(QUIET, wait)
    if answer.status == httpx.codes.GONE:
        _switch_off(session, webhook, WebhookOff.GONE, now=now)
    elif now - webhook.failing_since >= PATIENCE:
        _switch_off(session, webhook, WebhookOff.FAILING, now=now)
    if webhook.off_since is not None or call.attempts > len(WAITS):
        call.state = CallState.GIVEN_UP
    else:
        call.due_at = now + wait


def _wait(attempts: int, answer: Answer) -> timedelta:
    usual = WAITS[min(attempts, len(WAITS)) - 1]
    return max(usual, answer.retry_after) if answer.retry_after is not None else usual


def _switch_off(session: Session, webhook: Webhook, because: WebhookOff, *, now: datetime) -> None:
    """Tell an address nothing more, and the newsroom so."""
    if webhook.off_since is not None:
        return
    webhooks.switch_off(session, webhook, because, now=now)
    values = {"url": webhook.url, "because": because.value}
    about = f"{webhook.id}:{now.isoformat()}"
    told: set[str] = set()
    for one in newsletters.all_newsletters(session):
        # Of a webhook for all newsletters each address hears once.
        if webhook.newsletter_id in (None, one.id) and not told.issuperset(one.desk_addresses):
            alerts.note(session, one, DeskEvent.WEBHOOK_OFF, about=about, values=values, now=now)
            told.update(one.desk_addresses)
