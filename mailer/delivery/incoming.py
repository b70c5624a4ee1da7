"""A mail that came to one of our mailboxes: a return, a complaint, or the wish to leave. What it is decides its address.

Nothing is ever answered, so no loop can begin.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A raw mail as it came; `recipient` is the envelope's, None where it is not known."""

    raw: bytes
    recipient: str | None
    via: str


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What a mail means: somebody leaves, or a report of a delivery, or nothing."""

    leaver: int | None = None
    report: returned.Report | None = None
    via: str = ""


def understand(mail: Mail, *, now: datetime) -> Meant:
    """Read a mail. Needs no database, and may take a millisecond."""
    leaver = _leaver(mail)
    if leaver is not None:
        return Meant(leaver=leaver, via=mail.via)
    report = returned.read(mail.raw, recipient=mail.recipient, via=mail.via, now=now)
    return Meant(report=report, via=mail.via)


def take(session: Session, understood: Sequence[Meant], *, now: datetime) -> list[Taken]:
    """Take in what mails mean, all at once. Returns what each was; doing it twice does nothing more."""
    reports = [one.report for one in understood if one.report is not None]
    new = returned.note(session, reports, now=now) if reports else frozenset()
    return [_taken(session, one, new, now=now) for one in understood]


def is_ours(recipient: str) -> bool:
    """Tell whether an envelope's address bears a genuine token of ours."""
    return links.read_return_path(recipient) is not None or _subscription(recipient) is not None


def _taken(session: Session, meant: Meant, new: Collection[returned.Report], *, now: datetime) -> Taken:
    if meant.report is not None:
        return Taken.RETURN if meant.report in new else Taken.KNOWN
    if meant.leaver is None:
        return Taken.NOTHING
    left = Left(subscription_id=meant.leaver, at=now, origin=Origin(source=f"mail:{meant.via}"))
    return Taken.LEFT if leaving.end(session, [left]) else Taken.KNOWN


def _leaver(mail: Mail) -> int | None:
    if mail.recipient is not None:
        return _subscription(mail.recipient)
    headers = parts.take_apart(mail.raw).headers
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
