"""The newsroom's desk: the feeds of a newsletter and the articles that they gave."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mailer import clock
from mailer.articles import intake, polling
from mailer.db import transaction
from mailer.models.choices import Pin
from mailer.models.content import Article, Feed, NewsletterFeed
from mailer.models.intake import ArticleStatus, Baseline, StatusCode
from mailer.models.pictures import Picture, PictureState
from mailer.newsroom import newsletters
from tests import site as sites
from tests.conftest import SmtpInbox
from tests.desk import field, hidden, press, running_desk, sign_in, speak
from tests.factories import an_article, the_feed

PATH = "/admin/newsletters/courrier"
FEEDS = f"{PATH}/feeds"
ARTICLES = f"{PATH}/articles"
NEXT = f"{PATH}/next"
RSS = """<rss version="2.0"><channel><title>{title}</title><link>{link}</link>
<item><title>Un titre</title><link>{link}/1</link><guid>1</guid></item></channel></rss>"""


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


@pytest.fixture
def other() -> Iterator[sites.Site]:
    """A site of others."""
    with sites.running() as running:
        yield running


def the_link(url: str) -> NewsletterFeed | None:
    """How the newsletter draws from the feed at an address."""
    with transaction() as session:
        drawn = newsletters.feeds(session, newsletters.get(session, "courrier"))
        ids = {one.url: one.id for one in drawn}
        newsletter_id = newsletters.get(session, "courrier").id
        return session.get(NewsletterFeed, (newsletter_id, ids[url])) if url in ids else None


def written(slug: str = "eau", **values: object) -> int:
    """An article of the newsletter's feed, first seen a moment ago. Returns its id."""
    with transaction() as session:
        seen = clock.now() - timedelta(minutes=1)
        return an_article(session, newsletters.get(session, "courrier"), slug, seen=seen, **values).id


def article(article_id: int) -> Article:
    """As it is now."""
    with transaction() as session:
        return session.get_one(Article, article_id)


def test_a_feed_is_found_from_the_address_of_its_site(desk: httpx.Client, other: sites.Site) -> None:
    other.put("/", '<link rel="alternate" type="application/rss+xml" href="/rss.xml">')
    other.put("/rss.xml", RSS.format(title="Le site", link=other.url()), content_type="application/rss+xml")
    added = press(desk, FEEDS, FEEDS, url=other.url(), baseline="last", count="3")
    assert added.headers["location"] == f"{FEEDS}?done=feed-added"
    link = the_link(other.url("/rss.xml"))
    assert link is not None
    assert (link.baseline, link.baseline_count) == (Baseline.LAST, 3)


def test_of_several_feeds_of_a_site_one_is_chosen(desk: httpx.Client, other: sites.Site) -> None:
    links = "".join(f'<link rel="alternate" type="application/rss+xml" href="/{name}.xml">' for name in ("a", "b"))
    other.put("/", links)
    for name in ("a", "b"):
        other.put(f"/{name}.xml", RSS.format(title=name, link=other.url()), content_type="application/rss+xml")
    asked = press(desk, FEEDS, FEEDS, url=other.url(), baseline="none")
    assert "The site has 2 feeds" in asked.text
    answer = {**hidden(asked), "asked": field(asked, "asked"), "url": other.url(), "baseline": "none"}
    chosen = desk.post(FEEDS, data={**answer, "chosen": other.url("/b.xml")})
    assert chosen.status_code == 303
    assert the_link(other.url("/a.xml")) is None
    link = the_link(other.url("/b.xml"))
    assert link is not None
    assert link.baseline == Baseline.NONE


def test_a_feed_that_cannot_be_read_now_is_added_when_the_editor_insists(desk: httpx.Client) -> None:
    url = "http://127.0.0.1:1/feed.xml"
    refused = press(desk, FEEDS, FEEDS, url=url)
    assert refused.status_code == 422
    assert "refused the connection" in refused.text
    assert field(refused, "url") == url
    assert the_link(url) is None
    assert desk.post(FEEDS, data={**hidden(refused), "url": url, "act": "insist"}).status_code == 303
    assert the_link(url) is not None


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"url": "not an address"}, "url"),
        ({"url": "https://["}, "url"),
        ({"url": ""}, "url"),
        ({"url": "https://courrier.example", "baseline": "last", "count": "many"}, "count"),
        ({"url": "https://courrier.example", "baseline": "since", "since": "soon"}, "since"),
    ],
)
def test_what_is_no_feed_is_said_at_its_field(desk: httpx.Client, given: dict[str, str], wrong: str) -> None:
    refused = press(desk, FEEDS, FEEDS, **given)
    assert refused.status_code == 422
    assert f'id="{wrong}-error"' in refused.text
    assert field(refused, "url") == given["url"]


def test_a_site_without_feeds_is_said_so(desk: httpx.Client, other: sites.Site) -> None:
    other.put("/", "<title>Rien</title>")
    refused = press(desk, FEEDS, FEEDS, url=other.url())
    assert (refused.status_code, "No feed was found" in refused.text) == (422, True)


def test_the_feeds_page_tells_failures_silence_and_held_articles(desk: httpx.Client) -> None:
    now = clock.now()
    written("held", status=ArticleStatus.HELD, status_code=StatusCode.KNOWN_TITLE)
    with transaction() as session:
        feed = the_feed(session, newsletters.get(session, "courrier"))
        feed.error, feed.failures, feed.last_read_at = "courrier.example answered 404 Not Found.", 3, now
        feed.last_success_at = now - timedelta(hours=2)
    page = desk.get(FEEDS).text
    assert "3 failures in a row" in page
    assert "answered 404 Not Found" in page
    assert f'href="{ARTICLES}?show=held">1 held' in page
    with transaction() as session:
        feed = session.get_one(Feed, feed.id)
        feed.error, feed.failures, feed.silent_since = None, 0, now - timedelta(days=3)
    assert "Silent since" in desk.get(FEEDS).text
    assert "is silent for longer than usual" in desk.get("/admin").text


def test_a_feed_that_is_pushed_is_not_called_unread(desk: httpx.Client) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        the_feed(session, newsletter).last_success_at = clock.now()
        polling.add_push_feed(session, newsletter, now=clock.now())
    for path in (PATH, FEEDS):
        page = desk.get(path).text
        assert ">Pushed</span>" in page
        assert "Not read yet" not in page


def test_the_baseline_of_a_feed_is_changed(desk: httpx.Client) -> None:
    with transaction() as session:
        feed = the_feed(session, newsletters.get(session, "courrier"))
    path = f"{FEEDS}/{feed.id}/baseline"
    assert press(desk, FEEDS, path, baseline="since", since="2026-11-01").status_code == 303
    link = the_link(feed.url)
    assert link is not None
    assert f"{link.baseline_since:%Y-%m-%dT%H:%M}" == "2026-10-31T23:00", "midnight in Paris"
    assert 'value="2026-11-01"' in desk.get(FEEDS).text
    assert press(desk, FEEDS, path, baseline="last", count="0").status_code == 422


def test_a_feed_is_read_and_removed(desk: httpx.Client) -> None:
    with transaction() as session:
        feed = the_feed(session, newsletters.get(session, "courrier"))
    assert press(desk, FEEDS, f"{FEEDS}/{feed.id}/read").status_code == 303
    press(desk, f"{FEEDS}/{feed.id}/remove", f"{FEEDS}/{feed.id}/remove")
    assert the_link(feed.url) is None
    token = hidden(desk.get(FEEDS))["csrf"]
    assert desk.post(f"{FEEDS}/{feed.id}/read", data={"csrf": token}).status_code == 404


def test_held_articles_are_shown_with_their_reason_and_released(desk: httpx.Client) -> None:
    ids = [written(name, status=ArticleStatus.HELD, status_code=StatusCode.KNOWN_TITLE) for name in ("a", "b", "c")]
    page = desk.get(f"{ARTICLES}?show=held").text
    assert "3 articles are held" in page
    assert "its title is known already" in page
    press(desk, ARTICLES, ARTICLES, article=str(ids[0]), act="release")
    press(desk, ARTICLES, ARTICLES, article=str(ids[1]), act="withdraw")
    assert [article(one).status for one in ids] == ["ready", "withdrawn", "held"]
    press(desk, f"{ARTICLES}?show=held", ARTICLES, act="release-all")
    assert [article(one).status for one in ids] == ["ready", "withdrawn", "ready"]


def test_an_article_of_another_newsletter_is_not_found(desk: httpx.Client) -> None:
    token = hidden(desk.get(FEEDS))["csrf"]
    for wanted in ("99", "x", "", "9" * 30):
        answer = desk.post(ARTICLES, data={"csrf": token, "act": "hold", "article": wanted})
        assert answer.status_code == 404, wanted


def test_an_article_is_pinned_until_a_moment_of_the_newsletters_zone_and_unpinned(desk: httpx.Client) -> None:
    article_id = written()
    until = (clock.now() + timedelta(days=5)).replace(second=0, microsecond=0)
    path = f"{ARTICLES}/{article_id}/pin"
    assert press(desk, path, path, until="2099-07-01T08:00", priority="7").headers["location"] == f"{NEXT}?done=pinned"
    with transaction() as session:
        pin = session.get_one(Pin, (newsletters.get(session, "courrier").id, article_id))
        assert (f"{pin.until:%Y-%m-%dT%H:%M}", pin.priority) == ("2099-07-01T06:00", 7), "summer in Paris"
    assert "Pinned until" in desk.get(f"{ARTICLES}?show=pinned").text
    assert "pinned until 1\u00a0Jul\u00a02099, 08:00" in desk.get(NEXT).text
    press(desk, NEXT, ARTICLES, article=str(article_id), act="unpin", **{"from": "next"})
    assert "No article is pinned" in desk.get(f"{ARTICLES}?show=pinned").text
    refused = press(desk, path, path, until=f"{until - timedelta(days=9):%Y-%m-%dT%H:%M}", priority="-1")
    assert refused.status_code == 422
    assert all(f'id="{name}-error"' in refused.text for name in ("until", "priority"))


@pytest.mark.parametrize(
    ("values", "english", "french"),
    [
        ({}, "Neither the feed nor its page names a picture.", "Ni le flux ni sa page"),
        ({"state": None}, "Its picture is not fetched yet.", "Son image n’est pas encore"),
        (
            {"state": PictureState.REFUSED, "reason": "The picture is too small to be shown: 20 × 30 pixels."},
            "No picture: The picture is too small to be shown: 20 × 30 pixels.",
            "L’image est trop petite pour être montrée : 20 × 30 pixels.",
        ),
        (
            {"state": PictureState.WAITING, "reason": "site.example did not finish within 10 s.", "tries": 1},
            "No picture yet: site.example did not finish within 10 s. It is tried again.",
            "site.example n’a pas fini dans les 10 s. On réessaie.",
        ),
    ],
)
def test_the_next_issue_says_why_an_article_has_no_picture(
    desk: httpx.Client, values: dict[str, object], english: str, french: str
) -> None:
    now, url = clock.now(), "https://courrier.example/eau.jpg"
    written(image_url=url if values else None)
    if values.get("state"):
        with transaction() as session:
            session.add(Picture(url=url, due_at=now, created_at=now, updated_at=now, **values))
    assert english in desk.get(NEXT).text.replace("</span>", "")
    speak("fr")
    assert french in desk.get(NEXT).text.replace("\u00a0", " ")


def test_what_was_there_before_a_feed_is_listed_apart(desk: httpx.Client) -> None:
    written("ancien")
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        link = session.get_one(NewsletterFeed, (newsletter.id, the_feed(session, newsletter).id))
        link.stock_until, link.baseline = clock.now(), Baseline.NONE
    page = desk.get(NEXT).text
    assert re.search(r"There before its feed was added <span[^>]*>1</span>", page)
    assert "0 articles would be in it" in page


def test_reasons_are_said_in_french_with_the_moments_of_the_newsletters_zone(desk: httpx.Client) -> None:
    with transaction() as session:
        intake.hold(session, [written("retenu")])
    written("train", published_at=clock.now() + timedelta(days=2))
    speak("fr")
    page = desk.get(NEXT).text
    assert "retenu par la rédaction" in page
    assert "daté dans l’avenir" in page
    assert "UTC" not in page
