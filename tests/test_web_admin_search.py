"""The desk: search, keys, light and dark; and what an issue's page offers before it is sent."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import approvals, issues
from mailer.models.audience import Subscription
from mailer.newsroom import accounts, newsletters
from mailer.web import pages
from tests.conftest import SmtpInbox
from tests.desk import PASSWORD, article_id, drafted, field, hidden, press, running_desk, sign_in, speak, titles

# htmx.org 2.0.11 from the npm registry, as it was published: dist/htmx.min.js.
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
STATIC = pages.FOLDER / "static"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def test_search_finds_pages_issues_and_a_reader_by_the_exact_address(desk: httpx.Client) -> None:
    issue_id = drafted("eau")
    assert f'href="/admin/issues/{issue_id}"' in desk.get("/admin/search?q=titre").text
    assert 'href="/admin/newsletters/courrier/feeds"' in desk.get("/admin/search?q=feeds").text
    assert 'href="/admin/subscribers/1"' in desk.get("/admin/search?q=R0@example.org").text
    assert "Nothing was found" in desk.get("/admin/search?q=r0@example").text


def test_search_knows_the_words_of_the_language(desk: httpx.Client) -> None:
    speak("fr")
    assert 'href="/admin/newsletters/courrier/feeds"' in desk.get("/admin/search?q=flux").text


@pytest.mark.parametrize(("theme", "dark"), [("dark", "dark.css?"), ("light", None)])
def test_the_server_renders_the_theme_that_was_chosen(desk: httpx.Client, theme: str, dark: str | None) -> None:
    assert 'media="(prefers-color-scheme:dark)"' in desk.get("/admin/keys").text
    press(desk, "/admin/keys", "/admin/theme", theme=theme)
    page = desk.get("/admin/keys").text
    assert f'data-theme="{theme}"' in page
    assert "prefers-color-scheme" not in page
    assert ("admin-dark.css" in page) == (dark is not None)


def test_the_theme_leads_back_to_no_other_site(desk: httpx.Client) -> None:
    answer = press(desk, "/admin/keys", "/admin/theme", theme="dark", **{"from": "//evil.example"})
    assert answer.headers["location"] == "/admin"


def test_every_page_lets_scripts_of_ours_run_and_no_others(desk: httpx.Client) -> None:
    policy = desk.get("/admin/keys").headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


def test_htmx_is_the_file_that_was_published_with_its_licence() -> None:
    assert hashlib.sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE.txt").read_text()


def test_our_script_and_stylesheets_stay_small() -> None:
    assert _bytes(STATIC / "desk.js") < 6144
    assert _bytes(STATIC / "admin.css") + _bytes(STATIC / "admin-dark.css") < 15_000


def _bytes(path: Path) -> int:
    return len(path.read_bytes())


def test_the_preview_shows_what_a_reader_gets(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    with transaction() as session:
        session.get_one(Subscription, 1).language = "ru"
    assert "Отписаться" in desk.get(f"{path}/preview?as=r0@example.org").text
    assert "Отписаться" not in desk.get(f"{path}/preview").text
    page = desk.get(f"{path}?as=nobody@example.org").text
    assert "This address is no reader of the newsletter." in page


def test_a_test_is_sent_from_the_page_and_its_answer_shown(desk: httpx.Client, installation: SmtpInbox) -> None:
    path = f"/admin/issues/{drafted()}"
    assert 'value="camille@courrier.example"' in desk.get(f"{path}/test").text
    answered = press(desk, f"{path}/test", f"{path}/test", addresses="camille@courrier.example")
    assert "Accepted by 127.0.0.1 in" in answered.text
    assert "Last test to camille@courrier.example: accepted" in desk.get(path).text
    assert press(desk, f"{path}/test", f"{path}/test", addresses="no address").status_code == 422
    assert len(installation.messages) == 1


def test_an_article_is_found_by_its_title_and_added(desk: httpx.Client) -> None:
    issue_id = drafted("a", "b")
    path = f"/admin/issues/{issue_id}"
    press(desk, path, f"{path}/articles", article=article_id("b"), act="exclude")
    assert "Le titre de b" in desk.get(f"{path}?q=titre+de+b").text.partition('id="another"')[2]
    press(desk, path, f"{path}/add", address="https://courrier.example/b")
    assert [slug for slug, _ in titles(issue_id)] == ["a", "b"]


def test_what_was_excluded_comes_back_where_it_stood(desk: httpx.Client) -> None:
    issue_id = drafted("a", "b", "c", "d")
    path = f"/admin/issues/{issue_id}"
    gone = press(desk, path, f"{path}/articles", article=article_id("c"), act="exclude")
    undo = desk.get(gone.headers["location"])
    carried = {name: field(undo, name) for name in ("csrf", "version", "place")}
    carried |= {"article": article_id("c"), "layout": "card", "act": "restore"}
    desk.post(f"{path}/articles", data=carried)
    assert [slug for slug, _ in titles(issue_id)] == ["a", "b", "c", "d"]


def test_four_eyes_let_nobody_send_alone(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}"
    with transaction() as session:
        newsletters.get(session, "courrier").needs_approval = True
        accounts.create(
            session, "paul@courrier.example", name="Paul", password=PASSWORD, language="en", now=clock.now()
        )
    page = desk.get(f"{path}/review")
    assert "Somebody else who may send must agree first" in page.text
    assert desk.post(f"{path}/send", data=hidden(page)).status_code == 409
    with transaction() as session:
        paul = accounts.find(session, "paul@courrier.example")
        approvals.give(session, issues.get(session, issue_id), paul.id, now=clock.now())
    assert press(desk, f"{path}/review", f"{path}/send").status_code == 303
