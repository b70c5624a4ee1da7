"""A publisher's one colour made fit to read: shades for light and dark mails with enough contrast. Pure arithmetic."""

import functools
import re
from dataclasses import dataclass
from typing import Final

# WCAG 2.2, 1.4.3: what text of ordinary size needs at least.
CONTRAST: Final = 4.5
# A derived shade for the night has more, as mail programs also dim what they show then.
DERIVED_CONTRAST: Final = 7.0
# What the brand's colour stands on, or what stands on it: the mail's panel and soft plate, by day and by night.
LIGHT_GROUNDS: Final = ("#FFFFFF", "#F4F2EE")
DARK_GROUNDS: Final = ("#181C1F", "#20262A")
INK_ON_LIGHT: Final = "#FFFFFF"
INK_ON_DARK: Final = "#0B1B1A"
_COLOR: Final = re.compile(r"#[0-9A-Fa-f]{6}\Z")
_STEPS: Final = 255


class ColorInvalid(ValueError):
    """A colour is not of the form #0F5C5C."""


@dataclass(frozen=True, kw_only=True)
class Palette:
    """The brand's shades, each #RRGGBB: as text, rule and button, with the ink of the button's label."""

    light: str
    on_light: str
    dark: str
    on_dark: str


@functools.lru_cache(maxsize=256)
def palette(color: str, dark: str | None = None) -> Palette:
    """Return the shades nearest to the brand's `color` that can be read; the colour itself where it already can.

    `dark` is a colour chosen for dark mails, else it is derived from `color`. Raises ColorInvalid.
    """
    for one in (color, dark or color):
        if not _COLOR.match(one):
            raise ColorInvalid(f"“{one[:20]}” is not a colour such as #0F5C5C.")
    return Palette(
        light=_toward(color, 0, LIGHT_GROUNDS, CONTRAST),
        on_light=INK_ON_LIGHT,
        dark=_toward(dark or color, 255, DARK_GROUNDS, CONTRAST if dark else DERIVED_CONTRAST),
        on_dark=INK_ON_DARK,
    )


def contrast(one: str, other: str) -> float:
    """Return WCAG 2.2's ratio of two colours #RRGGBB, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _toward(color: str, end: int, grounds: tuple[str, ...], least: float) -> str:
    """Mix a colour with black (`end` 0) or white (255), as little as that contrast on all the grounds takes."""
    shades = (_mixed(color, end, step) for step in range(_STEPS + 1))
    return next(shade for shade in shades if all(contrast(shade, ground) >= least for ground in grounds))


def _mixed(color: str, end: int, step: int) -> str:
    channels = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(one + (end - one) * step / _STEPS):02X}" for one in channels)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(int(color[place : place + 2], 16) / 255) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
