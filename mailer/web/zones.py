"""The hours and time zones that a reader chooses from, in their language: the zones of most readers first, then all."""

import functools
from collections.abc import Sequence
from datetime import time
from importlib import resources
from typing import Final

from babel import dates

from mailer import i18n

# What the form sends for "at once"; an empty field would look like one that was not shown.
AT_ONCE: Final = "any"
_CENTRAL_ASIA: Final = ("Asia/Almaty", "Asia/Tashkent", "Asia/Bishkek", "Asia/Dushanbe", "Asia/Ashgabat")
_FIRST: Final[dict[str, tuple[str, ...]]] = {
    "fr": ("Europe/Paris", *_CENTRAL_ASIA, "Europe/Moscow", "Europe/London"),
    "en": ("Europe/London", "Europe/Paris", *_CENTRAL_ASIA, "Europe/Moscow"),
    "ru": ("Europe/Moscow", *_CENTRAL_ASIA, "Europe/Paris", "Europe/London"),
    "kk": (*_CENTRAL_ASIA, "Europe/Moscow", "Europe/Paris", "Europe/London"),
}

Option = tuple[str, str]


def hours(language: str) -> list[Option]:
    """List the hours of the day, each with its words."""
    return [(str(hour), i18n.format_time(language, time(hour))) for hour in range(24)]


@functools.cache
def groups(language: str, chosen: str) -> tuple[Sequence[Option], Sequence[Option]]:
    """List the zones of most readers, with `chosen` among them, and all zones by name."""
    first = _FIRST[i18n.choose(language)]
    if chosen not in first:
        first = (chosen, *first)
    return [(zone, city(language, zone)) for zone in first], _every(language)


def city(language: str, zone: str) -> str:
    """Name a zone by its city, such as "Paris"; Almaty's is Astana's too."""
    name = _name(language, zone)
    if zone == "Asia/Almaty":
        return f"{name}, {i18n.gettext(language, 'Astana')}"
    return name


def spoken(language: str, zone: str) -> str:
    """Say a zone within a sentence: "Paris time"."""
    name = _name(language, zone)
    if name == "UTC":
        return name
    if i18n.choose(language) == "fr":
        # The one place where a name's first letter changes the word before it.
        elided = name[:1].upper() in "AEÉIOUHY"
        return f"heure d’{name}" if elided else f"heure de {name}"
    return i18n.gettext(language, "{city} time", city=name)


@functools.cache
def known() -> frozenset[str]:
    """Return the zones that can be chosen, by IANA name: one for each place, without their old names."""
    table = resources.files("tzdata.zoneinfo").joinpath("zone.tab").read_text("utf-8")
    return frozenset(line.split("\t")[2].strip() for line in table.splitlines() if line and line[0] != "#") | {"UTC"}


def _name(language: str, zone: str) -> str:
    if (i18n.choose(language), zone) == ("fr", "Asia/Almaty"):
        # CLDR still has the name of before 1993.
        return "Almaty"
    return str(dates.get_timezone_location(zone, locale=i18n.locale(language), return_city=True))


@functools.cache
def _every(language: str) -> Sequence[Option]:
    """List all zones by their name in the language; one whose city has a namesake says where it is."""
    names = {zone: city(language, zone) for zone in known()}
    counts: dict[str, int] = {}
    for name in names.values():
        counts[name] = counts.get(name, 0) + 1
    labels = {zone: name if counts[name] == 1 else f"{name} ({zone})" for zone, name in names.items()}
    return sorted(labels.items(), key=lambda one: one[1].casefold())
