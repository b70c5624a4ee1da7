"""A newsletter's policies for what happens before an issue leaves, as they are typed: checked, and of the right type."""

from collections.abc import Iterable, Mapping
from typing import Final

from mailer import addresses
from mailer.models.desk import OnSilence, WhenLate, WhenStale

MOST_ADDRESSES: Final = 20
# From and to.
NUMBERS: Final = {"review_hours": (0, 168), "stale_hours": (1, 720)}
# These may be left empty: the setting's grace; not looked at.
MAY_BE_NONE: Final = {"late_after_minutes": (1, 10_080), "stale_percent": (0, 99)}
CHOICES: Final = {"on_silence": OnSilence, "when_late": WhenLate, "when_stale": WhenStale}
FIELDS: Final = frozenset({"desk_addresses", *NUMBERS, *MAY_BE_NONE, *CHOICES})


class PolicyInvalid(ValueError):
    """A value can't be used; the message says which and why."""


def checked(values: Mapping[str, object]) -> dict[str, object]:
    """Return those of `values` that are policies, ready to be stored. Numbers and addresses may be text. Raises PolicyInvalid."""
    found: dict[str, object] = {}
    for name, (least, most) in {**NUMBERS, **MAY_BE_NONE}.items():
        if name in values:
            found[name] = _number(name, values[name], least, most)
    for name, kind in CHOICES.items():
        if name in values:
            if str(values[name]) not in tuple(kind):
                raise PolicyInvalid(f"{name} must be {' or '.join(kind)}.")
            found[name] = kind(str(values[name]))
    if "desk_addresses" in values:
        found["desk_addresses"] = _addresses(values["desk_addresses"])
    return found


def _number(name: str, value: object, least: int, most: int) -> int | None:
    text = "" if value is None else str(value).strip()
    if not text and name in MAY_BE_NONE:
        return None
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise PolicyInvalid(f"{name} must be a number from {least} to {most}.")
    return int(text)


def _addresses(value: object) -> list[str]:
    if isinstance(value, str):
        parts: Iterable[str] = value.replace("\n", ",").split(",")
    else:
        parts = map(str, value) if isinstance(value, Iterable) else ()
    try:
        found = [addresses.normalise(part.strip()) for part in parts if part.strip()]
    except addresses.AddressInvalid as error:
        raise PolicyInvalid(f"desk_addresses: {error}") from error
    if len(found) > MOST_ADDRESSES:
        raise PolicyInvalid(f"desk_addresses: {MOST_ADDRESSES} addresses at most.")
    return list({addresses.key(one): one for one in found}.values())
