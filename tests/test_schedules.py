"""When an issue is due, by the wall clock of the newsletter's zone."""

from datetime import UTC, datetime, timedelta

import pytest

from mailer.issues import schedules

FRIDAY_7 = "0 7 * * FRI"


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def test_slots_follow_the_wall_clock_over_a_change_of_time() -> None:
    slots = schedules.next_slots("0 7 * * *", "Europe/Paris", after=utc(2026, 10, 24, 0), count=2)
    assert slots == [utc(2026, 10, 24, 5), utc(2026, 10, 25, 6)]


def test_an_hour_that_is_skipped_in_spring_runs_once() -> None:
    slots = schedules.due_slots("30 2 * * *", "Europe/Berlin", since=utc(2026, 3, 28, 12), now=utc(2026, 3, 29, 12))
    assert len(slots) == 1


def test_an_hour_that_comes_twice_in_autumn_runs_once() -> None:
    slots = schedules.due_slots("30 2 * * *", "Europe/Berlin", since=utc(2026, 10, 24, 12), now=utc(2026, 10, 25, 12))
    assert len(slots) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Tashkent"])
def test_a_daily_schedule_runs_once_a_day_for_two_years(zone: str) -> None:
    now = utc(2026, 1, 1)
    days = set()
    count = 0
    while now < utc(2028, 1, 1):
        for slot in schedules.due_slots("30 2 * * *", zone, since=now, now=now + timedelta(hours=6)):
            count += 1
            days.add(slot.astimezone(schedules.zone(zone)).date())
        now += timedelta(hours=6)
    assert count == len(days)
    assert len(days) in (729, 730, 731)


def test_slots_are_half_open() -> None:
    slot = utc(2026, 11, 20, 6)
    assert schedules.due_slots(FRIDAY_7, "Europe/Paris", since=slot - timedelta(seconds=1), now=slot) == [slot]
    assert schedules.due_slots(FRIDAY_7, "Europe/Paris", since=slot, now=slot + timedelta(minutes=1)) == []


@pytest.mark.parametrize("cron", ["", "x", "* * * *", "61 * * * *", "0 0 31 2 *"])
def test_a_wrong_expression_is_refused(cron: str) -> None:
    with pytest.raises(schedules.ScheduleInvalid):
        schedules.check(cron, "UTC")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../etc/passwd", "Europe"])
def test_a_wrong_zone_is_refused(zone: str) -> None:
    with pytest.raises(schedules.ScheduleInvalid):
        schedules.check(FRIDAY_7, zone)
