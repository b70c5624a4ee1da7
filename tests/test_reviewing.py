"""The review window, lateness and stale feeds: what becomes of an issue until it leaves by itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
import time_machine
from sqlalchemy import select

from mailer import clock, scheduling
from mailer.db import transaction
from mailer.issues import issues, reviewing, slots
from mailer.models.content import Feed, Issue, IssueState, Newsletter, PauseReason, Slot, SlotResult
from mailer.models.desk import ReviewAct, SlotCode
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import an_article
from tests.newsroom import (
    DESK,
    a_scheduled_newsletter,
    read_just_now,
    state_of,
    the_issue,
    the_slot,
    tick,
    to_desk,
    to_readers,
)

AHEAD = timedelta(hours=2)


@pytest.fixture
def traveller() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(clock.now().replace(second=0, microsecond=0), tick=True) as traveller:
        yield traveller


def review(**policies: str) -> Issue:
    """An issue in review, two hours before its slot."""
    a_scheduled_newsletter(slot_in=AHEAD, review_hours=3, **policies)
    tick()
    return the_issue()


def forward(traveller: time_machine.Traveller, span: timedelta) -> None:
    traveller.shift(span)
    read_just_now()


def told() -> tuple[SlotResult, SlotCode | None]:
    slot = the_slot()
    return slot.result, slot.code


def test_an_issue_is_drafted_before_its_slot_and_mailed_to_the_desk(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    assert issue.state == IssueState.SCHEDULED
    assert told() == (SlotResult.REVIEW, SlotCode.IN_REVIEW)
    (mail,) = to_desk(installation)
    assert "Le titre de a0" in mail["Subject"]
    assert to_readers(installation) == 0


def test_a_slot_beyond_the_window_is_not_drafted(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=4), review_hours=3)
    assert scheduling.tick().slots == []


def test_two_beats_draft_one_issue_and_mail_it_once(installation: SmtpInbox) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=AHEAD, review_hours=3)
    with transaction() as session:
        (due,) = slots.due_slots(session, now=clock.now())
    scheduling.make_issue(newsletter_id)
    with transaction() as session:
        assert reviewing.decide(session, due, grace=timedelta(hours=6), now=clock.now()) is None
    scheduling.mail_desk()
    scheduling.mail_desk()
    assert len(to_desk(installation)) == 1
    the_issue()


def test_beats_at_the_same_moment_draft_one_issue(installation: SmtpInbox) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=AHEAD, review_hours=3)
    with ThreadPoolExecutor(max_workers=4) as pool:
        made = list(pool.map(scheduling.make_issue, [newsletter_id] * 4))
    scheduling.mail_desk()
    assert made == [None] * 4
    assert the_issue().state == IssueState.SCHEDULED
    assert len(to_desk(installation)) == 1


def test_beats_at_the_same_moment_end_a_silence_once(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    review(on_silence="hold")
    forward(traveller, AHEAD + timedelta(minutes=1))
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda _: scheduling.tick(), range(4)))
    scheduling.mail_desk()
    assert len(to_desk(installation)) == 2
    assert told() == (SlotResult.HELD, SlotCode.SILENCE_HELD)


@pytest.mark.parametrize("act", ReviewAct)
def test_two_who_press_at_once_do_it_once(installation: SmtpInbox, act: ReviewAct) -> None:
    issue = review(on_silence="hold")
    with ThreadPoolExecutor(max_workers=2) as pool:
        assert sorted(pool.map(lambda _: answer(issue, act), range(2))) == [False, True]


def test_what_is_held_while_it_starts_is_held_or_sent_but_not_both(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    forward(traveller, AHEAD + timedelta(minutes=1))
    with ThreadPoolExecutor(max_workers=2) as pool:
        started = pool.submit(scheduling.start_issue, issue.id)
        held = pool.submit(answer, issue, ReviewAct.HOLD)
        is_held = held.exception() is None
        assert started.result() is not is_held
    assert state_of(issue.id) == (IssueState.DRAFT if is_held else IssueState.SENDING)


def test_a_bell_from_before_somebody_held_an_issue_starts_nothing(installation: SmtpInbox) -> None:
    issue = review()
    assert scheduling.start_issue(issue.id) is False
    answer(issue, ReviewAct.HOLD)
    assert scheduling.start_issue(issue.id) is False
    assert state_of(issue.id) == IssueState.DRAFT


def test_silence_sends_at_the_slot(installation: SmtpInbox, traveller: time_machine.Traveller) -> None:
    review()
    forward(traveller, AHEAD - timedelta(minutes=5))
    tick()
    assert to_readers(installation) == 0
    forward(traveller, timedelta(minutes=6))
    tick()
    assert to_readers(installation) == 2
    assert told() == (SlotResult.ISSUED, SlotCode.SILENCE_SENT)


def test_silence_holds_where_that_is_the_policy(installation: SmtpInbox, traveller: time_machine.Traveller) -> None:
    issue = review(on_silence="hold")
    assert issue.state == IssueState.DRAFT
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    tick()
    assert told() == (SlotResult.HELD, SlotCode.SILENCE_HELD)
    assert len(to_desk(installation)) == 2
    assert to_readers(installation) == 0


def test_what_comes_after_the_draft_belongs_to_the_next_issue(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    traveller.shift(timedelta(minutes=30))
    with transaction() as session:
        late = an_article(session, session.get_one(Newsletter, issue.newsletter_id), "late", seen=clock.now())
    forward(traveller, AHEAD)
    tick()
    assert to_readers(installation) == 2
    with transaction() as session:
        assert late.id not in [article.id for article, _ in issues.placed(session, issue.id)]
        following = issues.draft(session, session.get_one(Newsletter, issue.newsletter_id), now=clock.now())
        assert [article.id for article, _ in issues.placed(session, following.id)] == [late.id]


def test_a_draft_waits_until_there_are_enough_articles(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=AHEAD, review_hours=3, articles=0)
    assert scheduling.tick().slots == []
    with transaction() as session:
        an_article(session, session.get_one(Newsletter, newsletter_id), "first", seen=clock.now())
    traveller.shift(timedelta(minutes=1))
    tick()
    assert told() == (SlotResult.REVIEW, SlotCode.IN_REVIEW)


@pytest.mark.parametrize(
    ("on_silence", "code", "count"), [("send", SlotCode.UNREVIEWED_SENT, 2), ("hold", SlotCode.UNREVIEWED_HELD, 0)]
)
def test_an_issue_that_nobody_could_see_before_its_slot_follows_the_policy_on_silence(
    installation: SmtpInbox, on_silence: str, code: SlotCode, count: int
) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), review_hours=3, on_silence=on_silence)
    tick()
    assert the_slot().code == code
    assert to_readers(installation) == count
    assert len(to_desk(installation)) == 1


def test_what_is_held_for_another_reason_is_not_told_as_sent_without_a_review(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=30), review_hours=3, when_late="hold", late_after_minutes=5)
    tick()
    (mail,) = to_desk(installation)
    assert mail["Subject"].startswith("Numéro retenu")


def test_a_newsletter_that_was_paused_meanwhile_holds_its_issue(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    with transaction() as session:
        session.get_one(Newsletter, issue.newsletter_id).is_paused = True
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    assert told() == (SlotResult.HELD, SlotCode.PAUSE_HELD)


def test_an_editor_who_sends_before_the_slot_is_obeyed(installation: SmtpInbox) -> None:
    issue = review(on_silence="hold")
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, issue.id), now=clock.now())
    tick()
    assert to_readers(installation) == 2
    assert told() == (SlotResult.ISSUED, None)


def answer(issue: Issue, act: ReviewAct) -> bool:
    with transaction() as session:
        return reviewing.answer(session, issue.id, act, by=DESK, now=clock.now())


def test_an_approved_issue_leaves_at_its_slot_whatever_silence_means(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review(on_silence="hold")
    assert answer(issue, ReviewAct.SEND) is True
    assert answer(issue, ReviewAct.SEND) is False
    assert state_of(issue.id) == IssueState.SCHEDULED
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    assert to_readers(installation) == 2
    assert told() == (SlotResult.ISSUED, SlotCode.APPROVED)
    assert the_slot().note == f"approved by {DESK}"


def test_a_held_issue_does_not_leave_until_it_is_sent(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    assert answer(issue, ReviewAct.HOLD) is True
    assert answer(issue, ReviewAct.HOLD) is False
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    assert told() == (SlotResult.HELD, SlotCode.HELD_BY_DESK)
    assert to_readers(installation) == 0
    answer(issue, ReviewAct.SEND)
    tick()
    assert to_readers(installation) == 2


def test_the_articles_of_a_dropped_issue_wait_for_the_next(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    assert answer(issue, ReviewAct.DROP) is True
    assert answer(issue, ReviewAct.DROP) is False
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    assert told() == (SlotResult.DROPPED, SlotCode.DROPPED_BY_DESK)
    with transaction() as session:
        following = issues.draft(session, session.get_one(Newsletter, issue.newsletter_id), now=clock.now())
        assert len(issues.placed(session, following.id)) == 2


def test_who_decided_is_kept(installation: SmtpInbox) -> None:
    issue = review()
    for act in (ReviewAct.HOLD, ReviewAct.SEND, ReviewAct.SEND):
        answer(issue, act)
    with transaction() as session:
        kept = [(one.act, one.by) for one in reviewing.acts(session, issue.id)]
    assert kept == [(ReviewAct.HOLD, DESK), (ReviewAct.SEND, DESK)]


def test_an_answer_after_the_issue_left_is_too_late(installation: SmtpInbox, traveller: time_machine.Traveller) -> None:
    issue = review()
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    for act in ReviewAct:
        with pytest.raises(reviewing.AnswerTooLate):
            answer(issue, act)
    assert state_of(issue.id) == IssueState.SENDING


@pytest.mark.parametrize(
    ("when_late", "result", "code", "count", "desk"),
    [
        ("send", SlotResult.ISSUED, SlotCode.LATE_SENT, 2, 0),
        ("hold", SlotResult.HELD, SlotCode.LATE_HELD, 0, 1),
        ("merge", SlotResult.MISSED, SlotCode.LATE_MERGED, 0, 0),
    ],
)
def test_a_slot_that_is_found_too_late_follows_the_policy(
    installation: SmtpInbox, when_late: str, result: SlotResult, code: SlotCode, count: int, desk: int
) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=30), when_late=when_late, late_after_minutes=20)
    tick()
    assert told() == (result, code)
    assert to_readers(installation) == count
    assert len(to_desk(installation)) == desk


def test_without_a_limit_of_its_own_a_newsletter_has_that_of_the_settings(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(hours=5), when_late="hold")
    tick()
    assert told() == (SlotResult.ISSUED, None)


@pytest.mark.parametrize(
    ("when_late", "state"), [("hold", IssueState.DRAFT), ("merge", IssueState.CANCELLED), ("send", IssueState.SENDING)]
)
def test_an_issue_in_review_whose_beat_was_down_is_late_too(
    installation: SmtpInbox, traveller: time_machine.Traveller, when_late: str, state: IssueState
) -> None:
    issue = review(when_late=when_late)
    forward(traveller, AHEAD + timedelta(hours=7))
    scheduling.start_issue(issue.id)
    assert state_of(issue.id) == state


def let_feeds_fail(since: timedelta) -> None:
    with transaction() as session:
        for feed in session.execute(select(Feed)).scalars():
            feed.last_success_at = clock.now() - since
            feed.last_read_at = clock.now()


def test_an_issue_of_stale_feeds_is_held_and_the_desk_told_once(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=50, stale_hours=12)
    let_feeds_fail(timedelta(hours=13))
    tick()
    issue = the_issue()
    assert (issue.state, issue.state_code) == (IssueState.SCHEDULED, PauseReason.FEEDS_STALE)
    assert told() == (SlotResult.HELD, SlotCode.STALE_HELD)
    traveller.shift(timedelta(minutes=11))
    let_feeds_fail(timedelta(hours=13))
    tick()
    assert len(to_desk(installation)) == 1
    assert to_readers(installation) == 0


def test_a_held_issue_leaves_with_the_new_articles_once_its_feeds_are_read(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    newsletter_id = a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=50, stale_hours=12)
    let_feeds_fail(timedelta(hours=13))
    tick()
    traveller.shift(timedelta(minutes=11))
    read_just_now()
    with transaction() as session:
        an_article(session, session.get_one(Newsletter, newsletter_id), "new", seen=clock.now())
    traveller.shift(timedelta(seconds=1))
    tick()
    assert to_readers(installation) == 2
    with transaction() as session:
        assert len(issues.placed(session, the_issue().id)) == 3
    assert told() == (SlotResult.ISSUED, None)


def test_stale_feeds_hold_nothing_where_the_policy_is_to_send(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=0, stale_hours=12, when_stale="send")
    let_feeds_fail(timedelta(hours=13))
    tick()
    assert told() == (SlotResult.ISSUED, SlotCode.STALE_SENT)
    assert to_readers(installation) == 2


def test_feeds_that_failed_for_a_short_time_are_not_stale(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=0, stale_hours=12)
    let_feeds_fail(timedelta(hours=11))
    tick()
    assert told() == (SlotResult.ISSUED, None)


def test_a_stale_issue_that_an_editor_sends_leaves(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=0, stale_hours=12)
    let_feeds_fail(timedelta(hours=13))
    tick()
    with transaction() as session:
        issues.schedule_now(session, issues.get(session, the_issue().id), now=clock.now())
    tick()
    assert to_readers(installation) == 2


def test_after_the_grace_a_stale_issue_stays_a_draft(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    a_scheduled_newsletter(slot_in=-timedelta(minutes=5), stale_percent=0, stale_hours=12)
    let_feeds_fail(timedelta(hours=13))
    tick()
    traveller.shift(timedelta(hours=6, minutes=1))
    let_feeds_fail(timedelta(hours=13))
    tick()
    assert the_issue().state == IssueState.DRAFT


def test_no_second_issue_is_drafted_while_one_is_in_review(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=AHEAD, review_hours=48)
    tick()
    assert scheduling.tick().slots == []
    with transaction() as session:
        assert len(session.execute(select(Slot)).all()) == 1


def test_a_changed_schedule_does_not_lose_the_review(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    with transaction() as session:
        newsletter = session.get_one(Newsletter, issue.newsletter_id)
        newsletters.schedule(session, newsletter, cron=None, timezone="UTC", now=clock.now(), since=clock.now())
    forward(traveller, AHEAD + timedelta(minutes=1))
    tick()
    assert to_readers(installation) == 2


def test_a_new_schedule_may_have_a_slot_before_the_one_in_review(
    installation: SmtpInbox, traveller: time_machine.Traveller
) -> None:
    issue = review()
    sooner = clock.now().replace(second=0, microsecond=0) + timedelta(hours=1)
    with transaction() as session:
        newsletter = session.get_one(Newsletter, issue.newsletter_id)
        cron = f"{sooner.minute} {sooner.hour} * * *"
        newsletters.schedule(session, newsletter, cron=cron, timezone="UTC", now=clock.now(), since=clock.now())
    tick()
    with transaction() as session:
        assert sorted(session.execute(select(Slot.slot_at)).scalars())[0] == sooner


def test_the_window_ends_when_the_draft_is_made(installation: SmtpInbox) -> None:
    issue = review()
    assert isinstance(issue.window_end, datetime)
    assert issue.window_end == issue.created_at
