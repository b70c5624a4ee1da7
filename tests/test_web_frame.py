"""What surrounds every page: headers, limits, errors, files, probes, log lines, translation."""

import json
import logging
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from babel.messages.pofile import read_po
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from mailer import settings
from mailer.web import assets, errors, middleware, pages, rhythm
from mailer.web.app import ROUTERS, create_app
from tests.conftest import SmtpInbox
from tests.factories import NOW
from tests.web_server import browser, listening, serving
from tests.web_site import Site, heading, requests, running_site

PARAMETERS = {"newsletter": "courrier", "slug": "courrier", "light": "0F5C5C", "dark": "7CC7BD", "name": "reader.css"}


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def public_routes() -> list[tuple[str, str]]:
    """Every method and path of the readers' side, with something in place of the parameters."""
    found = []
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute) and not route.path.startswith("/admin"):
            path = re.sub(r"\{(\w+)\}", lambda match: PARAMETERS.get(match[1], "1"), route.path)
            found += [(method, path) for method in sorted(route.methods)]
    return found


# --- headers


def test_every_answer_carries_the_security_headers(site: Site) -> None:
    routes = public_routes()
    assert len(routes) > 25
    for method, path in [*routes, ("GET", "/no/such/page"), ("DELETE", "/courrier"), ("PATCH", "/")]:
        headers = site.client.request(method, path).headers
        framed = middleware.CONTENT_SECURITY_POLICY.replace("frame-ancestors 'none'", "frame-ancestors *")
        is_framed = path.startswith("/courrier/embed")
        assert headers["content-security-policy"] == (framed if is_framed else middleware.CONTENT_SECURITY_POLICY), path
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        is_for_all = path.startswith("/static/brand/") or path == "/sitemap.xml"
        assert headers["cache-control"] in ("no-store", "no-cache") or is_for_all
        assert "strict-transport-security" not in headers


def test_browsers_are_told_to_stay_on_https(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_PUBLIC_URL", "https://lettre.example")
    settings.load.cache_clear()
    assert site.client.get("/courrier").headers["strict-transport-security"] == "max-age=31536000"
    monkeypatch.setenv("MAILER_PUBLIC_URL", "https://localhost:8000")
    settings.load.cache_clear()
    assert "strict-transport-security" not in site.client.get("/courrier").headers


def test_every_page_that_get_shows_answers_head(site: Site) -> None:
    for _, path in [one for one in public_routes() if one[0] == "GET"]:
        shown, head = site.client.get(path), site.client.head(path)
        assert (head.status_code, head.content) == (shown.status_code, b"")


# --- limits


def test_a_form_of_more_than_64_kb_is_refused_before_it_is_read(site: Site) -> None:
    with socket.create_connection(("localhost", urlsplit(site.url).port), timeout=5) as connection:
        connection.sendall(b"POST /s/courrier HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_form_without_a_length_is_cut_off_at_64_kb(site: Site) -> None:
    response = site.client.post("/s/courrier", content=(b"a" * 1000 for _ in range(66)))
    assert (response.status_code, heading(response)) == (413, "C’est trop long")
    assert requests() == []


def test_a_form_of_thousands_of_fields_is_refused(site: Site) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = site.client.post("/s/courrier", content=b"email=lea@example.org" + b"&a" * 30_000, headers=form)
    assert (response.status_code, heading(response)) == (400, "Cette demande n’a pas été comprise")


@pytest.mark.slow
def test_a_form_that_trickles_in_is_given_up(site: Site) -> None:
    with socket.create_connection(("localhost", urlsplit(site.url).port), timeout=20) as connection:
        connection.sendall(b"POST /s/courrier HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nemail=")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


# --- errors


def test_what_nobody_foresaw_gives_a_page_and_an_incident_in_the_log(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, address = create_app(), "lea@example.org"

    def fail() -> None:
        raise RuntimeError(address)

    app.router.routes.insert(0, APIRoute("/fail", fail))
    with listening() as (listener, url), serving(app, listener), browser(url) as client, capture_logs() as logged:
        response = client.get("/fail?lang=fr")
    assert (response.status_code, heading(response)) == (500, "Un problème de notre côté")
    assert response.headers["content-security-policy"] == middleware.CONTENT_SECURITY_POLICY
    (entry,) = logged
    assert f"<b>{entry['incident']}</b>" in response.text
    assert entry["error"] == "RuntimeError"
    assert "in fail" in entry["traceback"]
    assert address not in json.dumps(entry) + response.text


def test_a_database_that_is_away_gives_a_page_that_says_to_come_back(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    settings.load.cache_clear()
    with listening() as (listener, url), serving(create_app(), listener), browser(url) as client:
        response = client.get("/courrier?lang=fr")
        assert (response.status_code, heading(response)) == (503, "De retour dans quelques minutes")
        assert response.headers["retry-after"] == "60"
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"database": False, "redis": True})


def test_every_status_has_a_page_in_both_languages(site: Site) -> None:
    assert heading(site.client.post("/courrier?lang=fr")) == "Cette page ne s’utilise pas ainsi"
    assert site.client.post("/courrier").headers["allow"] in ("GET, HEAD", "HEAD, GET")
    assert {404, 405, 413, 422, 429, 500} <= set(errors.MESSAGES)


def test_a_wrong_setting_stops_the_start_with_one_sentence(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_PUBLIC_URL", "http://lettre.example")
    settings.load.cache_clear()
    with pytest.raises(SystemExit, match=r"^mailer: MAILER_PUBLIC_URL must be https://"):
        create_app()


# --- files and probes


def test_stylesheets_are_kept_for_a_year_under_an_address_that_changes_with_them(site: Site) -> None:
    (path,) = re.findall(r'href="(/static/reader\.css[^"]*)"', site.client.get("/courrier").text)
    assert site.client.get(path).headers["cache-control"] == "public, max-age=31536000, immutable"
    assert site.client.get("/static/reader.css?v=old").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["..%2fpages.py", "%2e%2e/pages.py", "pages.py", "", "nope.css", "%00.css"])
def test_no_other_file_is_served(site: Site, name: str) -> None:
    assert site.client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize("colors", ["0F5C5C-7CC7B", "0F5C5C-zzzzzz", "0F5C5C;}-7CC7BD", "0F5C5C"])
def test_nothing_but_two_colours_makes_a_publishers_stylesheet(site: Site, colors: str) -> None:
    assert site.client.get("/static/brand/0F5C5C-7CC7BD.css").text.startswith(":root{--brand:#0F5C5C;")
    assert site.client.get(f"/static/brand/{colors}.css").status_code == 404


@given(st.integers(0, 0xFFFFFF))
def test_a_buttons_words_are_readable_on_any_brand_colour(color: int) -> None:
    chosen = assets.readable_on(f"{color:06X}")
    light, dark = sorted((luminance(chosen[1:]), luminance(f"{color:06X}")), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2.2 has it."""
    parts = [int(color[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_service_in_order_is_ready(site: Site) -> None:
    response = site.client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"database": True, "redis": True})


def test_the_access_log_names_no_token_address_or_reader() -> None:
    arguments = ("203.0.113.9:5000", "GET", f"/u/{'A' * 40}/one-click?email=lea@example.org", "1.1", 200)
    record = logging.LogRecord("uvicorn.access", logging.INFO, "", 0, '%s - "%s %s HTTP/%s" %d', arguments, None)
    assert middleware.without_secrets(record)
    assert record.getMessage() == '203.0.113.0/24 - "GET /u/…/one-click HTTP/1.1" 200'


# --- words


@pytest.mark.parametrize(
    ("cron", "french", "english"),
    [
        ("0 7 * * FRI", "Chaque vendredi à 7\u00a0h", "Every Friday at 07:00"),
        ("30 18 * * 1,4", "Chaque lundi et jeudi à 18\u00a0h\u00a030", "Every Monday and Thursday at 18:30"),
        ("0 6 * * mon-fri", "Du lundi au vendredi à 6\u00a0h", "Monday to Friday at 06:00"),
        ("0 6 * * *", "Chaque jour à 6\u00a0h", "Every day at 06:00"),
        ("0 6 * * 0,7", "Chaque dimanche à 6\u00a0h", "Every Sunday at 06:00"),
        ("0 6 * * SAT-SUN", "Chaque samedi et dimanche à 6\u00a0h", "Every Saturday and Sunday at 06:00"),
        ("0 6 1 * *", "Une sélection", "A selection"),
        ("0 6 * 3 FRI", "Une sélection", "A selection"),
        ("0 6 * * FRI#2", "Une sélection", "A selection"),
        ("*/5 * * * *", "Une sélection", "A selection"),
        (None, "Une sélection", "A selection"),
    ],
)
def test_a_schedule_is_told_in_words(cron: str | None, french: str, english: str) -> None:
    assert rhythm.promise("fr", cron).startswith(french)
    assert rhythm.promise("en", cron).startswith(english)


@pytest.mark.parametrize(
    ("timezone", "words"),
    [
        ("Europe/Paris", "heure de Paris"),
        ("Europe/Istanbul", "heure d’Istanbul"),
        ("America/New_York", "heure de New York"),
        ("UTC", "UTC"),
    ],
)
def test_a_moment_names_its_zone(timezone: str, words: str) -> None:
    assert rhythm.moment("fr", NOW, timezone).endswith(f"({words})")


def sentences() -> set[str]:
    """Every English sentence in the readers' templates and modules."""
    found = {sentence for message in errors.MESSAGES.values() for sentence in message}
    for path in (pages.FOLDER / "templates" / "public").iterdir():
        found |= set(re.findall(r'(?:\b_|gettext)\("([^"]+)"', path.read_text()))
    for path in pages.FOLDER.glob("*.py"):
        found |= set(re.findall(r'gettext\(\s*language,\s*"([^"]+)"', path.read_text()))
        found |= set(re.findall(r'"(Enter [^"]+)"', path.read_text()))
    return found


def test_every_sentence_is_in_good_french() -> None:
    with (pages.FOLDER.parent / "locale" / "fr.po").open("rb") as file:
        catalogue = read_po(file, locale="fr")
    found = sentences()
    assert len(found) > 70
    for sentence in found:
        message = catalogue.get(sentence)
        assert message is not None, sentence
        translations = message.string if isinstance(message.string, (tuple, list)) else [message.string]
        for french in translations:
            assert french
            assert set(re.findall(r"\{\w+\}", french)) == set(re.findall(r"\{\w+\}", sentence)), sentence
            assert not re.search(r"'|[^\xa0][:;!?»](?:\s|$)|«[^\xa0]|\d (?:jour|minute)", french), french
