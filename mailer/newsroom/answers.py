"""Answers that are kept for a day, so that a program which asks again after a lost answer does nothing twice.

An answer is written in the transaction that did what was asked: after a crash there is either both or neither.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from mailer.models.tokens import KeptAnswer

LIFETIME: Final = timedelta(hours=24)
LONGEST_KEY: Final = 200


class KeyInUse(Exception):
    """A request with the same key is being answered at this moment."""


class KeyReused(Exception):
    """The key was used for something else within the day."""


def find(session: Session, token_id: int, key: str, request_hash: bytes, *, now: datetime) -> KeptAnswer | None:
    """Return the kept answer to the same request; until the transaction ends nobody else gets past here with this key.

    Raises KeyInUse and KeyReused.
    """
    name = f"idempotency-key:{token_id}:{key}"
    if not session.execute(select(func.pg_try_advisory_xact_lock(func.hashtextextended(name, 0)))).scalar_one():
        raise KeyInUse("A request with this Idempotency-Key is being answered; ask again in a moment.")
    kept = session.get(KeptAnswer, (token_id, key))
    if kept is not None and now - kept.created_at >= LIFETIME:
        session.delete(kept)
        session.flush()
        return None
    if kept is not None and kept.request_hash != request_hash:
        raise KeyReused("This Idempotency-Key was used for another request; choose a new one for each.")
    return kept


def keep(session: Session, answer: KeptAnswer) -> None:
    """Keep an answer, in the transaction of what it tells."""
    names = ("token_id", "key", "request_hash", "status", "body", "created_at")
    session.execute(insert(KeptAnswer).values(**{name: getattr(answer, name) for name in names}))


def forget(session: Session, *, now: datetime) -> None:
    """Delete the answers that are older than a day."""
    session.execute(delete(KeptAnswer).where(KeptAnswer.created_at < now - LIFETIME))
