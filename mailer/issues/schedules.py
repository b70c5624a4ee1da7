"""When a newsletter is due: cron expressions in an IANA zone, read as wall-clock time.

An hour that the clocks skip in spring runs at the next valid time, one that comes twice in autumn runs once (cronsim
follows Debian's cron).
"""

import enum
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from mailer.models.content import Newsletter

# A newsletter that was off for longer than this has at most the last of its slots decided.
LOOK_BACK = timedelta(days=7)
MOST_SKIP_DATES = 100
_FIELDS = 5


class ScheduleInvalid(ValueError):
    """The cron expression or the time zone can't be understood."""


class Wrong(enum.StrEnum):
    """Why what was typed is no moment."""

    UNREADABLE = "unreadable"
    # The zone is the newsletter's; an offset beside it would be a second answer to the same question.
    HAS_OFFSET = "has_offset"
    SKIPPED = "skipped"
    TWICE = "twice"


class MomentInvalid(ValueError):
    """What was typed is no moment of a zone, or could be two; `why` says which."""

    def __init__(self, why: Wrong) -> None:
        super().__init__(why.value)
        self.why = why


def check(cron: str, timezone: str) -> None:
    """Raise ScheduleInvalid unless `cron` has five fields that happen in the IANA zone `timezone`."""
    zone(timezone)
    # cronsim takes a sixth field, of seconds, which no tick could keep.
    if len(cron.split()) != _FIELDS:
        raise ScheduleInvalid(f"The schedule “{cron}” is not a cron expression: it needs five fields.")
    try:
        next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ScheduleInvalid(f"The schedule “{cron}” is not a cron expression: {error}.") from error
    except StopIteration as error:
        raise ScheduleInvalid(f"The schedule “{cron}” never happens.") from error


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that IANA name. Raises ScheduleInvalid."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleInvalid(f"“{name}” is not a time zone such as Europe/Paris.") from error


def upcoming(cron: str, timezone: str, *, after: datetime) -> Iterator[datetime]:
    """Yield the slots after a moment, in UTC, without end."""
    for slot in CronSim(cron, after.astimezone(zone(timezone))):
        yield slot.astimezone(UTC)


def next_slots(cron: str, timezone: str, *, after: datetime, count: int) -> list[datetime]:
    """Return the next `count` slots after a moment, in UTC."""
    return list(islice(upcoming(cron, timezone, after=after), count))


def due_slots(cron: str, timezone: str, *, since: datetime, now: datetime) -> list[datetime]:
    """Return the slots in (since, now], oldest first; of a long silence only the last days."""
    slots = []
    for slot in upcoming(cron, timezone, after=max(since, now - LOOK_BACK)):
        if slot > now:
            break
        slots.append(slot)
    return slots


def ahead(newsletter: Newsletter, *, after: datetime) -> Iterator[datetime]:
    """Yield a newsletter's slots after a moment, without end: none before the end of its pause, none on skipped days."""
    until = newsletter.paused_until
    start = max(after, until - timedelta(seconds=1)) if until is not None else after
    return kept(upcoming(newsletter.cron or "", newsletter.timezone, after=start), newsletter)


def kept(slots: Iterable[datetime], newsletter: Newsletter) -> Iterator[datetime]:
    """Yield those slots that the newsletter does not leave out."""
    local, until = zone(newsletter.timezone), newsletter.paused_until
    skipped = set(newsletter.skip_dates)
    for slot in slots:
        if (until is None or slot >= until) and slot.astimezone(local).date().isoformat() not in skipped:
            yield slot


def skip_dates(typed: Iterable[str]) -> list[str]:
    """Read days such as 2026-12-25, in order. Raises ScheduleInvalid, which names the first that is none."""
    days = set()
    for one in typed:
        try:
            days.add(date.fromisoformat(one).isoformat())
        except ValueError as error:
            raise ScheduleInvalid(f"“{one[:40]}” is not a day such as 2026-12-25.") from error
    if len(days) > MOST_SKIP_DATES:
        raise ScheduleInvalid(f"A newsletter leaves out at most {MOST_SKIP_DATES} days.")
    return sorted(days)


def moment(typed: str, timezone: str, *, fold: int | None = None) -> datetime:
    """Read "2026-11-27T07:00" (a space will do) as wall-clock time of the zone, in UTC.

    `fold` chooses of an hour that comes twice in autumn: 0 the first, 1 the second. Raises MomentInvalid.
    """
    if re.search(r"([+-]\d{2}:?\d{2}|Z)$", typed.strip()[10:], re.IGNORECASE):
        raise MomentInvalid(Wrong.HAS_OFFSET)
    try:
        naive = datetime.fromisoformat(typed.strip()).replace(tzinfo=None)
        first, second = (naive.replace(tzinfo=zone(timezone), fold=one).astimezone(UTC) for one in (0, 1))
    except (ValueError, OverflowError) as error:
        raise MomentInvalid(Wrong.UNREADABLE) from error
    if first.astimezone(zone(timezone)).replace(tzinfo=None) != naive:
        raise MomentInvalid(Wrong.SKIPPED)
    if first != second and fold is None:
        raise MomentInvalid(Wrong.TWICE)
    return second if fold else first
