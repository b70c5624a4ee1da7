"""Answers that are kept for a day, so that a program which asks again after a lost answer does nothing twice.

An answer is written in the transaction that did what was asked: after a crash there is either both or neither.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from mailer import vault
from mailer.models.tokens import KeptAnswer

LIFETIME: Final = timedelta(hours=24)
LONGEST_KEY: Final = 200
_PURPOSE: Final = b"kept-answer"


class KeyInUse(Exception):
    """A request with the same key is being answered at this moment."""


class KeyReused(Exception):
    """The key was used for something else within the day."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request with an Idempotency-Key: whose, which, and the hash of method, address and body."""

    token_id: int
    key: str
    request_hash: bytes


def find(session: Session, asked: Asked, *, now: datetime) -> tuple[int, bytes] | None:
    """Return status and body of the kept answer to the same request, or None; until the transaction ends nobody else gets
    past here with this key.

    Raises KeyInUse and KeyReused.
    """
    name = f"idempotency-key:{asked.token_id}:{asked.key}"
    if not session.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))).scalar_one():
        raise KeyInUse("A request with this Idempotency-Key is being answered; ask again in a moment.")
    kept = session.get(KeptAnswer, (asked.token_id, asked.key))
    if kept is not None and now - kept.created_at >= LIFETIME:
        session.delete(kept)
        session.flush()
        return None
    if kept is not None and kept.request_hash != asked.request_hash:
        raise KeyReused("This Idempotency-Key was used for another request; choose a new one for each.")
    try:
        return (kept.status, vault.unseal(_PURPOSE, kept.sealed).encode()) if kept is not None else None
    except vault.SecretUnreadable as error:
        raise KeyReused("The answer to this Idempotency-Key can’t be read any more; choose a new one.") from error


def keep(session: Session, asked: Asked, status: int, body: bytes, *, now: datetime) -> None:
    """Keep an answer, in the transaction of what it tells; encrypted, for it may hold a secret or a reader's address."""
    values = {"token_id": asked.token_id, "key": asked.key, "request_hash": asked.request_hash, "created_at": now}
    sealed = vault.seal(_PURPOSE, body.decode())
    session.execute(insert(KeptAnswer).values(status=status, sealed=sealed, **values))


def forget(session: Session, *, now: datetime) -> None:
    """Delete the answers that are older than a day."""
    session.execute(delete(KeptAnswer).where(KeptAnswer.created_at < now - LIFETIME))
