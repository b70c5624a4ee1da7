"""The links in mails to the newsroom: a page with one button each."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import func, select

from mailer import clock, links, scheduling
from mailer.db import transaction
from mailer.issues import issues
from mailer.links import Purpose
from mailer.models.content import IssueState, Newsletter
from mailer.models.desk import IssueAct
from tests.conftest import SmtpInbox
from tests.newsroom import a_scheduled_newsletter, link, state_of, the_issue, tick, to_desk
from tests.web_site import Site, heading, running_site


@pytest.fixture
def site(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_site(monkeypatch) as running:
        yield running


def links_of_a_review(inbox: SmtpInbox, **policies: object) -> dict[str, str]:
    """The paths in the mail about an issue in review."""
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3, **policies)
    tick()
    (mail,) = to_desk(inbox)
    return {act: link(mail, act) for act in ("send", "hold", "drop")}


def count_acts() -> int:
    with transaction() as session:
        return session.execute(select(func.count()).select_from(IssueAct)).scalar_one()


def test_opening_a_link_changes_nothing_however_often(site: Site, installation: SmtpInbox) -> None:
    paths = links_of_a_review(installation)
    before = the_issue()
    for path in paths.values():
        for _ in range(5):
            page = site.client.get(path)
            assert (page.status_code, page.text.count("<button")) == (200, 1)
            assert site.client.head(path).status_code == 200
    after = the_issue()
    assert (after.state, after.updated_at, after.scheduled_at) == (before.state, before.updated_at, before.scheduled_at)
    assert count_acts() == 0


def test_each_button_does_what_it_says_and_again_changes_nothing(site: Site, installation: SmtpInbox) -> None:
    paths = links_of_a_review(installation)
    for act, said, state in (
        ("hold", "Le numéro est retenu", IssueState.DRAFT),
        ("send", "Le numéro est approuvé", IssueState.SCHEDULED),
        ("drop", "Le numéro est abandonné", IssueState.CANCELLED),
    ):
        for _ in range(2):
            page = site.client.post(paths[act])
            assert (page.status_code, heading(page)) == (200, said)
        assert the_issue().state == state
    assert count_acts() == 3


def test_a_page_asks_in_the_newsletters_language_and_names_the_issue(site: Site, installation: SmtpInbox) -> None:
    page = site.client.get(links_of_a_review(installation)["drop"])
    assert heading(page) == "Abandonner ce numéro\u00a0?"
    assert "Le titre de a0" in page.text
    english = site.client.get(links_of_a_review_path(page), params={"lang": "en"})
    assert heading(english) == "Drop this issue?"


def links_of_a_review_path(page: httpx.Response) -> str:
    found = re.search(r'action="(/review/[^"]+)"', page.text)
    assert found
    return found[1]


def test_a_link_expires_when_the_issue_left(site: Site, installation: SmtpInbox) -> None:
    paths = links_of_a_review(installation)
    issue = the_issue()
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue.id), now=clock.now())
    scheduling.start_issue(issue.id)
    for path in paths.values():
        for page in (site.client.get(path), site.client.post(path)):
            assert (page.status_code, heading(page)) == (410, "C’est trop tard")
    assert state_of(issue.id) == IssueState.SENDING
    assert count_acts() == 0


def test_a_link_of_another_act_or_issue_is_refused(site: Site, installation: SmtpInbox) -> None:
    paths = links_of_a_review(installation)
    token = paths["hold"].rpartition("/")[2]
    mail = links.read(Purpose.REVIEW_HOLD, token)
    wrong = [
        f"/review/drop/{token}",
        f"/review/drop/{links.sign(Purpose.UNSUBSCRIBE, mail.id, mail.extra)}",
        f"/review/drop/{links.sign(Purpose.REVIEW_DROP, mail.id, mail.extra + 1)}",
        f"/review/drop/{links.sign(Purpose.REVIEW_DROP, mail.id + 1, mail.extra)}",
        f"/review/send/{token[:-2]}",
        "/review/drop/x",
    ]
    for path in wrong:
        for page in (site.client.get(path), site.client.post(path)):
            assert (page.status_code, page.text.count("<button")) == (404, 0), path
    assert site.client.post(f"/review/other/{token}").status_code == 404
    assert the_issue().state == IssueState.SCHEDULED


def test_who_left_the_newsroom_decides_nothing_any_more(site: Site, installation: SmtpInbox) -> None:
    paths = links_of_a_review(installation)
    with transaction() as session:
        session.get_one(Newsletter, the_issue().newsletter_id).desk_addresses = []
    assert site.client.post(paths["drop"]).status_code == 404
    assert the_issue().state == IssueState.SCHEDULED


def test_an_issue_that_is_sent_after_its_moment_leaves_at_once(site: Site, installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), review_hours=3, on_silence="hold")
    tick()
    (mail,) = to_desk(installation)
    page = site.client.post(link(mail, "send"))
    assert "Il part dans les secondes qui suivent." in page.text
    scheduled_at = the_issue().scheduled_at
    assert scheduled_at is not None
    assert scheduled_at <= clock.now()
