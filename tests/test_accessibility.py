"""Readers' pages for everybody: axe-core's rules for WCAG 2.2 AA, at the width of a phone, which is 400 % zoom of a desktop.

The pages' own scripts are kept out, as every page must do without. (With JavaScript switched off axe-core would wait for ever
for its timers.)
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Response, Route, expect, sync_playwright
from sqlalchemy.orm import Session

from mailer import i18n, settings
from mailer.articles import topics
from mailer.db import transaction
from mailer.links import Purpose
from mailer.newsroom import newsletters
from tests import web_site
from tests.conftest import SmtpInbox
from tests.web_site import Site, running_site

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LANGUAGES: Final = ("fr", "en")
WIDTH: Final = 320
AXE: Final = Axe().axe_script
# Without what costs time and finds nothing: a selector for each element, and every style sheet loaded once more.
VIOLATIONS: Final = """axe.run({
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
  resultTypes: ['violations'], selectors: false, preload: false, iframes: false,
}).then(found => found.violations.flatMap(one => one.nodes.map(node => `${one.id}: ${node.html.slice(0, 120)}`)))"""
MOST_BYTES: Final = 30_000
# What a finger can hit (WCAG 2.2, 2.5.8) is the padding box; a link within a sentence is exempt, and left out here.
SMALL_TARGETS: Final = """() => [...document.querySelectorAll('button, input:not([type=hidden]), select, a.button')]
  .filter(e => e.checkVisibility() && !e.closest('[hidden], [aria-hidden=true]'))
  .map(e => [e.outerHTML.slice(0, 80), (e.matches('[type=checkbox], [type=radio]') ? e.labels[0] : e).getBoundingClientRect()])
  .filter(([, box]) => box.height < 44).map(([html, box]) => `${Math.round(box.height)} px: ${html}`)"""

Path = str | Callable[[Site], str]

# What happened before, and the pages to look at then.
PAGES: Final[dict[str, tuple[Callable[[], object], dict[str, Path]]]] = {
    "nothing": (
        lambda: None,
        {
            "newsletters": "/",
            "form": "/courrier",
            "form in a frame": "/courrier/embed",
            "sent in a frame": "/courrier/embed/sent",
            "check inbox": "/check-inbox",
            "find preferences": "/preferences",
            "link sent": "/preferences/sent",
            "empty archive": "/courrier/archive",
            "broken link": "/confirm/nonsense",
            "another broken link": "/p/nonsense",
            "erased sign-up": lambda site: site.confirm_path(made=timedelta(days=9)),
            "nothing here": "/nothing/here",
            "nothing of the newsletter": "/courrier/99",
        },
    ),
    "a sign-up": (
        web_site.pending_reader,
        {
            "confirm": lambda site: site.confirm_path(),
            "expired": lambda site: site.confirm_path(made=timedelta(days=8)),
        },
    ),
    "a confirmed reader": (
        web_site.moving_reader,
        {
            "confirmed": lambda site: site.confirm_path(),
            "preferences": lambda site: f"/p/{site.token(Purpose.PREFERENCES)}",
            "one-click, by hand": lambda site: f"/u/{site.token(Purpose.ONE_CLICK)}/one-click",
            "unsubscribe": lambda site: f"/u/{site.token(Purpose.UNSUBSCRIBE)}",
            "account": lambda _: web_site.account_path(),
            "account, too late": lambda _: web_site.account_path(made=timedelta(hours=2)),
            "erase": lambda _: f"{web_site.account_path()}/erase",
            "new address": lambda _: web_site.new_address_path(),
        },
    ),
    "a reader who left": (
        web_site.ended_reader,
        {
            "already left": lambda site: f"/u/{site.token(Purpose.UNSUBSCRIBE)}",
            "nobody": lambda site: f"/p/{site.token(Purpose.PREFERENCES, 99)}",
        },
    ),
    "two newsletters": (
        web_site.two_newsletters,
        {
            "newsletters": "/",
            "which to leave": lambda site: f"/u/{site.token(Purpose.UNSUBSCRIBE)}",
            "account": lambda _: web_site.account_path(),
            "find preferences": "/preferences",
            "broken link": "/confirm/nonsense",
            "nothing here": "/nothing/here",
        },
    ),
    "an issue": (web_site.sent_issue, {"archive": "/courrier/archive", "issue": "/courrier/1"}),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: nothing was looked at in a browser")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page 320 pixels wide that runs no script of its own."""
    with chromium.new_context(viewport={"width": WIDTH, "height": 800}) as context:
        # Whatever is routed comes from the server each time, so that all of a page is weighed.
        context.route("**/*", _serve)
        yield context.new_page()


@pytest.mark.parametrize("before", PAGES)
def test_a_page_is_for_everybody(site: Site, page: Page, before: str) -> None:
    prepare, paths = PAGES[before]
    prepare()
    with transaction() as session:
        newsletter_with_every_choice(session)
    wrong = {}
    for name, path in paths.items():
        for language in LANGUAGES:
            address = path if isinstance(path, str) else path(site)
            # An issue is in its own language, whatever stands around it.
            wanted = "fr" if name == "issue" else language
            if said := look(page, f"{site.url}{address}?lang={language}", wanted):
                wrong[name, language] = said
    assert wrong == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_button_leads_to_is_for_everybody(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    web_site.moving_reader()
    with transaction() as session:
        newsletter_with_every_choice(session)
    walk = Walk(page, site, language)
    walk.press(web_site.new_address_path(), "main .primary", "Your address is changed")
    time.sleep(1.1)  # A link of the same second would count as sent to the old mailbox.
    account, preferences = web_site.account_path(), f"/p/{site.token(Purpose.PREFERENCES)}"
    for path, email, title in (
        ("/courrier", "", "Subscribe"),
        ("/courrier", "lea@gmial.com", "Subscribe"),
        ("/courrier/embed", "", "Subscribe"),
        ("/preferences", "", "Manage your subscriptions"),
    ):
        walk.press(path, "main form[novalidate] button", title, email, is_problem=True)
    walk.press(account, "main form[action*=address] button", "Your subscriptions", is_problem=True)
    walk.press(account, "main form[action*=address] button", "Open the other mailbox", "lea@example.net")
    walk.press(preferences, "main .primary", "Your preferences")
    page.goto(f"{site.url}{preferences}?lang={language}")
    for box in page.locator("input[name=topic]:checked").all():
        box.uncheck()
    walk.press("", "main .primary", "Your preferences", is_problem=True)
    walk.press(f"/u/{site.token(Purpose.UNSUBSCRIBE)}", "main .primary", "You’re unsubscribed")
    walk.press("", "button.choice", "You’re unsubscribed")
    walk.press("", "main form button", "Welcome back")
    walk.press(f"{web_site.account_path()}/erase", "main .danger", "Your data is erased")
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "3")
    settings.load.cache_clear()
    assert [site.subscribe(f"r{number}@example.org").status_code for number in range(2)] == [303, 429]
    walk.press("/courrier", "main .primary", "Too many attempts, try again in 10 minutes", "ana@example.org")
    assert walk.wrong == {}


class Walk:
    """From button to button, in one language, and what is wrong with the pages that they lead to."""

    def __init__(self, page: Page, site: Site, language: str) -> None:
        self.wrong: dict[str, list[str]] = {}
        self._page, self._site, self._language = page, site, language

    def press(self, path: str, selector: str, title: str, email: str = "", *, is_problem: bool = False) -> None:
        """Press a button of a page, of the one that is open if `path` is empty, and look at what comes."""
        if path:
            self._page.goto(f"{self._site.url}{path}?lang={self._language}")
        if email:
            self._page.locator("[type=email]").fill(email)
        self._page.locator(selector).first.click()
        begins = f"{i18n.gettext(self._language, 'Problem:')} " if is_problem else ""
        begins += i18n.gettext(self._language, title)
        expect(self._page).to_have_title(re.compile(f"^{re.escape(begins)}"))
        if said := problems(self._page):
            self.wrong[f"{path} {begins} {email}"] = said


def newsletter_with_every_choice(session: Session) -> None:
    """Let the newsletter ask whatever a form may ask."""
    newsletter = newsletters.get(session, "courrier")
    newsletter.asks_topics = newsletter.asks_rhythm = newsletter.tracks_readers = True
    newsletter.cron = "0 7 * * *"
    topics.put(session, newsletter, "eau", names={"fr": "Eau", "en": "Water"}, rules={"categories": ["eau"]})
    topics.put(session, newsletter, "culture", names={"fr": "Culture"}, rules={"categories": ["culture"]})


def look(page: Page, address: str, language: str) -> list[str]:
    """What is wrong with a page, by day and by night, or with what it loads."""
    loaded = open_page(page, address)
    weight = sum(len(one.body()) for one in loaded)
    said = [] if page.locator("html").get_attribute("lang") == language else ["another language"]
    said += [one.url for one in loaded if urlsplit(one.url).netloc != urlsplit(address).netloc]
    said += [f"{weight} bytes"] if weight > MOST_BYTES else []
    said += [] if page.locator("h1").count() == 1 else ["not one title"]
    said += [] if page.locator(".primary").count() <= 1 else ["several buttons that shout"]
    return said + problems(page)


def open_page(page: Page, address: str) -> list[Response]:
    """Open an address and return everything that came with it."""
    loaded: list[Response] = []

    def note(response: Response) -> None:
        loaded.append(response)

    page.on("response", note)
    page.goto(address)
    page.remove_listener("response", note)
    return loaded


def _serve(route: Route) -> None:
    kind = route.request.resource_type
    if kind == "script":
        route.abort()
    elif kind == "document" and re.search(r"/courrier/\d", route.request.url):
        # An issue's own policy forbids every script, axe-core's timers too.
        answer = route.fetch()
        kept = {name: value for name, value in answer.headers.items() if name != "content-security-policy"}
        route.fulfill(response=answer, headers=kept)
    else:
        route.continue_()


def problems(page: Page) -> list[str]:
    """What axe-core finds by day and by night, what runs out of the page sideways, and what is too small for a finger."""
    page.evaluate(AXE)
    said: list[str] = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        said += [f"{scheme}: {one}" for one in page.evaluate(VIOLATIONS)]
    width = page.evaluate("document.documentElement.scrollWidth")
    small: list[str] = page.evaluate(SMALL_TARGETS)
    return said + ([f"{width} px wide"] if width > WIDTH else []) + small
