"""The sample publication's feed: RSS 2.0 with whole texts and pictures, as a newsroom's CMS would write it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from html import escape
from typing import Final

from lxml import etree

from mailer.embedded import sample
from mailer.embedded.sample import Article, Publication

_NAMESPACES: Final = {
    "atom": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "media": "http://search.yahoo.com/mrss/",
}


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where readers find the site (without a trailing slash) and the form to subscribe to its newsletter."""

    base_url: str
    subscribe_url: str


def write(articles: Sequence[Article], publication: Publication, addresses: Addresses, *, path: str) -> bytes:
    """Return the feed as UTF-8 XML. `path`: where it is served, "/feed.xml". The same articles give the same bytes."""
    rss = etree.Element("rss", {"version": "2.0"}, nsmap=_NAMESPACES)
    channel = etree.SubElement(rss, "channel")
    _add(channel, "title", publication.name)
    _add(channel, "link", f"{addresses.base_url}/")
    _add(channel, "description", publication.description)
    _add(channel, "language", "fr")
    own = {"href": f"{addresses.base_url}{path}", "rel": "self", "type": "application/rss+xml"}
    etree.SubElement(channel, _name("atom:link"), own)
    if articles:
        _add(channel, "lastBuildDate", _date(max(article.published_at for article in articles)))
    for article in articles:
        _add_item(channel, article, publication, addresses)
    return etree.tostring(rss, xml_declaration=True, encoding="UTF-8", pretty_print=True)


def _add_item(channel: etree._Element, article: Article, publication: Publication, addresses: Addresses) -> None:
    item = etree.SubElement(channel, "item")
    _add(item, "title", article.title)
    _add(item, "link", f"{addresses.base_url}/articles/{article.slug}")
    # Not the address: ports change from one try to the next, articles do not.
    _add(item, "guid", f"tag:courrier.example,2025:{article.slug}").set("isPermaLink", "false")
    _add(item, "pubDate", _date(article.published_at))
    _add(item, "dc:creator", article.author)
    _add(item, "category", article.topic)
    _add(item, "category", article.country)
    _add(item, "description", article.excerpt)
    _add(item, "content:encoded", etree.CDATA(article.html + _newsletter_line(publication, addresses)))
    picture = {
        "url": f"{addresses.base_url}/pictures/{article.picture}",
        "type": "image/jpeg",
        "medium": "image",
        "width": str(sample.PICTURE_WIDTH),
        "height": str(sample.PICTURE_HEIGHT),
    }
    media = etree.SubElement(item, _name("media:content"), picture)
    _add(media, "media:description", article.alt).set("type", "plain")
    _add(media, "media:credit", article.credit)


def _newsletter_line(publication: Publication, addresses: Addresses) -> str:
    link = f'<a href="{escape(addresses.subscribe_url)}">{escape(publication.newsletter_line)}</a>'
    return f"<p><strong>{escape(publication.newsletter_label)}</strong> — {link}</p>\n"


def _add(parent: etree._Element, name: str, text: str | etree.CDATA) -> etree._Element:
    element = etree.SubElement(parent, _name(name))
    element.text = text
    return element


def _name(name: str) -> str:
    prefix, colon, local = name.rpartition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}" if colon else local


def _date(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0))
