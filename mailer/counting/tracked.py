"""Counted links and pixels in a mail's HTML: put in, signed, read again. Only computes; tracking.py says what they tell.

A counted link carries its target, and the signature covers it: it leads where the mail said and nowhere else. The text
part keeps plain links.
"""

import html as html_escape
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from mailer import links, settings
from mailer.links import Purpose
from mailer.mail import message

CLICK_PATH: Final = "/c/"
OPEN_PATH: Final = "/o/"
# What separates the mail's token from the reader's.
_JOINT: Final = "."
_HREF: Final = re.compile(r"""(<a\b[^>]*?\bhref=)(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_BODY_END: Final = re.compile(r"</body\s*>", re.IGNORECASE)
_LINK_LIMIT: Final = 1000
_UNSEEN: Final = re.compile(r"[\x00-\x20\x7f]")
_SAFE: Final = "/:@!$'()*,;~"


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a genuine token says: the variant, the link's number (0: the pixel), and the reader who agreed, if one did."""

    variant_id: int
    link: int = 0
    subscription_id: int | None = None


def targets(html: str) -> list[str]:
    """List the addresses that a mail's links lead to and that can be counted, each once, in order.

    Our own are not among them (nobody who leaves is counted), nor such as hold a reader's value.
    """
    found = dict.fromkeys(html_escape.unescape(match[2] or match[3] or "") for match in _HREF.finditer(html))
    return [one for one in found if _is_countable(one)][:_LINK_LIMIT]


def mark(html: str, variant_id: int, *, clicks: bool, opens: bool, reader: str | None = None) -> str:
    """Lead a mail's links through us, and put a pixel at its end. `reader`: what stands for the reader's token, if any."""
    joined = f"{_JOINT}{reader}" if reader else ""
    if clicks:
        numbers = {url: number for number, url in enumerate(targets(html), start=1)}
        html = _HREF.sub(lambda match: _counted(match, variant_id, numbers, joined), html)
    if opens:
        token = links.sign(Purpose.OPEN, variant_id)
        pixel = (
            f'<img src="{links.url(f"{OPEN_PATH}{token}{joined}.gif")}" width="1" height="1" alt="" '
            'style="display:block;width:1px;height:1px;border:0">'
        )
        html = _BODY_END.sub(lambda match: pixel + match[0], html, count=1)
    return html


def reader_token(subscription_id: int, variant_id: int) -> str:
    """Make the token that names a reader who agreed, good in one variant only."""
    return links.sign(Purpose.READER, subscription_id, variant_id & 0xFFFFFFFF)


def click_url(variant_id: int, number: int, target: str, *, joined: str = "") -> str:
    """Return the counted address of a link."""
    token = links.sign(Purpose.CLICK, variant_id, number, about=target.encode("utf-8", "replace"))
    return links.url(f"{CLICK_PATH}{token}{joined}?u={quote(target, safe=_SAFE)}")


def read_click(token: str, query: str) -> tuple[Mark, str]:
    """Check a counted link; return what it says and where it leads. Raises TokenInvalid."""
    target = unquote(query.partition("&")[0].removeprefix("u="))
    token, _, reader = token.partition(_JOINT)
    found = links.read(Purpose.CLICK, token, about=target.encode("utf-8", "replace"))
    return Mark(variant_id=found.id, link=found.extra, subscription_id=_reader(reader, found.id)), target


def read_open(name: str) -> Mark:
    """Check a pixel's name. Raises TokenInvalid."""
    token, _, reader = name.removesuffix(".gif").partition(_JOINT)
    found = links.read(Purpose.OPEN, token)
    return Mark(variant_id=found.id, subscription_id=_reader(reader, found.id))


def plain(url: str) -> str:
    """Return where a link of ours leads if it is a counted one; every other address as it is."""
    if not url.startswith(links.url(CLICK_PATH)):
        return url
    path, _, query = url.partition("?")
    try:
        return read_click(path.rpartition("/")[2], query)[1]
    except links.TokenInvalid:
        return url


def is_pixel(url: str) -> bool:
    """Tell whether the address is that of a pixel of ours."""
    return url.startswith(links.url(OPEN_PATH))


def without_pixels(pictures: Collection[str]) -> list[str]:
    """Leave our pixels out of addresses of pictures."""
    return [one for one in pictures if not is_pixel(one)]


def _reader(token: str, variant_id: int) -> int | None:
    """Return the reader whom a genuine token for this variant names; a wrong one counts as none."""
    if not token:
        return None
    try:
        found = links.read(Purpose.READER, token)
    except links.TokenInvalid:
        return None
    return found.id if found.extra == variant_id & 0xFFFFFFFF else None


def _counted(match: re.Match[str], variant_id: int, numbers: dict[str, int], joined: str) -> str:
    target = html_escape.unescape(match[2] or match[3] or "")
    number = numbers.get(target)
    if number is None:
        return match[0]
    return f'{match[1]}"{html_escape.escape(click_url(variant_id, number, target, joined=joined))}"'


def _is_countable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    is_web = parts.scheme in ("http", "https") and bool(host) and not _UNSEEN.search(url)
    return is_web and not f"{url}/".startswith(f"{settings.load().public_url}/") and not message.has_placeholder(url)
