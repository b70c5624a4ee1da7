"""A reader's whole way in a real browser, on a phone: in, to the preferences, an issue, its web version, out, and back."""

import re
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from mailer import clock, scheduling
from mailer.articles import topics
from mailer.audience import snippets
from mailer.audience.snippets import Kind, Look
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import an_article
from tests.web_site import Site, running_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE: Final[ViewportSize] = {"width": 390, "height": 760}
TOPICS = {"eau": ("Eau", "Water"), "culture": ("Culture", "Culture"), "politique": ("Politique", "Politics")}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The service with a newsletter that asks for topics and rhythm."""
    with running_site(monkeypatch) as running:
        with transaction() as session:
            newsletter = newsletters.get(session, "courrier")
            newsletter.asks_topics = newsletter.asks_rhythm = True
            newsletter.cron = "0 7 * * MON-FRI"
            for slug, (french, english) in TOPICS.items():
                topics.put(session, newsletter, slug, names={"fr": french, "en": english}, rules={"categories": [slug]})
        yield running


@pytest.fixture
def publisher(site: Site, tmp_path: Path) -> Iterator[str]:
    """An English page of the publisher's own, on another host, with the form and its script. Yields its address."""
    with transaction() as session:
        form = snippets.make(
            newsletters.get(session, "courrier"), Kind.SCRIPT, Look(language="en", color="#0F5C5C", source="article")
        )
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>The Courier</title>'
    (tmp_path / "page.html").write_text(head + form, "utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def test_in_french_without_scripts(site: Site, installation: SmtpInbox, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport=PHONE, locale="fr-FR")
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{site.url}/courrier")
    page.get_by_label("Adresse e-mail").fill("lea@example.org")
    page.get_by_label("Au plus un numéro par semaine").check()
    page.get_by_label("Politique").uncheck()
    page.get_by_role("button", name="S’inscrire").click()
    assert title(page) == "Consultez votre messagerie"
    # In the browser that filled in the form, the link is enough.
    page.goto(link(mails(installation, 1)[0], "confirm"))
    assert title(page) == "Votre inscription est confirmée"

    send_an_issue("eau", "politique")
    first = mails(installation, 2)[1]
    assert "Le titre de eau" in first
    assert "Le titre de politique" not in first
    page.goto(link(first, "p"))
    assert title(page) == "Vos préférences"
    assert page.get_by_label("Au plus un numéro par semaine").is_checked()
    page.get_by_label("Chaque numéro").check()
    page.get_by_label("Eau").uncheck()
    page.get_by_role("button", name="Enregistrer").click()
    assert page.get_by_role("status").inner_text().startswith("Vos préférences sont enregistrées.")

    send_an_issue("barrage", "culture", categories=["eau", "culture"])
    second = mails(installation, 3)[2]
    assert "Le titre de culture" in second
    assert "Le titre de barrage" not in second
    page.goto(link(second, "i"))
    assert page.locator("main").count() == 1
    assert "lea@example.org" not in page.content()
    assert not re.search(r"/[pu]/[\w-]{40}", page.content())
    page.get_by_role("link", name="Tous les numéros").click()
    assert title(page) == "Tous les numéros"

    leave_and_return(
        page, second, ("C’est fait, vous ne recevrez plus la newsletter", "Vous recevrez de nouveau la newsletter")
    )
    send_an_issue("culture-2", categories=["culture"])
    mails(installation, 4)
    assert all(url.startswith((site.url, "data:")) for url in requested)
    context.close()


def test_in_english_with_scripts_from_the_publishers_page(
    site: Site, installation: SmtpInbox, publisher: str, chromium: Browser
) -> None:
    context = chromium.new_context(viewport=PHONE, locale="en-GB")
    page = context.new_page()
    page.goto(publisher)
    page.get_by_label("Email address").fill("lea@example.org")
    page.get_by_role("button").click()
    page.get_by_role("status").filter(has_text="We’ve sent a message to the address").wait_for()
    assert page.url == publisher
    assert not page.locator("form").is_visible()
    # The script leaves no cookie with the publisher's readers, so that the link asks for one press more.
    page.goto(link(mails(installation, 1)[0], "confirm"))
    assert title(page) == "One last step"
    page.get_by_role("button", name="Confirm my subscription").click()
    assert title(page) == "You’re subscribed"

    send_an_issue("eau", "culture")
    first = mails(installation, 2)[1]
    assert "Preferences: " in first
    page.goto(link(first, "p"))
    page.get_by_label("All topics").uncheck()
    page.get_by_label("Water").check()
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text().startswith("Your preferences are saved.")
    assert page.get_by_label("Water").is_checked()
    assert not page.get_by_label("Culture").is_checked()
    page.goto(link(first, "i"))
    assert page.locator("main").count() == 1

    leave_and_return(page, first, ("You’re unsubscribed", "Welcome back"))
    send_an_issue("eau-2", categories=["eau"])
    mails(installation, 3)
    context.close()


def test_the_form_of_the_script_works_without_it(site: Site, publisher: str, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport=PHONE, locale="fr-FR")
    page = context.new_page()
    page.goto(publisher)
    page.get_by_label("Email address").fill("lea@example.org")
    page.get_by_role("button").click()
    assert title(page) == "Check your inbox"
    assert page.url == f"{site.url}/check-inbox"
    context.close()


def leave_and_return(page: Page, mail: str, titles: tuple[str, str]) -> None:
    """Unsubscribe by a mail's link, get nothing, and take it back."""
    page.goto(link(mail, "u"))
    page.locator("main button").click()
    assert title(page) == titles[0]
    with pytest.raises(issues.IssueEmpty):
        send_an_issue("unread", categories=["eau"])
    page.locator("main button").first.click()
    assert title(page) == titles[1]


def title(page: Page) -> str:
    """The page's one title; no page scrolls sideways, however narrow."""
    box = page.locator("html").bounding_box()
    assert box is not None
    assert box["width"] <= PHONE["width"]
    return page.locator("h1").inner_text()


def mails(inbox: SmtpInbox, count: int) -> list[str]:
    """The text parts of the mails that came, after everything was sent that is due; exactly so many."""
    scheduling.answer_signups()
    sending.send_due(budget_seconds=10)
    received = inbox.wait_for(count)
    assert len(received) == count
    texts = [one.email.get_body(("plain",)) for one in received]
    return [str(text.get_content()) for text in texts if text is not None]


def link(mail: str, first_word: str) -> str:
    """The address in a mail's text that leads to /first_word/…"""
    found: set[str] = set(re.findall(rf"https?://\S+/{first_word}/[\w-]+", mail))
    assert len(found) == 1
    return found.pop()


def send_an_issue(*slugs: str, categories: list[str] | None = None) -> None:
    """Have an editor send new articles, each in a category, which is its name unless told otherwise."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for slug, category in zip(slugs, categories or slugs, strict=True):
            an_article(session, newsletter, slug, topics=[category], seen=now - timedelta(milliseconds=1))
        issue = issues.draft(session, newsletter, now=now)
        issues.start(session, issue, batch_size=10, now=now)
