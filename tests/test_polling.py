"""Feeds into articles: what is kept when a reading fails, and what a second reading changes."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mailer import clock
from mailer.articles import baselines, intake, polling
from mailer.db import transaction
from mailer.feeds.articles import RawArticle
from mailer.models.content import Article, Feed, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus
from mailer.newsroom import newsletters
from tests import site as sites
from tests.factories import NOW, a_newsletter
from tests.told import told

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
        self.gate: threading.Barrier | None = None
        self.location: str | None = None

    def __enter__(self) -> "Site":
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if site.gate is not None:
                    site.gate.wait()
                site.requests.append(self.headers.get("If-None-Match"))
                unchanged = self.headers.get("If-None-Match") == site.etag and site.status == 200
                self.send_response(304 if unchanged else site.status)
                self.send_header("ETag", site.etag)
                if site.location:
                    self.send_header("Location", site.location)
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


def test_an_unchanged_feed_that_a_second_newsletter_adds_is_settled_for_it(site: Site) -> None:
    polling.read_feed(add_feed(site))
    with transaction() as session:
        young = a_newsletter(session, "hebdo")
        feed_id = newsletters.add_feed(session, young, site.url, now=clock.now()).id
        newsletter_id = young.id
    polling.read_feed(feed_id)
    with transaction() as session:
        link = session.get_one(NewsletterFeed, (newsletter_id, feed_id))
        assert (link.baseline, link.baseline_count) == ("last", 12)
        assert link.stock_until is not None


def test_a_feed_that_misses_its_rhythm_is_silent_until_news_come(site: Site) -> None:
    feed_id = add_feed(site)
    now = clock.now()
    with transaction() as session:
        days = (now - timedelta(days=2 + n) for n in range(30))
        daily = [told(f"a{n}", published=day) for n, day in enumerate(days)]
        intake.store(session, feed_id, daily, is_whole=True, now=now - timedelta(days=2))
    site.body = feed_of()
    polling.read_feed(feed_id)
    assert the_feed(feed_id).silent_since == now - timedelta(days=2)
    site.body = feed_of(neuf="Du neuf").replace(b"Fri, 20 Nov 2026 06:00:00 GMT", format_datetime(now).encode())
    polling.read_feed(feed_id)
    assert the_feed(feed_id).silent_since is None


@pytest.mark.parametrize(("status", "slug", "moves"), [(301, "eau", True), (302, "eau", False), (301, "autre", False)])
def test_a_feed_moves_when_a_redirect_for_good_leads_to_the_same_feed(
    site: Site, status: int, slug: str, moves: bool
) -> None:
    feed_id = add_feed(site)
    polling.read_feed(feed_id)
    with sites.running() as new:
        new.put("/feed", feed_of(**{slug: "Le titre"}))
        site.status, site.location = status, new.url("/feed")
        assert polling.read_feed(feed_id) is None
        assert the_feed(feed_id).url == (new.url("/feed") if moves else site.url)


def test_two_readings_at_once_store_an_article_once(site: Site) -> None:
    feed_id = add_feed(site)
    site.gate = threading.Barrier(2, timeout=10)
    with ThreadPoolExecutor(max_workers=2) as pool:
        assert list(pool.map(polling.read_feed, [feed_id, feed_id])) == [None, None]
    assert len(titles()) == 2


def test_a_slow_feed_makes_the_others_wait_once_and_not_in_turn(installation) -> None:
    all_asked = threading.Barrier(3, timeout=10)
    with Site() as one, Site() as two, Site() as three:
        with transaction() as session:
            newsletter = a_newsletter(session)
            newsletters.remove_feed(session, newsletter, newsletters.feeds(session, newsletter)[0].id)
            for site in (one, two, three):
                site.gate = all_asked
                newsletters.add_feed(session, newsletter, site.url, now=clock.now())
            newsletter_id = newsletter.id
        polling.read_for(newsletter_id, older_than=timedelta(seconds=30))
    with transaction() as session:
        assert set(session.execute(select(Feed.error)).scalars()) == {None}


# Articles that a site's own system sends


def pushed(slug: str, **values: object) -> RawArticle:
    return RawArticle(**{"guid": slug, "link": f"https://courrier.example/{slug}", "title": slug, **values})


@pytest.fixture
def push_feed(session: Session) -> Feed:
    return polling.add_push_feed(session, a_newsletter(session), now=NOW)


def test_a_pushed_article_is_cleaned_like_any_other(session: Session, push_feed: Feed) -> None:
    raw = pushed("eau", content="<p onclick=x()>Le lac<script>1</script> <a href='/a'>ici</a></p>", topics=["Société"])
    polling.push(session, push_feed, [raw], now=NOW)
    article = session.execute(select(Article)).scalar_one()
    assert article.html == '<p>Le lac <a href="https://courrier.example/a">ici</a></p>'
    assert (article.topics, article.feed_id) == (["Société"], push_feed.id)


def test_a_push_that_is_repeated_changes_nothing_and_a_changed_one_makes_a_revision(
    session: Session, push_feed: Feed
) -> None:
    first = polling.push(session, push_feed, [pushed("eau")], now=NOW)
    again = polling.push(session, push_feed, [pushed("eau")], now=NOW)
    changed = polling.push(session, push_feed, [pushed("eau", title="Corrigé")], now=NOW)
    assert [(one.new, one.changed) for one in (first, again, changed)] == [(1, 0), (0, 0), (0, 1)]
    assert session.execute(select(Article.revision)).scalar_one() == 1


def test_everything_pushed_counts_as_new(session: Session, push_feed: Feed) -> None:
    polling.push(session, push_feed, [pushed("eau", published="2020-01-01")], now=NOW)
    (link,) = session.execute(select(NewsletterFeed).where(NewsletterFeed.feed_id == push_feed.id)).scalars()
    counted = baselines.counted_from(link.newsletter_id)
    assert session.execute(select(counted).select_from(Article)).scalar_one() == NOW


def test_a_pushed_article_can_be_taken_back(session: Session, push_feed: Feed) -> None:
    polling.push(session, push_feed, [pushed("eau"), pushed("rail")], now=NOW)
    (withdrawn,) = polling.take_back(session, push_feed, ["eau"])
    assert session.get_one(Article, withdrawn, populate_existing=True).status == ArticleStatus.WITHDRAWN
    assert polling.take_back(session, push_feed, ["eau"]) == []


@pytest.mark.parametrize("values", [{"title": " "}, {"link": "", "guid": "x"}, {"link": "ftp://courrier.example/eau"}])
def test_an_article_without_a_title_or_an_address_is_refused_and_nothing_is_stored(
    session: Session, push_feed: Feed, values: dict[str, str]
) -> None:
    with pytest.raises(polling.PushInvalid, match="Article 2"):
        polling.push(session, push_feed, [pushed("rail"), pushed("eau", **values)], now=NOW)
    assert session.execute(select(Article)).first() is None


def test_too_many_at_once_are_refused(session: Session, push_feed: Feed) -> None:
    many = [pushed(str(n)) for n in range(polling.MOST_PUSHED + 1)]
    with pytest.raises(polling.PushInvalid, match="at most 500"):
        polling.push(session, push_feed, many, now=NOW)


def test_a_pushed_feed_is_never_read(session: Session, push_feed: Feed) -> None:
    push_feed.next_read_at = NOW
    session.flush()
    assert push_feed.id not in polling.due_feeds(session, now=clock.now(), limit=100)
    assert polling.add_push_feed(session, session.execute(select(Newsletter)).scalar_one(), now=NOW) is push_feed
