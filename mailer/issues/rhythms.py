"""Schedules in human words: what an editor chooses, and the cron expression that stands for it, both ways."""

import re
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("none", "daily", "weekdays", "weekly", "monthly", "day", "cron")
# The first to the fourth, or the last, weekday of a month.
ORDERS: Final = ("1", "2", "3", "4", "L")
WEEKDAYS: Final = tuple(range(1, 8))
_TIME: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class RhythmInvalid(ValueError):
    """What was chosen is no rhythm; `field` names what is missing: days, time, day."""

    def __init__(self, field: str) -> None:
        super().__init__(f"The rhythm has no usable {field}.")
        self.field = field


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """When issues are made. Monday is 1; `days` of a weekly one, the first of them with `order` for a monthly one.

    `day` is a day of the month, "L" the last. `cron` is for what none of the kinds can say.
    """

    kind: str = "none"
    days: tuple[int, ...] = ()
    order: str = "1"
    day: str = "1"
    time: str = "07:00"
    cron: str = ""


def to_cron(chosen: Rhythm) -> str | None:
    """Return the cron expression; None for by hand. Raises RhythmInvalid."""
    if chosen.kind == "none":
        return None
    if chosen.kind == "cron":
        return " ".join(chosen.cron.split()) or None
    found = _TIME.fullmatch(chosen.time)
    if found is None:
        raise RhythmInvalid("time")
    at = f"{int(found[2])} {int(found[1])}"
    if chosen.kind in ("weekly", "monthly") and not chosen.days:
        raise RhythmInvalid("days")
    if chosen.kind == "day" and not (chosen.day == "L" or (chosen.day.isdecimal() and 1 <= int(chosen.day) <= 31)):
        raise RhythmInvalid("day")
    weekly = ",".join(map(str, sorted(chosen.days)))
    order = "L" if chosen.order == "L" else f"#{chosen.order}"
    return {
        "daily": f"{at} * * *",
        "weekdays": f"{at} * * 1-5",
        "weekly": f"{at} * * {weekly}",
        "monthly": f"{at} * * {chosen.days[0] if chosen.days else 1}{order}",
        "day": f"{at} {chosen.day} * *",
    }[chosen.kind]


def from_cron(cron: str | None) -> Rhythm:
    """Return what a cron expression says in words; of kind "cron" if none of the others can."""
    if not cron:
        return Rhythm()
    other = Rhythm(kind="cron", cron=cron)
    fields = cron.upper().split()
    if len(fields) != 5 or fields[3] != "*" or not (fields[0] + fields[1]).isdecimal():
        return other
    minute, hour, day, _, weekday = fields
    time = f"{int(hour):02}:{int(minute):02}"
    names = dict(zip(("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN", "0"), "12345677", strict=True))
    weekday = re.sub("|".join(names), lambda one: names[one[0]], weekday)
    if day != "*":
        is_day = weekday == "*" and (day == "L" or day.isdecimal())
        return Rhythm(kind="day", day=day, time=time, cron=cron) if is_day else other
    if weekday == "*":
        return Rhythm(kind="daily", time=time, cron=cron)
    if weekday == "1-5":
        return Rhythm(kind="weekdays", time=time, cron=cron)
    if re.fullmatch(r"[1-7](,[1-7])*", weekday):
        return Rhythm(kind="weekly", days=tuple(sorted({int(one) for one in weekday.split(",")})), time=time, cron=cron)
    monthly = re.fullmatch(r"([1-7])(?:#([1-4])|(L))", weekday)
    if monthly is not None:
        days, order = (int(monthly[1]),), monthly[2] or "L"
        return Rhythm(kind="monthly", days=days, order=order, time=time, cron=cron)
    return other
