"""Variants that replaced others after their issue started, when an article was pulled or put anew (docs/decisions/0027).

Deliveries take the new variant batch by batch, when a worker claims the batch: one that ended names what really was sent.
"""

from collections.abc import Collection
from typing import Final

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from mailer.delivery.deliveries import Claim
from mailer.models.content import Variant

# Why a delivery is skipped of which the pulled article was all.
NOTHING_LEFT: Final = "an article was pulled, and nothing else was in it"
_TAKE: Final = text("""
UPDATE deliveries d SET variant_id = v.replaced_by FROM variants v
WHERE d.id BETWEEN :first_id AND :last_id AND d.issue_id = :issue_id
    AND v.id = d.variant_id AND v.replaced_by IS NOT NULL
    AND NOT EXISTS (SELECT FROM outcomes o WHERE o.delivery_id = d.id)
""")


def take(session: Session, claim: Claim) -> frozenset[int]:
    """Give the open deliveries of a claimed batch their newest variants. Returns the variants of which nothing was left."""
    values = {"first_id": claim.first_id, "last_id": claim.last_id, "issue_id": claim.issue_id}
    session.execute(_TAKE, values)
    emptied = select(Variant.id).where(Variant.issue_id == claim.issue_id, Variant.withdrawn_at.is_not(None))
    return frozenset(session.execute(emptied).scalars())


def pairs(session: Session, issue_ids: Collection[int]) -> dict[int, int]:
    """Return what open deliveries of these issues get instead, by variant; 0 for nothing."""
    if not issue_ids:
        return {}
    gone = or_(Variant.replaced_by.is_not(None), Variant.withdrawn_at.is_not(None))
    statement = select(Variant.id, Variant.replaced_by, Variant.withdrawn_at).where(
        Variant.issue_id.in_(issue_ids), gone
    )
    rows = session.execute(statement).all()
    emptied = {row.id for row in rows if row.withdrawn_at is not None}
    return {row.id: 0 if row.replaced_by is None or row.replaced_by in emptied else row.replaced_by for row in rows}
