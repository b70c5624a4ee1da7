"""Addresses that must not be mailed: kept as hashes, with the reason and the day, for ever.

A list of them can be carried from and to other services: as hashes, or as addresses that become hashes here.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import addresses
from mailer.models.audience import SuppressedBecause, Suppression

COLUMNS: Final = ("sha256", "reason", "since")
_ROWS_AT_ONCE: Final = 5000
# What weighs more stays: only a reader's own wish, or proof that a mailbox lives, undoes the others.
_WEIGHT: Final = {
    SuppressedBecause.BOUNCED: 0,
    SuppressedBecause.ERASED: 1,
    SuppressedBecause.REMOVED: 2,
    SuppressedBecause.COMPLAINED: 3,
}


class SuppressionNotFound(LookupError):
    """The address is not suppressed."""


class SuppressionFinal(Exception):
    """The address is suppressed by its reader's own act, which nobody else undoes."""


class ListInvalid(ValueError):
    """A line of a list can't be understood; the message says which and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of a list: the hash of an address, why it is suppressed, and since when."""

    address_hash: bytes
    because: SuppressedBecause
    since: datetime


def add(session: Session, found: Iterable[str], because: SuppressedBecause, *, now: datetime) -> int:
    """Suppress addresses. Returns how many were not suppressed before."""
    entries = [Entry(address_hash=addresses.fingerprint(one), because=because, since=now) for one in found]
    return put(session, entries)


def put(session: Session, entries: Iterable[Entry]) -> int:
    """Suppress hashes; of two reasons the one that weighs more stays. Returns how many were not suppressed before."""
    unique: dict[bytes, Entry] = {}
    for one in entries:
        known = unique.get(one.address_hash)
        if known is None or _WEIGHT[known.because] < _WEIGHT[one.because]:
            unique[one.address_hash] = one
    # In one order, so that two that put the same do not wait for each other.
    ordered = [unique[one] for one in sorted(unique)]
    before = _count(session)
    for start in range(0, len(ordered), _ROWS_AT_ONCE):
        _put(session, ordered[start : start + _ROWS_AT_ONCE])
    return _count(session) - before


def find(session: Session, address: str) -> Suppression:
    """Find why an address is suppressed. Raises SuppressionNotFound."""
    found = session.get(Suppression, addresses.fingerprint(address))
    if found is None:
        raise SuppressionNotFound("This address is not suppressed.")
    return found


def remove(session: Session, address: str) -> None:
    """Let an address be mailed again that the newsroom had suppressed, or that bounced.

    Raises SuppressionNotFound, and SuppressionFinal where the reader complained or was erased.
    """
    found = find(session, address)
    if found.reason in (SuppressedBecause.COMPLAINED, SuppressedBecause.ERASED):
        raise SuppressionFinal("This reader complained or had everything erased; only they can come back, by the form.")
    session.delete(found)
    session.flush()


def counts(session: Session) -> dict[SuppressedBecause, int]:
    """Count the suppressed addresses by reason."""
    rows = session.execute(select(Suppression.reason, func.count()).group_by(Suppression.reason)).all()
    return {SuppressedBecause(row[0]): int(row[1]) for row in rows}


def lines(session: Session) -> Iterator[tuple[str, str, str]]:
    """Go through all of them as lines of a list, in order of the hash: hash in hex, reason, moment in ISO 8601."""
    statement = select(Suppression.address_hash, Suppression.reason, Suppression.created_at)
    rows = session.execute(
        statement.order_by(Suppression.address_hash).execution_options(yield_per=_ROWS_AT_ONCE, stream_results=True)
    )
    for row in rows:
        yield row[0].hex(), row[1].value, row[2].astimezone(UTC).isoformat()


def read(rows: Iterable[str], *, now: datetime) -> Iterator[Entry]:
    """Read a list: lines of hashes as `lines` writes them, or of addresses, with or without reason and moment.

    Raises ListInvalid at the first line that is neither; a heading is passed over.
    """
    for number, row in enumerate(csv.reader(rows), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[0].lower() in ("sha256", "address", "email", "e-mail")):
            continue
        yield _entry(cells, number, now=now)


def _entry(cells: Sequence[str], number: int, *, now: datetime) -> Entry:
    first, reason, since = (*cells, "", "", "")[:3]
    try:
        is_hash = len(first) == 64 and "@" not in first
        hashed = bytes.fromhex(first) if is_hash else addresses.fingerprint(addresses.normalise(first))
        because = SuppressedBecause(reason) if reason else SuppressedBecause.REMOVED
        moment = datetime.fromisoformat(since) if since else now
    except ValueError as error:
        raise ListInvalid(f"Line {number} can’t be read: it needs an address or the SHA-256 of one. {error}") from None
    return Entry(address_hash=hashed, because=because, since=moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _put(session: Session, entries: Sequence[Entry]) -> None:
    rows = [{"address_hash": one.address_hash, "reason": one.because, "created_at": one.since} for one in entries]
    statement = insert(Suppression).values(rows)
    lighter = {
        because: [other for other, weight in _WEIGHT.items() if weight < _WEIGHT[because]] for because in _WEIGHT
    }
    for because, others in lighter.items():
        hashes = [one.address_hash for one in entries if one.because == because]
        if others and hashes:
            chosen = (Suppression.address_hash.in_(hashes), Suppression.reason.in_(others))
            session.execute(delete(Suppression).where(*chosen))
    session.execute(statement.on_conflict_do_nothing())


def _count(session: Session) -> int:
    return int(session.execute(select(func.count()).select_from(Suppression)).scalar_one())
