"""What keeps the database small and private: erasing what has served its time."""

from datetime import datetime

from sqlalchemy.orm import Session

from mailer import subscriptions


def clean_up(session: Session, *, now: datetime) -> int:
    """Erase sign-ups that nobody confirmed while their link worked. Returns how many subscriptions went."""
    return subscriptions.delete_unconfirmed(session, now=now)
