"""The pictures that an XML feed names beside an article: Media RSS, enclosures, iTunes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit

from lxml import etree

from mailer.feeds import markup, text, urls
from mailer.feeds.articles import Picture

_PICTURE_FILES: Final = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp", ".heic")
_OTHER_FILES: Final = (
    ".mp3",
    ".m4a",
    ".ogg",
    ".oga",
    ".wav",
    ".aac",
    ".mp4",
    ".m4v",
    ".mov",
    ".webm",
    ".pdf",
    ".html",
    ".php",
)

Namer = Callable[[etree._Element], str]


def pictures(article: etree._Element, name: Namer, base: str) -> list[Picture]:
    """Return an article's pictures, the best first; `name` gives an element's name whatever its prefix.

    Media RSS's contents come before its thumbnails, then enclosures, then iTunes. Of a group's sizes the widest.
    """
    elements = [(name(element), element) for element in article.iterdescendants("{*}*")]
    found = [
        *_widest_of_groups([element for kind, element in elements if kind == "media:content"], name, base),
        *_widest_of_groups([element for kind, element in elements if kind == "media:thumbnail"], name, base),
    ]
    for kind, element in elements:
        if kind == "enclosure" or (kind in ("link", "atom:link") and element.get("rel", "").lower() == "enclosure"):
            address = element.get("url") or element.get("href") or ""
            found += _picture(address, element, base) if _is_picture(element, address) else []
    for wanted in ("itunes:image", "image"):
        for kind, element in elements:
            if kind == wanted:
                found += _picture(
                    element.get("href") or _child_text(element, "url", name) or element.text or "", element, base
                )
    once: dict[str, Picture] = {}
    for picture in found:
        once.setdefault(picture.url, picture)
    return list(once.values())


def _widest_of_groups(elements: Iterable[etree._Element], name: Namer, base: str) -> Iterator[Picture]:
    groups: dict[object, list[Picture]] = {}
    for element in elements:
        address = element.get("url") or ""
        is_thumbnail = name(element) == "media:thumbnail"
        if not is_thumbnail and not _is_picture(element, address):
            continue
        parent = element.getparent()
        group = parent if parent is not None and name(parent) in ("media:group", "media:content") else element
        described = [element, *([group] if group is not element else [])]
        alt = next(filter(None, (_description(node, name) for node in described)), "")
        credit = next(filter(None, (text.title(_child_text(node, "media:credit", name)) for node in described)), "")
        groups.setdefault(group, []).extend(_picture(address, element, base, alt, credit))
    for sizes in groups.values():
        if sizes:
            yield max(sizes, key=lambda picture: picture.width or 0)


def _picture(address: str, element: etree._Element, base: str, alt: str = "", credit: str = "") -> list[Picture]:
    url = urls.absolute(address, base)
    width = (element.get("width") or "").strip()
    pixels = int(width) if width.isascii() and width.isdigit() and len(width) < 6 else None
    return [Picture(url=url, alt=alt, credit=credit, width=pixels)] if url else []


def _is_picture(element: etree._Element, address: str) -> bool:
    kind = (element.get("type") or "").strip().lower()
    medium = (element.get("medium") or "").strip().lower()
    if kind.startswith("image/") or medium == "image":
        return not kind.startswith("image/svg")
    if kind.partition("/")[0] in ("audio", "video", "text") or (medium and medium != "image"):
        return False
    file = _path(address)
    if file.endswith(_PICTURE_FILES):
        return True
    # An enclosure of no known kind may be anything; a media:content mostly is a picture.
    return not kind and element.get("length") is None and bool(file) and not file.endswith(_OTHER_FILES)


def _path(address: str) -> str:
    try:
        return urlsplit(address).path.lower()
    except ValueError:
        return ""


def _description(node: etree._Element, name: Namer) -> str:
    for wanted in ("media:description", "media:title", "media:text"):
        words = text.title(_child_text(node, wanted, name))
        # A camera's or an editor's file name describes nothing.
        if " " in words:
            return words
    return ""


def _child_text(node: etree._Element, wanted: str, name: Namer) -> str:
    for child in node.iterchildren("{*}*"):
        if name(child) == wanted:
            return markup.words(child)
    return ""
