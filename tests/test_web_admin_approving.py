"""Four eyes at the desk, in the API's words and on the command line: nobody sends alone."""

from collections.abc import Iterator

import httpx
import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import approvals, issues
from mailer.models.accounts import Role
from mailer.models.content import IssueState
from mailer.newsroom import accounts, newsletters
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import PASSWORD, drafted, field, issue, press, running_desk, sign_in
from tests.web_server import browser
from tests.web_site import Site

REVIEW = "/admin/issues/1/review"


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        drafted()
        with transaction() as session:
            newsletters.get(session, "courrier").needs_approval = True
            paul = accounts.create(
                session, "paul@courrier.example", name="Paul", password=PASSWORD, language="en", now=clock.now()
            )
            paul.role = Role.EDITOR
        sign_in(running.client)
        yield running


@pytest.fixture
def paul(site: Site) -> Iterator[httpx.Client]:
    """A second browser, of somebody else who may send."""
    with browser(site.url) as other:
        other.post("/admin/sign-in", data={"email": "paul@courrier.example", "password": PASSWORD})
        yield other


def send(client: httpx.Client) -> httpx.Response:
    """Send the form of the review page, whether it is shown or not."""
    page = client.get(REVIEW)
    carried = {"csrf": field(page, "csrf"), "version": issue(1).updated_at.isoformat()}
    return client.post("/admin/issues/1/send", data=carried)


def test_nobody_sends_alone_and_two_do(site: Site, paul: httpx.Client) -> None:
    assert 'action="/admin/issues/1/send"' not in site.client.get(REVIEW).text
    assert press(site.client, REVIEW, "/admin/issues/1/approve").status_code == 303
    assert send(site.client).status_code == 409
    assert issue(1).state == IssueState.DRAFT
    assert press(paul, REVIEW, "/admin/issues/1/approve").status_code == 303
    assert "Paul" in site.client.get(REVIEW).text
    assert send(site.client).status_code == 303
    assert issue(1).state != IssueState.DRAFT


def test_a_change_after_the_consent_takes_the_button_away_again(site: Site, paul: httpx.Client) -> None:
    press(paul, REVIEW, "/admin/issues/1/approve")
    assert 'action="/admin/issues/1/send"' in site.client.get(REVIEW).text
    press(site.client, "/admin/issues/1", "/admin/issues/1/envelope", subject="Something else")
    assert 'action="/admin/issues/1/send"' not in site.client.get(REVIEW).text
    assert send(site.client).status_code == 409


def test_the_command_line_needs_one_person(site: Site) -> None:
    refused = mailer("issue", "send", "1", "--yes")
    assert (refused.code, "second person" in refused.err) == (5, True)
    with transaction() as session:
        approvals.give(session, issues.get(session, 1), 2, now=clock.now())
    assert mailer("issue", "send", "1", "--yes").code == 0
