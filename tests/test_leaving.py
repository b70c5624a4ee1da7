"""Send now with its moments for undoing, and the buttons of each state."""

import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text

from mailer import clock, scheduling, settings
from mailer.cli import output
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import duplicates, handwriting, issues, leaving
from mailer.models.content import IssueState
from mailer.newsroom import newsletters
from mailer.web.admin import acts
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.desk import drafted, issue, press, running_desk, sign_in, started
from tests.factories import a_newsletter

HOLD_SECOND_BATCH = text(
    "UPDATE batches SET due_at = :later WHERE issue_id = :id AND id = (SELECT max(id) FROM batches WHERE issue_id = :id)"
)
FREE_BATCHES = text("UPDATE batches SET due_at = :now WHERE state <> 'done'")


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        monkeypatch.setenv("MAILER_UNDO_SECONDS", "60")
        settings.load.cache_clear()
        yield site.client


def send(desk: httpx.Client, issue_id: int) -> httpx.Response:
    path = f"/admin/issues/{issue_id}"
    press(desk, f"{path}/review", f"{path}/send")
    return desk.get(path)


def test_what_is_sent_now_leaves_only_when_it_cannot_be_undone(desk: httpx.Client):
    issue_id = drafted()
    page = send(desk, issue_id)
    assert re.search(r"Leaves in (1:00|0:5\d)", page.text)
    assert scheduling.start_issue(issue_id, only_due=True) is False
    with transaction() as session:
        assert issues.due_issues(session, now=clock.now()) == []
        assert issues.due_issues(session, now=clock.now() + timedelta(seconds=61)) == [issue_id]


def test_undo_makes_it_a_draft_that_no_bell_starts(desk: httpx.Client):
    issue_id = drafted()
    send(desk, issue_id)
    press(desk, f"/admin/issues/{issue_id}", f"/admin/issues/{issue_id}/undo")
    assert (issue(issue_id).state, issue(issue_id).scheduled_at) == (IssueState.DRAFT, None)
    assert scheduling.start_issue(issue_id, only_due=True) is False


def test_undo_after_it_left_changes_nothing(desk: httpx.Client):
    issue_id = drafted()
    page = send(desk, issue_id)
    with transaction() as session:
        issues.start(session, issues.get(session, issue_id), batch_size=100, now=clock.now())
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    assert desk.post(f"/admin/issues/{issue_id}/undo", data={"csrf": csrf[1]}).status_code == 409
    assert issue(issue_id).state == IssueState.SENDING


def test_nothing_is_changed_in_an_issue_about_to_leave(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAILER_UNDO_SECONDS", "60")
    settings.load.cache_clear()
    with transaction() as session:
        a_newsletter(session)
    issue_id, now = drafted(), clock.now()
    with transaction() as session:
        found = issues.get(session, issue_id)
        leaving.leave(session, found, now=now)
        with pytest.raises(issues.IssueStateForbids, match="take it back"):
            issues.edit(session, found, subject="Other", preview_text="", introduction="", now=now)


@pytest.mark.parametrize("state", acts.BUTTONS)
def test_each_state_has_exactly_its_buttons(desk: httpx.Client, state: str):
    issue_id = drafted() if state not in ("sending", "paused", "sent", "cancelled") else started()
    reach(issue_id, state)
    page = desk.get(f"/admin/issues/{issue_id}").text
    head = page.partition('<div class="pagehead">')[2].partition("</h1>")[2].partition("<section")[0]
    shown = {name for name, act in acts.ACTS.items() if f">{act.label}<" in head}
    assert shown == set(acts.BUTTONS[state])


def reach(issue_id: int, state: str) -> None:
    now = clock.now()
    with transaction() as session:
        found = issues.get(session, issue_id)
        if state == "scheduled":
            issues.schedule(session, found, at=now + timedelta(days=2), now=now)
        elif state == acts.LEAVING:
            leaving.leave(session, found, now=now)
        elif state == "paused":
            issues.pause(session, found, "paused by Camille", now=now)
        elif state == "cancelled":
            issues.cancel(session, found, now=now)
        elif state == "failed":
            issues.fail(session, issue_id, "no readers", now=now)
    if state == "sent":
        sending.send_due(budget_seconds=10)


def test_a_failed_issue_is_tried_again(desk: httpx.Client):
    issue_id = drafted()
    reach(issue_id, "failed")
    press(desk, f"/admin/issues/{issue_id}", f"/admin/issues/{issue_id}/retry")
    assert issue(issue_id).is_leaving


def test_a_copy_has_the_words_and_the_articles(desk: httpx.Client):
    issue_id = started()
    reach(issue_id, "sent")
    answer = press(desk, f"/admin/issues/{issue_id}", f"/admin/issues/{issue_id}/duplicate")
    copy_id = int(answer.headers["location"].rpartition("/")[2].partition("?")[0])
    with transaction() as session:
        assert [one.id for one, _ in issues.placed(session, copy_id)] == [
            one.id for one, _ in issues.placed(session, issue_id)
        ]
    assert (issue(copy_id).state, issue(copy_id).subject) == (IssueState.DRAFT, issue(issue_id).subject)


@pytest.mark.parametrize("is_handmade", [False, True])
def test_the_others_of_a_cancelled_issue_get_it_and_nobody_twice(installation: SmtpInbox, is_handmade: bool):
    with transaction() as session:
        a_newsletter(session)
    first = drafted(reader_count=4)
    if is_handmade:
        with transaction() as session:
            wanted = handwriting.Draft(subject="Un mot", body="Bonjour.", preview_text="", respects_rhythm=False)
            first = handwriting.draft(session, newsletters.get(session, "courrier"), wanted, now=clock.now()).id
    with transaction() as session:
        # Two leave, then it is cancelled.
        issues.start(session, issues.get(session, first), batch_size=2, now=clock.now())
    with transaction() as session:
        session.execute(HOLD_SECOND_BATCH, {"id": first, "later": clock.now() + timedelta(hours=1)})
    sending.send_due(budget_seconds=5)
    assert len(installation.messages) == 2
    with transaction() as session:
        issues.cancel(session, issues.get(session, first), now=clock.now())
        session.execute(FREE_BATCHES, {"now": clock.now()})
    sending.send_due(budget_seconds=5)
    with transaction() as session:
        copy = duplicates.duplicate(session, issues.get(session, first), for_others=True, now=clock.now())
        issues.start(session, copy, batch_size=100, now=clock.now())
        assert copy.recipients == 2
    sending.send_due(budget_seconds=5)
    assert len({one.recipients for one in installation.messages}) == len(installation.messages) == 4


def test_the_command_says_how_to_take_it_back_and_does(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MAILER_UNDO_SECONDS", "60")
    with transaction() as session:
        a_newsletter(session)
    issue_id = str(drafted())
    sent = mailer("issue", "send", issue_id, "--yes")
    assert (sent.code, f"mailer issue undo {issue_id}" in sent.err) == (0, True)
    assert mailer("issue", "undo", issue_id).code == 0
    assert mailer("issue", "undo", issue_id).code == output.STATE_FORBIDS
    assert issue(int(issue_id)).state == IssueState.DRAFT
