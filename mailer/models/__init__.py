"""The tables, one module a subject. Import this package to have them all registered."""

from mailer.models import (
    accounts,
    audience,
    choices,
    content,
    corrections,
    deliveries,
    desk,
    intake,
    pictures,
    readers,
    returns,
    tokens,
    tracking,
)
from mailer.models.base import Base

__all__ = [
    "Base",
    "accounts",
    "audience",
    "choices",
    "content",
    "corrections",
    "deliveries",
    "desk",
    "intake",
    "pictures",
    "readers",
    "returns",
    "tokens",
    "tracking",
]
