"""Feeds into articles: what is kept when a reading fails, and what a second reading changes."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select, update

from mailer import clock, newsletters, polling
from mailer.db import transaction
from mailer.models.content import Article, Feed
from tests.factories import a_newsletter

ITEM = (
    "<item><title>{title}</title><link>https://courrier.example/{slug}</link><guid>{slug}</guid>"
    "<pubDate>Fri, 20 Nov 2026 06:00:00 GMT</pubDate></item>"
)
FEED = '<?xml version="1.0"?><rss version="2.0"><channel><title>Le Courrier</title>{items}</channel></rss>'


def feed_of(**titles: str) -> bytes:
    return FEED.format(items="".join(ITEM.format(slug=slug, title=title) for slug, title in titles.items())).encode()


class Site:
    """A web server whose only page is a feed."""

    def __init__(self) -> None:
        self.body, self.status = feed_of(eau="L’eau", rail="Le rail"), 200
        self.requests: list[str | None] = []

    def __enter__(self) -> "Site":
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.requests.append(self.headers.get("If-None-Match"))
                unchanged = self.headers.get("If-None-Match") == site.etag and site.status == 200
                self.send_response(304 if unchanged else site.status)
                self.send_header("ETag", site.etag)
                self.send_header("Content-Length", "0" if unchanged else str(len(site.body)))
                self.end_headers()
                if not unchanged:
                    self.wfile.write(site.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def etag(self) -> str:
        return f'"{hash(self.body)}"'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/feed.xml"


@pytest.fixture
def site(installation) -> Iterator[Site]:
    with Site() as running:
        yield running


def add_feed(site: Site) -> int:
    with transaction() as session:
        newsletter = a_newsletter(session)
        newsletters.remove_feed(session, newsletter, newsletters.feeds(session, newsletter)[0].id)
        return newsletters.add_feed(session, newsletter, site.url, now=clock.now()).id


def titles() -> dict[str, str]:
    with transaction() as session:
        return {one.guid: one.title for one in session.execute(select(Article)).scalars()}


def the_feed(feed_id: int) -> Feed:
    with transaction() as session:
        return session.get_one(Feed, feed_id)


def test_a_feed_becomes_articles(site: Site) -> None:
    feed_id = add_feed(site)
    assert polling.read_feed(feed_id) is None
    assert titles() == {"eau": "L’eau", "rail": "Le rail"}
    assert the_feed(feed_id).title == "Le Courrier"


def test_an_unchanged_feed_is_not_read_again(site: Site) -> None:
    feed_id = add_feed(site)
    polling.read_feed(feed_id)
    assert polling.read_feed(feed_id) is None
    assert site.requests == [None, site.etag]
    assert len(titles()) == 2


def test_a_changed_title_is_taken_and_the_first_seen_time_kept(site: Site) -> None:
    feed_id = add_feed(site)
    polling.read_feed(feed_id)
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    with transaction() as session:
        session.execute(update(Article).values(first_seen_at=long_ago))
    site.body = feed_of(eau="L’eau, corrigé", rail="Le rail")
    polling.read_feed(feed_id)
    assert titles()["eau"] == "L’eau, corrigé"
    with transaction() as session:
        assert set(session.execute(select(Article.first_seen_at)).scalars()) == {long_ago}


def test_an_article_that_left_the_feed_is_kept(site: Site) -> None:
    feed_id = add_feed(site)
    polling.read_feed(feed_id)
    site.body = feed_of(rail="Le rail")
    polling.read_feed(feed_id)
    assert set(titles()) == {"eau", "rail"}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b"<!doctype html><html><body>We are moving house</body></html>", "web page"),
        (200, b"", "empty"),
        (200, feed_of(eau="L'eau")[:-40], "breaks off"),
        (500, b"", "500"),
        (404, b"", "404"),
        (200, b'<!DOCTYPE r [<!ENTITY a "aaaa">]><rss><channel><title>&a;</title></channel></rss>', "entit"),
    ],
)
def test_a_bad_answer_is_an_error_on_the_feed_and_keeps_the_articles(
    site: Site, status: int, body: bytes, words: str
) -> None:
    feed_id = add_feed(site)
    polling.read_feed(feed_id)
    site.status, site.body = status, body
    error = polling.read_feed(feed_id)
    assert error is not None
    assert words in error.lower()
    assert set(titles()) == {"eau", "rail"}
    feed = the_feed(feed_id)
    assert (feed.error, feed.failures) == (error, 1)
    site.status, site.body = 200, feed_of(eau="L’eau", rail="Le rail", neuf="Du neuf")
    assert polling.read_feed(feed_id) is None
    assert (the_feed(feed_id).error, the_feed(feed_id).failures) == (None, 0)
    assert "neuf" in titles()


def test_a_failing_feed_is_asked_less_and_less_often(site: Site) -> None:
    feed_id = add_feed(site)
    site.status = 503
    waits = []
    for _ in range(8):
        polling.read_feed(feed_id)
        waits.append(the_feed(feed_id).next_read_at - clock.now())
    minutes = [round(wait.total_seconds() / 60) for wait in waits]
    assert minutes == sorted(minutes)
    assert minutes[0] < minutes[-1]
    assert waits[-1] < timedelta(hours=6, minutes=1)


def test_a_private_address_is_refused_unless_the_settings_allow_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_FEED_PRIVATE_NETWORKS", "")
    polling.settings.load.cache_clear()
    error = polling.read_feed(add_feed(site))
    assert error is not None
    assert "private" in error
    assert site.requests == []


def test_two_ticks_take_a_feed_once(site: Site) -> None:
    add_feed(site)
    now = clock.now()
    with transaction() as session:
        first = polling.due_feeds(session, now=now, limit=10)
    with transaction() as session:
        second = polling.due_feeds(session, now=now, limit=10)
    # The newsletter's other feed was made due by the factory.
    assert first
    assert not set(first) & set(second)
