"""The bytes behind a feed's address become articles: RSS, Atom and JSON Feed in any encoding. No network, no database."""

from typing import Final

from lxml import etree
from lxml import html as lxml_html

from mailer.feeds import encoding, jsonfeed, markup, urls, xmlfeed
from mailer.feeds.articles import finish
from mailer.feeds.parsed import FeedInvalid, ParsedArticle, ParsedFeed
from mailer.feeds.urls import canonical_url

__all__ = ["FeedInvalid", "ParsedArticle", "ParsedFeed", "canonical_url", "parse"]

LARGEST_BODY_BYTES: Final = 10_000_000
_FEED_TYPES: Final = ("application/rss+xml", "application/atom+xml", "application/feed+json", "application/rdf+xml")
_HEAD_LENGTH: Final = 300_000


def parse(body: bytes, *, content_type: str | None, url: str) -> ParsedFeed:
    """Return the feed in `body`, which was read at `url` with that Content-Type header (None if there was none).

    The type's charset is heard as one voice among others, the type itself is not: servers send feeds as anything. A
    feed without articles is valid. Raises FeedInvalid and nothing else, for a web page, JSON or XML that is no feed,
    an empty or too large body, and one that breaks off: what it has is not to be taken for all there is.
    """
    if len(body) > LARGEST_BODY_BYTES:
        raise FeedInvalid(f"The feed is larger than {LARGEST_BODY_BYTES // 1_000_000} MB.")
    document = encoding.decode(body, content_type).lstrip("\ufeff\x00 \t\r\n\f\v")
    if not document:
        raise FeedInvalid("The answer is empty.")
    if document[0] in "{[":
        return finish(jsonfeed.read(document, url))
    if markup.is_web_page(document):
        raise _web_page(document, url)
    return finish(xmlfeed.read(document, url))


def _web_page(document: str, url: str) -> FeedInvalid:
    suggestion = _feed_named_in(document[:_HEAD_LENGTH], url)
    if suggestion is None:
        return FeedInvalid("This is a web page, not a feed.")
    return FeedInvalid(f"This is a web page, not a feed; its feed seems to be at {suggestion}.", suggestion=suggestion)


def _feed_named_in(page: str, url: str) -> str | None:
    """Return the feed that a page announces by <link rel="alternate">; None if it announces none."""
    parser = lxml_html.HTMLParser(no_network=True, encoding="utf-8")
    try:
        root = etree.fromstring(page.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        return None
    if root is None:
        return None
    base = next((urls.absolute(node.get("href", ""), url) for node in root.iter("base")), None)
    for node in root.iter("link"):
        kind = node.get("type", "").partition(";")[0].strip().lower()
        if kind in _FEED_TYPES and "alternate" in node.get("rel", "").lower().split():
            found = urls.absolute(node.get("href", ""), base, url)
            if found and found != url:
                return found
    return None
