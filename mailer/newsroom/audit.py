"""The audit log: who changed what, when, and from which network. Entries are only ever added; the database refuses the rest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from mailer.models.audit import Actor, AuditEntry

# Ids and short names only: an address, a token or a text of somebody's does not get in by the way of a path.
_OBJECT: Final = re.compile(r"[\w-]{1,63}\Z")
# Parameters that are secrets, whatever they look like.
_NEVER: Final = frozenset({"token", "secret", "key", "password", "email", "address"})


@dataclass(frozen=True, kw_only=True)
class Act:
    """What somebody did. `actor_id` is the account's or the token's; None for the command line.

    `objects` are what it was done to: names of a path's parameters, and their values.
    """

    actor: Actor
    actor_id: int | None
    actor_name: str
    action: str
    newsletter_id: int | None = None
    objects: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which entries to show; what is None is not asked for. `until` is the moment after the last."""

    actor: Actor | None = None
    actor_id: int | None = None
    newsletter_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None


def record(session: Session, act: Act, *, now: datetime) -> None:
    """Add an entry. What looks like anything but an id or a short name is left out of its objects."""
    objects = {
        name: value for name, value in act.objects.items() if name not in _NEVER and _OBJECT.match(value) is not None
    }
    session.add(
        AuditEntry(
            at=now,
            actor=act.actor,
            actor_id=act.actor_id,
            actor_name=act.actor_name[:200],
            action=act.action,
            newsletter_id=act.newsletter_id,
            objects=objects,
            network=act.network,
        )
    )


def entries(session: Session, wanted: Wanted, *, before: int | None = None, limit: int) -> list[AuditEntry]:
    """List entries, newest first; `before` is the id of the last one that was shown."""
    statement = _matching(wanted).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return list(session.execute(statement).scalars())


def actors(session: Session) -> list[tuple[Actor, int | None, str]]:
    """List who has done anything, by the name that they had last."""
    rows = session.execute(
        select(AuditEntry.actor, AuditEntry.actor_id, AuditEntry.actor_name)
        .ext(distinct_on(AuditEntry.actor, AuditEntry.actor_id))
        .order_by(AuditEntry.actor, AuditEntry.actor_id, AuditEntry.id.desc())
    )
    return [(row.actor, row.actor_id, row.actor_name) for row in rows]


def _matching(wanted: Wanted) -> Select[Any]:
    statement = select(AuditEntry)
    if wanted.actor is not None:
        statement = statement.where(AuditEntry.actor == wanted.actor)
    if wanted.actor_id is not None:
        statement = statement.where(AuditEntry.actor_id == wanted.actor_id)
    if wanted.newsletter_id is not None:
        statement = statement.where(AuditEntry.newsletter_id == wanted.newsletter_id)
    if wanted.since is not None:
        statement = statement.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(AuditEntry.at < wanted.until)
    return statement
