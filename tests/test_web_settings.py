"""The desk's settings: the publication, its look, mail servers, privacy, and whether the installation is well."""

import re
from collections.abc import Iterator

import httpx
import pytest

from mailer import settings, signs
from mailer.db import transaction
from mailer.delivery import servers
from mailer.models.content import Newsletter
from mailer.models.installation import MailServer
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.desk import drafted, field, press, running_desk, sign_in, speak
from tests.smtp_server import scripted_server
from tests.test_sites import picture

PAGES = ("general", "brand", "sending", "sending/new", "privacy", "system")
GENERAL = {
    "name": "Le Courrier",
    "language": "fr",
    "timezone": "Europe/Paris",
    "publisher": "Association Le Courrier",
    "postal_address": "12 rue des Caravanes",
    "contact_address": "redaction@courrier.example",
}
SERVER = {"host": "127.0.0.1", "port": "25", "security": "smtp", "username": "lettre", "password": "very secret"}


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in; the environment names the mail server."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        site.client.follow_redirects = True
        yield site.client


@pytest.fixture
def free(desk: httpx.Client, installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """The same, but the desk decides about mail servers."""
    monkeypatch.delenv("MAILER_SMTP_URL")
    monkeypatch.setenv("MAILER_INBOX_SMTP_URL", installation.url)
    settings.load.cache_clear()
    return desk


def newsletter() -> Newsletter:
    with transaction() as session:
        return newsletters.get(session, "courrier")


def kept() -> list[MailServer]:
    with transaction() as session:
        return servers.listed(session)


def upload(desk: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    """Send the form of the logo."""
    csrf = field(desk.get("/admin/settings/brand"), "csrf")
    files = {"logo": ("logo.png", content, "image/png")}
    return desk.post("/admin/settings/brand/logo", data={"csrf": csrf, **fields}, files=files)


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_opens_in_both_languages(desk: httpx.Client, language: str) -> None:
    speak(language)
    for name in PAGES:
        page = desk.get(f"/admin/settings/{name}")
        assert page.status_code == 200, name
        assert f'<html lang="{language}"' in page.text
        assert 'aria-current="page"' in page.text.partition('class="tabs"')[2]
    assert desk.get("/admin/settings").url.path == "/admin/settings/general"


def test_the_newsletter_follows_what_is_changed_for_all(desk: httpx.Client) -> None:
    press(desk, "/admin/settings/general", "/admin/settings/general", **GENERAL | {"publisher": "Les Caravanes"})
    assert (newsletter().publisher, newsletter().reply_to) == ("Les Caravanes", "redaction@courrier.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "x" * 121),
        ("language", "xx"),
        ("timezone", "nowhere"),
        ("postal_address", "x" * 301),
        ("contact_address", "<script>alert(1)</script>"),
    ],
)
def test_what_cannot_be_said_of_a_publication_keeps_what_was_typed(desk: httpx.Client, name: str, value: str) -> None:
    page = press(desk, "/admin/settings/general", "/admin/settings/general", **GENERAL | {name: value})
    assert page.status_code == 422
    assert f'id="{name}-error"' in page.text
    if name != "language":
        assert field(page, name) == value
    assert "<script>alert" not in page.text


def test_a_colour_is_shown_before_it_is_kept(desk: httpx.Client) -> None:
    values = {"brand_color": "#800000", "logo_width": "200"}
    page = press(desk, "/admin/settings/brand", "/admin/settings/brand", **values, act="look")
    assert 'fill="#800000"' in page.text
    assert newsletter().brand_color == "#0F5C5C"
    press(desk, "/admin/settings/brand", "/admin/settings/brand", **values)
    assert (newsletter().brand_color, newsletter().logo_width) == ("#800000", 200)


@pytest.mark.parametrize(
    ("name", "value"), [("brand_color", "red"), ("brand_color", ""), ("logo_width", "23"), ("logo_width", "1e3")]
)
def test_no_colour_is_no_colour(desk: httpx.Client, name: str, value: str) -> None:
    values = {"brand_color": "#800000", "logo_width": "200"} | {name: value}
    page = press(desk, "/admin/settings/brand", "/admin/settings/brand", **values)
    assert (page.status_code, field(page, name)) == (422, value)
    assert newsletter().brand_color == "#0F5C5C"


def test_a_logo_is_made_anew_and_stands_in_mails(desk: httpx.Client) -> None:
    content = picture("#C02030", (300, 80))
    upload(desk, content + b"<script>alert(1)</script>")
    address = str(newsletter().logo_url)
    served = desk.get(address)
    assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
    assert b"script" not in served.content
    issue_id = drafted()
    assert address in desk.get(f"/admin/issues/{issue_id}/preview").text
    upload(desk, b"", act="remove")
    assert newsletter().logo_url is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"\x89PNG\r\n\x1a\nbroken",
        b"%PDF-1.7",
        b"<html>",
    ],
)
def test_what_is_no_picture_is_no_logo(desk: httpx.Client, content: bytes) -> None:
    page = upload(desk, content)
    assert page.status_code == 422
    assert 'id="logo-error"' in page.text
    assert newsletter().logo_url is None


def test_why_a_picture_is_no_logo_is_said_in_french(desk: httpx.Client) -> None:
    speak("fr")
    page = upload(desk, b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert "The picture" not in page.text
    assert "SVG" in page.text.partition('id="logo-error"')[2].partition("</p>")[0]


def test_a_logo_that_is_too_large_is_refused_before_it_is_read(desk: httpx.Client) -> None:
    assert upload(desk, b"x" * 950_000).status_code == 422
    assert upload(desk, b"x" * 2_000_000).status_code == 413


def test_a_file_comes_by_no_other_form(desk: httpx.Client) -> None:
    csrf = field(desk.get("/admin/settings/general"), "csrf")
    answer = desk.post("/admin/settings/general", data={"csrf": csrf}, files={"name": ("a", b"x")})
    assert answer.status_code == 400


# Sending.


def test_what_the_environment_names_is_shown_without_its_password(
    desk: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_SMTP_URL", "smtps://lettre:very-secret@smtp.courrier.example:465")
    settings.load.cache_clear()
    page = desk.get("/admin/settings/sending").text
    assert "smtp.courrier.example:465" in page
    assert "very-secret" not in page
    assert "Add a server" not in page


def test_a_server_is_kept_changed_and_removed_without_its_password_on_any_page(free: httpx.Client) -> None:
    press(free, "/admin/settings/sending/new", "/admin/settings/sending/new", **SERVER, act="save", per_hour="500")
    (server,) = kept()
    path = f"/admin/settings/sending/{server.id}"
    assert (field(free.get(path), "per_hour"), field(free.get(path), "username")) == ("500", "lettre")
    changed = SERVER | {"password": "", "port": "2525", "act": "save"}
    press(free, path, path, **changed)
    with transaction() as session:
        (route,) = servers.routes(session)
    assert route.url == "smtp://lettre:very%20secret@127.0.0.1:2525"
    for one in (path, "/admin/settings/sending", "/admin/settings/system"):
        assert "very secret" not in free.get(one).text
    press(free, path, path, act="remove")
    assert kept() == []


@pytest.mark.parametrize(
    ("name", "value"), [("host", ""), ("host", "a b"), ("port", "x"), ("per_second", "-1"), ("position", "0")]
)
def test_what_is_no_server_is_not_kept(free: httpx.Client, name: str, value: str) -> None:
    path = "/admin/settings/sending/new"
    page = press(free, path, path, **SERVER | {name: value}, act="save")
    assert (page.status_code, field(page, name)) == (422, value)
    assert f'id="{name}-error"' in page.text
    assert kept() == []


def test_a_pasted_address_that_is_none_is_told_and_never_shown_again(free: httpx.Client) -> None:
    path = "/admin/settings/sending/new"
    page = press(free, path, path, **SERVER, smtp_url="https://me:pasted-secret@smtp.example", act="save")
    assert page.status_code == 422
    assert "pasted-secret" not in page.text


def test_a_pasted_address_fills_the_form(free: httpx.Client) -> None:
    path = "/admin/settings/sending/new"
    page = press(free, path, path, smtp_url="smtps://me:pw@smtp.example", act="fill")
    assert (field(page, "host"), field(page, "port"), field(page, "username")) == ("smtp.example", "465", "me")
    assert '"pw"' not in page.text


def test_checking_says_what_each_server_in_use_says(free: httpx.Client) -> None:
    with scripted_server(passwords={"lettre": "right"}, extensions=("AUTH PLAIN",)) as server:
        values = SERVER | {"port": str(server.port), "act": "save"}
        press(free, "/admin/settings/sending/new", "/admin/settings/sending/new", **values)
        page = press(free, "/admin/settings/sending", "/admin/settings/sending/check")
    assert "535" in page.text
    assert "refuses the user name or the password" in page.text


def test_the_sandbox_is_switched_on_and_off(free: httpx.Client, installation: SmtpInbox) -> None:
    press(free, "/admin/settings/sending", "/admin/settings/sending/sandbox", act="on")
    drafted()
    page = press(free, "/admin/settings/sending", "/admin/settings/sending/test", address="camille@courrier.example")
    assert "Accepted by 127.0.0.1" in page.text
    assert "Nothing leaves this server" in page.text
    assert len(installation.messages) == 1
    page = press(free, "/admin/settings/sending", "/admin/settings/sending/sandbox", act="off")
    assert "There is no mail server yet" in page.text


def test_a_test_needs_a_draft_and_an_address(desk: httpx.Client, installation: SmtpInbox) -> None:
    path = "/admin/settings/sending"
    assert press(desk, path, f"{path}/test", address="camille@courrier.example").status_code == 422
    drafted()
    assert press(desk, path, f"{path}/test", address="nobody").status_code == 422
    assert installation.messages == []


# Privacy, System.


def test_what_is_counted_is_switched_for_each_newsletter(desk: httpx.Client) -> None:
    path = "/admin/settings/privacy"
    press(desk, path, f"{path}/courrier", tracks_clicks="yes")
    assert (newsletter().tracks_clicks, newsletter().tracks_opens) == (True, False)
    press(desk, path, f"{path}/courrier")
    assert newsletter().tracks_clicks is False


def test_the_system_page_tells_what_stands_still_and_what_waits(desk: httpx.Client) -> None:
    page = desk.get("/admin/settings/system").text
    assert "Stands still" in page
    assert "None answers" in page
    assert "Mails to be handed over" in page
    signs.note("tick")
    assert "Ticks" in desk.get("/admin/settings/system").text


def test_the_system_page_names_no_secret(desk: httpx.Client) -> None:
    page = desk.get("/admin/settings/system").text
    chosen = settings.load()
    assert chosen.secret_key not in page
    assert not re.search(r"postgres(ql)?://|redis://|unix://", page)


def test_the_page_opens_when_redis_is_away(desk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    settings.load.cache_clear()
    assert signs.seconds_since("tick") is None
    page = desk.get("/admin/settings/system")
    assert page.status_code == 200
    assert "Does not answer" in page.text


def test_a_sign_of_life_ages(environment: None) -> None:
    signs.note("tick")
    age = signs.seconds_since("tick")
    assert age is not None
    assert 0 <= age < 5
    assert signs.seconds_since("nothing") is None
