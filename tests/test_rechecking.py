"""Pages of articles, looked at before an issue is made: what is gone is not mailed, and a broken site changes nothing."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select

from mailer import clock, scheduling, settings
from mailer.articles import rechecking
from mailer.db import transaction
from mailer.feeds.urls import canonical_url
from mailer.issues import issues
from mailer.models.content import Article, Newsletter
from mailer.models.intake import ArticleStatus, ImageSource
from tests import site as sites
from tests.factories import a_newsletter, an_article
from tests.site import Answer, Site
from tests.test_scheduling import a_due_newsletter

PAGE = "<html><head><title>{title}</title>{head}</head><body><h1>{title}</h1><p>Le texte.</p></body></html>"


@pytest.fixture
def site(installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("MAILER_CHECK_PAGES", "true")
    settings.load.cache_clear()
    with sites.running() as running:
        yield running


def articles(site: Site, *slugs: str, **values: object) -> list[int]:
    """Articles of a newsletter, first seen a minute ago, whose pages are on the site; their ids."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        seen = clock.now() - timedelta(minutes=1)
        for slug in slugs:
            site.put(f"/{slug}", PAGE.format(title=f"Le titre de {slug}", head=""))
        rows = []
        for slug in slugs:
            address = site.url(f"/{slug}")
            fields = {"url": address, "canonical_url": canonical_url(address), **values}
            rows.append(an_article(session, newsletter, slug, seen=seen, **fields))
        return [row.id for row in rows]


def recheck(ids: list[int], **values: float) -> rechecking.Rechecked:
    return rechecking.recheck(ids, second_look_seconds=0.01, **values)


def row(article_id: int) -> Article:
    with transaction() as session:
        return session.get_one(Article, article_id)


def reasons(ids: list[int]) -> list[str | None]:
    return [row(one).status_reason for one in ids]


def test_an_article_whose_page_answers_stays(site: Site) -> None:
    ids = articles(site, "eau")
    assert recheck(ids) == rechecking.Rechecked()
    assert reasons(ids) == [None]
    assert row(ids[0]).page_read_at is not None


@pytest.mark.parametrize("status", [404, 410])
def test_an_article_whose_page_is_gone_is_withdrawn(site: Site, status: int) -> None:
    ids = articles(site, "eau", "rail")
    site.pages["/eau"] = Answer(status=status)
    assert recheck(ids).withdrawn == (ids[0],)
    assert reasons(ids) == ["withdrawn: its page is gone", None]


def test_a_page_that_is_gone_for_a_moment_only_is_not_gone(site: Site) -> None:
    ids = articles(site, "eau")
    site.pages["/eau"] = [Answer(status=404), Answer(body=PAGE.format(title="Le titre de eau", head="").encode())]
    assert recheck(ids).withdrawn == ()
    assert site.asked == ["/eau", "/eau"]


@pytest.mark.parametrize("title", ["Page introuvable – Le Courrier", "404", "Page not found", "Страница не найдена"])
def test_a_page_that_says_in_words_that_it_is_gone_is_gone(site: Site, title: str) -> None:
    ids = articles(site, "eau")
    site.put("/eau", PAGE.format(title=title, head=""))
    recheck(ids)
    assert reasons(ids) == ["withdrawn: its page says that there is no such article"]


def test_an_article_about_pages_that_are_not_found_is_not_gone(site: Site) -> None:
    ids = articles(site, "eau", title="Erreur 404 : l’histoire d’une page introuvable")
    site.put("/eau", PAGE.format(title="Erreur 404 : l’histoire d’une page introuvable | Le Courrier", head=""))
    assert recheck(ids).withdrawn == ()


def test_a_page_that_leads_to_the_front_page_is_gone(site: Site) -> None:
    ids = articles(site, "eau", "rail")
    site.put("/", PAGE.format(title="Le Courrier", head=""))
    site.pages["/eau"] = Answer(status=302, location="/")
    assert recheck(ids).withdrawn == (ids[0],)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_site_that_refuses_or_fails_withdraws_nothing(site: Site, status: int) -> None:
    ids = articles(site, "eau")
    site.pages["/eau"] = Answer(status=status)
    assert recheck(ids).withdrawn == ()


def test_a_site_that_cannot_be_reached_withdraws_nothing(site: Site) -> None:
    ids = articles(site, "eau", "rail", url="http://127.0.0.1:1/eau")
    assert recheck(ids).withdrawn == ()
    assert reasons(ids) == [None, None]


def test_a_site_where_everything_is_gone_at_once_is_not_believed(site: Site) -> None:
    ids = articles(site, "eau", "rail", "air", "sel")
    for slug in ("eau", "rail", "air"):
        site.pages[f"/{slug}"] = Answer(status=404)
    assert recheck(ids).withdrawn == ()
    assert reasons(ids) == [None] * 4


def test_an_article_returns_with_its_page_and_counts_as_new(site: Site) -> None:
    ids = articles(site, "eau")
    site.pages["/eau"] = Answer(status=404)
    recheck(ids)
    seen = row(ids[0]).first_seen_at
    site.put("/eau", PAGE.format(title="Le titre de eau", head=""))
    with transaction() as session:
        newsletter_id = session.execute(select(Newsletter.id)).scalar_one()
    assert rechecking.recheck_next(newsletter_id).returned == (ids[0],)
    assert row(ids[0]).status == ArticleStatus.READY
    assert row(ids[0]).first_seen_at > seen


def test_what_takes_a_withdrawn_articles_place_is_rechecked_too(site: Site) -> None:
    ids = articles(site, "eau", "rail", "air")
    with transaction() as session:
        newsletter = session.execute(select(Newsletter)).scalar_one()
        newsletter.max_articles = 1
        newsletter_id = newsletter.id
    # Newest first, then as the feed has them.
    site.pages["/eau"] = site.pages["/rail"] = Answer(status=410)
    assert set(rechecking.recheck_next(newsletter_id).withdrawn) == set(ids[:2])


def test_pages_are_not_looked_at_when_the_settings_say_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_CHECK_PAGES", "false")
    settings.load.cache_clear()
    ids = articles(site, "eau")
    recheck(ids)
    with transaction() as session:
        rechecking.look_at_new(session.get_one(Article, ids[0]).feed_id)
    assert site.asked == []


def test_time_that_is_up_leaves_the_articles_alone(site: Site) -> None:
    ids = articles(site, "eau")
    site.pages["/eau"] = Answer(status=404)
    assert recheck(ids, seconds=0).withdrawn == ()
    assert row(ids[0]).page_read_at is None


def test_an_automatic_issue_leaves_out_what_is_gone(site: Site) -> None:
    newsletter_id = a_due_newsletter(articles=3)
    site.put("/a0", PAGE.format(title="Le titre de a0", head=""))
    site.put("/a2", PAGE.format(title="Le titre de a2", head=""))
    with transaction() as session:
        for article in session.execute(select(Article)).scalars():
            article.url = site.url(f"/{article.guid}")
    issue_id = scheduling.make_issue(newsletter_id)
    assert issue_id is not None
    with transaction() as session:
        assert {article.guid for article, _ in issues.placed(session, issue_id)} == {"a0", "a2"}


# What a new article's page says


def look(site: Site, head: str, slug: str = "eau", **values: object) -> Article:
    ids = articles(site, slug, **values)
    site.put(f"/{slug}", PAGE.format(title=f"Le titre de {slug}", head=head))
    rechecking.look_at_new(row(ids[0]).feed_id)
    return row(ids[0])


def test_a_picture_that_the_feed_lacks_comes_from_the_page(site: Site) -> None:
    found = look(site, '<meta property="og:image" content="/i.jpg"><meta property="og:image:alt" content="Le lac">')
    assert (found.image_url, found.image_alt, found.image_source) == (site.url("/i.jpg"), "Le lac", ImageSource.PAGE)


@pytest.mark.parametrize(
    ("source", "wins"), [(ImageSource.FEED, "feed"), (None, "feed"), (ImageSource.TEXT, "page")], ids=str
)
def test_the_pages_picture_comes_after_one_named_by_the_feed_and_before_one_in_the_text(
    site: Site, source: ImageSource | None, wins: str
) -> None:
    head = '<meta property="og:image" content="/i.jpg">'
    found = look(site, head, image_url="https://a.example/f.jpg", image_source=source)
    assert found.image_url == {"feed": "https://a.example/f.jpg", "page": site.url("/i.jpg")}[wins]


def test_a_picture_that_all_pages_share_is_no_articles(site: Site) -> None:
    ids = articles(site, "eau", "rail", "sel")
    for slug in ("eau", "rail", "sel"):
        site.put(f"/{slug}", PAGE.format(title=slug, head='<meta property="og:image" content="/logo.png">'))
    rechecking.look_at_new(row(ids[0]).feed_id)
    assert [row(one).image_url for one in ids] == [None, None, None]


def test_a_page_for_paying_readers_leaves_a_teaser(site: Site) -> None:
    head = '<script type="application/ld+json">{"isAccessibleForFree": "False"}</script>'
    found = look(site, head, html="<p>Tout le texte.</p>")
    assert (found.is_locked, found.html, found.excerpt) == (True, "", "Le résumé de eau.")


def test_an_articles_proper_address_is_its_pages(site: Site) -> None:
    found = look(site, '<link rel="canonical" href="https://agency.example/eau?utm_medium=x">')
    assert found.canonical_url == "https://agency.example/eau"


@pytest.mark.parametrize("href", ["/", "https://agency.example/"])
def test_a_front_page_is_no_articles_proper_address(site: Site, href: str) -> None:
    found = look(site, f'<link rel="canonical" href="{href}">')
    assert found.canonical_url == canonical_url(found.url)


def test_a_proper_address_that_several_pages_give_is_nobodys(site: Site) -> None:
    ids = articles(site, "eau", "rail")
    for slug in ("eau", "rail"):
        site.put(f"/{slug}", PAGE.format(title=slug, head='<link rel="canonical" href="/dossier">'))
    rechecking.look_at_new(row(ids[0]).feed_id)
    assert [row(one).canonical_url for one in ids] == [canonical_url(row(one).url) for one in ids]


def test_a_new_article_whose_page_is_not_there_yet_is_not_withdrawn(site: Site) -> None:
    ids = articles(site, "eau")
    site.pages["/eau"] = Answer(status=404)
    rechecking.look_at_new(row(ids[0]).feed_id)
    assert reasons(ids) == [None]


def test_a_page_is_looked_at_once(site: Site) -> None:
    ids = articles(site, "eau")
    for _ in range(2):
        rechecking.look_at_new(row(ids[0]).feed_id)
    assert site.asked == ["/eau"]
