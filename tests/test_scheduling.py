"""The tick and the making of issues, with real tasks' entry points and a real Redis."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from mailer import clock, scheduling, settings
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.content import Feed, Issue, IssueState, Slot, SlotResult
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, a_signup, an_article, readers


def a_due_newsletter(*, reader_count: int = 2, articles: int = 1) -> int:
    """A newsletter whose slot was a minute ago."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session)
        for feed in newsletters.feeds(session, newsletter):
            feed.last_read_at = feed.last_success_at = now
            feed.next_read_at = now + timedelta(hours=1)
        for number in range(articles):
            an_article(session, newsletter, f"a{number}", seen=now - timedelta(minutes=5))
        readers(session, newsletter, reader_count)
        slot = now - timedelta(minutes=1)
        cron = f"{slot.minute} {slot.hour} * * *"
        newsletters.schedule(session, newsletter, cron=cron, timezone="UTC", now=now, since=now - timedelta(minutes=3))
        return newsletter.id


def the_slot() -> Slot:
    with transaction() as session:
        return session.execute(select(Slot)).scalar_one()


def test_a_due_slot_becomes_an_issue_that_is_sent(installation: SmtpInbox) -> None:
    newsletter_id = a_due_newsletter()
    assert [due.newsletter_id for due in scheduling.tick().slots] == [newsletter_id]
    issue_id = scheduling.make_issue(newsletter_id)
    assert issue_id is not None
    sending.send_due(budget_seconds=10)
    with transaction() as session:
        assert issues.get(session, issue_id).state == IssueState.SENT
    assert the_slot().result == SlotResult.ISSUED
    assert len(installation.messages) == 2


def test_two_tasks_for_one_slot_make_one_issue(installation: SmtpInbox) -> None:
    newsletter_id = a_due_newsletter()
    assert scheduling.make_issue(newsletter_id) is not None
    assert scheduling.make_issue(newsletter_id) is None
    assert scheduling.tick().slots == []


def test_an_empty_slot_is_recorded_and_not_asked_again(installation: SmtpInbox) -> None:
    newsletter_id = a_due_newsletter(articles=0)
    assert scheduling.make_issue(newsletter_id) is None
    assert (the_slot().result, the_slot().note) == (SlotResult.EMPTY, "no new article")
    assert scheduling.tick().slots == []


def test_an_issue_without_readers_is_a_failed_slot_with_the_reason(installation: SmtpInbox) -> None:
    newsletter_id = a_due_newsletter(reader_count=0)
    assert scheduling.make_issue(newsletter_id) is None
    assert the_slot().result == SlotResult.FAILED
    assert "no confirmed readers" in the_slot().note
    with transaction() as session:
        assert session.execute(select(Issue)).all() == []


def test_a_broken_template_is_found_before_anything_is_queued(
    installation: SmtpInbox, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "issue").mkdir()
    (tmp_path / "issue" / "body.html").write_text("<p>{{ no_such_thing }}</p>")
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(tmp_path))
    settings.load.cache_clear()
    newsletter_id = a_due_newsletter()
    assert scheduling.make_issue(newsletter_id) is None
    assert the_slot().result == SlotResult.FAILED
    assert "no_such_thing" in the_slot().note
    sending.send_due(budget_seconds=1)
    assert installation.messages == []


def test_a_scheduled_issue_starts_at_its_moment(installation: SmtpInbox) -> None:
    a_due_newsletter()
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        newsletters.schedule(session, newsletter, cron=None, timezone="UTC", now=clock.now(), since=clock.now())
        issue = issues.draft(session, newsletter, now=clock.now())
        issues.schedule(session, issue, at=clock.now() + timedelta(hours=1), now=clock.now())
        issue_id = issue.id
    assert scheduling.tick().issues == []
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue_id), now=clock.now())
    assert scheduling.tick().issues == [issue_id]
    assert scheduling.start_issue(issue_id) is True
    assert scheduling.start_issue(issue_id) is False


def test_a_tick_finds_feeds_that_are_due(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session)
        feed_id = session.execute(select(Feed.id)).scalar_one()
    assert scheduling.tick().feeds == [feed_id]
    assert scheduling.tick().feeds == []


def test_an_issue_whose_last_batch_was_recorded_is_finished_by_the_tick(installation: SmtpInbox) -> None:
    newsletter_id = a_due_newsletter()
    issue_id = scheduling.make_issue(newsletter_id)
    assert issue_id is not None
    sending.send_due(budget_seconds=10)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        issue.state, issue.finished_at = IssueState.SENDING, None
    scheduling.tick()
    with transaction() as session:
        assert issues.get(session, issue_id).state == IssueState.SENT


def test_a_process_that_sends_answers_fresh_signups_meanwhile(installation: SmtpInbox) -> None:
    with transaction() as session:
        newsletter = a_newsletter(session)
        for address in ("lea@example.org", "bek@example.org"):
            a_signup(session, newsletter, address, now=clock.now())
    sending.send_due(budget_seconds=5, meanwhile=scheduling.answer_signups)
    assert sorted(one.recipients[0] for one in installation.messages) == ["bek@example.org", "lea@example.org"]
    sending.send_due(budget_seconds=5, meanwhile=scheduling.answer_signups)
    assert len(installation.messages) == 2


def test_a_broken_confirmation_template_does_not_stop_sending(
    installation: SmtpInbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "confirm").mkdir()
    (tmp_path / "confirm" / "subject.txt").write_text("{{ no_such_thing }}", encoding="utf-8")
    monkeypatch.setenv("MAILER_TEMPLATES_DIR", str(tmp_path))
    settings.load.cache_clear()
    with transaction() as session:
        a_signup(session, a_newsletter(session), now=clock.now())
    scheduling.answer_signups()
    assert installation.messages == []
