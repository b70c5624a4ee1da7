"""The newsroom's desk: who gets in, what a form must carry, and what each page does."""

import html
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from mailer import accounts, clock, issues, links, newsletters, sending, settings
from mailer.db import transaction
from mailer.links import Purpose
from mailer.models.content import Issue, IssueState, Layout
from mailer.models.deliveries import Delivery
from mailer.web.admin import session as desk_session
from mailer.web.app import create_app
from tests.conftest import SmtpInbox
from tests.factories import an_article, readers
from tests.web_server import browser
from tests.web_site import Site, heading, pending_reader, running_site

PASSWORD = "a long enough passphrase"
OPEN_PATHS = {"/admin/sign-in", "/admin/sign-in/{token}"}
PARAMETERS = {"slug": "courrier", "token": "x" * 40}


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        with transaction() as session:
            accounts.create(
                session, "camille@courrier.example", name="Camille", password=PASSWORD, language="en", now=clock.now()
            )
        yield running


@pytest.fixture
def desk(site: Site) -> httpx.Client:
    """A browser that is signed in."""
    sign_in(site.client)
    return site.client


def sign_in(client: httpx.Client, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return client.post("/admin/sign-in", data={"email": "camille@courrier.example", "password": password, **fields})


def routes() -> list[tuple[str, str]]:
    """Every method and path of the desk."""
    found = []
    for route in iter_route_contexts(create_app().routes):
        if route.path is not None and route.path.startswith("/admin"):
            found += [(method, route.path) for method in sorted(route.methods or ())]
    return found


def filled(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: PARAMETERS.get(match[1], "1"), path)


def field(page: httpx.Response, name: str) -> str:
    """The value of a form's field."""
    match = re.search(rf'name="{name}"[^>]*value="([^"]*)"', page.text)
    assert match, f"no field {name}"
    return html.unescape(match[1])


def press(client: httpx.Client, page_path: str, action: str, **fields: str) -> httpx.Response:
    """Open a page and send one of its forms, with its hidden fields."""
    page = client.get(page_path)
    assert f'action="{action}"' in page.text, f"{page_path} has no form to {action}"
    hidden = {name: field(page, name) for name in ("csrf", "version") if f'name="{name}"' in page.text}
    return client.post(action, data={**hidden, **fields})


def drafted(*slugs: str) -> int:
    """An issue of these articles, newest first, with two readers waiting for it. Returns its id."""
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        for minutes, slug in enumerate(slugs or ("eau", "train", "aral"), 1):
            an_article(session, newsletter, slug, seen=now - timedelta(minutes=minutes))
        readers(session, newsletter, 2)
        return issues.draft(session, newsletter, now=now).id


def started() -> int:
    issue_id = drafted()
    with transaction() as session:
        issues.start(session, issues.get(session, issue_id), batch_size=10, now=clock.now())
    return issue_id


def issue(issue_id: int) -> Issue:
    with transaction() as session:
        return issues.get(session, issue_id)


def titles(issue_id: int) -> list[tuple[str, Layout]]:
    with transaction() as session:
        return [(article.guid, layout) for article, layout in issues.placed(session, issue_id)]


# --- who gets in


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


# --- the pages


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_shows_without_trouble(desk: httpx.Client, language: str) -> None:
    with transaction() as session:
        accounts.find(session, "camille@courrier.example").language = language
    started()
    for method, path in routes():
        if method == "GET" and path not in OPEN_PATHS and not path.endswith(("/review", "/schedule")):
            response = desk.get(filled(path))
            assert response.status_code == 200, path
            assert "<script" not in response.text
            assert response.headers["cache-control"] == "no-store"
    assert f'<html lang="{language}"' in desk.get("/admin").text


def test_the_overview_tells_what_comes_next(desk: httpx.Client) -> None:
    drafted()
    page = desk.get("/admin").text
    assert "07:00" in page
    assert "3 articles so far" in page
    assert "Le titre de eau" in page


def test_the_sandbox_is_marked_on_every_page(desk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Sandbox" not in desk.get("/admin").text
    monkeypatch.setenv("MAILER_SANDBOX", "true")
    monkeypatch.setenv("MAILER_INBOX_URL", "http://localhost:8025")
    settings.load.cache_clear()
    assert 'href="http://localhost:8025"' in desk.get("/admin/subscribers").text


def test_what_readers_and_feeds_wrote_is_shown_as_text(desk: httpx.Client) -> None:
    now, bad = clock.now(), "<img src=x onerror=alert(1)>"
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "bad", seen=now - timedelta(minutes=1), title=bad, author=bad, topics=[bad])
        newsletters.feeds(session, newsletter)[0].error = bad
        issues.draft(session, newsletter, now=now)
    for path in (
        "/admin",
        "/admin/issues",
        "/admin/issues/1",
        "/admin/newsletters/courrier/next",
        "/admin/issues/1/review",
    ):
        page = desk.get(path).text
        assert bad not in page, path
        assert html.escape(bad) in page, path


def test_the_next_issue_is_shown_with_reasons_and_drafted_on_demand(desk: httpx.Client) -> None:
    now = clock.now()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        an_article(session, newsletter, "eau", seen=now - timedelta(minutes=1))
        an_article(session, newsletter, "futur", seen=now - timedelta(minutes=1), published_at=now + timedelta(days=2))
    page = desk.get("/admin/newsletters/courrier/next").text
    assert "among the newest articles, for the first issue" in page
    assert "dated in the future" in page
    response = press(desk, "/admin/newsletters/courrier/next", "/admin/newsletters/courrier/next")
    assert response.headers["location"] == "/admin/issues/1?done=drafted"


def test_an_issue_of_nothing_cannot_be_drafted(desk: httpx.Client) -> None:
    token = field(desk.get("/admin"), "csrf")
    assert desk.post("/admin/newsletters/courrier/next", data={"csrf": token}).status_code == 409


def test_the_envelope_is_edited(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    press(desk, path, f"{path}/envelope", subject="L’eau revient", preview_text="Aussi", introduction="Un\r\n\r\nDeux")
    changed = issue(1)
    assert (changed.subject, changed.preview_text, changed.introduction) == ("L’eau revient", "Aussi", "Un\n\nDeux")


def test_a_subject_of_nothing_but_control_characters_changes_nothing(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    press(desk, path, f"{path}/envelope", subject="\x01\x02\x7f")
    assert issue(1).subject == "Le titre de eau"
    assert desk.get(f"{path}/preview").status_code == 200


def test_of_two_editors_the_later_one_is_told(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    page = desk.get(path)
    hidden = {name: field(page, name) for name in ("csrf", "version")}
    press(desk, path, f"{path}/envelope", subject="The first")
    late = desk.post(f"{path}/envelope", data={**hidden, "subject": "The second"})
    assert late.status_code == 409
    assert "Somebody changed this issue" in late.text
    assert issue(1).subject == "The first"


def test_articles_are_moved_excluded_added_and_laid_out(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted('a', 'b', 'c')}"
    assert titles(1) == [("a", Layout.LEAD), ("b", Layout.CARD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article="3", act="up")
    assert titles(1) == [("a", Layout.LEAD), ("c", Layout.CARD), ("b", Layout.CARD)]
    press(desk, path, f"{path}/articles", article="2", act="layout", layout="lead")
    assert titles(1) == [("b", Layout.LEAD), ("a", Layout.CARD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article="1", act="exclude")
    assert titles(1) == [("b", Layout.LEAD), ("c", Layout.CARD)]
    press(desk, path, f"{path}/articles", article="1", act="add")
    assert titles(1) == [("b", Layout.LEAD), ("c", Layout.CARD), ("a", Layout.CARD)]
    press(desk, path, f"{path}/automatic")
    assert titles(1) == [("a", Layout.LEAD), ("b", Layout.CARD), ("c", Layout.CARD)]


def test_the_last_article_cannot_be_excluded(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted('a')}"
    assert press(desk, path, f"{path}/articles", article="1", act="exclude").status_code == 409
    assert titles(1) == [("a", Layout.LEAD)]


def test_the_preview_is_the_mail_in_a_sandbox(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    assert "frame-src 'self'" in desk.get(path).headers["content-security-policy"]
    light, dark = (desk.get(f"{path}/preview?view={view}") for view in ("phone", "dark"))
    policy = light.headers["content-security-policy"]
    assert "sandbox allow-popups" in policy
    assert "allow-scripts" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "prefers-color-scheme" not in light.text + dark.text
    assert "(min-width:0)" in dark.text
    assert "img-src 'none'" in desk.get(f"{path}/preview?view=no-images").headers["content-security-policy"]
    assert "<pre" in desk.get(f"{path}?view=text").text


def test_an_issue_is_scheduled_in_the_newsletters_zone_and_unscheduled(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    press(desk, f"{path}/schedule", f"{path}/schedule", at="2099-07-01T07:00")
    scheduled = issue(1)
    assert scheduled.state == IssueState.SCHEDULED
    assert f"{scheduled.scheduled_at:%Y-%m-%d %H:%M}" == "2099-07-01 05:00"
    press(desk, path, f"{path}/unschedule")
    assert issue(1).state == IssueState.DRAFT


@pytest.mark.parametrize("typed", ["", "soon", "2001-01-01T07:00", "99999-01-01T07:00", "0001-01-01T00:00"])
def test_a_moment_that_cannot_be_is_refused_and_kept(desk: httpx.Client, typed: str) -> None:
    path = f"/admin/issues/{drafted()}/schedule"
    response = press(desk, path, path, at=typed)
    assert response.status_code == 422
    assert field(response, "at") == typed
    assert issue(1).state == IssueState.DRAFT


def test_send_now_makes_the_issue_due_at_once(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    assert "Send to 2 readers" in desk.get(f"{path}/review").text
    assert press(desk, f"{path}/review", f"{path}/send").headers["location"] == f"{path}?done=leaving"
    with transaction() as session:
        assert issues.due_issues(session, now=clock.now()) == [1]


def test_nothing_leaves_that_was_changed_after_the_review(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    reviewed = desk.get(f"{path}/review")
    hidden = {name: field(reviewed, name) for name in ("csrf", "version")}
    press(desk, path, f"{path}/envelope", subject="By somebody else")
    assert desk.post(f"{path}/send", data=hidden).status_code == 409
    assert issue(1).state == IssueState.DRAFT


def test_send_now_works_while_redis_is_away(desk: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"/admin/issues/{drafted()}"
    reviewed = desk.get(f"{path}/review")
    hidden = {name: field(reviewed, name) for name in ("csrf", "version")}
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    settings.load.cache_clear()
    assert desk.post(f"{path}/send", data=hidden).status_code == 303
    assert issue(1).state == IssueState.SCHEDULED


def test_sending_is_paused_resumed_and_cancelled(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    press(desk, path, f"{path}/pause")
    assert (issue(1).state, issue(1).state_reason) == (IssueState.PAUSED, "paused by Camille")
    press(desk, path, f"{path}/resume")
    assert issue(1).state == IssueState.SENDING
    press(desk, f"{path}/cancel", f"{path}/cancel")
    assert issue(1).state == IssueState.CANCELLED


def test_a_button_pressed_too_late_says_so(desk: httpx.Client) -> None:
    issue_id = started()
    token = field(desk.get("/admin"), "csrf")
    for act in ("send", "schedule", "unschedule", "resume", "reopen"):
        response = desk.post(f"/admin/issues/{issue_id}/{act}", data={"csrf": token, "at": "2099-01-01T07:00"})
        assert response.status_code == 409, act
    assert issue(1).state == IssueState.SENDING


def test_a_failed_issue_tells_why_and_becomes_a_draft_again(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    with transaction() as session:
        issues.fail(session, 1, "the template is broken", now=clock.now())
    assert "the template is broken" in desk.get(path).text
    press(desk, path, f"{path}/reopen")
    assert issue(1).state == IssueState.DRAFT


def test_the_page_of_an_issue_on_its_way_renews_itself(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    assert f'http-equiv="refresh" content="3; url={path}"' in desk.get(f"{path}?done=leaving").text
    assert "2 = 0 accepted + 0 refused + 0 skipped + 0 uncertain + 2 waiting" in desk.get(path).text
    assert "http-equiv" not in desk.get(f"{path}?outcome=accepted").text


def test_a_sent_issue_accounts_for_every_recipient(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    sending.send_due(budget_seconds=10)
    page = desk.get(path).text
    assert "2 recipients, all accounted for" in page
    assert "2 = 2 accepted + 0 refused + 0 skipped + 0 uncertain" in page
    assert "r0@example.org" in page
    assert "250 2.0.0 OK" in page
    assert "http-equiv" not in page
    assert "r0@example.org" not in desk.get(f"{path}?outcome=refused").text


def test_deliveries_are_read_a_page_at_a_time(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    with transaction() as session:
        first = session.execute(select(Delivery.id).order_by(Delivery.id).limit(1)).scalar_one()
    page = desk.get(f"{path}?after={first}").text
    assert "r0@example.org" not in page
    assert "r1@example.org" in page


def test_a_newsletter_is_edited(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    page = desk.get(path)
    names = ("name", "site_url", "sender_name", "sender_address", "publisher", "postal_address")
    values = {name: field(page, name) for name in names}
    values |= {"language": "en", "brand_color": "#112233", "brand_color_dark": "#AABBCC"}
    numbers = {"min_articles": "20", "max_articles": "30", "max_age_days": "9"}
    response = press(desk, path, path, **{**values, **numbers, "name": "The Courier", "is_paused": "yes"})
    assert response.status_code == 303
    with transaction() as session:
        found = newsletters.get(session, "courrier")
        assert (found.name, found.language, found.min_articles, found.is_paused) == ("The Courier", "en", 20, True)
        assert found.reply_to is None


def test_what_cannot_be_used_is_said_at_its_field_and_kept(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    response = press(desk, path, path, name="New name", sender_address="nobody", brand_color="teal", min_articles="x")
    assert response.status_code == 422
    for name in ("sender_address", "brand_color", "min_articles", "publisher"):
        assert f'id="{name}-error"' in response.text
    assert field(response, "sender_address") == "nobody"
    assert field(response, "name") == "New name"
    assert heading(desk.get(path)) == "Le Courrier d’Asie centrale"


def test_a_number_of_many_digits_is_said_at_its_field(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    response = press(desk, path, path, min_articles="9" * 5000)
    assert response.status_code == 422
    assert 'id="min_articles-error"' in response.text


def test_a_schedule_is_changed_and_shows_its_next_dates(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    press(desk, path, f"{path}/schedule", cron="30 6 * * MON", timezone="Asia/Almaty")
    page = desk.get(path).text
    assert len(re.findall(r"<li>Monday [^<]*, 06:30</li>", page)) == 5
    refused = press(desk, path, f"{path}/schedule", cron="every friday", timezone="Paris")
    assert refused.status_code == 422
    assert field(refused, "cron") == "every friday"
    assert 'id="cron-error"' in refused.text
    assert 'id="timezone-error"' in refused.text


def test_feeds_are_added_read_and_removed(desk: httpx.Client) -> None:
    path = "/admin/newsletters/courrier"
    assert press(desk, path, f"{path}/feeds", url="not an address").status_code == 422
    press(desk, path, f"{path}/feeds", url="https://courrier.example/podcast.xml")
    assert "podcast.xml" in desk.get(path).text
    assert press(desk, path, f"{path}/feeds/2/read").status_code == 303
    press(desk, path, f"{path}/feeds/2/remove")
    assert "podcast.xml" not in desk.get(path).text
    token = field(desk.get(path), "csrf")
    assert desk.post(f"{path}/feeds/2/read", data={"csrf": token}).status_code == 404


def test_subscribers_are_found_by_exact_address_and_state(desk: httpx.Client) -> None:
    pending_reader("Lea@example.org")
    drafted()
    assert "r1@example.org" in desk.get("/admin/subscribers").text
    found = desk.get("/admin/subscribers?address=LEA@Example.org").text
    assert "Lea@example.org" in found
    assert "r1@example.org" not in found
    assert "Lea@example.org" not in desk.get("/admin/subscribers?state=confirmed").text
    assert "Nobody matches" in desk.get("/admin/subscribers?address=lea").text


def test_what_does_not_exist_is_not_found(desk: httpx.Client) -> None:
    issue_paths = ("issues/99", "issues/0", "issues/99999999999999999999", "issues/x")
    newsletter_paths = ("newsletters/none", "newsletters/%00", "newsletters/%00/next")
    for path in (*issue_paths, *newsletter_paths, "nothing"):
        assert desk.get(f"/admin/{path}").status_code == 404, path
