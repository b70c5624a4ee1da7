"""What a web page says in its head, of a site or of an article: its feeds, its proper address, its picture, who may read it."""

import re
from dataclasses import dataclass, field
from typing import Final

from lxml import etree
from lxml import html as lxml_html

from mailer.feeds import encoding, fetch, network, text, troubles, urls
from mailer.feeds.articles import Picture

ACCEPT: Final = "text/html, application/xhtml+xml, */*;q=0.5"
LIMITS: Final = fetch.FetchLimits(total_seconds=10, body_bytes=500_000, cuts_body=True)
_LONGEST: Final = 300_000
_FEED_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")
_IMAGES: Final = ("og:image:secure_url", "og:image", "og:image:url", "twitter:image", "twitter:image:src")
_LOCKED_TIERS: Final = ("locked", "paid", "premium")
# JSON-LD, which may stand inside any script; https://schema.org/isAccessibleForFree.
_ACCESS: Final = re.compile(r'"isAccessibleForFree"\s*:\s*"?(true|false)', re.IGNORECASE)
_GONE_STATUSES: Final = (404, 410)
_NOT_FOUND: Final = re.compile(
    r"\b(?:404\b|(?:page|article|story|post|content) (?:was )?(?:not found|no longer (?:exists|available))|not found$"
    r"|(?:page|article|contenu) (?:introuvable|non trouvée?|inexistante?|n[’']existe (?:pas|plus))"
    r"|cette page n[’']existe|seite nicht gefunden|página no encontrada|pagina non trovata"
    r"|страница не найдена|статья не найдена|бет табылмады)",
    re.IGNORECASE,
)


class PageGone(Exception):
    """The site itself says that there is no such article. `is_soft`: in words, not by its status."""

    def __init__(self, *, is_soft: bool) -> None:
        super().__init__("The page says that there is no such article." if is_soft else "The page is gone.")
        self.is_soft = is_soft


@dataclass(frozen=True, kw_only=True)
class FeedLink:
    """A feed that a page announces; `title` is "" if it has none."""

    url: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page says. None or "": nothing. `is_locked` None: it does not say whether everybody may read it."""

    url: str
    title: str
    headline: str
    canonical_url: str | None
    picture: Picture | None
    is_locked: bool | None
    feeds: tuple[FeedLink, ...]
    words: str = field(repr=False)
    # As it is told elsewhere: by og:title, and og:description or the description.
    told_title: str = ""
    summary: str = ""


def look(
    url: str, *, title: str, limits: fetch.FetchLimits = LIMITS, private_networks: tuple[network.Network, ...] = ()
) -> Page:
    """Look at the page of the article with that title. Talks to the network.

    Raises PageGone, and FeedUnreachable for everything else, which says nothing about the article.
    """
    try:
        answer = fetch.fetch(url, accept=ACCEPT, limits=limits, private_networks=private_networks)
    except fetch.FeedUnreachable as error:
        if error.status in _GONE_STATUSES:
            raise PageGone(is_soft=False) from error
        raise
    if answer is None:
        raise fetch.FeedUnreachable(troubles.Trouble.UNASKED_UNCHANGED, temporary=True)
    found = read(encoding.decode(answer.body, answer.content_type), answer.url)
    if _is_told_gone(found, url, title):
        raise PageGone(is_soft=True)
    return found


def read(document: str, url: str) -> Page:
    """Read the text of a page that was found at `url`. Never fails: what is no HTML says nothing."""
    root = _root(document[:_LONGEST])
    if root is None:
        return Page(
            url=url, title="", headline="", canonical_url=None, picture=None, is_locked=None, feeds=(), words=""
        )
    base = next((found for node in root.iter("base") if (found := urls.absolute(node.get("href", ""), url))), url)
    meta = _meta(root)
    return Page(
        url=url,
        title=_words(root, "title"),
        headline=_words(root, "h1"),
        canonical_url=_canonical(root, base, url),
        picture=_picture(meta, base),
        is_locked=_is_locked(meta, document[:_LONGEST]),
        feeds=_feeds(root, base, url),
        words=text.one_line(" ".join(map(str, root.itertext()))),
        told_title=meta.get("og:title", ""),
        summary=meta.get("og:description") or meta.get("description", ""),
    )


def _root(document: str) -> etree._Element | None:
    parser = lxml_html.HTMLParser(no_network=True, encoding="utf-8")
    try:
        root: etree._Element | None = etree.fromstring(document.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        return None
    return root


def _is_told_gone(page: Page, asked: str, title: str) -> bool:
    """Tell whether a page that answered 200 is none: it says so, or the site led to its front page instead."""
    if _letters(title) in _letters(page.words):
        return False
    if _NOT_FOUND.search(page.title) or _NOT_FOUND.search(page.headline):
        return True
    front = urls.canonical_url(urls.origin(asked))
    return urls.canonical_url(page.url) == front and urls.canonical_url(asked) != front


def _letters(words: str) -> str:
    return "".join(filter(str.isalnum, words.casefold()))


def _words(root: etree._Element, tag: str) -> str:
    found = (text.one_line("".join(map(str, node.itertext()))) for node in root.iter(tag))
    return next(filter(None, found), "")


def _meta(root: etree._Element) -> dict[str, str]:
    """Return what the page's <meta> say, the first of each name."""
    meta: dict[str, str] = {}
    for node in root.iter("meta"):
        name, content = node.get("property") or node.get("name"), node.get("content")
        if name and content:
            meta.setdefault(name.strip().lower(), text.one_line(content))
    return meta


def _canonical(root: etree._Element, base: str, url: str) -> str | None:
    """Return the address that the page calls its proper one; None for none, or for a front page, a common mistake."""
    for node in root.iter("link"):
        if "canonical" in node.get("rel", "").lower().split():
            found = urls.absolute(node.get("href", ""), base, url)
            if found and urls.canonical_url(found) != urls.canonical_url(urls.origin(found)):
                return found
    return None


def _picture(meta: dict[str, str], base: str) -> Picture | None:
    address = next((found for name in _IMAGES if (found := urls.absolute(meta.get(name, ""), base))), None)
    if address is None:
        return None
    width = meta.get("og:image:width", "")
    pixels = int(width) if width.isascii() and width.isdigit() and len(width) < 6 else None
    return Picture(url=address, alt=meta.get("og:image:alt") or meta.get("twitter:image:alt", ""), width=pixels)


def _is_locked(meta: dict[str, str], document: str) -> bool | None:
    tier = meta.get("article:content_tier", "").lower()
    if tier:
        return tier in _LOCKED_TIERS
    said = _ACCESS.search(document)
    return said[1].lower() == "false" if said else None


def _feeds(root: etree._Element, base: str, url: str) -> tuple[FeedLink, ...]:
    found: dict[str, FeedLink] = {}
    for node in root.iter("link"):
        kind = node.get("type", "").partition(";")[0].strip().lower()
        address = urls.absolute(node.get("href", ""), base, url)
        is_feed = kind in _FEED_TYPES and "alternate" in node.get("rel", "").lower().split()
        if is_feed and address and address != url:
            found.setdefault(address, FeedLink(url=address, title=text.one_line(node.get("title", ""))))
    return tuple(found.values())
