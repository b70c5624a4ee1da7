"""Four eyes: whose consent lets an issue leave, and what takes it back."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from mailer import scheduling
from mailer.issues import approvals, issues, slots
from mailer.models.accounts import Account, Role
from mailer.models.content import Issue, IssueState, Newsletter, PauseReason
from mailer.newsroom import accounts
from tests.factories import NOW, a_newsletter, an_article, readers

SEEN = NOW + timedelta(minutes=1)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    return a_newsletter(session, needs_approval=True)


@pytest.fixture
def issue(session: Session, newsletter: Newsletter) -> Issue:
    an_article(session, newsletter, "eau", seen=SEEN)
    an_article(session, newsletter, "train", seen=SEEN)
    readers(session, newsletter, 1)
    return issues.draft(session, newsletter, now=LATER)


def an_editor(session: Session, name: str, role: Role = Role.EDITOR) -> Account:
    made = accounts.create(
        session, f"{name}@courrier.example", name=name, password="a long enough passphrase", language="fr", now=LATER
    )
    made.role = role
    session.flush()
    return made


def test_nobody_sends_alone(session: Session, issue: Issue) -> None:
    camille = an_editor(session, "camille")
    approvals.give(session, issue, camille.id, now=LATER)
    assert not approvals.may_send(session, issue, camille.id)
    with pytest.raises(approvals.ApprovalMissing):
        approvals.require(session, issue, camille.id, now=LATER)


def test_the_consent_of_another_lets_an_issue_leave(session: Session, issue: Issue) -> None:
    camille, paul = an_editor(session, "camille"), an_editor(session, "paul")
    approvals.give(session, issue, paul.id, now=LATER)
    assert approvals.standing(session, issue).names == ["paul"]
    approvals.require(session, issue, camille.id, now=LATER)
    assert not approvals.hold_unapproved(session, issue, now=LATER)


def test_a_newsletter_asks_for_it_only_if_told_to(session: Session, newsletter: Newsletter, issue: Issue) -> None:
    newsletter.needs_approval = False
    assert approvals.may_send(session, issue, an_editor(session, "camille").id)
    assert not approvals.hold_unapproved(session, issue, now=LATER)


def test_a_writer_can_not_agree(session: Session, issue: Issue) -> None:
    with pytest.raises(approvals.ApprovalForbidden):
        approvals.give(session, issue, an_editor(session, "wanda", Role.WRITER).id, now=LATER)


def test_who_may_not_send_any_more_has_no_say(session: Session, issue: Issue) -> None:
    paul = an_editor(session, "paul")
    approvals.give(session, issue, paul.id, now=LATER)
    paul.role = Role.VIEWER
    assert not approvals.may_send(session, issue, an_editor(session, "camille").id)


@pytest.mark.parametrize("change", ["subject", "order", "article"])
def test_a_change_of_content_takes_the_consent_back(session: Session, issue: Issue, change: str) -> None:
    camille, paul = an_editor(session, "camille"), an_editor(session, "paul")
    approvals.give(session, issue, paul.id, now=LATER)
    placed = issues.placed(session, issue.id)
    if change == "subject":
        issues.edit(session, issue, subject="Other", preview_text="", introduction="", now=LATER)
    elif change == "order":
        issues.arrange(session, issue, list(reversed(placed)), now=LATER)
    else:
        placed[0][0].revision += 1
    assert not approvals.may_send(session, issue, camille.id)
    assert [one.is_current for one in approvals.standing(session, issue).consents] == [False]


def test_consent_is_taken_back_by_hand(session: Session, issue: Issue) -> None:
    camille, paul = an_editor(session, "camille"), an_editor(session, "paul")
    approvals.give(session, issue, paul.id, now=LATER)
    assert approvals.withdraw(session, issue, paul.id)
    assert not approvals.withdraw(session, issue, paul.id)
    assert not approvals.may_send(session, issue, camille.id)


def test_who_scheduled_an_issue_and_changed_it_does_not_become_the_second_person(
    session: Session, issue: Issue
) -> None:
    camille, paul = an_editor(session, "camille"), an_editor(session, "paul")
    approvals.give(session, issue, paul.id, now=LATER)
    approvals.require(session, issue, camille.id, now=LATER)
    issues.schedule(session, issue, at=LATER + timedelta(hours=1), now=LATER)
    issues.edit(session, issue, subject="Changed after consent", preview_text="", introduction="", now=LATER)
    approvals.give(session, issue, camille.id, now=LATER)
    assert not scheduling._start(session, issue, None, now=LATER)
    assert (issue.state, issue.state_code) == (IssueState.DRAFT, PauseReason.NOT_APPROVED)


def test_an_issue_of_the_rhythm_waits_for_one_person(session: Session) -> None:
    newsletter = a_newsletter(session, needs_approval=True, cron="0 7 * * *")
    an_article(session, newsletter, "eau", seen=SEEN)
    readers(session, newsletter, 1)
    due = slots.Due(newsletter_id=newsletter.id, slot_at=LATER, missed=())
    issue = slots.draft(session, due, now=LATER)
    assert issue is not None
    assert not scheduling._start(session, issue, None, now=LATER)
    assert issue.state_code == PauseReason.NOT_APPROVED
    approvals.give(session, issue, an_editor(session, "paul").id, now=LATER)
    assert not approvals.hold_unapproved(session, issue, now=LATER)
    assert approvals.may_send(session, issue, None)
