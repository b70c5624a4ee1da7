"""A publisher's own page with our form in it, in a real browser: by script, in a frame, with proof of work."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from mailer import settings
from tests.conftest import SmtpInbox
from tests.journeys import publisher as publishers
from tests.web_site import Site, requests, running_site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


@pytest.fixture
def publisher(site: Site, tmp_path: Path) -> Iterator[str]:
    """The publisher's site: a French page for each kind of snippet."""
    with publishers.pages(tmp_path, "fr") as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.mark.parametrize("has_proof", [False, True])
def test_the_script_signs_up_without_leaving_the_page(
    site: Site, publisher: str, chromium: Browser, monkeypatch: pytest.MonkeyPatch, has_proof: bool
) -> None:
    monkeypatch.setenv("MAILER_FORM_SECONDS", "2")
    monkeypatch.setenv("MAILER_PROOF_OF_WORK", str(has_proof).lower())
    settings.load.cache_clear()
    page = chromium.new_page()
    page.goto(f"{publisher}/script.html")
    page.get_by_label("Adresse e-mail").fill("lea@example.org")
    page.get_by_role("button").click()
    status = page.get_by_role("status")
    status.filter(has_text="Un message vient de partir").wait_for(timeout=20_000)
    assert page.url == f"{publisher}/script.html"
    assert not page.locator("form").is_visible()
    assert page.evaluate("document.activeElement.getAttribute('role')") == "status"
    (asked,) = requests()
    assert (asked.address, asked.language, asked.source) == ("lea@example.org", "fr", "article")


def test_what_the_script_cannot_do_the_form_does(site: Site, publisher: str, chromium: Browser) -> None:
    page = chromium.new_page()
    page.goto(f"{publisher}/script.html")
    page.get_by_label("Adresse e-mail").fill("lea@gmial.com")
    page.get_by_role("button").click()
    page.get_by_role("button", name="Vouliez-vous dire lea@gmail.com").click()
    assert page.locator("h1").inner_text() == "Consultez votre messagerie"
    page.route("**/static/embed.js", lambda route: route.abort())
    page.goto(f"{publisher}/script.html")
    page.get_by_label("Adresse e-mail").fill("bek@example.org")
    page.get_by_role("button").click()
    assert page.locator("h1").inner_text() == "Consultez votre messagerie"
    assert [one.address for one in requests()] == ["lea@gmail.com", "bek@example.org"]


def test_the_frame_and_the_plain_form_work_without_scripts(site: Site, publisher: str, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 700})
    page = context.new_page()
    page.goto(f"{publisher}/iframe.html")
    frame = page.frame_locator("iframe")
    frame.get_by_label("Adresse e-mail").fill("lea@example.org")
    frame.get_by_role("button").click()
    frame.get_by_text("Consultez votre messagerie").wait_for()
    assert page.url == f"{publisher}/iframe.html"
    page.goto(f"{publisher}/html.html")
    page.get_by_label("Adresse e-mail").fill("bek@example.org")
    page.get_by_role("button").click()
    assert page.locator("h1").inner_text() == "Consultez votre messagerie"
    assert [(one.address, one.source) for one in requests()] == [
        ("lea@example.org", "article"),
        ("bek@example.org", "article"),
    ]
    context.close()


def test_our_own_form_proves_its_work(site: Site, chromium: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_PROOF_OF_WORK", "true")
    settings.load.cache_clear()
    page = chromium.new_page()
    page.goto(f"{site.url}/courrier")
    page.get_by_label("Adresse e-mail").fill("lea@example.org")
    page.get_by_role("button", name="S’inscrire").click()
    page.locator("h1", has_text="Consultez votre messagerie").wait_for(timeout=20_000)
    assert len(requests()) == 1


def test_the_scripts_are_small(site: Site) -> None:
    for name, most in (("embed.js", 3000), ("proof.js", 2000)):
        response = site.client.get(f"/static/{name}")
        assert response.headers["content-type"].startswith("text/javascript")
        assert len(response.content) < most
