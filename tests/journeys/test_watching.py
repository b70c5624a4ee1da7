"""An editor watches an issue leave, in a real browser: it moves by itself, with scripts and without, and can be stopped."""

import shutil
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mailer import clock
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.content import IssueState
from tests.conftest import SmtpInbox
from tests.desk import issue, running_desk, sign_in, started
from tests.watched import more, on_its_way
from tests.web_site import Site

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: nothing was looked at in a browser")

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


@pytest.fixture
def opened(site: Site, chromium: Browser) -> Iterator[Opener]:
    """Opens the page of an issue in a browser that is signed in, with scripts unless told otherwise."""
    contexts = []

    def open_issue(issue_id: int, *, has_scripts: bool = True, blocked: str = "") -> Page:
        context = chromium.new_context(java_script_enabled=has_scripts)
        contexts.append(context)
        context.add_cookies(
            [{"name": name, "value": value, "url": site.url} for name, value in site.client.cookies.items()]
        )
        page = context.new_page()
        if blocked:
            page.route(blocked, lambda route: route.abort())
        page.goto(f"{site.url}/admin/issues/{issue_id}")
        return page

    yield open_issue
    for context in contexts:
        context.close()


def test_an_editor_watches_pauses_and_resumes_a_send(opened: Opener, installation: SmtpInbox) -> None:
    issue_id = on_its_way()
    page = opened(issue_id)
    page.evaluate("window.isTheSame = true")
    more(issue_id, accepted=20)
    expect(page.locator("#live h2").first).to_contain_text("38 of 60 sent", timeout=8000)
    expect(page).to_have_title("(63%) Sending issue 1 · localhost")
    expect(page.locator("#live-age")).to_contain_text("Updated")
    assert page.evaluate("window.isTheSame")

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Somebody paused it.").first).to_be_visible()
    sending.send_due(budget_seconds=2)
    assert installation.messages == []

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    sending.send_due(budget_seconds=10)
    # The page turns into the report by itself.
    expect(page.get_by_role("heading", name="60 recipients, all accounted for")).to_be_visible(timeout=10_000)
    assert len(installation.messages) == 20
    assert issue(issue_id).state == IssueState.SENT


def test_where_the_stream_does_not_come_through_the_page_asks(opened: Opener) -> None:
    issue_id = on_its_way()
    page = opened(issue_id, blocked="**/progress")
    more(issue_id, accepted=20)
    expect(page.locator("#live h2").first).to_contain_text("38 of 60 sent", timeout=20_000)


def test_somebody_elses_pause_reaches_a_page_that_is_open(opened: Opener) -> None:
    issue_id = started()
    page = opened(issue_id)
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "paused by Paul", now=clock.now())
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=8000)


def test_with_scripts_off_the_page_moves_too(opened: Opener) -> None:
    issue_id = on_its_way()
    page = opened(issue_id, has_scripts=False)
    more(issue_id, accepted=20)
    expect(page.locator("#live h2").first).to_contain_text("38 of 60 sent", timeout=10_000)
