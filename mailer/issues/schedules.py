"""When a newsletter is due: cron expressions in an IANA zone, read as wall-clock time.

An hour that the clocks skip in spring runs at the next valid time, one that comes twice in autumn runs once (cronsim
follows Debian's cron).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

# A newsletter that was off for longer than this has at most the last of its slots decided.
LOOK_BACK = timedelta(days=7)
_FIELDS = 5


class ScheduleInvalid(ValueError):
    """The cron expression or the time zone can't be understood."""


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
