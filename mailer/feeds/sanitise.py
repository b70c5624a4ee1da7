"""Strangers' HTML made harmless: an allow-list of elements, web links only, no tracking pixels; and what is read off it.

Everything below `clean` works on its output, whose tags and quotes are known to be well formed.
"""

import html
import html.entities
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import nh3

from mailer.feeds import text, urls

_LONGEST_HTML: Final = 500_000
_MOST_ADDRESSES: Final = 500
_MOST_IMAGES: Final = 20
# html5ever takes quadratic time over open elements, so what is nested deeper than any article is read as text.
_DEEPEST: Final = 400
_ALLOWED: Final = (
    "a abbr b blockquote br caption cite code dd del div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li"
    " mark ol p pre q s samp small span strong sub sup table tbody td tfoot th thead time tr u ul var wbr"
)
_ATTRIBUTES: Final = {
    "*": {"lang", "dir", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "time": {"datetime"},
}
_DROPPED_WHOLE: Final = (
    "script style noscript template form button select textarea iframe object embed applet svg math audio video canvas"
    " head title map frameset noframes"
)
# Opening one of these again closes the last, or it holds nothing: they do not pile up.
_NEVER_DEEP: Final = (
    "p li dt dd td th tr tbody thead tfoot option br hr img input meta link wbr col source area base param embed track"
)
_BLOCKS: Final = (
    "blockquote br caption dd div dl dt figcaption figure h1 h2 h3 h4 h5 h6 hr li ol p pre table tbody td tfoot th thead"
    " tr ul"
)
_ALLOWED_SET: Final = frozenset(_ALLOWED.split())
_DROPPED_SET: Final = frozenset(_DROPPED_WHOLE.split())
_NEVER_DEEP_SET: Final = frozenset(_NEVER_DEEP.split())
_BLOCK_SET: Final = frozenset(_BLOCKS.split())
_REFERENCE: Final = re.compile(r"&(#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)?")
_ANY_TAG: Final = re.compile(r"<(/?)([a-z][^\s/>]*)")
_CLEAN_TAG: Final = re.compile(r'</?([a-z0-9]+)(?:[^">]|"[^"]*+")*+>')
_CLEAN_IMAGE: Final = re.compile(r'<img((?: [a-z]+="[^"]*+")*+)>')
_CLEAN_ATTRIBUTE: Final = re.compile(r' ([a-z]+)="([^"]*+)"')
_CAPTION: Final = re.compile(r"<figcaption[^>]*+>(.*?)</figcaption>", re.DOTALL)
_TRACKERS: Final = re.compile(
    r"//(?:pixel|stats?|track(?:er|ing)?|counter|beacon|analytics)\.|feedburner\.com/~r/|/b\.gif|/pixel\.(?:gif|png)"
    r"|doubleclick\.net|google-analytics\.com|feeds\.wordpress\.com/1\.0/|scorecardresearch|quantserve\.com"
)


@dataclass(frozen=True, kw_only=True)
class Image:
    """A picture in an article's text; width in CSS pixels, None when the page does not say."""

    url: str
    alt: str
    width: int | None


def clean(markup: str, *bases: str | None) -> str:
    """Return `markup` with allowed elements only, its links and pictures absolute http(s) addresses.

    Relative ones are resolved against the first of `bases` that is an address. Pictures that only track are gone.
    """
    # Cut again, because "&" may have become five times as long.
    markup = _REFERENCE.sub(_known_reference, text.printable(markup[:_LONGEST_HTML]))[:_LONGEST_HTML]
    if _is_nested_too_deep(markup):
        markup = re.sub(r"<[^<>]*>", " ", markup)
    safe = nh3.clean(
        markup,
        tags=_ALLOWED_SET,
        clean_content_tags=_DROPPED_SET,
        attributes=_ATTRIBUTES,
        attribute_filter=_address_filter(bases),
        url_schemes={"http", "https", "mailto"},
        link_rel=None,
    )
    return _CLEAN_IMAGE.sub(lambda tag: "" if _is_useless(_attributes(tag)) else tag[0], safe).strip()


def plain(safe: str) -> str:
    """Return the words of cleaned HTML on one line: without captions, entities decoded once."""
    without_captions = _CAPTION.sub(" ", safe)
    bare = _CLEAN_TAG.sub(lambda tag: " " if tag[1] in _BLOCK_SET else "", without_captions)
    return text.one_line(html.unescape(bare))


def images(safe: str) -> list[Image]:
    """Return the first pictures in cleaned HTML, in order; one without a description has its caption's."""
    found = []
    for tag in itertools.islice(_CLEAN_IMAGE.finditer(safe), _MOST_IMAGES):
        attributes = _attributes(tag)
        alt = text.one_line(attributes.get("alt", "")) or _caption(safe[tag.end() : tag.end() + 2000])
        found.append(Image(url=attributes["src"], alt=alt, width=_pixels(attributes.get("width"))))
    return found


def from_plain(words: str) -> str:
    """Return plain text as HTML: escaped, a paragraph for each blank line."""
    paragraphs = re.split(r"\n[ \t\r]*\n", words)
    return "".join(
        f"<p>{html.escape(paragraph.strip(), quote=False)}</p>" for paragraph in paragraphs if paragraph.strip()
    )


def _known_reference(reference: re.Match[str]) -> str:
    """Escape every "&" that begins no reference: html5ever reads "AT&Total" as a half-written one, and slowly."""
    name = reference[1]
    if name and (name[0] == "#" or name in html.entities.html5):
        return reference[0]
    return f"&amp;{name or ''}"


def _address_filter(bases: tuple[str | None, ...]) -> Callable[[str, str, str], str | None]:
    seen: dict[str, str | None] = {}

    def filter_attribute(_tag: str, name: str, value: str) -> str | None:
        if name not in ("href", "src"):
            return value
        if name == "href" and value.strip().lower().startswith("mailto:"):
            return value.strip()
        if value not in seen:
            if len(seen) >= _MOST_ADDRESSES:
                return None
            seen[value] = urls.absolute(value, *bases)
        return seen[value]

    return filter_attribute


def _is_nested_too_deep(markup: str) -> bool:
    """Bound from above how many elements are open at once, whatever a browser would make of wrong nesting."""
    stack: list[str] = []
    for closing, name in _ANY_TAG.findall(markup.lower()):
        if name in _NEVER_DEEP_SET:
            continue
        if not closing:
            stack.append(name)
            if len(stack) > _DEEPEST:
                return True
        elif stack and stack[-1] == name:
            stack.pop()
    return False


def _attributes(tag: re.Match[str]) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in _CLEAN_ATTRIBUTE.findall(tag[1])}


def _is_useless(image: dict[str, str]) -> bool:
    if "src" not in image or _TRACKERS.search(image["src"]):
        return True
    sides = (_pixels(image.get("width")), _pixels(image.get("height")))
    return any(side is not None and side <= 3 for side in sides)


def _pixels(length: str | None) -> int | None:
    digits = re.match(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*\Z", length or "", re.ASCII)
    return int(digits[1]) if digits else None


def _caption(following: str) -> str:
    end = following.find("</figure>")
    caption = _CAPTION.search(following, 0, end) if end >= 0 else None
    return text.one_line(html.unescape(_CLEAN_TAG.sub("", caption[1]))) if caption else ""
