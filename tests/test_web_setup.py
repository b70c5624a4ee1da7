"""The first run in a browser: the owner by a printed link, then site, rhythm, sending and a test mail."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from mailer import clock, links, settings
from mailer.db import transaction
from mailer.delivery import servers
from mailer.links import Purpose
from mailer.models.accounts import Account, Role
from mailer.models.content import Newsletter
from mailer.models.installation import Installation, SiteState
from mailer.newsroom import accounts, newsletters, site_reading
from mailer.newsroom import installation as choices
from mailer.web.admin import welcome
from mailer.web.app import create_app
from tests import site as web
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import field, press
from tests.smtp_server import scripted_server
from tests.test_installation import RSS, page
from tests.web_server import browser, listening, serving
from tests.web_site import heading

OWNER = {"name": "Camille Ferrand", "email": "camille@courrier.example", "password": "a long enough passphrase"}


@pytest.fixture
def empty(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser at an installation that nobody has set up, whose environment names no mail server."""
    with listening() as (listener, url):
        monkeypatch.setenv("MAILER_PUBLIC_URL", url)
        monkeypatch.delenv("MAILER_SMTP_URL")
        monkeypatch.setenv("MAILER_INBOX_SMTP_URL", installation.url)
        monkeypatch.setenv("MAILER_INBOX_URL", "http://localhost:8025")
        settings.load.cache_clear()
        with serving(create_app(), listener), browser(url) as client:
            client.follow_redirects = True
            yield client


@pytest.fixture
def owner(empty: httpx.Client) -> httpx.Client:
    """The browser of the owner, who has just been created."""
    empty.post(setup_path(), data=OWNER)
    return empty


@pytest.fixture
def site() -> Iterator[web.Site]:
    with web.running() as running:
        running.put("/", page('<meta property="og:site_name" content="Le Courrier">'))
        running.put("/feed", RSS)
        yield running


@pytest.fixture
def started(owner: httpx.Client, site: web.Site) -> httpx.Client:
    """The owner has typed the site's address, and a worker has read it."""
    press(owner, "/admin/welcome/site", "/admin/welcome/site", site_url=site.url("/"))
    site_reading.read()
    return owner


def setup_path(*, made: timedelta = timedelta()) -> str:
    return f"/admin/setup/{links.sign_now(Purpose.SETUP, 0, clock.now() - made)}"


def everybody() -> list[Account]:
    with transaction() as session:
        return accounts.all_accounts(session)


def row() -> Installation:
    with transaction() as session:
        return choices.of(session)


def newsletter() -> Newsletter:
    with transaction() as session:
        (found,) = newsletters.all_newsletters(session)
        return found


# The owner.


def test_the_printed_link_creates_the_owner_once(empty: httpx.Client) -> None:
    link = mailer("--json", "user", "link").value["setup_link"]
    assert empty.get(link).status_code == 200
    assert everybody() == []
    answer = empty.post(link, data=OWNER, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/welcome")
    assert [(one.email, one.role) for one in everybody()] == [("camille@courrier.example", Role.OWNER)]
    assert heading(empty.get("/admin/welcome")) == "What is your site?"
    for method in ("GET", "POST"):
        assert empty.request(method, link, data=OWNER | {"email": "eve@evil.example"}).status_code == 410
    assert len(everybody()) == 1
    assert mailer("user", "link").code == 5


def test_of_many_who_press_at_once_one_becomes_the_owner(empty: httpx.Client) -> None:
    link = setup_path()
    with ThreadPoolExecutor(max_workers=4) as pool:
        codes = list(pool.map(lambda n: empty.post(link, data=OWNER | {"email": f"o{n}@courrier.example"}), range(4)))
    assert sorted(one.history[0].status_code if one.history else one.status_code for one in codes) == [
        303,
        410,
        410,
        410,
    ]
    assert len(everybody()) == 1


@pytest.mark.parametrize("path", ["old", "forged", "another"])
def test_an_old_or_forged_link_creates_nobody(empty: httpx.Client, path: str) -> None:
    made = {
        "old": setup_path(made=timedelta(minutes=61)),
        "forged": "/admin/setup/" + "A" * 40,
        "another": f"/admin/setup/{links.sign_now(Purpose.SIGN_IN, 0, clock.now())}",
    }[path]
    assert empty.get(made).status_code == 410
    assert empty.post(made, data=OWNER).status_code == 410
    assert everybody() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", ""),
        ("email", "camille"),
        ("email", "x" * 400 + "@courrier.example"),
        ("name", ""),
        ("name", "x" * 121),
        ("password", "short"),
        ("password", ""),
        ("password", "x" * 1001),
    ],
)
def test_what_cannot_be_an_owner_keeps_what_was_typed_but_no_password(
    empty: httpx.Client, name: str, value: str
) -> None:
    answer = empty.post(setup_path(), data=OWNER | {name: value})
    assert answer.status_code == 422
    assert f'id="{name}-error"' in answer.text
    kept = "email" if name != "email" else "name"
    assert field(answer, kept) == OWNER[kept]
    assert OWNER["password"] not in answer.text
    assert everybody() == []


def test_a_form_of_another_site_creates_nobody(empty: httpx.Client) -> None:
    assert empty.post(setup_path(), data=OWNER, headers={"Origin": "https://evil.example"}).status_code == 403
    assert everybody() == []


def test_markup_in_a_name_is_shown_as_text(empty: httpx.Client) -> None:
    empty.post(setup_path(), data=OWNER | {"name": "<script>alert(1)</script>"})
    assert "<script>alert(1)" not in empty.get("/admin").text


# The site.


def test_the_page_tells_how_reading_goes_and_then_shows_the_newsletter(owner: httpx.Client, site: web.Site) -> None:
    reading = press(owner, "/admin/welcome/site", "/admin/welcome/site", site_url=site.url("/"))
    assert heading(reading) == "Reading your site"
    assert '<meta http-equiv="refresh" content="1; url=/admin/welcome/site">' in reading.text
    site_reading.read()
    shown = owner.get("/admin/welcome/site")
    assert heading(shown) == "This is your newsletter"
    assert "http-equiv" not in shown.text
    for view in ("phone", "desktop"):
        path = f"/admin/issues/1/preview?view={view}"
        assert f'src="{path}"' in shown.text
        assert "Eau" in owner.get(path).text


@pytest.mark.parametrize("typed", ["", "courrier", "x" * 3000, "<script>alert(1)</script>", "file:///etc/passwd"])
def test_what_is_no_site_keeps_what_was_typed(owner: httpx.Client, typed: str) -> None:
    answer = press(owner, "/admin/welcome/site", "/admin/welcome/site", site_url=typed)
    assert answer.status_code == 422
    assert 'id="site_url-error"' in answer.text
    assert field(answer, "site_url") == typed
    assert "<script>alert" not in answer.text
    assert row().site_state == SiteState.NONE


def test_a_site_without_a_feed_is_told_at_the_field(owner: httpx.Client, site: web.Site) -> None:
    site.pages.clear()
    site.put("/", "<html>Bonjour</html>")
    press(owner, "/admin/welcome/site", "/admin/welcome/site", site_url=site.url("/"))
    site_reading.read()
    answer = owner.get("/admin/welcome/site")
    assert (answer.status_code, field(answer, "site_url")) == (422, site.url("/"))
    assert "No feed was found there" in answer.text


def test_what_was_found_can_be_corrected_and_looked_at(started: httpx.Client) -> None:
    values = {"name": "Le Grand Courrier", "language": "en", "brand_color": "#800000", "postal_address": "12 rue"}
    values["sender_address"] = "lettre@courrier.example"
    press(started, "/admin/welcome/site", "/admin/welcome/newsletter", **values, act="look")
    assert "site" not in row().steps
    now = newsletter()
    assert (now.name, now.sender_name, now.publisher) == ("Le Grand Courrier",) * 3
    assert (now.language, now.brand_color, now.sender_address) == ("en", "#800000", "lettre@courrier.example")
    assert "Le Grand Courrier" in started.get("/admin/issues/1/preview").text
    answer = press(started, "/admin/welcome/site", "/admin/welcome/newsletter", **values)
    assert heading(answer) == "How often?"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""),
        ("name", "x" * 301),
        ("language", "xx"),
        ("brand_color", "red"),
        ("sender_address", "nobody"),
        ("postal_address", "x" * 301),
    ],
)
def test_what_cannot_be_corrected_so_keeps_what_was_typed(started: httpx.Client, name: str, value: str) -> None:
    values = {"name": "Autre", "language": "fr", "brand_color": "#800000", "sender_address": "a@courrier.example"}
    values["postal_address"] = "12 rue"
    answer = press(started, "/admin/welcome/site", "/admin/welcome/newsletter", **values | {name: value})
    assert answer.status_code == 422
    assert f'id="{name}-error"' in answer.text
    assert newsletter().name == "Le Courrier"


# The rhythm.


@pytest.mark.parametrize(("chosen", "cron"), [("weekly", "0 18 * * TUE"), ("daily", "0 18 * * *"), ("hand", None)])
def test_the_rhythm_becomes_the_schedule(started: httpx.Client, chosen: str, cron: str | None) -> None:
    values = {"rhythm": chosen, "day": "TUE", "hour": "18", "timezone": "Asia/Almaty"}
    press(started, "/admin/welcome/rhythm", "/admin/welcome/rhythm", **values)
    assert (newsletter().cron, newsletter().timezone) == (cron, "Asia/Almaty")
    assert row().steps["rhythm"] == "done"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rhythm", ""),
        ("rhythm", "hourly"),
        ("day", "0"),
        ("hour", "24"),
        ("hour", "x"),
        ("timezone", "Mars/Base"),
        ("timezone", ""),
    ],
)
def test_no_rhythm_is_no_schedule(started: httpx.Client, name: str, value: str) -> None:
    values = {"rhythm": "weekly", "day": "TUE", "hour": "18", "timezone": "UTC"} | {name: value}
    answer = press(started, "/admin/welcome/rhythm", "/admin/welcome/rhythm", **values)
    assert answer.status_code == 422
    assert f'id="{name}-error"' in answer.text
    assert newsletter().cron is None


def test_without_a_newsletter_the_rhythm_leads_back_to_the_site(owner: httpx.Client) -> None:
    values = {"rhythm": "weekly", "day": "TUE", "hour": "18", "timezone": "UTC"}
    assert heading(press(owner, "/admin/welcome/rhythm", "/admin/welcome/rhythm", **values)) == "What is your site?"


# Sending.


def a_server(port: int, **values: str) -> dict[str, str]:
    return {"host": "127.0.0.1", "port": str(port), "security": "smtp", "username": "", "password": "", **values}


def test_the_sandbox_catches_mail_and_every_page_says_so(started: httpx.Client, installation: SmtpInbox) -> None:
    press(started, "/admin/welcome/sending", "/admin/welcome/sending", act="sandbox")
    answer = started.get("/admin/welcome/test")
    assert "Nothing leaves this server" in answer.text
    answer = press(started, "/admin/welcome/test", "/admin/welcome/test", address="camille@courrier.example")
    assert "Accepted by 127.0.0.1" in answer.text
    assert 'href="http://localhost:8025"' in answer.text
    (mail,) = installation.messages
    assert mail.recipients == ("camille@courrier.example",)
    assert str(mail.email["Subject"]).endswith("Eau")
    assert row().steps["test"] == "done"


def test_a_server_that_lets_us_in_is_kept(started: httpx.Client) -> None:
    with scripted_server(passwords={"lettre": "secret"}, extensions=("AUTH PLAIN",)) as server:
        values = a_server(server.port, username="lettre", password="secret")
        press(started, "/admin/welcome/sending", "/admin/welcome/sending", **values, act="save")
    assert row().steps["sending"] == "done"
    with transaction() as session:
        (kept,) = servers.listed(session)
    assert (kept.host, kept.username) == ("127.0.0.1", "lettre")


def test_the_servers_words_are_shown_and_the_password_need_not_be_typed_again(started: httpx.Client) -> None:
    with scripted_server(passwords={"lettre": "secret"}, extensions=("AUTH PLAIN",)) as server:
        values = a_server(server.port, username="lettre", password="wrong one")
        answer = press(started, "/admin/welcome/sending", "/admin/welcome/sending", **values, act="save")
        assert "refuses the user name or the password" in answer.text
        assert "535" in answer.text
        assert "wrong one" not in answer.text
        with transaction() as session:
            assert servers.listed(session) == []
        again = values | {"password": "", "sealed": field(answer, "sealed"), "act": "insist"}
        started.post("/admin/welcome/sending", data=again | {"csrf": field(answer, "csrf")})
    with transaction() as session:
        (route,) = servers.routes(session)
    assert "wrong%20one" in route.url


def test_a_password_that_was_typed_for_one_server_never_goes_to_another(started: httpx.Client) -> None:
    with scripted_server(passwords={"lettre": "secret"}, extensions=("AUTH PLAIN",)) as server:
        values = a_server(server.port, username="lettre", password="wrong one")
        answer = press(started, "/admin/welcome/sending", "/admin/welcome/sending", **values, act="check")
        again = values | {"host": "localhost", "password": "", "sealed": field(answer, "sealed"), "act": "insist"}
        started.post("/admin/welcome/sending", data=again | {"csrf": field(answer, "csrf")})
    with transaction() as session:
        (route,) = servers.routes(session)
    assert "wrong" not in route.url


def test_a_preset_fills_in_server_and_port(owner: httpx.Client) -> None:
    values = a_server(25, username="lettre") | {"preset": "OVHcloud", "act": "fill"}
    answer = press(owner, "/admin/welcome/sending", "/admin/welcome/sending", **values)
    assert (field(answer, "host"), field(answer, "port"), field(answer, "username")) == (
        "ssl0.ovh.net",
        "465",
        "lettre",
    )


def test_what_is_no_server_keeps_what_was_typed(owner: httpx.Client) -> None:
    values = a_server(25) | {"host": "not a host", "username": "<b>lettre", "act": "save"}
    answer = press(owner, "/admin/welcome/sending", "/admin/welcome/sending", **values)
    assert answer.status_code == 422
    assert (field(answer, "host"), field(answer, "username")) == ("not a host", "<b>lettre")
    assert "<b>lettre" not in answer.text


# The test mail.


def test_a_test_needs_an_address(started: httpx.Client) -> None:
    answer = press(started, "/admin/welcome/test", "/admin/welcome/test", address="nobody")
    assert answer.status_code == 422
    assert field(answer, "address") == "nobody"


def test_every_step_can_be_skipped_and_found_again_on_the_overview(owner: httpx.Client) -> None:
    for step in choices.Step:
        assert owner.get("/admin/welcome").url.path == f"/admin/welcome/{step}"
        press(owner, f"/admin/welcome/{step}", f"/admin/welcome/{step}/skip")
    overview = owner.get("/admin/welcome")
    assert overview.url.path == "/admin"
    assert "Name your site" in overview.text
    assert "Choose a mail server" in overview.text


def test_something_called_done_is_gone_from_the_list(started: httpx.Client) -> None:
    assert "Publish SPF, DKIM and DMARC" in started.get("/admin").text
    press(started, "/admin", "/admin/todo/dns/done")
    assert "Publish SPF, DKIM and DMARC" not in started.get("/admin").text


def test_every_page_of_the_first_run_is_french_for_a_french_browser(empty: httpx.Client) -> None:
    empty.headers["Accept-Language"] = "fr"
    assert heading(empty.get(setup_path())) == "Bienvenue"
    empty.post(setup_path(), data=OWNER)
    titles = [heading(empty.get(f"/admin/welcome/{step}")) for step in choices.Step]
    assert titles[0] == "Quel est votre site\u00a0?"
    assert len(set(titles)) == len(welcome.LABELS)
