"""Accounts in a browser: invitation, lost password, second factor, one's own account, and what the log says of it."""

import re
from collections.abc import Iterator

import httpx
import pyotp
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError

from mailer import clock, scheduling
from mailer.db import transaction
from mailer.delivery import sending
from mailer.models import Base
from mailer.models.accounts import Account, AccountSecret, Role
from mailer.models.audit import AuditEntry
from mailer.newsroom import accounts, team
from mailer.web import recording
from mailer.web.admin import audit_words
from mailer.web.admin.screens import DeskRoute
from mailer.web.app import create_app
from tests.conftest import SmtpInbox
from tests.desk import PASSWORD, drafted, field, hidden, press, running_desk, sign_in, speak
from tests.web_server import browser
from tests.web_site import Site

CAMILLE = "camille@courrier.example"
NEW = "another long passphrase"


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        yield running


@pytest.fixture
def desk(site: Site) -> httpx.Client:
    sign_in(site.client)
    return site.client


def mailed_link(inbox: SmtpInbox, number: int = 1) -> str:
    """The path of the link in the last of so many mails."""
    scheduling.mail_desk()
    sending.send_due(budget_seconds=5)
    message = inbox.wait_for(number)[number - 1].email
    found = re.search(r"/admin/link/[\w-]{40}", message.get_body(("plain",)).get_content())
    assert found
    return found[0]


def invite(desk: httpx.Client, **fields: str) -> httpx.Response:
    typed = {"email": "paul@courrier.example", "name": "Paul", "language": "en", "role": "editor", **fields}
    return press(desk, "/admin/settings/team", "/admin/settings/team", **typed)


def actions() -> list[str]:
    with transaction() as database:
        return list(database.execute(select(AuditEntry.action).order_by(AuditEntry.id)).scalars())


def test_an_invitation_opens_an_account_once(site: Site, desk: httpx.Client, installation: SmtpInbox) -> None:
    assert invite(desk).headers["location"] == "/admin/settings/team?done=invited"
    path = mailed_link(installation)
    with browser(site.url) as paul:
        # Looking changes nothing: mail scanners do.
        for _ in range(2):
            assert "paul@courrier.example" in paul.get(path).text
        assert paul.post(path, data={"password": "short"}).status_code == 422
        assert paul.post(path, data={"password": NEW}).headers["location"] == "/admin"
        assert paul.get("/admin/issues").status_code == 200
        assert paul.get("/admin/settings/team").status_code == 403
        assert paul.post(path, data={"password": NEW}).status_code == 410
    assert "choosing.choose.invitation" in actions()


def test_no_secret_of_a_link_is_kept(desk: httpx.Client, installation: SmtpInbox) -> None:
    invite(desk)
    token = mailed_link(installation).rpartition("/")[2]
    with transaction() as database:
        for table in Base.metadata.sorted_tables:
            for row in database.execute(select(table)):
                assert token not in repr(row), table.name


def test_a_lost_password_is_replaced_and_ends_every_session(
    site: Site, desk: httpx.Client, installation: SmtpInbox
) -> None:
    with browser(site.url) as elsewhere:
        assert elsewhere.post("/admin/reset", data={"email": " Camille@Courrier.example "}).status_code == 200
        path = mailed_link(installation)
        assert elsewhere.post(path, data={"password": NEW}).status_code == 303
        assert elsewhere.get("/admin").status_code == 200
    assert desk.get("/admin").status_code == 303
    assert sign_in(desk).status_code == 422
    assert sign_in(desk, NEW).status_code == 303


def test_of_two_links_the_newer_one_works(site: Site, installation: SmtpInbox) -> None:
    paths = []
    for number in (1, 2):
        site.client.post("/admin/reset", data={"email": CAMILLE})
        paths.append(mailed_link(installation, number))
    assert site.client.post(paths[0], data={"password": NEW}).status_code == 410
    assert site.client.post(paths[1], data={"password": NEW}).status_code == 303


def test_a_link_is_dead_after_half_an_hour(site: Site, installation: SmtpInbox) -> None:
    site.client.post("/admin/reset", data={"email": CAMILLE})
    path = mailed_link(installation)
    with transaction() as database:
        secret = database.execute(select(AccountSecret)).scalar_one()
        assert (secret.expires_at - secret.created_at).total_seconds() == 1800
        secret.expires_at = clock.now()
    assert site.client.get(path).status_code == site.client.post(path, data={"password": NEW}).status_code == 410


def test_nobody_learns_whether_an_address_has_an_account(site: Site, installation: SmtpInbox) -> None:
    answers = [site.client.post("/admin/reset", data={"email": one}) for one in (CAMILLE, "nobody@courrier.example")]
    assert answers[0].text == answers[1].text
    scheduling.mail_desk()
    sending.send_due(budget_seconds=5)
    assert [one.recipients for one in installation.wait_for(1)] == [(CAMILLE,)]


def test_the_link_leads_to_our_own_address_whoever_asked(site: Site, installation: SmtpInbox) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    site.client.post("/admin/reset", data={"email": CAMILLE}, headers=headers)
    mailed_link(installation)
    assert b"evil.example" not in installation.raw[0]


def test_guessing_is_slowed_down_and_nobody_else_waits(site: Site) -> None:
    for _ in range(5):
        assert sign_in(site.client, "not the passphrase").status_code == 422
    refused = sign_in(site.client)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    unknown = [site.client.post("/admin/sign-in", data={"email": "x@y.example", "password": "x"}) for _ in range(6)]
    assert [one.status_code for one in unknown] == [422] * 5 + [429]
    assert unknown[-1].text == refused.text
    # Nobody is believed who says where they come from.
    spoofed = site.client.post(
        "/admin/sign-in", data={"email": CAMILLE, "password": "x"}, headers={"X-Forwarded-For": "203.0.113.9"}
    )
    assert spoofed.status_code == 429


def switch_on(desk: httpx.Client) -> tuple[pyotp.TOTP, list[str]]:
    """Set a second factor up as the pages do it; return the app and the recovery codes."""
    path = "/admin/account/second-factor"
    page = press(desk, path, path)
    assert "<svg" in page.text
    app = pyotp.TOTP(re.search(r"<code>([A-Z2-7 ]+)</code>", page.text)[1].replace(" ", ""))
    assert desk.post(f"{path}/confirm", data={**hidden(page), "code": "000000"}).status_code == 422
    done = desk.post(f"{path}/confirm", data={**hidden(page), "code": app.at(clock.now())})
    codes = re.search(r'<pre class="code">([^<]+)</pre>', done.text)[1].split()
    assert len(codes) == 10
    return app, codes


def test_the_second_step_asks_for_a_code(site: Site, desk: httpx.Client) -> None:
    drafted()
    _, codes = switch_on(desk)
    with browser(site.url) as other:
        asked = sign_in(other, next="/admin/issues/1")
        assert (asked.status_code, other.get("/admin").status_code) == (200, 303)
        step = field(asked, "step")
        assert other.post("/admin/second-step", data={"step": step, "code": "123456"}).status_code == 422
        assert other.post("/admin/second-step", data={"step": f"{step[:-4]}AAAA", "code": codes[0]}).status_code == 422
        opened = other.post("/admin/second-step", data={"step": step, "code": codes[0]})
        assert (opened.status_code, opened.headers["location"]) == (303, "/admin/issues/1")
        assert other.post("/admin/second-step", data={"step": step, "code": codes[0]}).status_code == 422


def test_a_new_password_by_a_link_does_not_go_around_the_code(
    site: Site, desk: httpx.Client, installation: SmtpInbox
) -> None:
    switch_on(desk)
    with browser(site.url) as other:
        other.post("/admin/reset", data={"email": CAMILLE})
        assert 'action="/admin/second-step"' in other.post(mailed_link(installation), data={"password": NEW}).text
        assert other.get("/admin").status_code == 303


def test_where_a_second_factor_is_required_nothing_else_is_shown_before(desk: httpx.Client) -> None:
    with transaction() as database:
        team.require_second_factor(database, is_required=True)
    for path in ("/admin", "/admin/issues", "/admin/settings/team"):
        assert desk.get(path).headers["location"] == "/admin/account/second-factor"
    switch_on(desk)
    assert desk.get("/admin").status_code == 200


def test_ones_own_password_is_changed_with_the_old_one(site: Site, desk: httpx.Client) -> None:
    page = "/admin/account"
    assert press(desk, page, f"{page}/password", old="wrong", new=NEW).status_code == 422
    assert press(desk, page, f"{page}/password", old=PASSWORD, new="short").status_code == 422
    with browser(site.url) as elsewhere:
        sign_in(elsewhere)
        assert press(desk, page, f"{page}/password", old=PASSWORD, new=NEW).status_code == 303
        assert elsewhere.get("/admin").status_code == 303
    assert desk.get("/admin").status_code == 200


def test_one_sees_and_ends_ones_sessions(site: Site, desk: httpx.Client) -> None:
    with browser(site.url, **{"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}) as elsewhere:
        sign_in(elsewhere)
        page = desk.get("/admin/account")
        assert "Firefox, Linux" in page.text
        (path,) = re.findall(r'action="(/admin/account/sessions/\w{20}/end)"', page.text)
        assert press(desk, "/admin/account", path).status_code == 303
        assert elsewhere.get("/admin").status_code == 303
    assert desk.get("/admin").status_code == 200


def test_the_last_owner_is_told_that_they_stay(desk: httpx.Client) -> None:
    path = "/admin/settings/team/1"
    assert press(desk, path, path, role="viewer").status_code == 409
    assert press(desk, path, f"{path}/remove").status_code == 409
    with transaction() as database:
        assert accounts.get(database, 1).role == Role.OWNER


@pytest.mark.parametrize(
    "fields", [{"email": ""}, {"email": CAMILLE}, {"name": "x" * 101}, {"role": ""}, {"role": "god"}, {"name": " "}]
)
def test_what_is_wrong_with_an_invitation_is_said_at_its_field(desk: httpx.Client, fields: dict[str, str]) -> None:
    refused = invite(desk, **fields)
    assert refused.status_code == 422
    assert 'class="error"' in refused.text
    assert "Traceback" not in refused.text
    with transaction() as database:
        assert len(accounts.all_accounts(database)) == 1


def test_where_no_mail_can_be_sent_the_link_is_shown_once(site: Site, desk: httpx.Client) -> None:
    with transaction() as database:
        database.execute(text("TRUNCATE newsletters CASCADE"))
        database.execute(text("UPDATE accounts SET role = 'owner'"))
    with browser(site.url) as again:
        with transaction() as database:
            if not database.execute(select(Account.id)).all():
                accounts.create(database, CAMILLE, name="C", password=PASSWORD, language="en", now=clock.now())
        sign_in(again)
        shown = invite(again)
        path = re.search(r"/admin/link/[\w-]{40}", shown.text)[0]
        assert path not in again.get("/admin/settings/team").text
        assert again.post(path, data={"password": NEW}).status_code == 303


def test_every_change_is_in_the_log_and_stays_there(desk: httpx.Client) -> None:
    issue_id = drafted()
    press(desk, f"/admin/issues/{issue_id}", f"/admin/issues/{issue_id}/envelope", subject="Secret subject")
    with transaction() as database:
        entry = database.execute(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).scalar_one()
    assert (entry.actor_name, entry.action) == ("Camille", "composing.edit_envelope")
    assert (entry.objects, entry.newsletter_id, entry.network) == ({"issue_id": str(issue_id)}, 1, "127.0.0.0/24")
    for change in ("UPDATE audit_entries SET actor_name = 'x'", "DELETE FROM audit_entries"):
        with pytest.raises(DatabaseError, match="never changed"), transaction() as database:
            database.execute(text(change))


def test_what_is_refused_or_only_looked_at_is_not_in_the_log(desk: httpx.Client) -> None:
    before = actions()
    desk.get("/admin/issues")
    desk.post("/admin/issues/99/pause", data={"csrf": "x"})
    press(desk, "/admin/newsletters/courrier", "/admin/newsletters/courrier", act="look")
    assert actions() == before == ["signing_in.sign_in"]


def test_the_log_is_filtered_paged_and_taken_away(desk: httpx.Client) -> None:
    drafted()
    for _ in range(52):
        press(desk, "/admin/account", "/admin/account/keys")
    page = desk.get("/admin/settings/audit")
    assert "Switched their own keyboard shortcuts" in page.text
    older = re.search(r'href="(/admin/settings/audit\?[^"]*before=\d+)"', page.text)[1].replace("&amp;", "&")
    assert "Signed in" in desk.get(older).text
    assert "Nothing matches" in desk.get("/admin/settings/audit?who=account-99").text
    assert "Nothing matches" in desk.get("/admin/settings/audit?newsletter=courrier").text
    assert desk.get("/admin/settings/audit?who=';--&since=x&until=9999-12-31&before=-1").status_code in (200, 422)
    table = desk.get("/admin/settings/audit.csv?who=account-1").text
    assert table.count("\r\n") == 54
    assert "@" not in table


def test_every_act_of_the_desk_has_words(environment: None) -> None:
    acts = set()
    for route in iter_route_contexts(create_app().routes):
        if (
            isinstance(route.original_route, DeskRoute)
            and "POST" in (route.methods or ())
            and route.original_route.asks_for
        ):
            acts.add(recording.action(route.endpoint))
    known = {one for one in acts for said in audit_words.SENTENCES if said == one or said.startswith(f"{one}.")}
    # It makes a secret that counts only once a code has confirmed it.
    assert sorted(acts - known - {"second_factor.begin"}) == []


def test_these_pages_speak_french(desk: httpx.Client) -> None:
    speak("fr")
    assert "Votre compte" in desk.get("/admin/account").text
    assert "Équipe" in desk.get("/admin/settings/team").text
    assert "Journal" in desk.get("/admin/settings/audit").text
