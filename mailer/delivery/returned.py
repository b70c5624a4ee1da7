"""Take in what comes back of deliveries, by whichever way, each report once; what follows from it is for consequences.py.

A report counts only if it proves which of our mails it is about, by a token that nobody else can make: a forged one is kept
without a delivery, and moves nobody.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import links
from mailer.delivery.bounces import explain, parts
from mailer.delivery.bounces.reasons import Kind, Reason
from mailer.delivery.deliveries import Settled
from mailer.models.deliveries import Delivery, Outcome
from mailer.models.returns import Return, ReturnKind

SMTP: Final = "smtp"
_ROWS_AT_ONCE: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What somebody reports of a delivery. `delivery_id` is None where nothing proves which mail it is about.

    `name` tells such a report from others. One that is about a delivery counts once for each kind, whichever way it comes.
    """

    name: str
    delivery_id: int | None
    kind: ReturnKind
    reason: Reason
    status: str | None
    words: str | None
    via: str
    at: datetime


def read(raw: bytes, *, recipient: str | None, via: str, now: datetime) -> Report | None:
    """Make a report of a raw mail that came to the return address; None for what is no bounce and no complaint.

    `recipient` is the envelope's, None if it is not known. Reads no database.
    """
    mail = parts.take_apart(raw)
    explained = explain.explain_parts(mail)
    first = explained.first
    if first.reason == Reason.COMPLAINT:
        kind = ReturnKind.COMPLAINT
    elif first.kind == Kind.NOT_A_BOUNCE:
        return None
    else:
        kind = ReturnKind(first.kind.value)
    delivery_id = _delivery(mail, recipient, explained.message_id)
    return Report(
        name=hashlib.sha256(raw).hexdigest(),
        delivery_id=delivery_id,
        kind=kind,
        reason=first.reason,
        status=first.status,
        words=first.words,
        via=via,
        at=now,
    )


def refused(settled: Sequence[Settled], *, now: datetime) -> list[Report]:
    """Make reports of the deliveries that a server refused while it was given them."""
    found = []
    for one in settled:
        if one.outcome != Outcome.REFUSED:
            continue
        failure = explain.explain_reply(one.reply)
        if failure.kind == Kind.NOT_A_BOUNCE:
            continue
        found.append(
            Report(
                name="",
                delivery_id=one.delivery_id,
                kind=ReturnKind(failure.kind.value),
                reason=failure.reason,
                status=failure.status,
                words=one.reply,
                via=SMTP,
                at=now,
            )
        )
    return found


def note(session: Session, reports: Sequence[Report], *, now: datetime) -> frozenset[Report]:
    """Keep reports; those that are known already are passed over. Returns the new ones."""
    known = _known(session, {one.delivery_id for one in reports if one.delivery_id is not None})
    unique = {_key(one): one for one in reports}
    keys = list(unique)
    new: set[Report] = set()
    for start in range(0, len(keys), _ROWS_AT_ONCE):
        rows = [_row(key, unique[key], known, now=now) for key in keys[start : start + _ROWS_AT_ONCE]]
        inserted = session.execute(insert(Return).values(rows).on_conflict_do_nothing().returning(Return.key)).scalars()
        new.update(unique[key] for key in inserted)
    return frozenset(new)


def _row(key: bytes, report: Report, known: set[int], *, now: datetime) -> dict[str, object]:
    is_known = report.delivery_id in known
    return {
        "key": key,
        # A genuine token of a delivery that is gone from the database proves nothing any more.
        "delivery_id": report.delivery_id if is_known else None,
        "kind": report.kind,
        "reason": report.reason.value,
        "status": report.status,
        # Of nobody's mail nothing is kept that could name somebody.
        "words": _storable(report.words) if is_known else None,
        "via": report.via,
        "at": min(report.at, now),
        "received_at": now,
        "handled_at": None if is_known else now,
    }


def _key(report: Report) -> bytes:
    about = f"{report.via}\n{report.name}" if report.delivery_id is None else f"{report.delivery_id}\n{report.kind}"
    return hashlib.sha256(about.encode()).digest()


def _known(session: Session, delivery_ids: set[int]) -> set[int]:
    return (
        set(session.execute(select(Delivery.id).where(Delivery.id.in_(delivery_ids))).scalars())
        if delivery_ids
        else set()
    )


def _delivery(mail: parts.Opened, recipient: str | None, message_id: str | None) -> int | None:
    """Find which delivery a mail is about: by the address that it came to, else by the Message-ID of the mail that it returns.

    What was sent to the bare return address still names the mail, if it holds it.
    """
    for receiver in (recipient or "", *(mail.headers.get(name, "") for name in parts.RECEIVERS)):
        found = links.read_return_path(receiver)
        if found is not None:
            return found
    told = (message_id or "", mail.original.get("message-id", ""), mail.headers.get("in-reply-to", ""))
    return next((found for one in told if (found := links.read_message_id(one)) is not None), None)


def _storable(words: str | None) -> str | None:
    return words.replace("\0", "")[: explain.WORDS_LENGTH] if words else None
