"""Settings > Tokens and Settings > Webhooks, as an admin uses them; and `mailer token`, `mailer webhook`."""

import re
from collections.abc import Iterator

import httpx
import pytest

from mailer import settings
from mailer.db import transaction
from mailer.newsroom import calling, webhooks
from tests.api import Program
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import press, running_desk, sign_in
from tests.hooks import Hook, listening_hook
from tests.web_site import Site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("MAILER_WEBHOOK_PRIVATE_NETWORKS", "127.0.0.0/8")
    with running_desk(monkeypatch) as running:
        yield running


@pytest.fixture
def desk(site: Site) -> httpx.Client:
    sign_in(site.client)
    return site.client


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening_hook() as listening:
        yield listening


TOKENS, WEBHOOKS = "/admin/settings/tokens", "/admin/settings/webhooks"


def secret_of(page: httpx.Response) -> str:
    found = re.search(r'<p class="words flush">([^<]+)</p>', page.text)
    assert found is not None, page.text
    return found[1]


def test_a_token_is_made_shown_once_and_revoked(desk: httpx.Client) -> None:
    made = press(desk, TOKENS, TOKENS, name="publishing system", **{"scope-read": "yes", "newsletter": "courrier"})
    token = secret_of(made)
    program = Program(token)
    assert [one["slug"] for one in program.get("/newsletters").json()["data"]] == ["courrier"]
    listed = desk.get(TOKENS).text
    assert "publishing system" in listed
    assert token not in listed
    assert token[:13] in listed
    press(desk, TOKENS, f"{TOKENS}/1/revoke")
    assert program.get("/newsletters").status_code == 401


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"name": "", "scope-read": "yes"}, "name"),
        ({"name": "x" * 101, "scope-read": "yes"}, "name"),
        ({"name": "app"}, "scope-read"),
        ({"name": "app", "scope-read": "yes", "expires": "2020-01-01"}, "expires"),
        ({"name": "app", "scope-read": "yes", "expires": "soon"}, "expires"),
    ],
)
def test_what_can_not_be_taken_of_a_token_stays_in_the_form(
    desk: httpx.Client, typed: dict[str, str], field: str
) -> None:
    page = press(desk, TOKENS, TOKENS, **typed)
    assert page.status_code == 422
    assert f'href="#{field}"' in page.text
    assert mailer("--json", "token", "list").value == []


def test_a_webhook_is_added_tried_changed_and_removed(desk: httpx.Client, hook: Hook) -> None:
    added = press(desk, WEBHOOKS, WEBHOOKS, url=hook.url, **{"event-issue.sent": "yes"})
    assert secret_of(added).startswith("whsec_")
    page = f"{WEBHOOKS}/1"
    press(desk, page, f"{page}/test")
    calling.call_due(budget_seconds=5)
    shown = desk.get(page).text
    assert "Answered 200" in shown or "A répondu 200" in shown
    assert "whsec_" not in shown
    press(desk, page, f"{page}/replay", call="1")
    calling.call_due(budget_seconds=5)
    assert len(hook.calls) == 2
    assert secret_of(press(desk, page, f"{page}/rotate")) != secret_of(added)
    press(desk, page, page, url="https://other.example/hook")
    press(desk, page, f"{page}/switch", act="off")
    with transaction() as session:
        found = webhooks.get(session, 1)
        assert (found.url, found.events, found.off_because) == ("https://other.example/hook", [], "by_hand")
    press(desk, page, f"{page}/remove")
    assert desk.get(page).status_code == 404


@pytest.mark.parametrize("url", ["", "http://crm.example", "https://u:p@crm.example/", "x" * 3000, "<script>"])
def test_an_address_that_is_none_stays_in_the_form(desk: httpx.Client, url: str) -> None:
    page = press(desk, WEBHOOKS, WEBHOOKS, url=url)
    assert page.status_code == 422
    assert 'href="#url"' in page.text
    assert "<script>" not in page.text.replace('<script src="', "")


def test_these_pages_speak_french_without_an_english_sentence(desk: httpx.Client, hook: Hook) -> None:
    press(desk, WEBHOOKS, WEBHOOKS, url=hook.url)
    for path in (TOKENS, WEBHOOKS, f"{WEBHOOKS}/1"):
        page = desk.get(path)
        assert page.status_code == 200
        assert "Réglages" in page.text or "Settings" in page.text


def test_tokens_and_webhooks_from_the_command_line(site: Site, hook: Hook) -> None:
    made = mailer(
        "--json", "token", "create", "all", "our app", "--scope", "read", "--scope", "admin", "--expires", "2099-06-30"
    )
    assert made.value["scopes"] == ["read", "admin"]
    assert Program(made.value["token"]).get("/webhooks").json()["data"] == []
    assert mailer("token", "create", "courrier", "x", "--expires", "soon").code == 2
    added = mailer("--json", "webhook", "add", "courrier", hook.url, "--event", "issue.sent")
    assert added.value["secret"].startswith("whsec_")
    assert mailer("webhook", "add", "courrier", "http://crm.example/").code == 2
    assert mailer("webhook", "test", "1").code == 0
    settings.load.cache_clear()
    calling.call_due(budget_seconds=5)
    (line,) = mailer("--json", "webhook", "deliveries", "1").value
    assert (line["event"], line["state"], line["status"]) == ("webhook.test", "answered", 200)
    assert mailer("webhook", "replay", "1", str(line["id"])).code == 0
    assert mailer("webhook", "replay", "1", "99").code == 3
    assert "secret" not in mailer("--json", "webhook", "list").out
    assert mailer("webhook", "remove", "1").code == 0
    assert mailer("webhook", "deliveries", "1").code == 3
