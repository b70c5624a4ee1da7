"""RSS 0.9x, 1.0, 2.0 and Atom 0.3, 1.0, with the modules that carry dates, names, texts and pictures."""

import functools
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from mailer.feeds import dates, markup, media, sanitise, text, urls
from mailer.feeds.articles import MOST_ARTICLES, RawArticle, RawFeed, newest
from mailer.feeds.parsed import FeedInvalid

_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_ABOUT: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
# By namespace, without scheme and trailing slash, since feeds get those wrong; "" is RSS itself.
_PREFIXES: Final = {
    "purl.org/rss/1.0": "",
    "purl.org/net/rss1.1": "",
    "my.netscape.com/rdf/simple/0.9": "",
    "channel.netscape.com/rdf/simple/0.9": "",
    "my.netscape.com/publish/formats/rss-0.91.dtd": "",
    "blogs.law.harvard.edu/tech/rss": "",
    "cyber.law.harvard.edu/rss": "",
    "backend.userland.com/rss": "",
    "backend.userland.com/rss2": "",
    "backend.userland.com/rss091": "",
    "www.w3.org/1999/02/22-rdf-syntax-ns": "rdf",
    "www.w3.org/2005/atom": "atom",
    "purl.org/atom/ns": "atom",
    "example.com/newformat": "atom",
    "purl.org/dc/elements/1.1": "dc",
    "purl.org/dc/elements/1.0": "dc",
    "purl.org/dc/terms": "dcterms",
    "purl.org/rss/1.0/modules/content": "content",
    "purl.org/rss/1.0/modules/syndication": "sy",
    "search.yahoo.com/mrss": "media",
    "search.yahoo.com/searchmonkey/media": "media",
    "www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "rssnamespace.org/feedburner/ext/1.0": "feedburner",
    "www.w3.org/1999/xhtml": "xhtml",
}
# RFC 6721.
_DELETED: Final = "{http://purl.org/atompub/tombstones/1.0}deleted-entry"
_TEXT_TYPES: Final = ("", "text", "text/plain", "plain")
_HTML_TYPES: Final = (
    "html",
    "text/html",
    "xhtml",
    "application/xhtml+xml",
    "escaped",
    "xml",
    "text/xml",
    "application/xml",
)
_OTHER_DOCUMENTS: Final = {
    "urlset": "a site map",
    "sitemapindex": "a site map",
    "opml": "a list of feeds (OPML)",
    "html": "a web page",
    "svg": "a picture",
    "error": "an error message",
}

_PUBLISHED: Final = (
    "pubdate", "published", "atom:published", "issued", "dc:date", "dcterms:issued", "dcterms:created", "date", "created",
)  # fmt: skip
_UPDATED: Final = ("updated", "atom:updated", "modified", "dcterms:modified", "dc:modified")
_SUMMARY: Final = (
    "description", "summary", "atom:summary", "dc:description", "dcterms:abstract", "itunes:summary", "itunes:subtitle",
    "media:description",
)  # fmt: skip
_CONTENT: Final = ("content:encoded", "content", "atom:content", "xhtml:body", "xhtml:div", "body")

_FREE_FIELDS: Final = ("isaccessibleforfree", "isfree", "free")
_LOCKED_FIELDS: Final = ("accessrights", "access", "premium", "paywall", "ispremium", "restricted", "content_tier")
_LOCKED_WORDS: Final = ("true", "yes", "1", "premium", "paid", "locked", "subscription", "subscribers", "members")

_LONGEST_PERSON: Final = 500

_Fields = dict[str, list[etree._Element]]


@dataclass(frozen=True, kw_only=True)
class _Feed:
    """What is the same for all articles of one document: where it was read and whose names are its own.

    `is_atom` decides how a text says whether it is HTML.
    """

    url: str
    namespace: str
    is_atom: bool
    authors: Sequence[str] = ()


def read(document: str, url: str) -> RawFeed:
    """Read the text of an XML feed. Raises FeedInvalid."""
    root = markup.read_root(document, url)
    namespace, local = markup.name(root)
    kind = local.lower()
    if kind not in ("rss", "rdf", "feed", "channel"):
        what = _OTHER_DOCUMENTS.get(kind, f"an XML document of another kind (<{kind[:40]}>)")
        raise FeedInvalid(f"This is not a feed but {what}.")
    feed = _Feed(url=url, namespace="" if kind == "rdf" else namespace, is_atom=kind == "feed")
    elements = [element for element in root.iter("{*}*") if _name(element, feed) in ("item", "entry", "atom:entry")]
    channel = next((child for child in root.iterchildren("{*}*") if _name(child, feed) == "channel"), None)
    if channel is None and not elements and not feed.is_atom:
        raise FeedInvalid("This looks like a feed but has neither a title nor articles in it.")
    channel = root if channel is None else channel
    fields = _fields(channel, feed)
    if feed.is_atom:
        feed = replace(feed, authors=_authors(fields))
    return RawFeed(
        url=url,
        kind="Atom" if feed.is_atom else "RSS",
        title=_markup(fields, feed, "title", "atom:title", "dc:title"),
        home=urls.absolute(_link(fields), channel.base, url) or "",
        language=_words(fields, "language", "dc:language") or _inherited_language(channel),
        articles=[_article(element, feed) for element in _newest(elements, feed)],
        withdrawn=[node.get("ref", "") for node in root.iter(_DELETED)],
    )


def _newest(elements: Sequence[etree._Element], feed: _Feed) -> list[etree._Element]:
    if len(elements) <= MOST_ARTICLES:
        return list(elements)
    dated = [(dates.parse_date(_words(_fields(element, feed), *_PUBLISHED)), n) for n, element in enumerate(elements)]
    return [elements[number] for number in newest(dated)]


def _article(element: etree._Element, feed: _Feed) -> RawArticle:
    fields = _fields(element, feed)
    base = element.base or feed.url
    guid = _words(fields, "guid", "id", "atom:id") or str(element.get(_ABOUT, ""))
    # An address is worth following whatever isPermaLink says: often it is WordPress's "?p=12", which leads there too.
    link = urls.absolute(_link(fields), base) or urls.absolute(guid) or ""
    return RawArticle(
        guid=guid,
        link=link,
        # An explicit xml:base comes first; without one, relative addresses are relative to the article's page.
        bases=(base if base != feed.url else None, link, feed.url),
        title=_markup(fields, feed, "title", "atom:title", "dc:title", "media:title"),
        summary=_markup(fields, feed, *_SUMMARY),
        content=_markup(fields, feed, *_CONTENT),
        authors=_authors(fields) or feed.authors,
        topics=_topics(fields),
        language=_words(fields, "dc:language", "language") or _inherited_language(element),
        published=_words(fields, *_PUBLISHED),
        updated=_words(fields, *_UPDATED),
        is_locked=_is_locked(fields),
        pictures=media.pictures(element, functools.partial(_name, feed=feed), base),
    )


def _fields(element: etree._Element, feed: _Feed) -> _Fields:
    fields: _Fields = {}
    for child in element.iterchildren("{*}*"):
        fields.setdefault(_name(child, feed), []).append(child)
    return fields


def _name(element: etree._Element, feed: _Feed) -> str:
    return _known_name(str(element.tag), feed.namespace)


@functools.lru_cache(maxsize=1000)
def _known_name(tag: str, own_namespace: str) -> str:
    """Return "title", "dc:creator", "media:content" …, whatever prefix the document uses."""
    if not tag.startswith("{"):
        return tag.lower()
    namespace, _, local = tag[1:].partition("}")
    if namespace == own_namespace:
        return local.lower()
    prefix = _PREFIXES.get(namespace.lower().partition("://")[2].rstrip("/#"), "?")
    return f"{prefix}:{local}".lower().removeprefix(":")


def _words(fields: _Fields, *names: str) -> str:
    """Return the first of the named fields that has text, on one line."""
    found = (markup.words(node) for name in names for node in fields.get(name, ()))
    return next(filter(None, found), "")


def _markup(fields: _Fields, feed: _Feed, *names: str) -> str:
    """Return the first of the named fields that has text, as HTML."""
    found = (_html(node, feed.is_atom or name.startswith("atom:")) for name in names for node in fields.get(name, ()))
    return next((source for source in found if source.strip()), "")


def _html(node: etree._Element, is_atom: bool) -> str:
    if len(node):
        return _inner_html(node)
    words = node.text or ""
    kind = (node.get("type") or "").partition(";")[0].strip().lower()
    if is_atom and (kind in _TEXT_TYPES or kind not in _HTML_TYPES):
        # Only text and HTML can be shown: base64 and other media types are not.
        return sanitise.from_plain(words) if kind in _TEXT_TYPES or kind.startswith("text/") else ""
    return words


def _inner_html(node: etree._Element) -> str:
    """Return what is inside an element as HTML without namespaces: XHTML in Atom, or tags that RSS failed to escape."""
    for inner in node.iterdescendants("{*}*"):
        local = markup.name(inner)[1]
        inner.tag = local if local.isascii() and local.isalnum() else "span"
    children = (etree.tostring(child, method="html", encoding="unicode") for child in node)
    return html.escape(node.text or "", quote=False) + "".join(children)


def _link(fields: _Fields) -> str:
    """Return the address of the page that the feed or article is about; "" if there is none."""
    original = _words(fields, "feedburner:origlink")
    if original:
        return original
    nodes = [*fields.get("link", ()), *fields.get("atom:link", ())]
    written = next((words for node in nodes if (words := markup.words(node))), "")
    if written:
        return written
    pages = [node for node in nodes if node.get("href") and node.get("rel", "alternate").lower() == "alternate"]
    # An article may have alternates in other formats; the page is the one in HTML, or of no stated kind.
    preferred = [node for node in pages if (node.get("type") or "text/html").lower() in _HTML_TYPES]
    return next((str(node.get("href")) for node in (*preferred, *pages)), "")


def _authors(fields: _Fields) -> list[str]:
    creators = [_words({"": [node]}, "") for node in fields.get("dc:creator", ())]
    if any(creators):
        return creators
    nodes = [*fields.get("author", ()), *fields.get("atom:author", ())]
    return list(filter(None, map(_person, nodes))) or list(filter(None, [_words(fields, "itunes:author")]))


def _person(node: etree._Element) -> str:
    """Return a name and never an address: RSS has "desk@courrier.example (Ada B.)", Atom has a <name>."""
    for child in node.iterchildren("{*}*"):
        if markup.name(child)[1] == "name":
            return markup.words(child)
    words = text.one_line(node.text or "")[:_LONGEST_PERSON]
    in_brackets = re.search(r"\(([^()]+)\)\s*\Z", words)
    if "@" in words and in_brackets:
        return in_brackets[1]
    return re.sub(r"<?\S+@\S+>?", "", words).strip(' ,;"')


def _topics(fields: _Fields) -> list[str]:
    nodes = [*fields.get("category", ()), *fields.get("atom:category", ()), *fields.get("dc:subject", ())]
    return [
        # Atom's label is for people and its term may be a key; RSS has text. Atom's attributes hold no markup.
        html.escape(node.get("label") or node.get("term") or "", quote=False) or markup.words(node)
        for node in nodes
    ]


def _is_locked(fields: _Fields) -> bool:
    """Tell whether the feed says that the article is for paying readers; there is no common module for it."""
    for field, nodes in fields.items():
        local = field.rpartition(":")[2]
        locking = ("false", "no", "0") if local in _FREE_FIELDS else _LOCKED_WORDS if local in _LOCKED_FIELDS else ()
        if locking and markup.words(nodes[0]).casefold() in locking:
            return True
    return False


def _inherited_language(element: etree._Element) -> str:
    languages = (node.get(_LANG) for node in (element, *element.iterancestors()))
    return str(next(filter(None, languages), ""))
