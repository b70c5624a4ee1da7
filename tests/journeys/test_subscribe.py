"""A reader's way in and out: form, worker, SMTP server, the links of the mail that came."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from mailer import clock
from mailer.db import transaction
from mailer.delivery import sending
from mailer.embedded.processes import Child, Supervisor
from mailer.issues import issues
from mailer.newsroom import newsletters
from tests.conftest import Received, SmtpInbox
from tests.factories import an_article
from tests.web_server import browser
from tests.web_site import Site, confirmed_reader, heading, running_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """The service with a Celery worker, whose mail goes to `installation`."""
    with running_site(monkeypatch) as running, Supervisor() as supervisor:
        argv = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--pool", "solo", "--without-mingle"]
        supervisor.start(Child(name="worker", argv=argv, env=dict(os.environ), log=tmp_path / "worker.log"))
        yield running


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


def link(mail: Received, first_word: str) -> str:
    """The address in the mail's text part that leads to /first_word/…"""
    text = mail.email.get_body(("plain",)).get_content()
    (found,) = set(re.findall(rf"https?://\S+/{first_word}/[\w-]+", text))
    return found


def send_an_issue() -> None:
    """Have an editor send what is new."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, f"article-{now.timestamp()}", seen=now - timedelta(milliseconds=1))
        issues.start(session, issues.draft(session, newsletter, now=now), batch_size=10, now=now)
    sending.send_due(budget_seconds=10)


def test_by_the_form_in_one_browser_and_out_by_the_mail_programs_button(site: Site, installation: SmtpInbox) -> None:
    site.subscribe()
    (confirmation,) = installation.wait_for(1, timeout_seconds=30)
    assert confirmation.recipients == ("lea@example.org",)
    assert heading(site.client.get(link(confirmation, "confirm"))) == "Votre inscription est confirmée"
    send_an_issue()
    issue = installation.wait_for(2)[1]
    one_click = str(issue.email["List-Unsubscribe"]).strip("<> ")
    assert httpx.post(one_click, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert len(installation.messages) == 2


def test_on_another_device_by_the_button(site: Site, installation: SmtpInbox) -> None:
    site.subscribe()
    (confirmation,) = installation.wait_for(1, timeout_seconds=30)
    with browser(site.url) as phone:
        address = link(confirmation, "confirm")
        assert heading(phone.get(address)) == "Plus qu’un geste"
        assert heading(phone.post(address)) == "Votre inscription est confirmée"


def test_opening_every_link_of_an_issue_changes_nothing(site: Site, installation: SmtpInbox) -> None:
    site.subscribe()
    (confirmation,) = installation.wait_for(1, timeout_seconds=30)
    site.client.post(link(confirmation, "confirm"))
    send_an_issue()
    issue = installation.wait_for(2)[1].email
    addresses = set(re.findall(r"https?://localhost[^\s\"<>]+", issue.get_body(("html",)).get_content()))
    addresses.add(str(issue["List-Unsubscribe"]).strip("<> "))
    assert len(addresses) >= 4
    with browser(site.url) as scanner:
        for address in addresses:
            for method in ("GET", "HEAD"):
                assert scanner.request(method, address).status_code == 200
    send_an_issue()
    assert installation.wait_for(3)[2].recipients == ("lea@example.org",)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("language", "width", "titles"),
    [
        ("fr", 1280, ("Consultez votre messagerie", "Votre inscription est confirmée", "Vos préférences")),
        ("en", 320, ("Check your inbox", "You’re subscribed", "Your preferences")),
    ],
)
def test_a_reader_with_a_real_browser_and_no_scripts(
    site: Site, installation: SmtpInbox, chromium: Browser, language: str, width: int, titles: tuple[str, str, str]
) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": width, "height": 700})
    page = context.new_page()
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))

    def title() -> str:
        # No page scrolls sideways, however narrow.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        return page.locator("h1").inner_text()

    page.goto(f"{site.url}/courrier?lang={language}")
    page.get_by_label(re.compile("e-mail|Email")).fill("lea@example.org")
    page.locator("button").click()
    assert title() == titles[0]
    page.goto(link(installation.wait_for(1, timeout_seconds=30)[0], "confirm"))
    assert title() == titles[1]
    send_an_issue()
    issue = installation.wait_for(2)[1]
    page.goto(link(issue, "p"))
    assert title() == titles[2]
    page.goto(link(issue, "u"))
    page.locator("main button").click()
    page.locator("main button").first.click()
    send_an_issue()
    assert installation.wait_for(3)[2].recipients == ("lea@example.org",)
    assert all(url.startswith((site.url, "data:")) for url in requested)
    context.close()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_reader_without_a_mail_at_hand_moves_and_is_erased(
    site: Site, installation: SmtpInbox, chromium: Browser
) -> None:
    confirmed_reader()
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 700})
    page = context.new_page()
    page.goto(f"{site.url}/preferences?lang=fr")
    page.get_by_label("Adresse e-mail").fill("r0@example.org")
    page.get_by_role("button", name="Recevoir le lien").click()
    page.goto(link(installation.wait_for(1, timeout_seconds=30)[0], "account"))
    page.get_by_label("Nouvelle adresse e-mail").fill("lea@new.example")
    page.get_by_role("button", name="Y envoyer un lien").click()
    asked = installation.wait_for(2, timeout_seconds=30)[1]
    assert asked.recipients == ("lea@new.example",)
    page.goto(link(asked, "address"))
    page.get_by_role("button", name="Utiliser cette adresse").click()
    assert installation.wait_for(3, timeout_seconds=30)[2].recipients == ("r0@example.org",)
    send_an_issue()
    issue = installation.wait_for(4)[3]
    assert issue.recipients == ("lea@new.example",)
    page.goto(f"{site.url}/preferences")
    page.locator("#email").fill("lea@new.example")
    page.locator("main button").click()
    page.goto(link(installation.wait_for(5, timeout_seconds=30)[4], "account"))
    page.get_by_role("link", name="Effacer toutes mes données").click()
    page.get_by_role("button", name="Effacer toutes mes données").click()
    assert page.locator("h1").inner_text() == "Vos données sont effacées"
    page.goto(f"{link(issue, 'u')}?lang=fr")
    assert "désinscrite" in page.locator("h1").inner_text()
    context.close()
