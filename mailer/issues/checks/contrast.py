"""Contrast of text and ground (WCAG 2.1, 1.4.3), from inlined styles, in light and in dark mode."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cssselect import SelectorError
from lxml import etree
from lxml.cssselect import CSSSelector

from mailer.issues.checks.mail import Found, Mail, found, short
from mailer.issues.findings import Code
from mailer.mail import stylesheets

WANTED: Final = 4.5
WANTED_LARGE: Final = 3.0
LARGE_PIXELS: Final = 24.0
LARGE_BOLD_PIXELS: Final = 18.66
MOST_TOLD: Final = 5

Color = tuple[int, int, int]
Declared = Mapping[etree._Element, Mapping[str, str]]

_WHITE: Final[Color] = (255, 255, 255)
_NAMES: Final[dict[str, Color]] = {
    "black": (0, 0, 0),
    "white": _WHITE,
    "red": (255, 0, 0),
    "green": (0, 128, 0),
    "blue": (0, 0, 255),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "silver": (192, 192, 192),
    "navy": (0, 0, 128),
    "yellow": (255, 255, 0),
}
_HEX: Final = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})\Z", re.IGNORECASE)
_RGB: Final = re.compile(r"rgb\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)\Z", re.IGNORECASE)
_SPACED: Final = re.compile(r",\s+")
_DARK: Final = re.compile(r"@media[^{]*prefers-color-scheme\s*:\s*dark", re.IGNORECASE)
_UNSEEN: Final = ("style", "script", "title", "head", "noscript")


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How text looks where it stands. A ground that is a picture is None: nothing can be said."""

    color: Color = (0, 0, 0)
    ground: Color | None = _WHITE
    pixels: float = 16.0
    is_bold: bool = False


def check(mail: Mail) -> Iterator[Found]:
    """Look at every text's colour on its ground."""
    if mail.document is None:
        return
    yield from _told(Code.CONTRAST_LIGHT, mail.document, {})
    dark = _dark_styles(mail.document)
    if dark:
        yield from _told(Code.CONTRAST_DARK, mail.document, dark)


def ratio(one: Color, other: Color) -> float:
    """Return the contrast of two colours, 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def read_color(text: str) -> Color | None:
    """Read a colour of CSS: #rgb, #rrggbb, rgb(…) or one of the common names; None for all else."""
    text = text.strip().lower()
    if match := _HEX.match(text):
        digits = match[1] if len(match[1]) == 6 else "".join(2 * one for one in match[1])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    if match := _RGB.match(text):
        red, green, blue = (min(255, int(one)) for one in match.groups())
        return red, green, blue
    return _NAMES.get(text)


def _told(code: Code, root: etree._Element, dark: Declared) -> Iterator[Found]:
    pairs: dict[tuple[Color, Color], Found] = {}
    for text, look in _texts(root, _Look(), dark):
        is_large = look.pixels >= LARGE_PIXELS or (look.is_bold and look.pixels >= LARGE_BOLD_PIXELS)
        wanted = WANTED_LARGE if is_large else WANTED
        if look.ground is None or ratio(look.color, look.ground) >= wanted:
            continue
        # One is enough for each pair of colours.
        pairs.setdefault(
            (look.color, look.ground),
            found(
                code,
                "html",
                text=short(" ".join(text.split()), 40),
                color=_hex(look.color),
                background=_hex(look.ground),
                ratio=round(ratio(look.color, look.ground), 1),
                wanted=wanted,
            ),
        )
    yield from list(pairs.values())[:MOST_TOLD]


def _texts(element: etree._Element, outer: _Look, dark: Declared) -> Iterator[tuple[str, _Look]]:
    if not isinstance(element.tag, str) or element.tag in _UNSEEN:
        return
    style = {**_declared(element), **dark.get(element, {})}
    if style.get("display") == "none":
        return
    look = _changed(outer, element, style)
    if element.text and any(map(str.isalnum, element.text)):
        yield element.text, look
    for child in element:
        yield from _texts(child, look, dark)
        if child.tail and any(map(str.isalnum, child.tail)):
            yield child.tail, look


def _changed(outer: _Look, element: etree._Element, style: Mapping[str, str]) -> _Look:
    look = outer
    if color := read_color(style.get("color", "")):
        look = replace(look, color=color)
    look = replace(look, ground=_ground(outer.ground, element, style))
    if size := re.match(r"([\d.]+)px", style.get("font-size", "")):
        look = replace(look, pixels=float(size[1]))
    weight = style.get("font-weight", "bold" if element.tag in ("b", "strong", "h1", "h2", "h3", "th") else "")
    return replace(look, is_bold=weight in ("bold", "bolder", "600", "700", "800", "900")) if weight else look


def _ground(outer: Color | None, element: etree._Element, style: Mapping[str, str]) -> Color | None:
    ground = read_color(element.get("bgcolor", "")) or outer
    for value in (style.get("background", ""), style.get("background-color", "")):
        if "url(" in value or "gradient(" in value:
            ground = None
        elif color := next((one for part in _SPACED.sub(",", value).split() if (one := read_color(part))), None):
            ground = color
    return ground


def _declared(element: etree._Element) -> dict[str, str]:
    style = element.get("style", "")
    try:
        return {one.name.lower(): one.value.strip() for one in stylesheets.parse_declarations(style)} if style else {}
    except stylesheets.StyleInvalid:
        return {}


def _dark_styles(root: etree._Element) -> dict[etree._Element, dict[str, str]]:
    """Return what the dark rules say about each element; only `!important` beats what is inlined."""
    styles: dict[etree._Element, dict[str, str]] = {}
    for rule in _dark_rules(root):
        values = {one.name.lower(): one.value.strip() for one in rule.declarations if one.important}
        for selector in rule.selectors:
            try:
                matches = CSSSelector(selector, translator="html")(root)
            except SelectorError:
                continue
            for element in matches if isinstance(matches, list) else ():
                if not isinstance(element, etree._Element):
                    continue
                styles.setdefault(element, {}).update(values)
    return styles


def _dark_rules(root: etree._Element) -> Iterator[stylesheets.Rule]:
    for block in root.iter("style"):
        try:
            rules = stylesheets.parse(block.text or "")
        except stylesheets.StyleInvalid:
            continue
        for rule in rules:
            if _DARK.match(rule.prelude):
                yield from (one for one in rule.rules if not one.is_at_rule)


def _luminance(color: Color) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (one / 255 for one in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(color: Color) -> str:
    return "#{:02X}{:02X}{:02X}".format(*color)
