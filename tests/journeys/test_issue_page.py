"""An issue before it is sent, in a real browser: two editors, reordering, autosave, scheduling, undo."""

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mailer import settings
from mailer.models.content import IssueState, Layout
from tests.conftest import SmtpInbox
from tests.desk import article_id, drafted, issue, running_desk, sign_in, titles
from tests.web_site import Site

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: nothing was looked at in a browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the journeys of this file."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The desk."""
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def an_editor(browser: Browser, site: Site) -> Page:
    """Camille at the desk, in a browser of her own."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.add_cookies([{"name": name, "value": one, "url": site.url} for name, one in site.client.cookies.items()])
    page = context.new_page()
    page.set_default_timeout(10_000)
    return page


def said(page: Page, words: str) -> None:
    expect(page.locator("#said")).to_have_text(re.compile(words))


def test_articles_are_moved_by_keyboard_and_by_dragging(browser: Browser, site: Site) -> None:
    issue_id = drafted("a", "b", "c", "d")
    page = an_editor(browser, site)
    page.goto(f"{site.url}/admin/issues/{issue_id}")
    c, d = (page.locator(f"[data-article='{article_id(slug)}']") for slug in ("c", "d"))
    c.focus()
    page.keyboard.press("Alt+ArrowUp")
    said(page, "Moved to position 2 of 4")
    assert [one for one, _ in titles(issue_id)] == ["a", "c", "b", "d"]
    expect(c).to_be_focused()
    page.keyboard.press("3")
    said(page, "Moved to position 4 of 4")
    assert titles(issue_id)[-1] == ("c", Layout.BRIEF)
    d.locator("button[value=up]").click()
    said(page, "Moved to position 2 of 4")
    expect(d).to_be_focused()
    d.drag_to(page.locator(f"[data-article='{article_id('a')}']"))
    said(page, "Moved to position 1 of 4")
    assert titles(issue_id)[0] == ("d", Layout.LEAD)
    d.focus()
    page.keyboard.press("x")
    expect(page.locator("#toast")).to_contain_text("excluded")
    page.locator("#toast button").click()
    expect(page.locator("main [role=status]").first).to_be_visible()
    assert titles(issue_id)[0] == ("d", Layout.LEAD)


def test_the_envelope_saves_itself_and_two_editors_see_both_versions(browser: Browser, site: Site) -> None:
    issue_id = drafted()
    paul, camille = an_editor(browser, site), an_editor(browser, site)
    for page in (paul, camille):
        page.goto(f"{site.url}/admin/issues/{issue_id}")
    paul.fill("#subject", "By the one")
    expect(paul.locator("#saved")).to_contain_text("Saved 0 s ago", timeout=5000)
    paul.fill("#subject", "By the one, again")
    paul.wait_for_function("document.querySelector('input[name=version]').value")
    expect(paul.locator("#saved")).to_contain_text("Saved", timeout=5000)
    camille.fill("#subject", "By the other")
    expect(camille.locator("#saved")).to_contain_text("Not saved", timeout=5000)
    camille.locator("#saved button").click()
    expect(camille.locator("[role=alert]")).to_contain_text("Camille changed this")
    expect(camille.locator("#subject")).to_have_value("By the other")
    expect(camille.locator("#saved-subject")).to_have_value("By the one, again")
    camille.locator("#envelope button", has_text="Save").click()
    expect(camille.locator("main [role=status]").first).to_contain_text("saved")
    assert issue(issue_id).subject == "By the other"


def test_an_issue_is_scheduled_taken_back_sent_and_undone(
    browser: Browser, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_id = drafted()
    monkeypatch.setenv("MAILER_UNDO_SECONDS", "60")
    settings.load.cache_clear()
    page = an_editor(browser, site)
    page.goto(f"{site.url}/admin/issues/{issue_id}")
    page.get_by_role("link", name="Schedule…").click()
    page.fill("#at", "2099-07-01T07:00")
    page.get_by_role("button", name="Schedule it").click()
    expect(page.locator(".pagehead")).to_contain_text("Scheduled")
    page.get_by_role("button", name="Unschedule").click()
    page.get_by_role("link", name="Review and send…").click()
    page.get_by_role("button", name="Send to 2 readers").click()
    timer = page.get_by_role("timer")
    expect(timer).to_contain_text(re.compile(r"Leaves in (1:00|0:5\d)"))
    before = timer.inner_text()
    expect(timer).not_to_have_text(before, timeout=3000)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".pagehead")).to_contain_text("Draft")
    assert issue(issue_id).state == IssueState.DRAFT
