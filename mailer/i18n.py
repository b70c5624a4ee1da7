"""Sentences, dates and numbers in a reader's language. English sentences are the keys; the rest is in locale/*.po."""

import functools
import re
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Final, Literal

from babel import dates, numbers
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

LANGUAGES: Final = ("fr", "en")
DateStyle = Literal["full", "long", "medium", "short"]

_FOLDER: Final = Path(__file__).parent / "locale"
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_LOCALES: Final = {"fr": "fr_FR", "en": "en_GB"}
# Unicode date patterns; the spaces after the day are U+00A0, so that no line ends between a day and its month.
_DATE_PATTERNS: Final[dict[DateStyle, str]] = {
    "full": "EEEE d\u00a0MMMM\u00a0y",
    "long": "d\u00a0MMMM\u00a0y",
    "medium": "d\u00a0MMM\u00a0y",
}


def choose(*wanted: str | None) -> str:
    """Return the first language that we speak ("fr-CA" counts as "fr"); English if there is none."""
    for language in wanted:
        code = (language or "").replace("_", "-").split("-")[0].lower()
        if code in LANGUAGES:
            return code
    return "en"


def gettext(language: str, message: str, **values: object) -> str:
    """Return the English sentence `message` in the language, with its {names} filled in.

    A language that we do not speak, or a sentence without a translation, gives English.
    """
    found = _catalogue(choose(language)).get(message)
    return fill(str(found.string) if found and found.string else message, values)


def ngettext(language: str, one: str, many: str, n: int, **values: object) -> str:
    """Return the sentence for `n` things in the language, with {n} and its other names filled in."""
    # French counts 0 and 1 as one (CLDR), English only 1.
    is_one = abs(n) < 2 if choose(language) == "fr" else n == 1
    found = _catalogue(choose(language)).get(one)
    forms = (one, many)
    if found and isinstance(found.string, (tuple, list)) and all(found.string):
        forms = (str(found.string[0]), str(found.string[1]))
    return fill(forms[0 if is_one else 1], {"n": format_number(language, n), **values})


def fill(sentence: str, values: Mapping[str, object]) -> str:
    """Replace every {name} by its value; without values the sentence is left as it is. Raises KeyError.

    Not str.format: a sentence may come from an operator's template, and "{name.attribute}" must not reach into objects.
    """
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), sentence) if values else sentence


def format_date(language: str, value: date, style: DateStyle = "long", *, starts_line: bool = False) -> str:
    """Write a day, "vendredi 28 novembre 2025" for "full". A datetime's day is that of its own zone.

    `starts_line` begins with a capital letter.
    """
    language = choose(language)
    day = value.date() if isinstance(value, datetime) else value
    pattern = _DATE_PATTERNS.get(style)
    if pattern is None:
        return dates.format_date(day, style, locale=_LOCALES[language])
    if language == "fr" and day.day == 1:
        pattern = pattern.replace("d", "d'er'")
    text = dates.format_date(day, pattern, locale=_LOCALES[language])
    return text[:1].upper() + text[1:] if starts_line else text


def format_time(language: str, value: time | datetime) -> str:
    """Write the time of day: "7 h" or "7 h 30" in French, "07:00" in English. A datetime's is that of its own zone."""
    if choose(language) == "fr":
        return f"{value.hour}\u00a0h" + (f"\u00a0{value.minute:02}" if value.minute else "")
    return f"{value.hour:02}:{value.minute:02}"


def format_number(language: str, value: float) -> str:
    """Write a number with the language's separators: "18 117", "18,117"."""
    # U+202F, the narrow space of French thousands, is missing in some fonts of mail clients.
    return numbers.format_decimal(value, locale=_LOCALES[choose(language)]).replace("\u202f", "\u00a0")


@functools.cache
def _catalogue(language: str) -> Catalog:
    with (_FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)
