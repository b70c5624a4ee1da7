"""A reader's whole way in a real browser, on a phone: in, to the preferences, an issue, its web version, out, and back.

In each language, with scripts and without.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from mailer import clock, scheduling, settings
from mailer.articles import topics
from mailer.audience.snippets import Kind
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.audience import SubscriptionState
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import an_article
from tests.journeys import publisher
from tests.web_site import Site, running_site, state

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE: Final[ViewportSize] = {"width": 390, "height": 760}
TOPICS: Final = {"eau": ("Eau", "Water"), "culture": ("Culture", "Culture"), "politique": ("Politique", "Politics")}

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a reader presses, and the titles that they read, in their language."""

    own_name: str
    email: str
    subscribe: str
    weekly: str
    each: str
    water: str
    politics: str
    save: str
    saved: str
    confirm: str
    sent: str
    leave: str
    reason: str
    thanks: str
    come_back: str
    check_inbox: str
    last_step: str
    confirmed: str
    confirmed_already: str
    preferences: str
    unsubscribe: str
    unsubscribed: str
    already_left: str
    welcome_back: str
    all_issues: str


WORDS: Final = {
    "fr": Words(
        own_name="Français",
        email="Adresse e-mail",
        subscribe="S’inscrire",
        weekly="Au plus un numéro par semaine",
        each="Chaque numéro",
        water="Eau",
        politics="Politique",
        save="Enregistrer",
        saved="Vos préférences sont enregistrées.",
        confirm="Confirmer mon inscription",
        sent="Un message vient de partir",
        leave="Se désinscrire",
        reason="Je n’ai rien demandé",
        thanks="Merci, cela nous aide.",
        come_back="Me réinscrire",
        check_inbox="Consultez votre messagerie",
        last_step="Plus qu’un geste",
        confirmed="Votre inscription est confirmée",
        confirmed_already="Votre inscription est déjà confirmée",
        preferences="Vos préférences",
        unsubscribe="Se désinscrire de la newsletter ?",
        unsubscribed="C’est fait, vous ne recevrez plus la newsletter",
        already_left="Cette adresse est déjà désinscrite",
        welcome_back="Vous recevrez de nouveau la newsletter",
        all_issues="Tous les numéros",
    ),
    "en": Words(
        own_name="English",
        email="Email address",
        subscribe="Subscribe",
        weekly="At most one issue a week",
        each="Every issue",
        water="Water",
        politics="Politics",
        save="Save",
        saved="Your preferences are saved.",
        confirm="Confirm my subscription",
        sent="We’ve sent a message to the address",
        leave="Unsubscribe",
        reason="I never asked for it",
        thanks="Thank you, that helps us.",
        come_back="Subscribe again",
        check_inbox="Check your inbox",
        last_step="One last step",
        confirmed="You’re subscribed",
        confirmed_already="You’re already subscribed",
        preferences="Your preferences",
        unsubscribe="Unsubscribe from the newsletter?",
        unsubscribed="You’re unsubscribed",
        already_left="You’re already unsubscribed",
        welcome_back="Welcome back",
        all_issues="All issues",
    ),
}
each_language = pytest.mark.parametrize("language", list(WORDS))
with_scripts_and_without = pytest.mark.parametrize("has_scripts", [False, True], ids=["plain", "scripts"])


class Phone:
    """A reader's browser, 390 pixels wide, that notes what it asks for and what goes wrong in it."""

    def __init__(self, browser: Browser, language: str, *, has_scripts: bool) -> None:
        self.language = language
        self.context = browser.new_context(
            java_script_enabled=has_scripts, viewport=PHONE, locale=f"{language}-{language.upper()}"
        )
        self.page: Page = self.context.new_page()
        self.requested: list[str] = []
        self.wrong: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)

    def open(self, address: str, title: str) -> None:
        """Open a page, which has that title."""
        self.page.goto(address)
        self.see(title)

    def press(self, name: str, title: str) -> None:
        """Press the one button of that name, which leads to a page of that title."""
        self.page.get_by_role("button", name=name, exact=True).click()
        self.see(title)

    def see(self, title: str) -> None:
        """Wait for the page's one title, in the reader's language; no page scrolls sideways, however narrow."""
        expect(self.page.locator("h1")).to_have_text(title)
        expect(self.page.locator("html")).to_have_attribute("lang", self.language)
        assert self.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@each_language
@with_scripts_and_without
def test_a_reader_comes_chooses_reads_leaves_and_returns(
    site: Site,
    installation: SmtpInbox,
    chromium: Browser,
    monkeypatch: pytest.MonkeyPatch,
    has_scripts: bool,
    language: str,
) -> None:
    # Our own form has a script only where the browser must calculate.
    monkeypatch.setenv("MAILER_PROOF_OF_WORK", str(has_scripts).lower())
    settings.load.cache_clear()
    phone = Phone(chromium, language, has_scripts=has_scripts)
    come_in(phone, site, installation)
    first = choose_otherwise(phone, installation)
    read_on_the_web(phone, first)
    leave_and_return(phone, installation, first)
    assert [url for url in phone.requested if not url.startswith((site.url, "data:"))] == []
    assert phone.wrong == []
    phone.context.close()


def come_in(phone: Phone, site: Site, inbox: SmtpInbox) -> None:
    """Fill in the form, and open the link of the mail that comes: in the same browser that is enough."""
    words, page = WORDS[phone.language], phone.page
    page.goto(f"{site.url}/courrier")
    if phone.language != "fr":
        page.get_by_role("link", name=words.own_name).click()
    page.get_by_label(words.email).fill("lea@example.org")
    page.get_by_label(words.weekly).check()
    page.get_by_label(words.politics).uncheck()
    page.get_by_role("button", name=words.subscribe).click()
    phone.see(words.check_inbox)
    assert page.get_by_text("lea@example.org").is_visible()
    phone.open(link(mails(inbox, 1)[0], "confirm"), words.confirmed)
    assert state() == SubscriptionState.CONFIRMED


def choose_otherwise(phone: Phone, inbox: SmtpInbox) -> str:
    """Get an issue of what was asked for, ask for something else, and get that. Returns the second mail."""
    words, page = WORDS[phone.language], phone.page
    send_an_issue("eau", "politique")
    first = mails(inbox, 2)[1]
    assert "Le titre de eau" in first
    assert "Le titre de politique" not in first
    phone.open(link(first, "p"), words.preferences)
    assert page.get_by_label(words.weekly).is_checked()
    assert not page.get_by_label(words.politics).is_checked()
    page.get_by_label(words.each).check()
    page.get_by_label(words.water).uncheck()
    phone.press(words.save, words.preferences)
    expect(page.get_by_role("status")).to_contain_text(words.saved)
    assert not page.get_by_label(words.water).is_checked()
    send_an_issue("barrage", "culture", categories=["eau", "culture"])
    second = mails(inbox, 3)[2]
    assert "Le titre de culture" in second
    assert "Le titre de barrage" not in second
    return second


def read_on_the_web(phone: Phone, mail: str) -> None:
    """Open the issue on the web, which knows nobody, and from there all others."""
    words, page = WORDS[phone.language], phone.page
    page.goto(link(mail, "i"))
    if phone.language != "fr":
        page.get_by_role("link", name=words.own_name).click()
    assert page.locator("main").count() == 1
    assert "lea@example.org" not in page.content()
    assert not re.search(r"/[pu]/[\w-]{40}", page.content())
    page.get_by_role("link", name=words.all_issues).first.click()
    phone.see(words.all_issues)
    assert page.locator("main li").count() == 2


def leave_and_return(phone: Phone, inbox: SmtpInbox, mail: str) -> None:
    """Unsubscribe by a mail's link, say why, get nothing, and take it back."""
    words = WORDS[phone.language]
    phone.open(link(mail, "u"), words.unsubscribe)
    phone.press(words.leave, words.unsubscribed)
    phone.press(words.reason, words.unsubscribed)
    expect(phone.page.get_by_role("status")).to_have_text(words.thanks)
    with pytest.raises(issues.IssueEmpty):
        send_an_issue("unread", categories=["culture"])
    phone.open(link(mail, "u"), words.already_left)
    phone.press(words.come_back, words.welcome_back)
    send_an_issue("culture-2", categories=["culture"])
    mails(inbox, 4)


@each_language
def test_on_another_device_the_link_asks_for_one_press(
    site: Site, installation: SmtpInbox, chromium: Browser, language: str
) -> None:
    words = WORDS[language]
    desk, phone = (Phone(chromium, language, has_scripts=False) for _ in range(2))
    desk.page.goto(f"{site.url}/courrier?lang={language}")
    desk.page.get_by_label(words.email).fill("lea@example.org")
    desk.press(words.subscribe, words.check_inbox)
    address = link(mails(installation, 1)[0], "confirm")
    phone.open(address, words.last_step)
    assert state() == SubscriptionState.PENDING
    phone.press(words.confirm, words.confirmed)
    assert state() == SubscriptionState.CONFIRMED
    desk.open(address, words.confirmed_already)
    desk.context.close()
    phone.context.close()


@each_language
@with_scripts_and_without
def test_the_form_on_the_publishers_page_leads_in(
    site: Site, installation: SmtpInbox, chromium: Browser, tmp_path: Path, has_scripts: bool, language: str
) -> None:
    words, phone = WORDS[language], Phone(chromium, language, has_scripts=has_scripts)
    page = phone.page
    with publisher.pages(tmp_path, language) as host:
        page.goto(f"{host}/{Kind.SCRIPT}.html")
        page.get_by_label(words.email).fill("lea@example.org")
        page.get_by_role("button", name=words.subscribe).click()
        if has_scripts:
            page.get_by_role("status").filter(has_text=words.sent).wait_for()
            assert page.url == f"{host}/{Kind.SCRIPT}.html"
            assert not page.locator("form").is_visible()
        else:
            phone.see(words.check_inbox)
        address = link(mails(installation, 1)[0], "confirm")
        if has_scripts:
            # The script leaves no cookie with the publisher's readers, so that the link asks for one press more.
            phone.open(address, words.last_step)
            phone.press(words.confirm, words.confirmed)
        else:
            phone.open(address, words.confirmed)
    phone.context.close()


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
