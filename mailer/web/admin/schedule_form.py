"""When a newsletter's issues are made, in human words: the form, what is wrong with it, and the next dates."""

import dataclasses
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from babel import dates
from sqlalchemy.orm import Session

from mailer import i18n
from mailer.issues import rhythms, schedules, selection
from mailer.issues.rhythms import Rhythm
from mailer.models.content import Newsletter
from mailer.newsroom import newsletters
from mailer.web.admin.session import Desk

KINDS: Final = {
    "none": "By hand only",
    "daily": "Every day",
    "weekdays": "Monday to Friday",
    "weekly": "On chosen days of the week",
    "monthly": "On a weekday of the month",
    "day": "On a day of the month",
    "cron": "As a cron expression says",
}
ORDERS: Final = {"1": "the first", "2": "the second", "3": "the third", "4": "the fourth", "L": "the last"}
COMPLAINTS: Final = {
    "days": "Choose at least one day",
    "time": "Enter a time such as 07:00",
    "day": "Enter a day from 1 to 31",
    "cron": "Enter five fields, like 0 7 * * FRI for every Friday at 07:00",
    "timezone": "Enter a time zone such as Europe/Paris",
    "paused_until": "Enter a day such as 2026-12-25, from today on",
    "skip_dates": "Enter days such as 2026-12-25, one a line; 100 at most",
}
NAMES: Final = ("kind", "time", "order", "weekday", "day", "cron", "timezone", "paused_until", "skip_dates")
DATES_SHOWN: Final = 5


def typed(desk: Desk) -> dict[str, str]:
    """Return what was typed, by field."""
    found = {name: desk.typed(name) for name in NAMES} | {f"day_{one}": desk.typed(f"day_{one}") for one in range(1, 8)}
    # A form that only has the expression.
    return found | {"kind": found["kind"] or ("cron" if found["cron"] else "none")}


def save(database: Session, newsletter: Newsletter, given: Mapping[str, str], *, now: datetime) -> dict[str, str]:
    """Set the schedule; return what is wrong, by field, having then changed nothing."""
    errors: dict[str, str] = {}
    cron: str | None = None
    try:
        schedules.zone(given["timezone"] or "?")
    except schedules.ScheduleInvalid:
        errors["timezone"] = COMPLAINTS["timezone"]
    try:
        cron = rhythms.to_cron(_chosen(given))
        if given["kind"] == "cron" or cron:
            schedules.check(cron or "", "UTC")
    except rhythms.RhythmInvalid as error:
        errors[error.field] = COMPLAINTS[error.field]
    except schedules.ScheduleInvalid:
        errors["cron"] = COMPLAINTS["cron"]
    if not errors:
        newsletters.schedule(database, newsletter, cron=cron, timezone=given["timezone"], now=now, since=now)
    return errors


def rest(database: Session, newsletter: Newsletter, given: Mapping[str, str], *, now: datetime) -> dict[str, str]:
    """Set pause and skipped days; return what is wrong, by field, having then changed nothing."""
    local, until = schedules.zone(newsletter.timezone), None
    if given["paused_until"]:
        try:
            day = date.fromisoformat(given["paused_until"])
        except ValueError:
            return {"paused_until": COMPLAINTS["paused_until"]}
        if day < now.astimezone(local).date() or day.year > now.year + 10:
            return {"paused_until": COMPLAINTS["paused_until"]}
        until = datetime.combine(day, time(), tzinfo=local)
    try:
        skipped = [line.strip() for line in given["skip_dates"].splitlines() if line.strip()]
        newsletters.rest(database, newsletter, paused_until=until, skip_dates=skipped, now=now)
    except schedules.ScheduleInvalid:
        return {"skip_dates": COMPLAINTS["skip_dates"]}
    return {}


def values(database: Session, newsletter: Newsletter, desk: Desk, given: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what the form shows: the rhythm, the names of days, and the next dates with what the first would hold."""
    chosen = _chosen(given) if given and "kind" in given else rhythms.from_cron(newsletter.cron)
    until = newsletter.paused_until
    local = schedules.zone(newsletter.timezone)
    shown = {
        "paused_until": f"{until.astimezone(local):%Y-%m-%d}" if until and until > desk.now else "",
        "skip_dates": "\n".join(newsletter.skip_dates),
    }
    slots = newsletters.next_slots(newsletter, now=desk.now, count=DATES_SHOWN)
    ready = len(selection.select_articles(database, newsletter, now=desk.now).chosen) if slots else 0
    names = dates.get_day_names("wide", locale=i18n.locale(desk.language))
    return {
        "rhythm": chosen,
        "rest": {name: (given or {}).get(name, shown[name]) for name in shown},
        "kinds": list(KINDS.items()),
        "orders": list(ORDERS.items()),
        "weekdays": [(one, names[one - 1]) for one in rhythms.WEEKDAYS],
        "slots": slots,
        "ready": ready,
        "local_slots": [f"{one.astimezone(local) + timedelta(minutes=1):%Y-%m-%dT%H:%M}" for one in slots],
        "said": words(desk.language, rhythms.from_cron(newsletter.cron)),
    }


def words(language: str, said: Rhythm) -> str:
    """Say a rhythm: "Every Friday at 07:00"."""
    names = dates.get_day_names("wide", locale=i18n.locale(language))
    hour, minute = map(int, said.time.split(":"))
    at = i18n.format_time(language, time(hour, minute))
    days = ", ".join(names[one - 1] for one in said.days)
    sentence, filled = {
        "none": ("By hand: no schedule", {}),
        "daily": ("Every day at {time}", {"time": at}),
        "weekdays": ("Monday to Friday at {time}", {"time": at}),
        "weekly": ("Every {days} at {time}", {"days": days, "time": at}),
        "monthly": (_MONTHLY[said.order], {"day": days, "time": at}),
        "day": ("On day {day} of the month at {time}", {"day": said.day, "time": at}),
        "cron": ("As the expression {cron} says", {"cron": said.cron}),
    }[said.kind]
    if said.kind == "day" and said.day == "L":
        sentence = "On the last day of the month at {time}"
    return i18n.gettext(language, sentence, **filled)


_MONTHLY: Final = {
    "1": "On the first {day} of the month at {time}",
    "2": "On the second {day} of the month at {time}",
    "3": "On the third {day} of the month at {time}",
    "4": "On the fourth {day} of the month at {time}",
    "L": "On the last {day} of the month at {time}",
}


def _chosen(given: Mapping[str, str]) -> Rhythm:
    """Return the rhythm that was chosen; what can't be one is found by to_cron."""
    kind = given["kind"] if given["kind"] in rhythms.KINDS else "none"
    days = tuple(one for one in rhythms.WEEKDAYS if given.get(f"day_{one}"))
    if kind == "monthly":
        days = (int(given["weekday"]),) if given["weekday"] in tuple(map(str, rhythms.WEEKDAYS)) else ()
    order = given["order"] if given["order"] in rhythms.ORDERS else "1"
    made = Rhythm(kind=kind, days=days, order=order, day=given["day"], time=given["time"], cron=given["cron"])
    return dataclasses.replace(made, day=made.day or "1", time=made.time or "")
