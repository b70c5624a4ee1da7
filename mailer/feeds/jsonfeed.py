"""JSON Feed 1.0 and 1.1 (jsonfeed.org)."""

import html
import json
from typing import Final

from mailer.feeds import dates, sanitise, text, urls
from mailer.feeds.articles import MOST_ARTICLES, Picture, RawArticle, RawFeed, newest
from mailer.feeds.parsed import FeedInvalid

_VERSION: Final = "jsonfeed.org/version/"


def read(document: str, url: str) -> RawFeed:
    """Read the text of a JSON Feed. Raises FeedInvalid."""
    feed = _object(document)
    listed = feed.get("items")
    if not isinstance(listed, list) or _VERSION not in _string(feed, "version"):
        raise FeedInvalid("This is JSON but not a JSON Feed.")
    items = [item for item in listed if isinstance(item, dict)]
    if len(items) > MOST_ARTICLES:
        dated = [(dates.parse_date(_string(item, "date_published")), number) for number, item in enumerate(items)]
        items = [items[number] for number in newest(dated)]
    authors = _authors(feed)
    return RawFeed(
        url=url,
        kind="JSON Feed",
        title=_escaped(feed, "title"),
        home=_string(feed, "home_page_url"),
        language=_string(feed, "language"),
        articles=[_article(item, authors, url) for item in items],
    )


def items(document: str, url: str) -> list[RawArticle]:
    """Read the items of a JSON Feed, or of any JSON object with `items` of that form, however many. Raises FeedInvalid.

    `url` is what relative addresses are of.
    """
    feed = _object(document)
    found = feed.get("items")
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FeedInvalid("The JSON has no list “items” of objects, as JSON Feed (jsonfeed.org) has it.")
    return [_article(item, _authors(feed), url) for item in found]


def _object(document: str) -> dict[str, object]:
    """Read JSON with numbers as they were written. Raises FeedInvalid."""
    try:
        feed = json.loads(document, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError as error:
        raise FeedInvalid("This is JSON nested too deep for a feed.") from error
    except ValueError as error:
        raise FeedInvalid("This is JSON that breaks off or is damaged.") from error
    if not isinstance(feed, dict):
        raise FeedInvalid("This is JSON but not a JSON Feed.")
    return feed


def _article(item: dict[str, object], feed_authors: list[str], feed_url: str) -> RawArticle:
    link = urls.absolute(_string(item, "url") or _string(item, "external_url"), feed_url) or ""
    tags = item.get("tags")
    return RawArticle(
        guid=_string(item, "id"),
        link=link,
        bases=(link, feed_url),
        title=_escaped(item, "title"),
        summary=_paragraphs(item, "summary"),
        content=_string(item, "content_html") or _paragraphs(item, "content_text"),
        authors=_authors(item) or feed_authors,
        topics=[html.escape(tag, quote=False) for tag in tags if isinstance(tag, str)]
        if isinstance(tags, list)
        else [],
        language=_string(item, "language"),
        published=_string(item, "date_published"),
        updated=_string(item, "date_modified"),
        is_locked=any(item.get(name) is True for name in ("_locked", "_premium", "_paywall")),
        pictures=[
            Picture(url=address)
            for name in ("image", "banner_image")
            if (address := urls.absolute(_string(item, name), link, feed_url))
        ],
    )


def _authors(owner: dict[str, object]) -> list[str]:
    """Return names: 1.1 has a list `authors`, 1.0 one `author`."""
    authors = owner.get("authors")
    people = authors if isinstance(authors, list) else [owner.get("author")]
    return [name for person in people if isinstance(person, dict) and (name := _escaped(person, "name"))]


def _string(owner: dict[str, object], name: str) -> str:
    """Return a text; numbers are read as their digits, as the specification asks for ids. "" for anything else."""
    value = owner.get(name)
    return text.printable(value) if isinstance(value, str) else ""


def _escaped(owner: dict[str, object], name: str) -> str:
    return html.escape(_string(owner, name), quote=False)


def _paragraphs(owner: dict[str, object], name: str) -> str:
    return sanitise.from_plain(_string(owner, name))
