"""Feeds and articles from the command line: found, added with a baseline, held and released."""

from collections.abc import Iterator

import pytest

from mailer.db import transaction
from tests import site as sites
from tests.command import mailer
from tests.factories import a_newsletter, an_article
from tests.site import Site

ITEM = "<item><title>{0}</title><link>https://courrier.example/{0}</link><pubDate>{1} Nov 2026 06:00:00 GMT</pubDate></item>"
LINK = '<link rel="alternate" type="application/rss+xml" href="{}">'


def rss(title: str, *days: int) -> str:
    items = "".join(ITEM.format(f"a{day}", day) for day in days)
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>{title}</title>{items}</channel></rss>'


def page(*feeds: str) -> str:
    return f"<html><head>{''.join(map(LINK.format, feeds))}</head><body>Le Courrier</body></html>"


@pytest.fixture
def site(installation) -> Iterator[Site]:
    with transaction() as session:
        a_newsletter(session)
    with sites.running() as running:
        running.put("/", page("/feed"))
        running.put("/feed", rss("Le Courrier", 10, 11, 12, 13))
        yield running


def test_a_site_is_added_by_the_feed_that_it_announces(site: Site) -> None:
    ran = mailer("--json", "feed", "add", "courrier", site.url("/"), "--baseline", "last:3")
    assert ran.code == 0
    assert [(row["articles"], row["let_in"], row["error"]) for row in ran.value] == [(4, 3, None)]
    listed = mailer("--json", "feed", "list", "courrier").value
    assert site.url("/feed") in [row["url"] for row in listed]


def test_a_baseline_is_changed_by_adding_the_feed_again(site: Site) -> None:
    for baseline, count in (("none", 0), ("since:2026-11-12", 2)):
        ran = mailer("--json", "feed", "add", "courrier", site.url("/feed"), "--baseline", baseline)
        assert [row["let_in"] for row in ran.value] == [count]


@pytest.mark.parametrize("baseline", ["last", "last:0", "since:soon", "all"])
def test_a_baseline_that_is_none_is_told_so(site: Site, baseline: str) -> None:
    ran = mailer("feed", "add", "courrier", site.url("/feed"), "--baseline", baseline)
    assert (ran.code, ran.out) == (2, "")
    assert site.asked == []


def test_of_several_feeds_none_is_taken_by_guess(site: Site) -> None:
    site.put("/", page("/feed", "/culture"))
    site.put("/culture", rss("Culture", 10))
    ran = mailer("feed", "add", "courrier", site.url("/"))
    assert ran.code == 2
    assert site.url("/culture") in ran.err
    assert [row["url"] for row in mailer("--json", "feed", "discover", site.url("/")).value] == [
        site.url("/feed"),
        site.url("/culture"),
    ]


def test_a_site_without_a_feed_adds_nothing(site: Site) -> None:
    site.put("/", "<html><body>Le Courrier</body></html>")
    site.pages.pop("/feed")
    ran = mailer("feed", "add", "courrier", site.url("/"))
    assert ran.code == 3
    assert "No feed was found" in ran.err
    assert len(mailer("--json", "feed", "list", "courrier").value) == 1


def test_an_article_is_held_listed_and_released(installation) -> None:
    with transaction() as session:
        article_id = an_article(session, a_newsletter(session), "eau").id
    assert mailer("article", "hold", str(article_id)).out == "1 held.\n"
    (row,) = mailer("--json", "article", "list", "courrier", "--status", "held").value
    assert (row["id"], row["reason"]) == (article_id, "held by the newsroom")
    assert mailer("article", "release", str(article_id)).out == "1 released.\n"
    assert mailer("--json", "article", "list", "courrier", "--status", "held").value == []
    assert mailer("article", "withdraw", "999").code == 3
