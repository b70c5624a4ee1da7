"""The form of a newsletter's settings: from what is typed to values, with a sentence at each field that can't be used."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from mailer import i18n
from mailer.mail import brand
from mailer.models.choices import CarriedCorrections, Overflow
from mailer.models.content import Font, Newsletter
from mailer.models.desk import OnSilence, WhenLate, WhenStale
from mailer.newsroom import newsletters
from mailer.web.admin.session import Desk

REQUIRED: Final = ("name", "site_url", "sender_name", "sender_address", "publisher", "postal_address")
TEXTS: Final = (*REQUIRED, "description", "language", "introduction")
MAY_BE_NONE: Final = ("reply_to", "signature", "logo_url")
COLORS: Final = ("brand_color", "brand_color_dark")
# From and to.
NUMBERS: Final = {
    **{name: (1, most) for name, most in newsletters.BOUNDS.items()},
    "logo_width": newsletters.LOGO_WIDTHS,
    "review_hours": (0, 168),
    "stale_hours": (1, 720),
}
# None if left empty.
OPTIONAL_NUMBERS: Final = {"late_after_minutes": (1, 10080), "stale_percent": (0, 99)}
CHOICES: Final = {
    "font": tuple(Font),
    "overflow": tuple(Overflow),
    "carries_corrections": tuple(CarriedCorrections),
    "on_silence": tuple(OnSilence),
    "when_late": tuple(WhenLate),
    "when_stale": tuple(WhenStale),
}
# One a line.
LISTS: Final = ("include_categories", "exclude_categories", "desk_addresses")
# Those of this page: the rest stand on pages of their own, and must not be switched off by this one.
SWITCHES: Final = ("is_paused", "needs_approval", "offers_hour")
FIELDS: Final = (
    *TEXTS,
    *MAY_BE_NONE,
    *COLORS,
    *NUMBERS,
    *OPTIONAL_NUMBERS,
    *CHOICES,
    *LISTS,
    *SWITCHES,
)
_ADDRESS: Final = "Enter a full address, like name@example.com"
COMPLAINTS: Final = {
    "language": "Choose one of the languages",
    "desk_addresses": "Enter full addresses, like name@example.com, one a line",
    "brand_color": "Enter a colour such as #0F5C5C",
    "brand_color_dark": "Enter a colour such as #0F5C5C",
    "sender_address": _ADDRESS,
    "reply_to": _ADDRESS,
    "site_url": "Enter a web address such as https://courrier.example",
    "logo_url": "Enter the address of a PNG or JPEG picture; it starts with https://",
}


class Refused(Exception):
    """Fields can't be used, and nothing is kept; `errors` are sentences by field, in the desk's language."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(", ".join(errors))
        self.errors = errors


def stored(newsletter: Newsletter) -> dict[str, str]:
    """Return what the fields hold for a newsletter as it is."""
    return {name: _written(newsletter, name) for name in FIELDS}


def typed(desk: Desk) -> dict[str, str]:
    """Return what was typed into the fields."""
    return {name: desk.typed(name).replace("\r\n", "\n") for name in FIELDS}


def save(database: Session, newsletter: Newsletter, desk: Desk) -> None:
    """Set every field as it was typed. Raises Refused; the transaction is to be given up then."""
    given = typed(desk)
    errors = {name: "Fill in this field" for name in REQUIRED if not given[name]}
    single: dict[str, object] = {name: given[name] for name in (*TEXTS, *CHOICES) if given[name]}
    single |= {name: "" for name in ("description", "introduction") if not given[name]}
    single |= {name: given[name] or None for name in MAY_BE_NONE}
    single |= {name: desk.typed_lines(name) for name in LISTS}
    single |= {name: bool(given[name]) for name in SWITCHES}
    together = {**_numbers(desk, given, errors), **_colors(given, errors)}
    _set(database, newsletter, single, errors, now=desk.now)
    if not errors:
        # The database compares the least with the most.
        newsletters.edit(database, newsletter, values=together, now=desk.now)
    else:
        raise Refused({name: i18n.gettext(desk.language, sentence) for name, sentence in errors.items()})


def shades(values: Mapping[str, str]) -> brand.Palette | None:
    """Return the colours as mails will show them; None while what was typed is no colour."""
    try:
        return brand.palette(values["brand_color"], values["brand_color_dark"] or None)
    except brand.ColorInvalid:
        return None


def _written(newsletter: Newsletter, name: str) -> str:
    value = getattr(newsletter, name)
    if name == "brand_color_dark" and value == brand.palette(newsletter.brand_color).dark:
        # Derived, and derived anew when the colour changes.
        return ""
    if isinstance(value, list):
        return "\n".join(value)
    return "yes" if value is True else "" if value is None or value is False else str(value)


def _colors(given: Mapping[str, str], errors: dict[str, str]) -> dict[str, object]:
    """Return both colours; the dark one is derived if it was left empty."""
    for name in COLORS:
        if not re.fullmatch("#[0-9A-Fa-f]{6}", given[name]) and (given[name] or name == "brand_color"):
            errors[name] = COMPLAINTS[name]
    if errors.keys() & set(COLORS):
        return {}
    dark = given["brand_color_dark"] or brand.palette(given["brand_color"]).dark
    return {"brand_color": given["brand_color"], "brand_color_dark": dark}


def _numbers(desk: Desk, given: Mapping[str, str], errors: dict[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, (least, most) in {**NUMBERS, **OPTIONAL_NUMBERS}.items():
        if name in OPTIONAL_NUMBERS and not given[name]:
            values[name] = None
        elif re.fullmatch("[0-9]{1,5}", given[name]) and least <= int(given[name]) <= most:
            values[name] = int(given[name])
        else:
            sentence = "Enter a number from {least} to {most}"
            errors[name] = i18n.gettext(desk.language, sentence, least=least, most=most)
    if not errors.keys() & {"min_articles", "max_articles"} and int(given["min_articles"]) > int(given["max_articles"]):
        errors["min_articles"] = "The least can’t be more than the most"
    return values


def _set(
    database: Session, newsletter: Newsletter, single: Mapping[str, object], errors: dict[str, str], *, now: datetime
) -> None:
    """Set what can be used, singly, to know which can’t."""
    for name, value in single.items():
        try:
            newsletters.edit(database, newsletter, values={name: value}, now=now)
        except newsletters.NewsletterInvalid:
            errors[name] = COMPLAINTS.get(name, "Enter 1 to 300 characters")
