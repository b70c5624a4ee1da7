"""The feeds of a site, found from any of its addresses."""

import ipaddress
import json
from collections.abc import Iterator

import pytest

from mailer.articles import discovery
from mailer.feeds import fetch
from tests import site as sites
from tests.site import Answer, Site

HERE = (ipaddress.ip_network("127.0.0.1/32"),)
ITEM = "<item><title>{0}</title><link>https://courrier.example/{0}</link></item>"


def rss(title: str, *slugs: str) -> str:
    items = "".join(ITEM.format(slug) for slug in slugs)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>{title}</title>{items}</channel></rss>'


def atom(title: str) -> str:
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>{title}</title></feed>'


def page(*links: tuple[str, str]) -> str:
    head = "".join(f'<link rel="alternate" type="application/{kind}" href="{href}">' for kind, href in links)
    return f"<!doctype html><html><head><title>Le Courrier</title>{head}</head><body></body></html>"


@pytest.fixture
def site() -> Iterator[Site]:
    with sites.running() as running:
        yield running


def find(site: Site, path: str = "/") -> list[tuple[str, str, str, int]]:
    found = discovery.discover(site.url(path), private_networks=HERE)
    return [(one.url.removeprefix(site.url("")), one.title, one.kind, one.articles) for one in found]


def test_every_feed_that_the_page_announces_is_listed(site: Site) -> None:
    site.put("/", page(("rss+xml", "/a"), ("atom+xml", "/b"), ("feed+json", "/c")))
    site.put("/a", rss("Tout", "eau", "rail"))
    site.put("/b", atom("Culture"))
    site.put("/c", json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "Sport", "items": []}))
    assert find(site) == [("/a", "Tout", "RSS", 2), ("/b", "Culture", "Atom", 0), ("/c", "Sport", "JSON Feed", 0)]


def test_a_feed_is_its_own_answer(site: Site) -> None:
    site.put("/feed", rss("Tout", "eau"))
    assert find(site, "/feed") == [("/feed", "Tout", "RSS", 1)]
    assert site.asked == ["/feed"]


def test_feeds_of_comments_come_last(site: Site) -> None:
    site.put("/", page(("rss+xml", "/comments/feed/"), ("rss+xml", "/feed/")))
    site.put("/comments/feed/", rss("Commentaires"))
    site.put("/feed/", rss("Le Courrier", "eau"))
    assert [one[0] for one in find(site)] == ["/feed/", "/comments/feed/"]


def test_what_is_announced_and_is_no_feed_is_left_out(site: Site) -> None:
    site.put("/", page(("rss+xml", "/gone"), ("rss+xml", "/page"), ("rss+xml", "/good")))
    site.put("/page", page())
    site.put("/good", rss("Tout"))
    assert [one[0] for one in find(site)] == ["/good"]


@pytest.mark.parametrize("path", ["/feed/", "/rss.xml", "/atom.xml", "/index.xml", "/feed.json", "/blog/feed.xml"])
def test_where_nothing_is_announced_the_usual_places_are_tried(site: Site, path: str) -> None:
    site.put("/blog/", page())
    site.put(path, rss("Tout", "eau"))
    assert [one[0] for one in find(site, "/blog/")] == [path]


def test_one_feed_at_several_usual_places_is_listed_once(site: Site) -> None:
    site.put("/", page())
    for path in ("/feed/", "/rss/", "/rss.xml"):
        site.put(path, rss("Tout", "eau"))
    assert [one[0] for one in find(site)] == ["/feed/"]


def test_a_site_without_a_feed_says_so(site: Site) -> None:
    site.put("/", page())
    with pytest.raises(discovery.NoFeedFound, match="No feed was found at"):
        find(site)


def test_an_address_that_cannot_be_read_is_told_apart(site: Site) -> None:
    site.pages["/"] = Answer(status=503)
    with pytest.raises(fetch.FeedUnreachable, match="503"):
        find(site)


def test_an_address_without_https_is_tried_with_it_and_without(site: Site) -> None:
    site.put("/", page(("rss+xml", "/a")))
    site.put("/a", rss("Tout"))
    (found,) = discovery.discover(f"127.0.0.1:{site.port}", private_networks=HERE)
    assert found.url == site.url("/a")


def test_a_private_address_is_not_asked(site: Site) -> None:
    with pytest.raises(fetch.FeedUnreachable, match="private"):
        discovery.discover(site.url("/"))
    assert site.asked == []
