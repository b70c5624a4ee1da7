"""The newsroom's desk: mails whose answer was lost, and why an issue waits and what to do about it."""

import html
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select

from mailer import clock
from mailer.db import transaction
from mailer.delivery import ledger, remedies, sending
from mailer.issues import issues
from mailer.models.content import IssueState, PauseReason, WhenUncertain
from mailer.models.deliveries import Delivery
from tests.conftest import SmtpInbox
from tests.desk import drafted, hidden, issue, press, running_desk, sent_uncertainly, sign_in, speak, started
from tests.web_site import heading


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def figures(issue_id: int) -> tuple[int, int, int, int]:
    """Accepted, refused, uncertain, waiting."""
    with transaction() as session:
        found = ledger.equation(session, issue_id)
        assert found == ledger.count_ledger(session, issue_id)
        return found.accepted, found.refused, found.uncertain, found.waiting


def settle(client: httpx.Client, issue_id: int, how: str, **fields: str) -> httpx.Response:
    """Open the question and say yes."""
    path = f"/admin/issues/{issue_id}/settle"
    return press(client, f"{path}?how={how}", path, how=how, **fields)


def test_what_uncertain_means_stands_where_it_is_settled(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly()
    for path in (f"/admin/issues/{issue_id}", f"/admin/issues/{issue_id}/uncertain"):
        page = desk.get(path).text
        assert "2 uncertain" in page
        assert "may have them or not" in page
        assert [f'name="how" value="{how}"' in page for how in ("resend", "accepted", "refused")] == [True] * 3


def test_who_is_uncertain_is_listed_a_page_at_a_time(desk: httpx.Client) -> None:
    path = f"/admin/issues/{sent_uncertainly(reader_count=52)}/uncertain"
    first = desk.get(path).text
    assert "r49@example.org" in first
    assert "r50@example.org" not in first
    assert "no answer after the final dot" in first
    with transaction() as session:
        last = session.execute(select(Delivery.id).order_by(Delivery.id).offset(49).limit(1)).scalar_one()
    assert f'href="{path}?after={last}"' in first
    assert "r51@example.org" in desk.get(f"{path}?after={last}").text


@pytest.mark.parametrize("how", ["resend", "accepted", "refused"])
def test_being_asked_changes_nothing(desk: httpx.Client, how: str) -> None:
    issue_id = sent_uncertainly()
    page = desk.get(f"/admin/issues/{issue_id}/settle?how={how}")
    assert "2 mails" in heading(page)
    assert ("get this issue twice" in page.text) == (how == "resend")
    assert figures(issue_id) == (0, 0, 2, 0)


def test_they_are_counted_as_somebody_says(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly()
    assert settle(desk, issue_id, "accepted").headers["location"] == f"/admin/issues/{issue_id}?done=settled-accepted"
    assert figures(issue_id) == (2, 0, 0, 0)
    assert "2 counted as accepted, as Camille decided" in desk.get(f"/admin/issues/{issue_id}").text


def test_they_are_sent_again(desk: httpx.Client, installation: SmtpInbox) -> None:
    issue_id = sent_uncertainly()
    settle(desk, issue_id, "resend")
    assert issue(issue_id).state == IssueState.SENDING
    sending.send_due(budget_seconds=10)
    assert figures(issue_id) == (2, 0, 0, 0)
    assert issue(issue_id).state == IssueState.SENT
    assert len(installation.messages) == 2


def test_only_the_ticked_ones_are_settled(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly(reader_count=3)
    with transaction() as session:
        ticked = session.execute(select(Delivery.id).order_by(Delivery.id).limit(2)).scalars().all()
    path = f"/admin/issues/{issue_id}/settle"
    question = f"{path}?how=refused&delivery={ticked[0]}&delivery={ticked[1]}"
    assert f'name="deliveries" value="{ticked[0]},{ticked[1]}"' in desk.get(question).text
    press(desk, question, path, how="refused", deliveries=f"{ticked[0]},{ticked[1]}")
    assert figures(issue_id) == (0, 2, 1, 0)


@pytest.mark.parametrize("ids", ["x", "1;2", "-1", "9" * 30])
def test_what_is_no_list_of_deliveries_settles_none(desk: httpx.Client, ids: str) -> None:
    issue_id = sent_uncertainly()
    assert settle(desk, issue_id, "accepted", deliveries=ids).headers["location"].endswith("done=settled-nothing")
    assert figures(issue_id) == (0, 0, 2, 0)


def test_a_decision_that_there_is_not_changes_nothing(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly()
    path = f"/admin/issues/{issue_id}/settle"
    assert desk.get(path).status_code == 404
    assert desk.get(f"{path}?how=skipped").status_code == 404
    press(desk, f"{path}?how=accepted", path, how="skipped")
    assert figures(issue_id) == (0, 0, 2, 0)


def test_nothing_of_a_cancelled_issue_is_sent_again(desk: httpx.Client) -> None:
    issue_id = sent_uncertainly()
    with transaction() as session:
        issues.get(session, issue_id).state = IssueState.CANCELLED
    assert settle(desk, issue_id, "resend").status_code == 409
    assert figures(issue_id) == (0, 0, 2, 0)


def test_the_review_asks_what_to_do_when_an_answer_is_lost(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    press(desk, f"{path}/review", f"{path}/send", when_uncertain="resend")
    assert (issue(1).state, issue(1).when_uncertain) == (IssueState.SCHEDULED, WhenUncertain.RESEND)


def test_so_does_the_schedule_and_a_refused_moment_keeps_the_choice(desk: httpx.Client) -> None:
    path = f"/admin/issues/{drafted()}"
    refused = press(desk, f"{path}/schedule", f"{path}/schedule", at="soon", when_uncertain="resend")
    assert 'value="resend" checked' in refused.text
    assert issue(1).when_uncertain == WhenUncertain.LEAVE
    press(desk, f"{path}/schedule", f"{path}/schedule", at="2099-07-01T07:00", when_uncertain="resend")
    assert issue(1).when_uncertain == WhenUncertain.RESEND


def test_the_choice_is_changed_while_it_is_sent_and_not_afterwards(desk: httpx.Client) -> None:
    path = f"/admin/issues/{started()}"
    assert f'href="{path}/uncertain#choice"' in desk.get(path).text
    press(desk, f"{path}/uncertain", f"{path}/when-uncertain", when_uncertain="resend")
    assert issue(1).when_uncertain == WhenUncertain.RESEND
    sending.send_due(budget_seconds=10)
    page = desk.get(f"{path}/uncertain")
    assert "when-uncertain" not in page.text
    late = desk.post(f"{path}/when-uncertain", data={**hidden(page), "when_uncertain": "leave"})
    assert (late.status_code, issue(1).when_uncertain) == (409, WhenUncertain.RESEND)


def test_skipped_and_uncertain_look_different_in_the_bar(desk: httpx.Client) -> None:
    page = desk.get(f"/admin/issues/{sent_uncertainly()}").text
    assert '<rect class="uncertain" fill="url(#stripes)" x="0.0%" y="0" width="100.0%"' in page
    assert '<rect class="skipped" x="0.0%" y="0" width="0.0%"' in page
    assert '<li class="skipped">' in page
    assert '<li class="uncertain">' in page


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_reason_is_shown_with_a_remedy_and_the_servers_words(desk: httpx.Client, language: str) -> None:
    speak(language)
    issue_id = started()
    shown = set()
    for code in PauseReason:
        with transaction() as session:
            issues.note(session, issue_id, "554 5.7.1 <rejected>", code=code)
        page = desk.get(f"/admin/issues/{issue_id}").text
        assert "554 5.7.1 &lt;rejected&gt;" in page
        known = remedies.EXPLANATIONS[code]
        english = [html.escape(one) in page.replace("&#39;", "'") for one in (known.happened, known.remedy)]
        assert english == [language == "en"] * 2, code
        shown.add(page[page.index('<div class="notice') : page.index("554 5.7.1")])
    assert len(shown) == len(PauseReason)


def test_the_overview_says_why_an_issue_is_paused(desk: httpx.Client) -> None:
    issue_id = started()
    with transaction() as session:
        issues.pause(session, issues.get(session, issue_id), "554 no", code=PauseReason.BLOCKED, now=clock.now())
    assert "refuses our mail as such (5.7.x)" in desk.get("/admin").text
