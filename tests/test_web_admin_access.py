"""The newsroom's desk: who gets in, and what a form must carry."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mailer import clock, links, settings
from mailer.links import Purpose
from mailer.models.content import IssueState
from mailer.web.admin import session as desk_session
from tests.conftest import SmtpInbox
from tests.desk import OPEN_PATHS, area, drafted, field, filled, hidden, issue, press, routes, running_desk, sign_in
from tests.web_server import browser
from tests.web_site import Site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        yield running


@pytest.fixture
def desk(site: Site) -> httpx.Client:
    """A browser that is signed in."""
    sign_in(site.client)
    return site.client


def test_every_page_but_signing_in_asks_for_an_account(site: Site) -> None:
    drafted()
    guarded = [(method, path) for method, path in routes() if path not in OPEN_PATHS]
    assert len(guarded) > 35
    for method, path in guarded:
        response = site.client.request(method, filled(path))
        assert response.status_code == (401 if method == "POST" else 303), (method, path)
        if method != "POST":
            assert response.headers["location"].startswith("/admin/sign-in?next=/admin")


def test_every_form_must_carry_the_sessions_token(desk: httpx.Client) -> None:
    drafted()
    posts = [filled(path) for method, path in routes() if method == "POST" and path not in OPEN_PATHS]
    assert len(posts) > 15
    for path in posts:
        for token in ("", "0" * 48, desk_session.csrf_token("another session")):
            assert desk.post(path, data={"csrf": token}).status_code == 403, path
    assert issue(1).state == IssueState.DRAFT


@pytest.mark.parametrize(
    "header", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_every_form_must_come_from_our_own_pages(desk: httpx.Client, header: dict[str, str]) -> None:
    drafted()
    token = field(desk.get("/admin"), "csrf")
    for method, path in routes():
        if method == "POST":
            assert desk.post(filled(path), data={"csrf": token}, headers=header).status_code == 403, path


def test_no_route_changes_anything_by_another_method(desk: httpx.Client) -> None:
    assert {method for method, _ in routes()} == {"GET", "HEAD", "POST"}
    issue_id = drafted()
    for method, path in routes():
        if method == "GET":
            desk.get(filled(path))
    assert issue(issue_id).state == IssueState.DRAFT
    assert desk.get("/admin").status_code == 200


def test_the_password_opens_a_session_in_a_safe_cookie(site: Site) -> None:
    response = sign_in(site.client, next="/admin/issues")
    assert (response.status_code, response.headers["location"]) == (303, "/admin/issues")
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert site.client.get("/admin").status_code == 200


def test_the_cookie_is_secure_when_the_service_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_PUBLIC_URL", "https://lettre.example")
    settings.load.cache_clear()
    assert "Secure" in sign_in(site.client).headers["set-cookie"]


def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(site: Site) -> None:
    wrong = sign_in(site.client, "not the passphrase")
    unknown = site.client.post("/admin/sign-in", data={"email": "camille@courrier.example.org", "password": "x"})
    assert wrong.status_code == unknown.status_code == 422
    assert wrong.text == unknown.text.replace("courrier.example.org", "courrier.example")
    assert "set-cookie" not in wrong.headers


def test_signing_in_makes_a_new_session_and_ends_the_old_one(desk: httpx.Client, site: Site) -> None:
    before = desk.cookies[desk_session.COOKIE]
    sign_in(desk)
    assert desk.cookies[desk_session.COOKIE] != before
    with browser(site.url, Cookie=f"{desk_session.COOKIE}={before}") as other:
        assert other.get("/admin").status_code == 303


def test_signing_in_leads_to_no_other_site(site: Site) -> None:
    for elsewhere in ("https://evil.example", "//evil.example", "/admin@evil.example", "/u/x"):
        assert sign_in(site.client, next=elsewhere).headers["location"] == "/admin"


def test_signing_out_ends_the_session(desk: httpx.Client, site: Site) -> None:
    token = desk.cookies[desk_session.COOKIE]
    assert press(desk, "/admin", "/admin/sign-out").status_code == 303
    with browser(site.url, Cookie=f"{desk_session.COOKIE}={token}") as other:
        assert other.get("/admin").status_code == 303


def test_opening_a_sign_in_link_only_shows_a_button(site: Site) -> None:
    path = f"/admin/sign-in/{links.sign_now(Purpose.SIGN_IN, 1, clock.now())}"
    assert "Sign in as Camille" in site.client.get(path).text
    assert site.client.get("/admin").status_code == 303
    assert site.client.post(path).status_code == 303
    assert site.client.get("/admin").status_code == 200


def test_an_old_or_forged_sign_in_link_opens_nothing(site: Site) -> None:
    old = links.sign_now(Purpose.SIGN_IN, 1, clock.now() - timedelta(minutes=61))
    for token in (
        old,
        links.sign_now(Purpose.CONFIRM, 1, clock.now()),
        links.sign_now(Purpose.SIGN_IN, 9, clock.now()),
    ):
        for response in (site.client.get(f"/admin/sign-in/{token}"), site.client.post(f"/admin/sign-in/{token}")):
            assert response.status_code == 410
    assert site.client.get("/admin").status_code == 303


def typed_too_late(site: Site, **fields: str) -> httpx.Response:
    """The envelope of issue 1, sent when the session was over."""
    sign_in(site.client)
    carried = hidden(site.client.get("/admin/issues/1"))
    site.client.cookies.clear()
    typed = {"subject": "Typed for an hour", "introduction": "Un\n\nDeux", **fields}
    return site.client.post("/admin/issues/1/envelope", data={**carried, **typed})


def test_what_was_typed_outlives_the_session(site: Site) -> None:
    drafted()
    late = typed_too_late(site)
    assert late.status_code == 401
    again = sign_in(site.client, kept=field(late, "kept"))
    assert (area(again, "subject"), area(again, "introduction")) == ("Typed for an hour", "Un\n\nDeux")
    assert issue(1).subject == "Le titre de eau"
    texts = {name: area(again, name) for name in ("subject", "introduction")}
    saved = site.client.post("/admin/issues/1/envelope", data={**hidden(again), **texts})
    assert (saved.status_code, issue(1).subject) == (303, "Typed for an hour")


def test_what_was_typed_outlives_a_wrong_password(site: Site) -> None:
    drafted()
    late = typed_too_late(site)
    wrong = sign_in(site.client, "not the passphrase", kept=field(late, "kept"))
    assert field(wrong, "kept") == field(late, "kept")


def test_a_form_of_another_site_is_not_kept(site: Site) -> None:
    drafted()
    headers = {"Origin": "https://evil.example"}
    late = site.client.post("/admin/issues/1/envelope", data={"subject": "Buy this"}, headers=headers)
    assert late.status_code == 401
    assert "Buy this" not in late.text


@pytest.mark.parametrize(
    "kept",
    [
        "nonsense",
        "[]",
        '{"action": 1, "fields": {}}',
        '{"action": "https://evil.example/admin/", "fields": {"subject": "x"}}',
        '{"action": "//evil.example/admin/", "fields": {"subject": "x"}}',
        '{"action": "/admin/issues/1", "fields": {"subject": ["x"]}}',
        '{"action": "/admin/issues/1", "fields": {"x onfocus=": "x"}}',
    ],
)
def test_a_kept_form_that_no_page_of_ours_wrote_is_forgotten(site: Site, kept: str) -> None:
    assert sign_in(site.client, kept=kept).headers["location"] == "/admin"
