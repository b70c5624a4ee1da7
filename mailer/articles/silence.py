"""When a feed that keeps a rhythm falls silent: something may be broken on the site, although the feed reads well."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer.models.content import Article

_ARTICLES: Final = 300
# A rhythm shows after so many gaps between articles, and over two week-ends.
_GAPS: Final = 8
_HISTORY: Final = timedelta(days=14)
# How much longer than its longest gap so far a feed may be silent, and at least how long.
_PATIENCE: Final = 1.5
_SHORTEST: Final = timedelta(hours=6)


def silent_since(session: Session, feed_id: int, *, now: datetime) -> datetime | None:
    """Return when a feed's last article came, if by its own rhythm another is overdue; None if all is well."""
    moment = func.least(func.coalesce(Article.published_at, Article.first_seen_at), Article.first_seen_at)
    newest = select(moment).where(Article.feed_id == feed_id, moment <= now).order_by(moment.desc()).limit(_ARTICLES)
    return overdue(list(session.execute(newest).scalars()), now=now)


def overdue(newest_first: Sequence[datetime], *, now: datetime) -> datetime | None:
    """Return the latest of the moments if the gap since is far longer than any between them; else None.

    Too few moments, or too short a history, have no rhythm.
    """
    moments = sorted(set(newest_first))
    if len(moments) <= _GAPS or moments[-1] - moments[0] < _HISTORY:
        return None
    longest = max(later - earlier for earlier, later in pairwise(moments))
    return moments[-1] if now - moments[-1] > max(longest * _PATIENCE, _SHORTEST) else None
