"""A mail that came to one of our mailboxes: a return, a complaint, or the wish to leave. What it is decides its address.

Nothing is ever answered, so no loop can begin.
"""

import enum
from datetime import datetime

from sqlalchemy.orm import Session

from mailer import links
from mailer.audience import leaving
from mailer.audience.leaving import Left
from mailer.audience.subscriptions import Origin
from mailer.delivery import returned
from mailer.delivery.bounces import parts

# A whole returned issue with its pictures; what is longer is refused, or cut where it can't be.
LARGEST_BYTES = parts.MOST_BYTES


class Taken(enum.StrEnum):
    """What a mail was."""

    RETURN = "return"
    KNOWN = "known already"
    LEFT = "left"
    NOTHING = "nothing"


def take(session: Session, raw: bytes, *, recipient: str | None, via: str, now: datetime) -> Taken:
    """Take in one raw mail; `recipient` is the envelope's, None where it is not known. Doing it twice does nothing more."""
    leaver = _leaver(raw, recipient)
    if leaver is not None:
        origin = Origin(source=f"mail:{via}")
        is_new = leaving.end(session, [Left(subscription_id=leaver, at=now, origin=origin)])
        return Taken.LEFT if is_new else Taken.KNOWN
    report = returned.read(raw, recipient=recipient, via=via, now=now)
    if report is None:
        return Taken.NOTHING
    return Taken.RETURN if returned.note(session, [report], now=now) else Taken.KNOWN


def is_ours(recipient: str) -> bool:
    """Tell whether an envelope's address bears a genuine token of ours."""
    return links.read_return_path(recipient) is not None or _subscription(recipient) is not None


def _leaver(raw: bytes, recipient: str | None) -> int | None:
    if recipient is not None:
        return _subscription(recipient)
    headers = parts.take_apart(raw).headers
    receivers = (headers.get(name, "") for name in parts.RECEIVERS)
    return next((found for one in receivers if (found := _subscription(one)) is not None), None)


def _subscription(address: str) -> int | None:
    """Return the subscription whose reader wrote to an address of `mailto:` unsubscribe (RFC 2369)."""
    for token in links.mailbox_tokens(address):
        try:
            return links.read(links.Purpose.ONE_CLICK, links.from_mailbox(token)).id
        except links.TokenInvalid:
            continue
    return None
