"""The newsroom's desk: its pages, newsletters, feeds and subscribers."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.db import transaction
from mailer.issues import issues
from mailer.models.content import Article
from mailer.newsroom import newsletters, webhooks
from tests.conftest import SmtpInbox
from tests.desk import (
    OPEN_PATHS,
    a_topic,
    drafted,
    field,
    filled,
    press,
    routes,
    running_desk,
    sign_in,
    speak,
    started,
)
from tests.factories import an_article, readers
from tests.web_site import pending_reader

# Pages that show something in some states only; and the stream of a send, which lasts as long as it.
ONLY_THEN = (
    "/review",
    "/schedule",
    "/settle",
    "/welcome",
    "/welcome/look",
    "/settings",
    "/{server_id}",
    "/test",
    "/others",
)


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def _known(session: Session) -> dict[str, int]:
    newsletter = newsletters.get(session, "courrier")
    article = session.execute(select(Article.id)).scalars().first()
    return {"feed_id": newsletters.feeds(session, newsletter)[0].id, "article_id": article or 0}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_shows_without_trouble(desk: httpx.Client, language: str) -> None:
    speak(language)
    issue_id = started()
    a_topic()
    with transaction() as session:
        ids = {"issue_id": issue_id, **_known(session)}
        told = webhooks.Wanted(url="https://crm.example/hook")
        ids["webhook_id"] = webhooks.create(session, told, by="Camille", now=clock.now()).id
    for method, path in routes():
        if method == "GET" and path not in OPEN_PATHS and "progress" not in path and not path.endswith(ONLY_THEN):
            response = desk.get(filled(path, **ids))
            assert response.status_code == 200, path
            assert "<script>" not in response.text
            assert response.headers["cache-control"] == "no-store"
    assert f'<html lang="{language}"' in desk.get("/admin").text


def test_the_overview_tells_what_comes_next(desk: httpx.Client) -> None:
    drafted()
    page = desk.get("/admin").text
    assert "07:00" in page
    assert "3 articles so far" in page
    assert "Le titre de eau" in page


def test_the_sandbox_is_marked_on_every_page(desk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Sandbox" not in desk.get("/admin").text
    monkeypatch.setenv("MAILER_SANDBOX", "true")
    monkeypatch.setenv("MAILER_INBOX_URL", "http://localhost:8025")
    settings.load.cache_clear()
    assert 'href="http://localhost:8025"' in desk.get("/admin/subscribers").text


def test_what_readers_and_feeds_wrote_is_shown_as_text(desk: httpx.Client) -> None:
    now, bad = clock.now(), "<img src=x onerror=alert(1)>"
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "bad", seen=now - timedelta(minutes=1), title=bad, author=bad, topics=[bad])
        newsletters.feeds(session, newsletter)[0].error = bad
        issue_id = issues.draft(session, newsletter, now=now).id
    for path in (
        "/admin",
        "/admin/issues",
        f"/admin/issues/{issue_id}",
        "/admin/newsletters/courrier/next",
        "/admin/newsletters/courrier/articles",
        "/admin/newsletters/courrier/feeds",
        "/admin/newsletters/courrier/new-topic",
        f"/admin/issues/{issue_id}/review",
    ):
        page = desk.get(path).text
        assert bad not in page, path
        assert html.escape(bad) in page, path


def test_the_next_issue_is_shown_with_reasons_and_drafted_on_demand(desk: httpx.Client) -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        an_article(session, newsletter, "futur", seen=now - timedelta(minutes=1), published_at=now + timedelta(days=2))
    page = desk.get("/admin/newsletters/courrier/next").text
    assert "among the newest articles, for the first issue" in page
    assert "dated in the future" in page
    response = press(desk, "/admin/newsletters/courrier/next", "/admin/newsletters/courrier/next")
    assert re.fullmatch(r"/admin/issues/\d+\?done=drafted", response.headers["location"])
    assert desk.get(response.headers["location"]).status_code == 200


def test_the_next_issue_is_shown_as_of_a_moment_and_as_a_reader_gets_it(desk: httpx.Client) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        readers(session, newsletter, 1)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
    path = "/admin/newsletters/courrier/next"
    assert "after the cut-off at 1\u00a0Jan\u00a02020, 08:00" in desk.get(path, params={"at": "2020-01-01T08:00"}).text
    page = desk.get(path, params={"as": "r0@example.org"})
    assert "Le titre de eau" in page.text
    assert ">Draft this issue<" not in page.text
    unknown = desk.get(path, params={"as": "nobody@example.org", "at": "soon"})
    assert (unknown.status_code, "This address is no reader" in unknown.text) == (404, True)


def test_an_issue_of_nothing_cannot_be_drafted(desk: httpx.Client) -> None:
    token = field(desk.get("/admin"), "csrf")
    assert desk.post("/admin/newsletters/courrier/next", data={"csrf": token}).status_code == 409


def test_a_schedule_is_changed_and_shows_its_next_dates(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    press(desk, path, f"{path}/schedule", kind="cron", cron="30 6 * * MON", timezone="Asia/Almaty")
    page = desk.get(path).text
    assert len(re.findall(r"<li>Monday [^<]*, 06:30 <", page)) == 5
    refused = press(desk, path, f"{path}/schedule", kind="cron", cron="every friday", timezone="Paris")
    assert refused.status_code == 422
    assert field(refused, "cron") == "every friday"
    assert 'id="cron-error"' in refused.text
    assert 'id="timezone-error"' in refused.text


def test_subscribers_are_found_by_address_and_state(desk: httpx.Client) -> None:
    pending_reader("Lea@example.org")
    drafted()
    assert "r1@example.org" in desk.get("/admin/subscribers").text
    found = desk.get("/admin/subscribers?q=LEA@Example.org").text
    assert "Lea@example.org" in found
    assert "r1@example.org" not in found
    assert "Lea@example.org" not in desk.get("/admin/subscribers?state=confirmed").text
    assert "Nobody matches" in desk.get("/admin/subscribers?q=leo").text


def test_what_does_not_exist_is_not_found(desk: httpx.Client) -> None:
    issue_paths = ("issues/99", "issues/0", "issues/99999999999999999999", "issues/x")
    newsletter_paths = ("newsletters/none", "newsletters/%00", "newsletters/%00/next")
    for path in (*issue_paths, *newsletter_paths, "nothing"):
        assert desk.get(f"/admin/{path}").status_code == 404, path
