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

from mailer import settings
from mailer.articles import topics
from mailer.db import transaction
from mailer.links import Purpose
from mailer.newsroom import newsletters
from tests import web_site
from tests.conftest import SmtpInbox
from tests.web_site import Site, running_site

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
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
            "nothing here": "/nothing/here",
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
            "preferences": lambda site: f"/p/{site.token(Purpose.PREFERENCES)}",
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


@pytest.mark.parametrize("before", PAGES)
def test_a_page_is_for_everybody(site: Site, chromium: Browser, before: str) -> None:
    prepare, paths = PAGES[before]
    prepare()
    with transaction() as session:
        newsletter_with_every_choice(session)
    wrong = {}
    for name, path in paths.items():
        for language in ("fr", "en"):
            address = path if isinstance(path, str) else path(site)
            if said := look(chromium, f"{site.url}{address}?lang={language}", language if name != "issue" else "fr"):
                wrong[name, language] = said
    assert wrong == {}


def test_what_a_button_leads_to_is_for_everybody(
    site: Site, chromium: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    web_site.moving_reader()
    with transaction() as session:
        newsletter_with_every_choice(session)
    preferences, leave = f"/p/{site.token(Purpose.PREFERENCES)}", f"/u/{site.token(Purpose.UNSUBSCRIBE)}"
    page = phone(chromium)

    def press(path: str, selector: str, title: str, email: str = "") -> list[str]:
        page.goto(f"{site.url}{path}")
        if email:
            page.locator("[type=email]").fill(email)
        page.locator(selector).first.click()
        expect(page).to_have_title(re.compile(f"^{title}"))
        return problems(page)

    asked = web_site.account_path()
    moved = press(web_site.new_address_path(), "main .primary", "Votre adresse est changée")
    time.sleep(1.1)  # A link of the same second would count as sent to the old mailbox.
    asked = web_site.account_path()
    walk = [
        moved,
        press("/courrier", "main .primary", "Problème\u00a0: S’inscrire"),
        press("/courrier", "main .primary", "Problème\u00a0: S’inscrire", "lea@gmial.com"),
        press("/courrier/embed", "main .primary", "Problème\u00a0: S’inscrire"),
        press("/preferences", "main .primary", "Problème\u00a0: Gérer mes inscriptions"),
        press(asked, "main form[action*=address] button", "Problème\u00a0: Vos inscriptions"),
        press(asked, "main form[action*=address] button", "Ouvrez l’autre messagerie", "lea@example.net"),
        press(preferences, "main .primary", "Vos préférences"),
        press(leave, "main .primary", "C’est fait"),
    ]
    page.locator("button.choice").first.click()
    page.get_by_text("Merci, cela nous aide.").wait_for()
    walk.append(problems(page))
    page.locator("main form button").click()
    expect(page).to_have_title(re.compile("^Vous recevrez de nouveau"))
    walk += [
        problems(page),
        press(f"{web_site.account_path()}/erase", "main .danger", "Vos données sont effacées"),
    ]
    monkeypatch.setenv("MAILER_SIGNUPS_PER_NETWORK", "3")
    settings.load.cache_clear()
    assert [site.subscribe(f"r{number}@example.org").status_code for number in range(2)] == [303, 429]
    walk.append(press("/courrier", "main .primary", "Trop d’essais", "ana@example.org"))
    assert [said for said in walk if said] == []
    page.context.close()


def newsletter_with_every_choice(session: Session) -> None:
    """Let the newsletter ask whatever a form may ask."""
    newsletter = newsletters.get(session, "courrier")
    newsletter.asks_topics = newsletter.asks_rhythm = newsletter.tracks_readers = True
    newsletter.cron = "0 7 * * *"
    topics.put(session, newsletter, "eau", names={"fr": "Eau", "en": "Water"}, rules={"categories": ["eau"]})
    topics.put(session, newsletter, "culture", names={"fr": "Culture"}, rules={"categories": ["culture"]})


def look(chromium: Browser, address: str, language: str) -> list[str]:
    """What is wrong with a page, in light or dark, or with what it loads."""
    page = phone(chromium)
    loaded = open_page(page, address)
    weight = sum(len(one.body()) for one in loaded)
    said = [] if page.locator("html").get_attribute("lang") == language else ["another language"]
    said += [one.url for one in loaded if urlsplit(one.url).netloc != urlsplit(address).netloc]
    said += [f"{weight} bytes"] if weight > MOST_BYTES else []
    said += [] if page.locator("h1").count() == 1 else ["not one title"]
    said += [] if page.locator(".primary").count() <= 1 else ["several buttons that shout"]
    # No words have colours of their own: one language is enough for the dark.
    for scheme in ("light", "dark") if language == "fr" else ("light",):
        page.emulate_media(color_scheme=scheme)
        said += problems(page)
    page.context.close()
    return said


def phone(chromium: Browser) -> Page:
    """A page 320 pixels wide that runs no script of its own."""
    page = chromium.new_context(viewport={"width": 320, "height": 800}).new_page()
    page.route("**/*", _serve)
    return page


def open_page(page: Page, address: str) -> list[Response]:
    """Open an address and return everything that came with it."""
    loaded: list[Response] = []
    # A bound method of a list is nothing that playwright can mark as its own.
    page.on("response", lambda response: loaded.append(response))  # noqa: PLW0108
    page.goto(address)
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
    """What axe-core finds, what runs out of the page sideways, and what is too small for a finger."""
    page.evaluate(Axe().axe_script)
    found = page.evaluate(f"axe.run({{runOnly: {RULES}, resultTypes: ['violations']}})")
    said = [f"{one['id']}: {node['html'][:120]}" for one in found["violations"] for node in one["nodes"]]
    width = page.evaluate("document.documentElement.scrollWidth")
    return said + ([f"{width} px wide"] if width > 320 else []) + page.evaluate(SMALL_TARGETS)
