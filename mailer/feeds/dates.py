"""The dates that feeds write: RFC 822, ISO 8601, and what people's software makes of them. Never a guess."""

import email.utils
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from mailer import clock

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_YEAR: Final = 1990
_YEARS_AHEAD: Final = 5

_YEAR_FIRST: Final = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:(?:T|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?)?\s*(.*)", re.ASCII
)
_DAY_FIRST: Final = re.compile(
    r"(?:\w+[.,]*\s+)??(\d{1,2})(?:er|\.)?[\s.-]+([^\W\d_]+)\.?,?[\s-]+(\d{4})"
    r"(?:[\s,àв]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?)?\s*(.*)"
)
_DAY_FIRST_NUMBERS: Final = re.compile(
    r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:[\s,]+(\d{1,2}):(\d{2})(?::(\d{2}))?)?\s*(.*)", re.ASCII
)
_OFFSET: Final = re.compile(r"(?:UTC|GMT)?\s*([+-])(\d{2}):?(\d{2})?", re.ASCII)
# Minutes east of UTC. RFC 822 knows the American ones only.
_ZONES: Final = {
    "": 0, "Z": 0, "UTC": 0, "GMT": 0, "UT": 0, "WET": 0, "BST": 60, "WEST": 60, "CET": 60, "MET": 60, "CEST": 120,
    "MEST": 120, "EET": 120, "EEST": 180, "MSK": 180, "MSD": 240, "EST": -300, "EDT": -240, "CST": -360, "CDT": -300,
    "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
}  # fmt: skip
# How month names begin, in the languages that software writes dates in against the rules.
_MONTHS: Final = (
    ("jan", "ene", "gen", "янв"),
    ("feb", "fév", "fev", "фев"),
    ("mar", "mär", "mrz", "мар"),
    ("apr", "avr", "abr", "апр"),
    ("may", "mai", "mag", "май", "мая"),
    ("jun", "juin", "giu", "июн"),
    ("jul", "juil", "lug", "июл"),
    ("aug", "aoû", "aou", "ago", "авг"),
    ("sep", "set", "сен"),
    ("oct", "okt", "ott", "out", "окт"),
    ("nov", "ноя"),
    ("dec", "déc", "dez", "dic", "дек"),
)


def parse_date(text: str) -> datetime | None:
    """Return the moment that `text` names, aware, in UTC; None when it names none, or a year that no article has.

    A time without a zone is taken as UTC, a day without a time as its midnight.
    """
    text = " ".join(text[:100].split())
    if not text:
        return None
    try:
        moment = _numbers(text) or _rfc822(text) or _day_first(text)
        moment = moment and moment.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    if moment is None or moment.year < _EARLIEST_YEAR or moment.year > clock.now().year + _YEARS_AHEAD:
        return None
    return moment


def _numbers(text: str) -> datetime | None:
    found = _YEAR_FIRST.fullmatch(text)
    if found:
        return _moment(found[1], int(found[2]), found[3], found.group(4, 5, 6), found[7])
    found = _DAY_FIRST_NUMBERS.fullmatch(text)
    if found:
        return _moment(found[3], int(found[2]), found[1], found.group(4, 5, 6), found[7])
    return None


def _rfc822(text: str) -> datetime | None:
    zone = text.rpartition(" ")[2]
    if zone.upper() in _ZONES:
        minutes = _ZONES[zone.upper()]
        text = f"{text.removesuffix(zone)}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}00"
    parts = email.utils.parsedate_tz(text)
    if parts is None:
        return None
    # A leap second is no second that datetime knows.
    moment = datetime(*parts[:5], min(parts[5], 59), tzinfo=UTC)
    afternoon = zone.lower() == "pm" and moment.hour < 12
    return moment - timedelta(seconds=parts[9] or 0) + timedelta(hours=12 * afternoon)


def _day_first(text: str) -> datetime | None:
    found = _DAY_FIRST.fullmatch(text)
    if found is None:
        return None
    name = found[2].lower()
    month = next((number for number, names in enumerate(_MONTHS, 1) if name.startswith(names)), None)
    return None if month is None else _moment(found[3], month, found[1], found.group(4, 5, 6), found[7])


def _moment(year: str, month: int, day: str, time: tuple[str | None, ...], zone: str) -> datetime | None:
    hour, minute, second = (int(part or 0) for part in time)
    offset = _offset(zone.strip())
    if offset is None:
        return None
    return datetime(
        int(year), month, int(day), hour, minute, min(second, 59), tzinfo=timezone(timedelta(minutes=offset))
    )


def _offset(zone: str) -> int | None:
    """Return minutes east of UTC; None for a zone that is not known, since a wrong hour is worse than none."""
    if zone.upper() in _ZONES:
        return _ZONES[zone.upper()]
    found = _OFFSET.fullmatch(zone)
    if found is None:
        return None
    minutes = int(found[2]) * 60 + int(found[3] or 0)
    return -minutes if found[1] == "-" else minutes
