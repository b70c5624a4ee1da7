"""Issues on the web: pages without tokens, the archive, feeds that readers of feeds understand, and what robots may list."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import feedparser
import httpx
import pytest
from lxml import etree
from sqlalchemy import update

from mailer import clock
from mailer.articles import pictures, shrinking
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Issue, IssueState, Newsletter
from mailer.models.pictures import Picture
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import an_article, readers
from tests.web_site import Site, heading, running_site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def publish(count: int = 1, **values: object) -> list[int]:
    """Send so many issues, of which the first is number 1; `values` change the newsletter."""
    made = []
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletters.edit(session, newsletter, values=dict(values), now=clock.now())
        readers(session, newsletter, 1)
    for n in range(count):
        with transaction() as session:
            newsletter = newsletters.get(session, "courrier")
            an_article(
                session, newsletter, f"eau-{n}", seen=clock.now() - timedelta(milliseconds=5), title=f"L’eau <{n}> & co"
            )
            issue = issues.draft(session, newsletter, now=clock.now())
            issues.start(session, issue, batch_size=10, now=clock.now())
            made.append(issue.id)
    return made


def meta(page: httpx.Response, name: str) -> list[str]:
    return re.findall(rf'<meta (?:property|name)="{name}" content="([^"]*)">', page.text)


def test_an_issue_is_read_by_its_number_or_by_the_address_in_its_mails(site: Site) -> None:
    (issue_id,) = publish()
    pages = [site.client.get(path) for path in ("/courrier/1", f"/i/{issue_id}")]
    assert pages[0].text == pages[1].text
    assert pages[0].status_code == 200
    assert f'<link rel="canonical" href="{site.url}/courrier/1">' in pages[0].text


def test_a_page_says_what_it_is_to_who_shows_a_link_to_it(site: Site) -> None:
    publish()
    page = site.client.get("/courrier/1")
    assert meta(page, "og:title") == ["L’eau &lt;0&gt; &amp; co"]
    assert meta(page, "og:description") == meta(page, "description") == ["Le résumé de eau-0."]
    assert meta(page, "og:url") == [f"{site.url}/courrier/1"]
    assert meta(page, "og:site_name") == ["Le Courrier d’Asie centrale"]


def test_the_leads_picture_stands_for_the_issue(site: Site) -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        picture = Picture(url="https://courrier.example/eau.jpg", due_at=now, created_at=now, updated_at=now)
        session.add(picture)
        session.flush()
        file = shrinking.File(use="lead", width=1104, height=621, kind="jpg", content=b"")
        pictures.keep(session, picture.id, shrinking.Shrunk(digest="a" * 32, files=(file,)), now=now)
        an_article(session, newsletter, "eau", seen=now - timedelta(milliseconds=5), image_url=picture.url)
        readers(session, newsletter, 1)
    with transaction() as session:
        issue = issues.draft(session, newsletters.get(session, "courrier"), now=clock.now())
        issues.start(session, issue, batch_size=10, now=clock.now())
    page = site.client.get("/courrier/1")
    assert meta(page, "og:image") == [f"{site.url}/img/{'a' * 32}/1104.jpg"]
    assert meta(page, "twitter:card") == ["summary_large_image"]


def test_no_page_of_an_issue_holds_a_token_or_a_pixel(site: Site) -> None:
    publish(2, tracks_clicks=True, tracks_opens=True, tracks_readers=True)
    for path in ("/courrier/1", "/courrier/archive", "/courrier/feed.rss", "/courrier/feed.atom"):
        text = site.client.get(path).text
        assert not re.search(r"/(?:u|p|c|o|confirm)/", text), path
        assert "example.org" not in text


def test_an_issue_leads_to_its_neighbours_the_archive_and_the_form(site: Site) -> None:
    publish(3)
    page = site.client.get("/courrier/2").text
    assert re.search(r'<a rel="prev" href="/courrier/1" lang="fr">L’eau &lt;0&gt;', page)
    assert re.search(r'<a rel="next" href="/courrier/3" lang="fr">L’eau &lt;2&gt;', page)
    assert '<a href="/courrier/archive">Tous les numéros</a>' in page
    assert 'href="/courrier">Inscrivez-vous à la newsletter</a>' in page
    assert 'rel="next"' not in site.client.get("/courrier/3").text


def test_what_stands_around_an_issue_speaks_the_language_that_the_address_asks_for(site: Site) -> None:
    publish(2)
    page = site.client.get("/courrier/2?lang=en").text
    assert '<nav class="web" lang="en"' in page
    assert '<a class="go" href="/courrier?lang=en">Subscribe to the newsletter</a>' in page
    assert '<a rel="prev" href="/courrier/1?lang=en" lang="fr">' in page
    assert '<span lang="en" aria-current="true">English</span>' in page
    assert '<a href="/courrier/2?lang=kk" lang="kk" hreflang="kk">' in page
    # The copy itself is the newsletter's, and search engines know it by one address.
    assert '<html lang="fr"' in page
    assert re.search(r'<link rel="canonical" href="[^"?]+/courrier/2">', page)
    plain = site.client.get("/courrier/2", headers={"Accept-Language": "en"}).text
    assert "Inscrivez-vous à la newsletter" in plain


@pytest.mark.parametrize("path", ["/courrier/0", "/courrier/2", "/courrier/999999999999999999999", "/none/1", "/i/77"])
def test_an_issue_that_is_not_there_is_a_page_that_says_so(site: Site, path: str) -> None:
    publish()
    assert site.client.get(path).status_code == 404


def test_a_draft_is_nobodys_to_read(site: Site) -> None:
    publish()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "secret", seen=clock.now() - timedelta(milliseconds=5))
        issue_id = issues.draft(session, newsletter, now=clock.now()).id
    assert site.client.get(f"/i/{issue_id}").status_code == 404
    assert "secret" not in site.client.get("/courrier/archive").text


def test_search_engines_list_only_what_the_newsletter_lets_them(site: Site) -> None:
    publish()
    for path in ("/courrier/1", "/courrier/archive"):
        page = site.client.get(path)
        assert page.headers["x-robots-tag"] == "noindex"
        assert meta(page, "robots") == ["noindex"]
    assert "/courrier/1" not in site.client.get("/sitemap.xml").text
    with transaction() as session:
        session.execute(update(Newsletter).values(is_indexable=True))
    for path in ("/courrier/1", "/courrier/archive"):
        page = site.client.get(path)
        assert "x-robots-tag" not in page.headers
        assert meta(page, "robots") == []
    tree = etree.fromstring(site.client.get("/sitemap.xml").content)
    locations = [one.text for one in tree.iter("{*}loc")]
    assert f"{site.url}/courrier/1" in locations
    assert f"{site.url}/courrier/archive" in locations


def test_robots_learn_of_the_sitemap_and_stay_away_from_tokens(site: Site) -> None:
    text = site.client.get("/robots.txt").text
    assert f"Sitemap: {site.url}/sitemap.xml" in text
    for path in ("/u/", "/p/", "/confirm/", "/c/", "/o/", "/admin"):
        assert f"Disallow: {path}\n" in text


def test_the_archive_lists_issues_by_month_in_the_language_of_the_page(site: Site) -> None:
    first, second = publish(2)
    with transaction() as session:
        moved = update(Issue).where(Issue.id == first)
        session.execute(moved.values(started_at=datetime(2025, 11, 1, 6, tzinfo=UTC)))
        session.execute(
            update(Issue).where(Issue.id == second).values(started_at=datetime(2025, 12, 31, 23, 30, tzinfo=UTC))
        )
    page = site.client.get("/courrier/archive")
    assert heading(page) == "Tous les numéros"
    # In Paris the second left in January.
    assert re.findall(r"<h2>(.*?)</h2>", page.text) == ["Janvier 2026", "Novembre 2025"]
    assert re.findall(r"<h2>(.*?)</h2>", site.client.get("/courrier/archive?lang=en").text) == [
        "January 2026",
        "November 2025",
    ]
    assert "Январь 2026" in site.client.get("/courrier/archive?lang=ru").text
    assert site.client.get("/archive").headers["location"] == "/courrier/archive"


def test_a_long_archive_comes_in_pages_under_30_kb(site: Site) -> None:
    (issue_id,) = publish()
    with transaction() as session:
        found = issues.get(session, issue_id)
        values = {
            **{
                name: getattr(found, name)
                for name in ("newsletter_id", "preview_text", "web_html", "started_at", "created_at", "updated_at")
            },
            "state": IssueState.SENT,
            "subject": "Le Kazakhstan rouvre le dossier de l’eau du Syr-Daria, et le saxaoul regagne du terrain" * 2,
        }
        session.add_all([Issue(number=n, **values) for n in range(2, 72)])
    page = site.client.get("/courrier/archive")
    assert len(page.content) < 30_000
    assert len(re.findall(r'href="/courrier/\d+"', page.text)) == 60
    (older,) = re.findall(r'href="([^"]+before=\d+)', page.text)
    rest = site.client.get(older)
    assert len(re.findall(r'href="/courrier/\d+"', rest.text)) == 11
    assert "Numéros les plus récents" in rest.text


@pytest.mark.parametrize(("kind", "media_type"), [("rss", "application/rss+xml"), ("atom", "application/atom+xml")])
def test_a_feed_of_issues_is_read_without_complaint(site: Site, kind: str, media_type: str) -> None:
    publish(2)
    answer = site.client.get(f"/courrier/feed.{kind}")
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    found = feedparser.parse(answer.content)
    assert found.bozo is False
    assert found.feed.title == "Le Courrier d’Asie centrale"
    assert [(one.title, one.link) for one in found.entries] == [
        ("L’eau <1> & co", f"{site.url}/courrier/2"),
        ("L’eau <0> & co", f"{site.url}/courrier/1"),
    ]
    assert [one.summary for one in found.entries] == ["Le résumé de eau-1.", "Le résumé de eau-0."]
    assert len({one.id for one in found.entries}) == 2
    assert all(one.id.startswith("tag:localhost,") for one in found.entries)


@pytest.mark.parametrize("kind", ["rss", "atom"])
def test_who_has_a_feed_already_is_told_so(site: Site, kind: str) -> None:
    publish()
    first = site.client.get(f"/courrier/feed.{kind}")
    tag, changed = first.headers["etag"], first.headers["last-modified"]
    by_tag = site.client.get(f"/courrier/feed.{kind}", headers={"If-None-Match": f'"x", W/{tag}'})
    by_date = site.client.get(f"/courrier/feed.{kind}", headers={"If-Modified-Since": changed})
    assert [(one.status_code, one.content) for one in (by_tag, by_date)] == [(304, b"")] * 2
    earlier = {"If-Modified-Since": "Fri, 01 Jan 2010 00:00:00 GMT"}
    other = {"If-None-Match": '"x"', "If-Modified-Since": changed}
    for headers in (earlier, other, {"If-Modified-Since": "nonsense"}):
        assert site.client.get(f"/courrier/feed.{kind}", headers=headers).status_code == 200


def test_a_newsletter_without_issues_has_an_archive_and_feeds_all_the_same(site: Site) -> None:
    assert "Aucun numéro n’est encore paru" in site.client.get("/courrier/archive").text
    for kind in ("rss", "atom"):
        assert feedparser.parse(site.client.get(f"/courrier/feed.{kind}").content).bozo is False
    assert site.client.get("/courrier/feed.exe").status_code == 404
