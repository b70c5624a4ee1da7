"""The bytes behind a feed's address become articles: RSS, Atom and JSON Feed in any encoding. No network, no database."""

from typing import Final

from mailer.feeds import encoding, jsonfeed, markup, page, xmlfeed
from mailer.feeds.articles import finish
from mailer.feeds.parsed import FeedInvalid, ParsedArticle, ParsedFeed
from mailer.feeds.urls import canonical_url

__all__ = ["FeedInvalid", "ParsedArticle", "ParsedFeed", "canonical_url", "parse"]

LARGEST_BODY_BYTES: Final = 10_000_000


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
    announced = page.read(document, url).feeds
    if not announced:
        return FeedInvalid("This is a web page, not a feed.")
    suggestion = announced[0].url
    return FeedInvalid(f"This is a web page, not a feed; its feed seems to be at {suggestion}.", suggestion=suggestion)
