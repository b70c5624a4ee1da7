"""Before every send: what blocks holds an issue back, in its slot, until it is mended or let pass."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mailer import clock, scheduling, settings
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import gate, issues
from mailer.issues.checks.reach import Answer
from mailer.issues.findings import Code, Phrase, Severity
from mailer.models.content import Issue, IssueState, PauseReason, SlotResult, Variant
from mailer.models.deliveries import Delivery
from mailer.models.pictures import Picture, PictureKind, PictureState, PictureUse, Rendition
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers
from tests.test_scheduling import a_due_newsletter, the_slot

WITHOUT_FOOT = '{% extends "_layout.html" %}{% block content %}<tr><td>{{ issue.title }}</td></tr>{% endblock %}'


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's folder whose mail has no link to unsubscribe."""
    folder = tmp_path / "templates"
    (folder / "issue").mkdir(parents=True)
    (folder / "issue" / "body.html").write_text(WITHOUT_FOOT)
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(folder))
    settings.load.cache_clear()
    return folder


def a_draft(*, subject: str | None = None) -> int:
    """A draft with one article, for two readers, that nothing sends by itself."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "a", seen=now - timedelta(minutes=5))
        readers(session, newsletter, 2)
        issue = issues.draft(session, newsletter, now=now)
        issue.subject = subject or issue.subject
        return issue.id


def the_issue(issue_id: int) -> Issue:
    with transaction() as session:
        return issues.get(session, issue_id)


def queued() -> int:
    with transaction() as session:
        return len(session.execute(select(Delivery.id)).all()) + len(session.execute(select(Variant.id)).all())


def codes(issue: Issue) -> set[Code]:
    return {one.code for one in gate.of_issue(issue) if one.severity == Severity.BLOCK}


def test_a_good_issue_leaves_and_its_findings_are_kept(installation: SmtpInbox) -> None:
    issue_id = a_draft(subject="ATTENTION : LE TITRE")
    assert scheduling.start_issue(issue_id)
    sending.send_due(budget_seconds=10)
    started = the_issue(issue_id)
    assert started.state == IssueState.SENT
    assert [one.code for one in gate.of_issue(started)] == [Code.SUBJECT_SHOUTS]
    assert started.checked_at is not None


def test_what_blocks_holds_the_issue_back_and_nothing_is_queued(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft()
    before = clock.now()
    assert scheduling.start_issue(issue_id) is False
    held = the_issue(issue_id)
    assert (held.state, held.state_code) == (IssueState.SCHEDULED, PauseReason.CHECKS_FAILED)
    assert held.scheduled_at is not None
    assert timedelta(minutes=9) < held.scheduled_at - before < timedelta(minutes=11)
    assert codes(held) == {Code.UNSUBSCRIBE_MISSING}
    assert (held.started_at, held.number) == (None, None)
    assert queued() == 0
    sending.send_due(budget_seconds=1)
    assert installation.messages == []


def test_a_slot_whose_issue_is_held_back_is_kept_and_tried_again(installation: SmtpInbox, templates: Path) -> None:
    newsletter_id = a_due_newsletter()
    assert scheduling.make_issue(newsletter_id) is None
    slot = the_slot()
    assert slot.result == SlotResult.HELD
    assert "There is no link to unsubscribe" in slot.note
    assert slot.issue_id is not None
    assert scheduling.tick().slots == []
    assert scheduling.tick().issues == []
    (templates / "issue" / "body.html").unlink()
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11)):
        assert scheduling.tick().issues == [slot.issue_id]
        assert scheduling.start_issue(slot.issue_id)
        sending.send_due(budget_seconds=10)
    assert (the_slot().result, the_slot().note) == (SlotResult.ISSUED, "")
    left = the_issue(slot.issue_id)
    assert (left.state, left.state_code, left.held_since) == (IssueState.SENT, None, None)
    assert len(installation.messages) == 2


def test_after_the_grace_an_issue_is_not_tried_any_more(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft()
    scheduling.start_issue(issue_id)
    first = the_issue(issue_id).held_since
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=5)):
        scheduling.start_issue(issue_id)
        assert the_issue(issue_id).state == IssueState.SCHEDULED
        assert the_issue(issue_id).held_since == first
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=7)):
        scheduling.start_issue(issue_id)
    held = the_issue(issue_id)
    assert (held.state, held.state_code, held.scheduled_at) == (IssueState.DRAFT, PauseReason.CHECKS_FAILED, None)


def test_an_editor_lets_what_was_found_pass_for_this_issue(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft()
    scheduling.start_issue(issue_id)
    with transaction() as session:
        issues.let_pass(session, issues.get(session, issue_id), [Code.UNSUBSCRIBE_MISSING], now=clock.now())
    assert scheduling.start_issue(issue_id)
    assert [one.severity for one in gate.of_issue(the_issue(issue_id)) if one.code == Code.UNSUBSCRIBE_MISSING] == [
        Severity.ADVISE
    ]


def test_what_was_not_let_pass_still_blocks(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft(subject="Bonjour {{ prénom }}")
    with transaction() as session:
        issues.let_pass(session, issues.get(session, issue_id), [Code.UNSUBSCRIBE_MISSING], now=clock.now())
    assert scheduling.start_issue(issue_id) is False
    assert codes(the_issue(issue_id)) == {Code.LEFT_OVER}


def test_the_operator_chooses_what_blocks(
    installation: SmtpInbox, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_CHECKS_BLOCK", "subject_shouts")
    settings.load.cache_clear()
    issue_id = a_draft(subject="ATTENTION : LE TITRE")
    assert scheduling.start_issue(issue_id) is False
    assert codes(the_issue(issue_id)) == {Code.SUBJECT_SHOUTS}


def test_links_that_do_not_answer_hold_it_back_if_the_operator_says_so(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = {"https://courrier.example/a": Answer(status=404, problem=Phrase(sentence="It answered 404."))}
    monkeypatch.setenv("MAILER_CHECKS_BLOCK", "link_gone")
    settings.load.cache_clear()
    issue_id = a_draft()
    words = r"https://courrier.example/a does not exist \(404\)"
    with pytest.raises(gate.ChecksFailed, match=words), transaction() as session:
        issues.start(session, issues.get(session, issue_id), batch_size=100, now=clock.now(), answers=gone)
    monkeypatch.delenv("MAILER_CHECKS_BLOCK")
    settings.load.cache_clear()
    with transaction() as session:
        issues.start(session, issues.get(session, issue_id), batch_size=100, now=clock.now(), answers=gone)
    assert Code.LINK_GONE in {one.code for one in gate.of_issue(the_issue(issue_id))}


def test_our_own_pictures_are_weighed_without_being_asked(session: Session) -> None:
    now, newsletter = clock.now(), a_newsletter(session)
    weights = {"a": 700_000, "b": 400_000}
    for slug, size in weights.items():
        url = f"https://courrier.example/{slug}.jpg"
        an_article(session, newsletter, slug, seen=now - timedelta(minutes=5), image_url=url)
        stamps = {"due_at": now, "created_at": now, "updated_at": now}
        picture = Picture(url=url, state=PictureState.READY, digest=slug * 32, **stamps)
        session.add(picture)
        session.flush()
        for use, width in ((PictureUse.LEAD, 1104), (PictureUse.CARD, 240)):
            file = {"width": width, "height": width // 2, "kind": PictureKind.JPG, "size_bytes": size, "content": b""}
            session.add(Rendition(picture_id=picture.id, use=use, **file))
    issue_id = issues.draft(session, newsletter, now=now).id
    session.expunge_all()
    issue = issues.get(session, issue_id)
    made = gate.specimens(session, issue, issues.placed(session, issue.id), now=now)
    heavy = [one for one in gate.inspect(made, None) if one.code == Code.PICTURES_HEAVY]
    assert [(one.severity, one.values) for one in heavy] == [(Severity.ADVISE, {"size": 1100})]


def test_links_are_asked_before_an_issue_starts_only_if_they_can_hold_it_back(
    installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILER_CHECK_LINKS", "true")
    monkeypatch.setenv("MAILER_CHECKS_BLOCK", "link_unreachable")
    settings.load.cache_clear()
    issue_id = a_draft()
    with transaction() as session:
        session.execute(text("UPDATE articles SET url = 'http://127.0.0.1:1/a'"))
        session.execute(text("UPDATE newsletters SET site_url = 'http://127.0.0.1:1/'"))
    assert scheduling.start_issue(issue_id) is False
    assert codes(the_issue(issue_id)) == {Code.LINK_UNREACHABLE}


def test_a_draft_is_checked_without_leaving_a_trace(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        subscriptions.add(session, newsletter, "ann@example.org", language="en", proof="test", now=clock.now())
        issue = issues.get(session, issue_id)
        made = gate.specimens(session, issue, issues.placed(session, issue_id), now=clock.now())
    assert [one.language for one in made] == ["fr", "en"]
    found = gate.inspect(made, None)
    blocking = {(one.code, one.where) for one in found if one.severity == Severity.BLOCK}
    assert blocking == {(Code.UNSUBSCRIBE_MISSING, "html, fr"), (Code.UNSUBSCRIBE_MISSING, "html, en")}
    assert queued() == 0
    assert the_issue(issue_id).state == IssueState.DRAFT


def test_scheduling_it_anew_forgets_that_it_was_held_back(installation: SmtpInbox, templates: Path) -> None:
    issue_id = a_draft()
    scheduling.start_issue(issue_id)
    with transaction() as session:
        issues.unschedule(session, issues.get(session, issue_id), now=clock.now())
    draft = the_issue(issue_id)
    assert (draft.state, draft.state_code, draft.held_since) == (IssueState.DRAFT, None, None)
