"""A feed that keeps a rhythm and falls silent."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from mailer.articles import intake, silence
from tests.factories import NOW, a_newsletter, the_feed
from tests.told import told

# A Friday, after the morning's article.
LAST = datetime(2026, 11, 20, 8, tzinfo=UTC)


def working_days(weeks: int) -> list[datetime]:
    """Three articles each working day up to LAST."""
    days = [LAST - timedelta(days=n) for n in range(7 * weeks)]
    return [day - timedelta(hours=h) for day in days if day.weekday() < 5 for h in (0, 2, 5)]


@pytest.mark.parametrize(
    ("moments", "later", "is_silent"),
    [
        (working_days(4), timedelta(days=2, hours=20), False),
        (working_days(4), timedelta(days=5), True),
        ([LAST - timedelta(weeks=n) for n in range(12)], timedelta(days=9), False),
        ([LAST - timedelta(weeks=n) for n in range(12)], timedelta(days=11), True),
        ([LAST - timedelta(days=n * n) for n in range(12)], timedelta(days=20), False),
        ([LAST - timedelta(days=n) for n in range(5)], timedelta(days=90), False),
        ([LAST - timedelta(minutes=n) for n in range(100)], timedelta(days=90), False),
        ([], timedelta(days=90), False),
    ],
    ids=["week-end", "a working day missed", "weekly", "weekly, missed", "irregular", "too few", "one import", "empty"],
)
def test_a_feed_is_silent_when_it_misses_its_rhythm(moments: list[datetime], later: timedelta, is_silent: bool) -> None:
    assert (silence.overdue(moments, now=LAST + later) is not None) == is_silent


def test_its_rhythm_is_known_from_the_dates_of_its_first_reading(session: Session) -> None:
    feed = the_feed(session, a_newsletter(session))
    daily = [told(f"a{n}", published=NOW - timedelta(days=n)) for n in range(30)]
    intake.store(session, feed.id, daily, is_whole=True, now=NOW)
    assert silence.silent_since(session, feed.id, now=NOW + timedelta(hours=30)) is None
    assert silence.silent_since(session, feed.id, now=NOW + timedelta(hours=40)) == NOW


def test_dates_in_the_future_do_not_count_as_heard(session: Session) -> None:
    feed = the_feed(session, a_newsletter(session))
    daily = [told(f"a{n}", published=NOW - timedelta(days=n)) for n in range(30)]
    intake.store(session, feed.id, [*daily, told("x", published=NOW + timedelta(days=9))], is_whole=True, now=NOW)
    assert silence.silent_since(session, feed.id, now=NOW + timedelta(hours=40)) is not None
