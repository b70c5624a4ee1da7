"""A newsletter's schedule, and a reader's own rhythm, in words: "every Friday at 07:00", not "0 7 * * FRI"."""

import re
from datetime import datetime, time
from typing import Final

from babel import dates

from mailer import i18n
from mailer.issues import schedules
from mailer.models.choices import Rhythm
from mailer.web import zones

_DAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


def promise(language: str, cron: str | None) -> str:
    """Say what comes and how often, as one sentence; without the rhythm if the schedule is none or not a simple one."""
    fields = (cron or "").split()
    if len(fields) != 5 or not (fields[0].isdigit() and fields[1].isdigit()):
        return i18n.gettext(language, "A selection of our articles by e-mail.")
    at = i18n.format_time(language, time(int(fields[1]) % 24, int(fields[0]) % 60))
    day_of_month, month, day_of_week = fields[2:]
    if month == "*" and day_of_week == "*" and day_of_month == "*":
        return i18n.gettext(language, "Every day at {time}, a selection of our articles.", time=at)
    days = _days(day_of_week) if (day_of_month, month) == ("*", "*") else ()
    if days == (0, 1, 2, 3, 4):
        return i18n.gettext(language, "Monday to Friday at {time}, a selection of our articles.", time=at)
    if days:
        named = _in_words(language, days)
        return i18n.gettext(language, "Every {days} at {time}, a selection of our articles.", days=named, time=at)
    return i18n.gettext(language, "A selection of our articles by e-mail.")


def choice(language: str, rhythm: Rhythm) -> str:
    """Say a rhythm that a reader can choose."""
    if rhythm == Rhythm.EACH:
        return i18n.gettext(language, "Every issue")
    if rhythm == Rhythm.DAILY:
        return i18n.gettext(language, "At most one issue a day")
    if rhythm == Rhythm.WEEKLY:
        return i18n.gettext(language, "At most one issue a week")
    return i18n.gettext(language, "At most one issue a month")


def moment(language: str, slot: datetime, timezone: str) -> str:
    """Write a slot with its zone: "Friday 28 November 2025 at 07:00 (Paris time)"."""
    local = slot.astimezone(schedules.zone(timezone))
    return i18n.gettext(
        language,
        "{day} at {time} ({zone})",
        day=i18n.format_date(language, local, "full"),
        time=i18n.format_time(language, local),
        zone=zones.spoken(language, timezone),
    )


def _days(field: str) -> tuple[int, ...]:
    """Return the days of a cron expression's last field, Monday is 0; empty if it is more than days and ranges."""
    days: set[int] = set()
    for part in field.upper().split(","):
        match = re.fullmatch(r"(\d|[A-Z]{3})(?:-(\d|[A-Z]{3}))?", part)
        ends = [_day(name) for name in match.groups() if name] if match else [None]
        first, last = ends[0], ends[-1]
        if first is None or last is None:
            return ()
        days.update((first + step) % 7 for step in range((last - first) % 7 + 1))
    return tuple(sorted(days))


def _day(name: str) -> int | None:
    if name.isdigit():
        return (int(name) - 1) % 7 if int(name) < 8 else None
    return _DAYS.index(name) if name in _DAYS else None


def _in_words(language: str, days: tuple[int, ...]) -> str:
    names = dates.get_day_names("wide", locale=i18n.locale(language))
    *others, last = [str(names[day]) for day in days]
    if not others:
        return last
    return i18n.gettext(language, "{days} and {last}", days=", ".join(others), last=last)
