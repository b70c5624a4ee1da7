"""Webhooks: who is told of what, with which secret, and what became of each call. Calling is in calling.py."""

import base64
import hashlib
import ipaddress
import secrets as random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session, joinedload

from mailer import settings
from mailer.feeds import urls
from mailer.models.content import Newsletter
from mailer.models.webhooks import CallState, Webhook, WebhookCall, WebhookEvent, WebhookMessage, WebhookOff

# What can be chosen.
EVENTS: Final = tuple(one for one in WebhookEvent if one is not WebhookEvent.TEST)
MOST: Final = 50
LONGEST_URL: Final = 2000
# How long the secret before the last rotation signs too.
OVERLAP: Final = timedelta(hours=24)
KEPT_FOR: Final = timedelta(days=30)
_PREFIX: Final = "whsec_"
_SEED_BYTES: Final = 16


class WebhookNotFound(LookupError):
    """There is no such webhook, or no such call of it."""


class WebhookInvalid(ValueError):
    """A webhook can't be made so; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a webhook is to be: told of these events (none: all) of one newsletter or (None) all."""

    url: str
    events: Collection[WebhookEvent] = ()
    newsletter: Newsletter | None = None


def create(session: Session, wanted: Wanted, *, by: str, now: datetime) -> Webhook:
    """Have an address told from now on. Raises WebhookInvalid."""
    _check(wanted)
    if len(all_webhooks(session)) >= MOST:
        raise WebhookInvalid(f"There are {MOST} webhooks already; remove one first.")
    made = Webhook(
        url=wanted.url,
        events=_ordered(wanted.events),
        newsletter_id=wanted.newsletter.id if wanted.newsletter else None,
        newsletter=wanted.newsletter,
        seed=random.token_bytes(_SEED_BYTES),
        created_by=by,
        created_at=now,
    )
    session.add(made)
    session.flush()
    return made


def edit(session: Session, webhook: Webhook, wanted: Wanted) -> None:
    """Change address and events; the newsletter stays. Raises WebhookInvalid."""
    _check(wanted)
    webhook.url, webhook.events = wanted.url, _ordered(wanted.events)
    session.flush()


def get(session: Session, webhook_id: int) -> Webhook:
    """Read a webhook with its newsletter, locked. Raises WebhookNotFound."""
    statement = select(Webhook).where(Webhook.id == webhook_id).with_for_update(of=Webhook)
    found = session.execute(statement.options(joinedload(Webhook.newsletter))).scalar_one_or_none()
    if found is None:
        raise WebhookNotFound(f"There is no webhook {webhook_id}.")
    return found


def all_webhooks(session: Session, *, newsletter_id: int | None = None) -> list[Webhook]:
    """List the webhooks with their newsletters, oldest first: all, or those of one newsletter."""
    statement = select(Webhook).options(joinedload(Webhook.newsletter)).order_by(Webhook.id)
    if newsletter_id is not None:
        statement = statement.where(Webhook.newsletter_id == newsletter_id)
    return list(session.execute(statement).scalars())


def remove(session: Session, webhook_id: int) -> None:
    """Tell an address nothing any more, and forget what it was told. Raises WebhookNotFound."""
    gone = delete(Webhook).where(Webhook.id == webhook_id).returning(Webhook.id)
    if session.execute(gone).scalar_one_or_none() is None:
        raise WebhookNotFound(f"There is no webhook {webhook_id}.")


def rotate(session: Session, webhook: Webhook, *, now: datetime) -> str:
    """Give a webhook a new secret, and return it. For a day calls are signed with both, so that nothing is missed."""
    webhook.old_seed, webhook.old_until = webhook.seed, now + OVERLAP
    webhook.seed = random.token_bytes(_SEED_BYTES)
    session.flush()
    return secret(webhook)


def switch_off(session: Session, webhook: Webhook, because: WebhookOff, *, now: datetime) -> None:
    """Tell an address nothing more until it is switched on; what waits is given up when its turn comes."""
    webhook.off_since, webhook.off_because = webhook.off_since or now, because
    session.flush()


def switch_on(session: Session, webhook: Webhook) -> None:
    """Tell an address again of what happens from now on; what it missed can be replayed."""
    webhook.off_since, webhook.off_because, webhook.failing_since, webhook.quiet_until = None, None, None, None
    session.flush()


def secret(webhook: Webhook) -> str:
    """Return the secret that the other side checks signatures with. It is derived from our key and stored nowhere."""
    return _derived(webhook.seed)


def signing(webhook: Webhook, *, now: datetime) -> list[str]:
    """Return the secrets that a call is signed with: one, or two within a day of a rotation."""
    is_overlapping = webhook.old_seed is not None and webhook.old_until is not None and now < webhook.old_until
    return [secret(webhook), *([_derived(webhook.old_seed)] if is_overlapping and webhook.old_seed else [])]


def message_id(number: int) -> str:
    """Name an event for other programs: the same at every attempt and replay, so that they notice what comes twice."""
    return f"msg_{number}"


def test(session: Session, webhook: Webhook, *, now: datetime) -> int:
    """Have an event called that tells of nothing. Returns the call's id."""
    values = {"event": WebhookEvent.TEST, "newsletter_id": webhook.newsletter_id, "happened_at": now}
    made = insert(WebhookMessage).values(**values, values={"note": "This is a test."}).returning(WebhookMessage.id)
    return _call(session, webhook.id, session.execute(made).scalar_one(), now=now)


def replay(session: Session, webhook_id: int, call_id: int, *, now: datetime) -> int:
    """Tell a webhook once more of the event of an earlier call. Returns the new call's id. Raises WebhookNotFound."""
    chosen = select(WebhookCall.message_id).where(WebhookCall.id == call_id, WebhookCall.webhook_id == webhook_id)
    message_id = session.execute(chosen).scalar_one_or_none()
    if message_id is None:
        raise WebhookNotFound(f"Webhook {webhook_id} has no call {call_id}.")
    return _call(session, webhook_id, message_id, now=now)


def calls(
    session: Session, webhook_id: int, *, before: int | None = None, limit: int
) -> Sequence[tuple[WebhookCall, WebhookMessage]]:
    """List a webhook's calls with what they tell of, newest first; `before` is the last one that was shown."""
    statement = select(WebhookCall, WebhookMessage).join(WebhookMessage, WebhookMessage.id == WebhookCall.message_id)
    statement = statement.where(WebhookCall.webhook_id == webhook_id)
    if before is not None:
        statement = statement.where(WebhookCall.id < before)
    return [(row[0], row[1]) for row in session.execute(statement.order_by(WebhookCall.id.desc()).limit(limit))]


def forget(session: Session, *, now: datetime) -> None:
    """Forget events of more than a month ago, and secrets whose day is over."""
    session.execute(delete(WebhookMessage).where(WebhookMessage.happened_at < now - KEPT_FOR))
    session.execute(update(Webhook).where(Webhook.old_until <= now).values(old_seed=None, old_until=None))


def _call(session: Session, webhook_id: int, message_id: int, *, now: datetime) -> int:
    values = {"webhook_id": webhook_id, "message_id": message_id, "due_at": now, "state": CallState.WAITING}
    return session.execute(insert(WebhookCall).values(**values).returning(WebhookCall.id)).scalar_one()


def _derived(seed: bytes) -> str:
    key = hashlib.blake2b(settings.load().secret_key.encode(), person=b"mailer-webhook").digest()
    return _PREFIX + base64.b64encode(hashlib.blake2b(seed, key=key, digest_size=32).digest()).decode("ascii")


def _ordered(events: Collection[WebhookEvent]) -> list[str]:
    return [one.value for one in EVENTS if one in events]


def _check(wanted: Wanted) -> None:
    parts = urlsplit(wanted.url) if urls.web_address(wanted.url) is not None else None
    if parts is None or len(wanted.url) > LONGEST_URL or parts.username is not None or not wanted.url.isprintable():
        raise WebhookInvalid("Enter a web address such as https://crm.example/hook, without a password in it.")
    if parts.scheme != "https" and not _is_our_own(parts.hostname or ""):
        raise WebhookInvalid("The address must start with https://, since what is told names readers.")


def _is_our_own(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in one for one in settings.load().webhook_private_networks)
