"""The pages for everybody: the form, "check your inbox", an issue on the web; and what holds for every page."""

import hashlib
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import event, func, select

from mailer import clock, db, i18n, settings
from mailer.db import transaction
from mailer.issues import issues
from mailer.links import Purpose
from mailer.models.audience import Subscription
from mailer.newsroom import newsletters
from mailer.web import signing_up
from tests.conftest import SmtpInbox
from tests.factories import an_article, readers
from tests.web_server import browser
from tests.web_site import (
    Site,
    confirmed_reader,
    consents,
    heading,
    pending_reader,
    requests,
    running_site,
    sent_issue,
    signup_cookie,
    state,
)


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


# --- the form


def test_the_form_speaks_the_newsletters_language(site: Site) -> None:
    response = site.client.get("/courrier", headers={"Accept-Language": "en-GB"})
    assert response.status_code == 200
    assert '<html lang="fr"' in response.text
    assert heading(response) == "Recevez Le Courrier d’Asie centrale par e-mail"
    assert "Chaque vendredi à 7\u00a0h, une sélection de nos articles." in response.text


def test_the_address_of_a_page_chooses_its_language(site: Site) -> None:
    response = site.client.get("/courrier?lang=en")
    assert '<html lang="en"' in response.text
    assert heading(response) == "Get Le Courrier d’Asie centrale by e-mail"


def test_the_list_of_newsletters_speaks_the_browsers_language(site: Site) -> None:
    wanted = {"Accept-Language": "de, en;q=0.5, fr;q=0.8"}
    assert heading(site.client.get("/", headers=wanted)) == "Nos newsletters"
    assert heading(site.client.get("/", headers={"Accept-Language": "fr;q=oops"})) == "Our newsletters"


def test_a_link_may_fill_in_the_address_and_name_its_place(site: Site) -> None:
    page = site.client.get("/courrier?email=a%22%3E%3Cb%3E@example.org&source=article").text
    assert 'value="a&#34;&gt;&lt;b&gt;@example.org"' in page
    assert 'name="source" value="article"' in page


def test_a_strange_source_is_dropped(site: Site) -> None:
    assert 'name="source"' not in site.client.get("/courrier?source=%3Cscript%3E").text
    site.subscribe(source="a b\x00")
    assert requests()[0].source is None


@pytest.mark.parametrize("slug", ["nope", "%00", "..%2f", "COURRIER", "favicon.ico", "a" * 5000])
def test_an_unknown_page_says_so(site: Site, slug: str) -> None:
    response = site.client.get(f"/{slug}")
    assert response.status_code == 404
    assert heading(response) == "Page not found"


@pytest.mark.parametrize(
    "address", ["lea@example", "lea", "lea@@example.org", "a@b.c\r\nBcc: d@e.fr", "a\0@b.fr", "x" * 320 + "@b.fr"]
)
def test_an_incomplete_address_is_explained_where_it_stands(site: Site, address: str) -> None:
    response = site.subscribe(address)
    assert response.status_code == 422
    assert "<title>Problème\u00a0: S’inscrire" in response.text
    assert 'role="alert" tabindex="-1" autofocus' in response.text
    assert response.text.count("Saisissez une adresse complète, par exemple nom@exemple.fr") == 2
    assert 'aria-describedby="email-error email-hint" aria-invalid="true"' in response.text
    assert requests() == []


def test_what_was_typed_is_still_there_after_a_mistake(site: Site) -> None:
    assert 'value="lea@example"' in site.subscribe("lea@example").text


def test_an_empty_address_is_asked_for(site: Site) -> None:
    assert "Saisissez votre adresse e-mail" in site.subscribe(" ").text
    assert "Enter your email address" in site.client.post("/s/courrier", data={"lang": "en"}).text


def test_reloading_the_page_of_a_mistake_leads_back_to_the_form(site: Site) -> None:
    response = site.client.get("/s/courrier?lang=en")
    assert (response.status_code, response.headers["location"]) == (303, "/courrier?lang=en")


def test_a_sign_up_is_stored_with_its_proof_and_no_full_ip_address(site: Site) -> None:
    response = site.subscribe(" Lea@EXAMPLE.org ", source="article", lang="en")
    assert (response.status_code, response.headers["location"]) == (303, "/check-inbox")
    (asked,) = requests()
    assert (asked.address, asked.language, asked.source) == ("Lea@example.org", "en", "article")
    assert (asked.network, asked.form_version) == ("127.0.0.0/24", f"page-{signing_up.FORM_VERSION}/en")


def test_a_multipart_form_works_as_well(site: Site) -> None:
    response = site.client.post("/s/courrier", files={"email": (None, "lea@example.org")})
    assert response.status_code == 303
    assert len(requests()) == 1


def test_a_file_in_place_of_the_address_is_refused(site: Site) -> None:
    assert site.client.post("/s/courrier", files={"email": ("a.txt", b"lea@example.org")}).status_code == 422


def test_a_field_that_only_robots_fill_in_stores_nothing(site: Site) -> None:
    response = site.subscribe(website="https://spam.example")
    assert (response.status_code, response.headers["location"]) == (303, "/check-inbox")
    assert requests() == []


def test_the_answer_is_the_same_for_a_known_and_an_unknown_address(site: Site) -> None:
    confirmed_reader()
    answers = [site.subscribe(address) for address in ("r0@example.org", "nobody@example.org")]
    seen = []
    for answer in answers:
        # The cookie has the request's number and what this browser itself has typed.
        headers = {**answer.headers, "set-cookie": re.sub(r"=[\w-]{40,};", "=…;", answer.headers["set-cookie"])}
        headers.pop("date")
        seen.append((answer.status_code, answer.content, headers))
    assert seen[0] == seen[1]


def test_the_form_never_looks_at_the_readers(site: Site) -> None:
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_rest) -> None:
        statements.append(statement)

    event.listen(db.engine(), "before_cursor_execute", note)
    site.subscribe()
    assert any("signup_requests" in statement for statement in statements)
    assert not any("subscri" in re.sub("subscription_id", "", statement) for statement in statements)


def test_a_sign_up_is_kept_while_redis_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    settings.load.cache_clear()
    assert site.subscribe().status_code == 303
    assert len(requests()) == 1


def test_the_client_is_believed_only_as_far_as_trusted_proxies_wrote_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    site.client.post("/s/courrier", data={"email": "a@example.org"}, headers=forwarded)
    monkeypatch.setenv("MAILER_TRUSTED_PROXIES", "127.0.0.0/8")
    settings.load.cache_clear()
    site.client.post("/s/courrier", data={"email": "b@example.org"}, headers=forwarded)
    assert [asked.network for asked in requests()] == ["127.0.0.0/24", "198.51.100.0/24"]


def test_the_words_that_readers_agree_to_have_a_version(site: Site) -> None:
    page = site.client.get("/courrier").text
    words = re.sub(r"<[^>]+>", " ", page[page.index("<form") : page.index("</details>")]).split()
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]
    assert (signing_up.FORM_VERSION, digest) == ("1", "1af2c096"), (
        "the words changed: raise FORM_VERSION and note the digest here"
    )


# --- check your inbox


def test_only_the_browser_that_signed_up_sees_the_address(site: Site) -> None:
    site.subscribe()
    assert "<b>lea@example.org</b>" in site.client.get("/check-inbox").text
    with browser(site.url) as other:
        assert "lea@" not in other.get("/check-inbox").text
        assert "lea@" not in other.get("/check-inbox", headers={"Cookie": f"mailer_signup={'A' * 80}"}).text


def test_the_address_is_shown_for_an_hour_only(site: Site) -> None:
    for minutes, is_shown in ((59, True), (61, False)):
        cookie = signup_cookie(1, made=timedelta(minutes=minutes))
        page = site.client.get("/check-inbox", headers=cookie).text
        assert ("lea@" in page) is is_shown


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    cookies = site.subscribe().headers["set-cookie"]
    assert re.fullmatch(r"mailer_signup=[\w-]+; HttpOnly; Max-Age=86400; Path=/; SameSite=lax", cookies)
    monkeypatch.setenv("MAILER_PUBLIC_URL", "https://lettre.example")
    settings.load.cache_clear()
    assert site.subscribe().headers["set-cookie"].endswith("; Secure")


# --- an issue on the web


def test_an_issues_public_copy_holds_no_readers_link(site: Site) -> None:
    response = site.client.get(f"/i/{sent_issue()}")
    assert response.status_code == 200
    assert "Le titre de eau" in response.text
    assert not re.search(r"/(?:u|p|confirm)/|@example\.org|[\w-]{40}", response.text.split("<body")[1])


def test_an_issues_public_copy_runs_nothing(site: Site) -> None:
    policy = site.client.get(f"/i/{sent_issue()}").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src https:")
    assert "sandbox allow-popups" in policy
    assert "script" not in policy


@pytest.mark.parametrize("number", ["1", "99", "0", "-1", "x", str(2**63), "9" * 40])
def test_an_issue_that_was_not_sent_is_not_there(site: Site, number: str) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        issues.draft(session, newsletter, now=clock.now())
    assert site.client.get(f"/i/{number}").status_code == 404


# --- every page


def reader_pages(site: Site) -> dict[str, httpx.Response]:
    """Every reader page that GET shows, by path, in both languages."""
    pending_reader()
    with transaction() as session:
        readers(session, newsletters.get(session, "courrier"), 1)
        second = session.execute(select(func.max(Subscription.id))).scalar_one()
    paths = [
        *("/", "/courrier", "/check-inbox", "/preferences", "/nope"),
        site.confirm_path(),
        site.confirm_path(made=timedelta(days=8)),
        "/confirm/cut",
        f"/u/{site.token(Purpose.UNSUBSCRIBE, second)}",
        f"/u/{site.token(Purpose.ONE_CLICK, second)}/one-click",
        "/u/cut",
        f"/p/{site.token(Purpose.PREFERENCES, second)}",
    ]
    found = {f"{path}?lang={language}": None for path in paths for language in i18n.LANGUAGES}
    return {path: site.client.get(path) for path in found}


def test_every_page_is_small_complete_and_without_scripts(site: Site) -> None:
    styles = len(site.client.get("/static/reader.css").content)
    for path, page in reader_pages(site).items():
        assert len(page.content) + styles < 30_000
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://(?!courrier\.example)", page.text), path
        assert f'<html lang="{path[-2:]}" dir="ltr">' in page.text
        assert heading(page)
        assert re.search(r"<title>[^<]{5,}</title>", page.text)


def test_every_field_has_a_visible_label(site: Site) -> None:
    for path, page in reader_pages(site).items():
        fields = re.findall(r"<(?:input|select)(?![^>]*hidden)[^>]*>", page.text)
        for field in fields:
            (identifier,) = re.findall(r'\sid="([^"]+)"', field)
            assert f'<label for="{identifier}">' in page.text, path


def test_robots_keep_out_of_what_belongs_to_one_reader(site: Site) -> None:
    for path, page in reader_pages(site).items():
        is_listed = path.startswith(("/?", "/courrier"))
        assert ("noindex" in page.headers.get("x-robots-tag", "")) != is_listed, path
        assert page.headers["cache-control"] == "no-store"
    assert "Disallow: /u/" in site.client.get("/robots.txt").text


def test_nothing_that_only_opens_a_page_changes_anything(site: Site) -> None:
    pages = reader_pages(site)
    before, states = consents(), [state()]
    for path in pages:
        for method in ("GET", "HEAD", "OPTIONS"):
            site.client.request(method, path)
    assert (consents(), [state()], len(requests())) == (before, states, 1)
