"""Schedules in human words, and moments as people type them."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from mailer.issues import rhythms, schedules, slots
from mailer.issues.rhythms import Rhythm
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter

SAID = {
    "0 7 * * *": Rhythm(kind="daily"),
    "30 6 * * 1-5": Rhythm(kind="weekdays", time="06:30"),
    "0 7 * * 5": Rhythm(kind="weekly", days=(5,)),
    "0 7 * * 1,4": Rhythm(kind="weekly", days=(1, 4)),
    "0 7 * * 1#1": Rhythm(kind="monthly", days=(1,), order="1"),
    "0 7 * * 5L": Rhythm(kind="monthly", days=(5,), order="L"),
    "0 7 15 * *": Rhythm(kind="day", day="15"),
    "0 7 L * *": Rhythm(kind="day", day="L"),
}


@pytest.mark.parametrize("cron", SAID)
def test_what_is_said_in_words_and_its_expression_are_the_same(cron: str):
    assert rhythms.to_cron(SAID[cron]) == cron
    back = rhythms.from_cron(cron)
    assert rhythms.to_cron(back) == cron
    assert back.kind == SAID[cron].kind
    schedules.check(cron, "Europe/Paris")


@pytest.mark.parametrize(
    ("cron", "kind"), [("0 7 * * FRI", "weekly"), ("0 7 * * 0", "weekly"), ("*/5 * * * *", "cron")]
)
def test_expressions_that_others_wrote_are_read(cron: str, kind: str):
    assert rhythms.from_cron(cron).kind == kind


@pytest.mark.parametrize(
    ("chosen", "field"),
    [
        (Rhythm(kind="weekly"), "days"),
        (Rhythm(kind="daily", time="25:00"), "time"),
        (Rhythm(kind="day", day="40"), "day"),
    ],
)
def test_what_is_missing_is_named(chosen: Rhythm, field: str):
    with pytest.raises(rhythms.RhythmInvalid) as caught:
        rhythms.to_cron(chosen)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("2026-03-29T02:30", schedules.Wrong.SKIPPED),
        ("2026-10-25T02:30", schedules.Wrong.TWICE),
        ("2026-11-27T07:00+01:00", schedules.Wrong.HAS_OFFSET),
        ("2026-11-27T07:00Z", schedules.Wrong.HAS_OFFSET),
        ("soon", schedules.Wrong.UNREADABLE),
    ],
)
def test_a_moment_that_is_none_says_why(typed: str, why: schedules.Wrong):
    with pytest.raises(schedules.MomentInvalid) as caught:
        schedules.moment(typed, "Europe/Paris")
    assert caught.value.why == why


def test_of_an_hour_that_comes_twice_either_can_be_chosen():
    first, second = (schedules.moment("2026-10-25T02:30", "Europe/Paris", fold=one) for one in (0, 1))
    assert (first, second) == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC))


def test_skipped_days_and_a_pause_leave_slots_out(session: Session):
    newsletter = a_newsletter(session, cron="0 7 * * *", timezone="Europe/Paris")
    newsletters.rest(session, newsletter, paused_until=NOW + timedelta(days=2), skip_dates=["2026-11-23"], now=NOW)
    found = newsletters.next_slots(newsletter, now=NOW, count=3)
    assert [f"{one:%d}" for one in found] == ["22", "24", "25"]
    # NOW is the 20th at 06:00 UTC: nothing is due on the 21st, which the pause takes, nor on the 23rd.
    for day, is_due in (("2026-11-21", False), ("2026-11-22", True), ("2026-11-23", True), ("2026-11-24", True)):
        due = slots.due_slots(session, now=datetime.fromisoformat(f"{day}T06:01+00:00"))
        assert bool(due) == is_due, day
    (due,) = slots.due_slots(session, now=datetime.fromisoformat("2026-11-23T06:01+00:00"))
    assert f"{due.slot_at:%d}" == "22"


def test_a_day_that_is_none_is_named(session: Session):
    with pytest.raises(schedules.ScheduleInvalid, match="Noël"):
        newsletters.rest(session, a_newsletter(session), paused_until=None, skip_dates=["Noël"], now=NOW)
