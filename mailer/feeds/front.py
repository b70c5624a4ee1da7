"""What a site's front page says of the publication: its name, language, colour, and pictures that may be its logo."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from lxml import etree
from lxml import html as lxml_html

from mailer.feeds import text, urls

_LONGEST: Final = 500_000
_COLORS: Final = ("theme-color", "msapplication-tilecolor")
_NAMES: Final = ("og:site_name", "application-name", "apple-mobile-web-app-title")
_HEX: Final = re.compile(r"#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})\Z")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z]{2,4})?\Z")
_MOST_LOGOS: Final = 6


@dataclass(frozen=True, kw_only=True)
class Front:
    """What was found; "" or None for nothing. `language` is as the page has it ("fr-FR"). `logos`: the likeliest first."""

    name: str = ""
    language: str = ""
    color: str | None = None
    logos: tuple[str, ...] = ()
    icons: tuple[str, ...] = ()


def read(document: str, url: str) -> Front:
    """Read the text of a front page that was found at `url`. Never fails: what is no HTML says nothing."""
    parser = lxml_html.HTMLParser(no_network=True, encoding="utf-8")
    try:
        root: etree._Element | None = etree.fromstring(document[:_LONGEST].encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        root = None
    if root is None:
        return Front()
    meta = _meta(root)
    linked = list(_linked_data(root))
    return Front(
        name=next(filter(None, (*(meta.get(name, "") for name in _NAMES), *(_told_name(one) for one in linked))), ""),
        language=_language(root, meta),
        color=next((found for name in _COLORS if (found := _color(meta.get(name, "")))), None),
        logos=_addresses([*map(_told_logo, linked), *_pictures_called_logo(root)], url),
        icons=_addresses(_icons(root), url),
    )


def _meta(root: etree._Element) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in root.iter("meta"):
        name, content = node.get("property") or node.get("name"), node.get("content")
        if name and content:
            found.setdefault(name.strip().lower(), text.one_line(content)[:200])
    return found


def _language(root: etree._Element, meta: dict[str, str]) -> str:
    for said in (root.get("lang", ""), meta.get("og:locale", ""), meta.get("language", "")):
        if _LANGUAGE.match(said.strip()):
            return said.strip().replace("_", "-")
    return ""


def _color(said: str) -> str | None:
    """Return a colour as #RRGGBB; None for none, and for white, grey and black, which say nothing of a brand."""
    if not _HEX.match(said.strip()):
        return None
    digits = said.strip()[1:]
    digits = "".join(2 * one for one in digits) if len(digits) == 3 else digits
    channels = [int(digits[place : place + 2], 16) for place in (0, 2, 4)]
    return f"#{digits.upper()}" if max(channels) - min(channels) >= 40 else None


def _linked_data(root: etree._Element) -> Iterator[dict[str, object]]:
    """Give the things that JSON-LD describes: the publication, its site, its articles."""
    for node in root.iter("script"):
        if node.get("type", "").strip().lower() != "application/ld+json":
            continue
        try:
            told = json.loads("".join(map(str, node.itertext())))
        except (ValueError, RecursionError):
            continue
        graph = told.get("@graph", [told]) if isinstance(told, dict) else told
        yield from (one for one in (graph if isinstance(graph, list) else []) if isinstance(one, dict))


def _told_name(thing: dict[str, object]) -> str:
    kinds = thing.get("@type")
    names = kinds if isinstance(kinds, list) else [kinds]
    is_publication = any(isinstance(one, str) and one.endswith(("Organization", "WebSite")) for one in names)
    name = thing.get("name")
    return text.one_line(name)[:200] if is_publication and isinstance(name, str) else ""


def _told_logo(thing: dict[str, object]) -> str:
    logo = thing.get("logo")
    logo = logo.get("url") if isinstance(logo, dict) else logo
    return logo if isinstance(logo, str) else ""


def _pictures_called_logo(root: etree._Element) -> Iterator[str]:
    for node in root.iter("img"):
        called = " ".join(node.get(name, "") for name in ("class", "id", "alt", "src")).lower()
        if "logo" in called:
            yield node.get("src", "")


def _icons(root: etree._Element) -> list[str]:
    """Return the addresses of a site's icons, the largest kinds first."""
    touch, plain = [], []
    for node in root.iter("link"):
        words = node.get("rel", "").lower().split()
        if "apple-touch-icon" in words or "apple-touch-icon-precomposed" in words:
            touch.append(node.get("href", ""))
        elif "icon" in words:
            plain.append(node.get("href", ""))
    return [*touch, *plain[::-1]]


def _addresses(found: list[str], url: str) -> tuple[str, ...]:
    known = (urls.absolute(one, url) for one in found if one and not one.endswith((".svg", ".ico")))
    return tuple(dict.fromkeys(one for one in known if one))[:_MOST_LOGOS]
