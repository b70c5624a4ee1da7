"""Sentences, dates and numbers in a reader's language. English sentences are the keys; the rest is in locale/*.po."""

import functools
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Final, Literal

from babel import Locale, dates, numbers
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

# Of mails and readers' pages, and of the newsroom's own pages.
LANGUAGES: Final = ("fr", "en", "ru", "kk")
DESK_LANGUAGES: Final = ("fr", "en")
DateStyle = Literal["full", "long", "medium", "short"]

_FOLDER: Final = Path(__file__).parent / "locale"
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_LOCALES: Final = {"fr": "fr_FR", "en": "en_GB", "ru": "ru_RU", "kk": "kk_KZ"}
# CLDR's names of the forms that a thing has after a number, in the order of our catalogues.
_PLURALS: Final = {"ru": ("one", "few", "many")}
# Unicode date patterns; the spaces after the day are U+00A0, so that no line ends between a day and its month.
_WEST: Final[dict[DateStyle, str]] = {
    "full": "EEEE d\u00a0MMMM\u00a0y",
    "long": "d\u00a0MMMM\u00a0y",
    "medium": "d\u00a0MMM\u00a0y",
}
_DATE_PATTERNS: Final[dict[str, dict[DateStyle, str]]] = {
    "fr": _WEST,
    "en": _WEST,
    "ru": {
        "full": "EEEE, d\u00a0MMMM\u00a0y\u00a0'г'.",
        "long": "d\u00a0MMMM\u00a0y\u00a0'г'.",
        "medium": "d\u00a0MMM\u00a0y\u00a0'г'.",
    },
    "kk": {
        "full": "y\u00a0'ж'. d\u00a0MMMM, EEEE",
        "long": "y\u00a0'ж'. d\u00a0MMMM",
        "medium": "y\u00a0'ж'. d\u00a0MMM",
    },
}


def choose(*wanted: str | None, among: Sequence[str] = LANGUAGES) -> str:
    """Return the first language that we speak ("fr-CA" counts as "fr"); English if there is none."""
    for language in wanted:
        code = (language or "").replace("_", "-").split("-")[0].lower()
        if code in among:
            return code
    return "en"


def locale(language: str) -> Locale:
    """Return Babel's locale of a language, English for one that we do not speak."""
    return Locale.parse(_LOCALES[choose(language)])


def gettext(language: str, message: str, **values: object) -> str:
    """Return the English sentence `message` in the language, with its {names} filled in.

    A language that we do not speak, or a sentence without a translation, gives English.
    """
    found = _catalogue(choose(language)).get(message)
    return fill(str(found.string) if found and found.string else message, values)


def ngettext(language: str, one: str, many: str, n: int, **values: object) -> str:
    """Return the sentence for `n` things in the language, with {n} and its other names filled in."""
    language = choose(language)
    found = _catalogue(language).get(one)
    forms: Sequence[str] = (one, many)
    if found and isinstance(found.string, (tuple, list)) and all(found.string):
        forms = [str(form) for form in found.string]
    else:
        language = "en"
    kinds = _PLURALS.get(language, ("one", "other"))
    kind = locale(language).plural_form(n)
    sentence = forms[kinds.index(kind)] if kind in kinds else forms[-1]
    return fill(sentence, {"n": format_number(language, n), **values})


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
    pattern = _DATE_PATTERNS[language].get(style)
    if pattern is None:
        return dates.format_date(day, style, locale=locale(language))
    if language == "fr" and day.day == 1:
        pattern = pattern.replace("d", "d'er'")
    text = dates.format_date(day, pattern, locale=locale(language))
    return text[:1].upper() + text[1:] if starts_line else text


def format_month(language: str, value: date) -> str:
    """Write a month as a heading: "Novembre 2026"."""
    text = dates.format_skeleton("yMMMM", value, locale=locale(choose(language)))
    return text[:1].upper() + text[1:]


def format_time(language: str, value: time | datetime) -> str:
    """Write the time of day: "7 h" or "7 h 30" in French, else "07:00". A datetime's is that of its own zone."""
    if choose(language) == "fr":
        return f"{value.hour}\u00a0h" + (f"\u00a0{value.minute:02}" if value.minute else "")
    return f"{value.hour:02}:{value.minute:02}"


def format_number(language: str, value: float) -> str:
    """Write a number with the language's separators: "18 117", "18,117"."""
    # U+202F, the narrow space of French thousands, is missing in some fonts of mail clients.
    return numbers.format_decimal(value, locale=locale(language)).replace("\u202f", "\u00a0")


@functools.cache
def _catalogue(language: str) -> Catalog:
    with (_FOLDER / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)
