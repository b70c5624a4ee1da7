"""An issue's life: slots, drafts, states, and who wins when two act at once."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mailer.issues import issues, reviewing, slots
from mailer.models.content import Issue, IssueState, Layout, PauseReason, Slot, SlotResult, Variant, WhenUncertain
from mailer.models.deliveries import Batch, Delivery
from mailer.newsroom import newsletters
from tests.factories import NOW, a_newsletter, an_article, readers

GRACE = timedelta(hours=6)
FRIDAY = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)  # 07:00 in Paris


def a_draft(session: Session, *, reader_count: int = 2) -> Issue:
    newsletter = a_newsletter(session)
    an_article(session, newsletter, "eau", seen=NOW - timedelta(hours=1), image_url="https://courrier.example/eau.jpg")
    an_article(session, newsletter, "rail", seen=NOW - timedelta(hours=2))
    readers(session, newsletter, reader_count)
    return issues.draft(session, newsletter, now=NOW)


def a_due_newsletter(session: Session, *, articles: int = 1):
    newsletter = a_newsletter(session, cron="0 7 * * FRI", timezone="Europe/Paris")
    newsletters.schedule(
        session, newsletter, cron="0 7 * * FRI", timezone="Europe/Paris", now=NOW, since=FRIDAY - timedelta(days=1)
    )
    for number in range(articles):
        an_article(session, newsletter, f"a{number}", seen=FRIDAY - timedelta(hours=1))
    readers(session, newsletter, 1)
    return newsletter


def decided(session: Session) -> list[tuple[SlotResult, str]]:
    session.expire_all()
    return [(slot.result, slot.note) for slot in session.execute(select(Slot).order_by(Slot.slot_at)).scalars()]


def test_a_slot_is_due_from_its_moment_on(session: Session) -> None:
    a_due_newsletter(session)
    assert slots.due_slots(session, now=FRIDAY - timedelta(seconds=1)) == []
    assert [due.slot_at for due in slots.due_slots(session, now=FRIDAY)] == [FRIDAY]


def test_a_slot_is_decided_once(session: Session) -> None:
    a_due_newsletter(session)
    (due,) = slots.due_slots(session, now=FRIDAY)
    assert reviewing.decide(session, due, grace=GRACE, now=FRIDAY) is not None
    assert reviewing.decide(session, due, grace=GRACE, now=FRIDAY) is None
    assert slots.due_slots(session, now=FRIDAY + timedelta(hours=1)) == []


def test_an_empty_window_is_skipped_and_says_so(session: Session) -> None:
    a_due_newsletter(session, articles=0)
    (due,) = slots.due_slots(session, now=FRIDAY)
    assert reviewing.decide(session, due, grace=GRACE, now=FRIDAY) is None
    assert decided(session) == [(SlotResult.EMPTY, "no new article")]


def test_too_few_articles_wait_for_the_next_issue(session: Session) -> None:
    newsletter = a_due_newsletter(session, articles=2)
    newsletters.edit(session, newsletter, values={"min_articles": 3}, now=NOW)
    (due,) = slots.due_slots(session, now=FRIDAY)
    assert reviewing.decide(session, due, grace=GRACE, now=FRIDAY) is None
    assert decided(session) == [(SlotResult.EMPTY, "2 new articles of at least 3; they wait for the next issue")]
    an_article(session, newsletter, "third", seen=FRIDAY + timedelta(days=1))
    (due,) = slots.due_slots(session, now=FRIDAY + timedelta(days=7))
    issue = reviewing.decide(session, due, grace=GRACE, now=FRIDAY + timedelta(days=7))
    assert issue is not None
    assert len(issues.placed(session, issue.id)) == 3


def test_missed_slots_are_caught_up_once(session: Session) -> None:
    newsletter = a_due_newsletter(session)
    newsletters.schedule(
        session, newsletter, cron="0 7 * * *", timezone="Europe/Paris", now=NOW, since=FRIDAY - timedelta(days=3)
    )
    (due,) = slots.due_slots(session, now=FRIDAY + timedelta(hours=5))
    assert due.slot_at == FRIDAY
    assert len(due.missed) == 2
    assert reviewing.decide(session, due, grace=GRACE, now=FRIDAY + timedelta(hours=5)) is not None
    assert [result for result, _ in decided(session)] == [SlotResult.MISSED, SlotResult.MISSED, SlotResult.ISSUED]
    assert "caught up" in decided(session)[0][1]


def test_a_slot_beyond_the_grace_is_missed_not_sent(session: Session) -> None:
    a_due_newsletter(session)
    late = FRIDAY + GRACE + timedelta(minutes=1)
    (due,) = slots.due_slots(session, now=late)
    assert reviewing.decide(session, due, grace=GRACE, now=late) is None
    assert decided(session) == [(SlotResult.MISSED, "found 6\u00a0h 1\u00a0min late; the grace is 6\u00a0h")]


def test_changing_a_schedule_fires_nothing_of_the_past(session: Session) -> None:
    newsletter = a_newsletter(session)
    newsletters.schedule(session, newsletter, cron="0 7 * * *", timezone="Europe/Paris", now=FRIDAY, since=FRIDAY)
    assert slots.due_slots(session, now=FRIDAY + timedelta(hours=1)) == []


def test_a_paused_newsletter_is_never_due(session: Session) -> None:
    newsletter = a_due_newsletter(session)
    newsletters.edit(session, newsletter, values={"is_paused": True}, now=NOW)
    assert slots.due_slots(session, now=FRIDAY) == []


def test_a_draft_takes_its_words_from_the_articles(session: Session) -> None:
    issue = a_draft(session)
    assert issue.subject == "Le titre de eau"
    assert "Le titre de rail" in issue.preview_text
    assert [layout for _, layout in issues.placed(session, issue.id)] == [Layout.LEAD, Layout.CARD]


def test_starting_freezes_content_and_recipients_together(session: Session) -> None:
    issue = a_draft(session, reader_count=5)
    issues.start(session, issue, batch_size=2, now=NOW)
    assert (issue.state, issue.number, issue.recipients) == (IssueState.SENDING, 1, 5)
    assert len(session.execute(select(Delivery)).scalars().all()) == 5
    assert sorted(session.execute(select(Batch.size)).scalars()) == [1, 2, 2]
    assert issue.web_html is not None


def test_an_issue_has_one_variant_for_each_language_that_has_readers(session: Session) -> None:
    issue = a_draft(session)
    readers(session, issue.newsletter, 3, language="en")
    issues.start(session, issue, batch_size=10, now=NOW)
    rows = session.execute(select(Variant.language).join(Delivery, Delivery.variant_id == Variant.id)).scalars()
    # r0 and r1 were French already.
    assert sorted(rows) == ["en", "fr", "fr"]
    assert issue.recipients == 3


def test_starting_twice_is_refused(session: Session) -> None:
    issue = a_draft(session)
    issues.start(session, issue, batch_size=10, now=NOW)
    with pytest.raises(issues.IssueStateForbids):
        issues.start(session, issue, batch_size=10, now=NOW)


def test_an_issue_without_readers_is_not_started(session: Session) -> None:
    with pytest.raises(issues.IssueEmpty, match="no confirmed readers"), session.begin_nested():
        issues.start(session, a_draft(session, reader_count=0), batch_size=10, now=NOW)


def test_every_act_is_allowed_in_exactly_its_states(session: Session) -> None:
    later = NOW + timedelta(hours=1)
    acts = {
        "schedule": (lambda issue: issues.schedule(session, issue, at=later, now=NOW), {"draft", "scheduled"}),
        "unschedule": (lambda issue: issues.unschedule(session, issue, now=NOW), {"scheduled"}),
        "pause": (lambda issue: issues.pause(session, issue, "x", now=NOW), {"sending"}),
        "resume": (lambda issue: issues.resume(session, issue, now=NOW), {"paused"}),
        "set_when_uncertain": (
            lambda issue: issues.set_when_uncertain(session, issue, WhenUncertain.RESEND, now=NOW),
            {"draft", "scheduled", "sending", "paused"},
        ),
        "send_again": (lambda issue: issues.send_again(session, issue, now=NOW), {"sending", "paused", "sent"}),
        "cancel": (lambda issue: issues.cancel(session, issue, now=NOW), {"draft", "scheduled", "sending", "paused"}),
    }
    issue = a_draft(session)
    issue.started_at = issue.scheduled_at = NOW
    for (name, (act, allowed)), state in product(acts.items(), IssueState):
        with session.begin_nested() as nested:
            issue.state = state
            session.flush()
            try:
                act(issue)
                was_allowed = True
            except issues.IssueStateForbids:
                was_allowed = False
            nested.rollback()
        assert was_allowed == (state.value in allowed), (name, state)


def test_a_past_moment_cannot_be_scheduled(session: Session) -> None:
    with pytest.raises(issues.IssueStateForbids, match="passed"):
        issues.schedule(session, a_draft(session), at=NOW, now=NOW)


def why(session: Session, issue: Issue) -> tuple[PauseReason | None, str | None]:
    session.refresh(issue, ["state_code", "state_reason"])
    return issue.state_code, issue.state_reason


def test_a_pause_has_a_reason_and_words_until_the_issue_goes_on(session: Session) -> None:
    issue = a_draft(session)
    issues.start(session, issue, batch_size=10, now=NOW)
    issues.pause(session, issue, "554 5.7.1 rejected", code=PauseReason.BLOCKED, now=NOW)
    assert why(session, issue) == (PauseReason.BLOCKED, "554 5.7.1 rejected")
    issues.resume(session, issue, now=NOW)
    assert why(session, issue) == (None, None)


def test_somebody_paused_it_unless_another_reason_is_given(session: Session) -> None:
    issue = a_draft(session)
    issues.start(session, issue, batch_size=10, now=NOW)
    issues.pause(session, issue, "paused by Camille", now=NOW)
    assert why(session, issue) == (PauseReason.BY_HAND, "paused by Camille")
    issues.cancel(session, issue, now=NOW)
    assert why(session, issue) == (None, None)


def test_why_it_waits_is_noted_only_while_it_is_sent(session: Session) -> None:
    issue = a_draft(session)
    issues.note(session, issue.id, "no route", code=PauseReason.SERVER_UNREACHABLE)
    assert why(session, issue) == (None, None)
    issues.start(session, issue, batch_size=10, now=NOW)
    issues.note(session, issue.id, "no route" * 200, code=PauseReason.SERVER_UNREACHABLE)
    assert why(session, issue) == (PauseReason.SERVER_UNREACHABLE, ("no route" * 200)[: issues.REASON_LENGTH])
    issues.note(session, issue.id, None)
    assert why(session, issue) == (None, None)


def test_an_issue_that_could_not_start_says_why_until_it_is_a_draft_again(session: Session) -> None:
    issue = a_draft(session)
    issues.fail(session, issue.id, "issue/body.html, line 2", code=PauseReason.TEMPLATE_INVALID, now=NOW)
    assert why(session, issue) == (PauseReason.TEMPLATE_INVALID, "issue/body.html, line 2")
    issues.reopen(session, issue, now=NOW)
    assert (issue.state, *why(session, issue)) == (IssueState.DRAFT, None, None)


def test_a_ledger_that_does_not_add_up_stops_the_issue_with_its_figures(session: Session) -> None:
    issue = a_draft(session)
    issues.start(session, issue, batch_size=10, now=NOW)
    session.execute(update(Batch).values(state="done", accepted=2))
    assert not issues.finish(session, issue.id, now=NOW)
    session.flush()
    assert issue.state == IssueState.PAUSED
    assert why(session, issue)[0] == PauseReason.LEDGER_MISMATCH
    assert "accepted=0" in (issue.state_reason or "")


def test_a_text_that_does_not_fit_is_refused_with_its_limit_and_nothing_changes(session: Session) -> None:
    issue = a_draft(session)
    texts = {"subject": "x" * 201, "preview_text": "x" * 301, "introduction": "short"}
    with pytest.raises(issues.IssueTextTooLong, match=r"subject 201 of at most 200, preview text 301 of at most 300"):
        issues.edit(session, issue, **texts, now=NOW)
    assert (issue.subject, issue.introduction) == ("Le titre de eau", issue.newsletter.introduction)


def test_spaces_do_not_count_against_the_limit(session: Session) -> None:
    issue = a_draft(session)
    issues.edit(session, issue, subject=f"  a{' ' * 300}b", preview_text="", introduction="", now=NOW)
    assert issue.subject == "a b"
