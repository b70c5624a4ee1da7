"""The desk's page of forms: snippets to paste, a preview, what the form asks, where readers signed up."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from mailer import clock
from mailer.articles import topics
from mailer.audience import signups, snippets
from mailer.audience.snippets import Kind, Look
from mailer.audience.subscriptions import Origin
from mailer.db import transaction
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.desk import area, press, running_desk, sign_in, speak
from tests.factories import a_newsletter, a_signup
from tests.web_site import Site, requests

PATH = "/admin/forms/courrier"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def stored(name: str) -> object:
    with transaction() as session:
        return getattr(newsletters.get(session, "courrier"), name)


def test_the_menu_leads_to_the_forms_of_the_first_newsletter(desk: Site) -> None:
    assert '<a href="/admin/forms"' in desk.client.get("/admin").text
    assert f'action="{PATH}"' in desk.client.get("/admin/forms").text


def test_every_snippet_is_there_to_be_copied_in_the_language_that_is_chosen(desk: Site) -> None:
    page = desk.client.get(f"{PATH}?lang=kk&source=menu&color=%237A1FA2")
    for kind in Kind:
        code = re.search(rf'<textarea id="code-{kind}"[^>]*>([^<]*)<', page.text)
        assert code, kind
        text = html.unescape(code[1])
        assert "/courrier" in text
        assert "menu" in text
    assert "Жазылу" in page.text
    assert 'src="/courrier/embed?lang=kk&amp;color=7A1FA2&amp;source=menu"' in page.text
    assert "frame-src 'self'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("query", ["lang=xx&color=red&source=%3Cscript%3E", "color=%23zzzzzz", "source=" + "a" * 200])
def test_a_strange_choice_shows_the_usual_snippets(desk: Site, query: str) -> None:
    page = desk.client.get(f"{PATH}?{query}").text
    assert 'src="/courrier/embed?lang=fr&amp;color=0F5C5C&amp;source=site"' in page


def test_the_plain_form_signs_up_as_it_stands(desk: Site) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        code = snippets.make(newsletter, Kind.HTML, Look(language="fr", color="#0F5C5C", source="article"))
    assert len(code.splitlines()) <= 12
    assert "<strong>Newsletter</strong> — L’actualité de l’Asie centrale" in code
    (action,) = re.findall(r'<form action="([^"]+)" method="post"', code)
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', code))
    assert desk.client.post(action, data={**fields, "email": "lea@example.org"}).status_code == 303
    (asked,) = requests()
    assert (asked.address, asked.language, asked.source) == ("lea@example.org", "fr", "article")


def test_what_a_newsletter_is_called_stays_text_in_a_snippet(desk: Site) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletter.name, newsletter.description = 'A"><script>x</script>', "</p><script>x</script>"
        look = Look(language="en", color="#0F5C5C", source='"><b>')
        made = [snippets.make(newsletter, kind, look) for kind in Kind]
    assert not any("<script>x" in code or '"><b>' in code for code in made)


def test_what_the_form_asks_is_set_here(desk: Site) -> None:
    sites = "https://courrier.example\r\nhttps://*.courrier.example"
    done = press(desk.client, PATH, PATH, asks_topics="yes", sends_welcome="yes", form_sites=sites)
    assert done.headers["location"] == f"{PATH}?done=saved"
    assert [stored(name) for name in ("asks_rhythm", "asks_topics", "sends_welcome")] == [False, True, True]
    assert stored("form_sites") == ["https://courrier.example", "https://*.courrier.example"]


def test_a_site_that_is_none_is_explained_and_kept_on_the_page(desk: Site) -> None:
    page = press(desk.client, PATH, PATH, form_sites="courrier.example/path")
    assert page.status_code == 422
    assert "Enter sites such as https://courrier.example" in page.text
    assert area(page, "form_sites") == "courrier.example/path"
    assert stored("form_sites") == []


def test_the_frame_is_as_high_as_what_it_asks(desk: Site) -> None:
    plain = re.search(r'<iframe class="formframe"[^>]*height="(\d+)"', desk.client.get(PATH).text)
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletter.asks_topics = newsletter.asks_rhythm = True
        topics.put(session, newsletter, "eau", names={"fr": "Eau"}, rules={"categories": ["Eau"]})
    asking = re.search(r'<iframe class="formframe"[^>]*height="(\d+)"', desk.client.get(PATH).text)
    assert plain
    assert asking
    assert int(asking[1]) - int(plain[1]) == 5 * snippets.CHOICE_HEIGHT


def test_sign_ups_are_counted_by_place_with_a_chart_and_a_table(desk: Site) -> None:
    speak("fr")
    assert "Aucune inscription dans cette période." in desk.client.get(PATH).text
    with transaction() as session:
        newsletter, now = newsletters.get(session, "courrier"), clock.now()
        for number, source in enumerate(("article", "article", "<b>", None)):
            origin = Origin(source=source)
            request_id = a_signup(session, newsletter, f"r{number}@example.org", origin=origin, now=now)
            signups.handle(session, request_id, now=now)
    page = desk.client.get(PATH).text
    assert 'role="img" aria-label="Inscriptions par emplacement\u00a0: 0 confirmées, 4 pas encore confirmées"' in page
    assert "article · 0 + 2" in page
    assert '<td class="wrap">&lt;b&gt;</td>' in page
    assert "sans nom" in page


def test_without_a_newsletter_the_page_says_how_to_make_one(desk: Site) -> None:
    with transaction() as session:
        session.delete(newsletters.get(session, "courrier"))
        session.flush()
    assert "There is no newsletter yet." in desk.client.get("/admin/forms").text


def test_several_newsletters_each_have_their_forms(desk: Site) -> None:
    assert 'aria-label="Newsletters"' not in desk.client.get(PATH).text
    with transaction() as session:
        a_newsletter(session, "hebdo", name="Hebdo")
    assert '<a href="/admin/forms/hebdo">Hebdo</a>' in desk.client.get(PATH).text
    assert desk.client.get("/admin/forms/nope").status_code == 404


def test_the_overview_warns_when_few_confirm(desk: Site) -> None:
    assert "Few sign-ups are confirmed" not in desk.client.get("/admin").text
    with transaction() as session:
        newsletter, then = newsletters.get(session, "courrier"), clock.now() - timedelta(hours=3)
        for number in range(signups.ENOUGH_TO_ALARM):
            signups.handle(session, a_signup(session, newsletter, f"r{number}@example.org", now=then), now=then)
    assert "Few sign-ups are confirmed: 0 of 50 in the last day." in desk.client.get("/admin").text
