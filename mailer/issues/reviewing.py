"""What becomes of a slot's issue until it leaves by itself: review by the newsroom, lateness, feeds that can't be read.

Whatever an editor decides on the desk goes before; the policies are the newsletter's (docs/decisions/0026).
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import staleness
from mailer.issues import issues, slots
from mailer.models.content import Issue, IssueState, Newsletter, PauseReason, Slot, SlotResult
from mailer.models.desk import DeskEvent, IssueAct, OnSilence, ReviewAct, SlotCode, WhenLate, WhenStale
from mailer.newsroom import alerts

# How often an issue whose feeds can't be read is tried again.
LOOK_AGAIN = timedelta(minutes=10)


class AnswerTooLate(Exception):
    """The issue left, or the newsroom's address is none any more: the link decides nothing now."""


def decide(session: Session, due: slots.Due, *, grace: timedelta, now: datetime) -> Issue | None:
    """Make the issue of a due slot, the first who asks. Returns it if it is to start now.

    None: somebody else decides, nothing is new, or the issue waits; the slot says why.
    """
    newsletter = session.get_one(Newsletter, due.newsletter_id)
    late = _lateness(newsletter, due.slot_at, grace=grace, now=now)
    if late and newsletter.when_late == WhenLate.MERGE:
        if slots.take(session, due, now=now):
            slots.miss(session, due, SlotCode.LATE_MERGED, late)
        return None
    issue = slots.draft(session, due, now=now)
    slot = slots.of_issue(session, issue.id) if issue is not None else None
    if issue is None or slot is None:
        return None
    if due.is_early:
        _open_review(session, issue, slot, now=now)
        return None
    if not _pass_policies(session, issue, slot, grace=grace, now=now):
        return None
    return issue if not newsletter.review_hours or _pass_unreviewed(session, issue, slot, now=now) else None


def may_start(session: Session, issue: Issue, *, grace: timedelta, now: datetime, only_due: bool = False) -> bool:
    """Tell whether an issue whose moment has come may leave; if not, it is held and the desk told.

    What an editor sent or scheduled may always; with `only_due`, a draft or an early one may not.
    Nobody can hold it from here to the end of the transaction.
    """
    _lock(session, issue)
    slot = slots.of_issue(session, issue.id)
    if issue.state not in issues.EDITABLE_STATES:
        return True
    is_due = issue.state == IssueState.SCHEDULED and (issue.scheduled_at or now) <= now
    if not is_due and (slot is not None or only_due):
        # A bell that rang before somebody held it or took it back, or too early.
        return False
    if slot is None:
        return True
    if issue.state_code == PauseReason.FEEDS_STALE:
        return _look_again(session, issue, slot, grace=grace, now=now)
    if slot.result != SlotResult.REVIEW or issue.scheduled_at != slot.slot_at:
        return True
    if slot.code == SlotCode.IN_REVIEW:
        if issue.newsletter.is_paused:
            return _hold(session, issue, slot, SlotCode.PAUSE_HELD, {}, now=now)
        slots.tell(slot, SlotResult.REVIEW, SlotCode.SILENCE_SENT, {})
    return _pass_policies(session, issue, slot, grace=grace, now=now)


def end_silences(session: Session, *, now: datetime) -> None:
    """Hold the issues whose moment has come without an answer that would let them leave. For the tick."""
    waiting = (
        select(Slot, Issue.id)
        .join(Issue, Issue.id == Slot.issue_id)
        .where(Slot.result == SlotResult.REVIEW, Slot.slot_at <= now)
        .where(Issue.state.in_((IssueState.DRAFT, IssueState.CANCELLED)))
        .with_for_update(of=Slot, skip_locked=True)
    )
    for slot, issue_id in session.execute(waiting).all():
        issue = issues.get(session, issue_id)
        if issue.state == IssueState.CANCELLED:
            slot.result, slot.code, slot.note = SlotResult.DROPPED, None, ""
        elif slot.code == SlotCode.APPROVED:
            # An editor took it back after that.
            slot.result, slot.code, slot.note = SlotResult.HELD, None, ""
        else:
            _hold(session, issue, slot, SlotCode.SILENCE_HELD, {}, now=now)
    session.flush()


def answer(session: Session, issue_id: int, act: ReviewAct, *, by: str, now: datetime) -> bool:
    """Do what somebody of the newsroom decided by a link. Returns whether that changed anything.

    Sent means: as it is, at its moment, or at once if that has passed. Raises AnswerTooLate once the issue left.
    """
    issue = issues.get(session, issue_id)
    _lock(session, issue)
    slot = slots.of_issue(session, issue_id)
    if issue.state not in issues.EDITABLE_STATES:
        if issue.state == IssueState.CANCELLED and act == ReviewAct.DROP:
            return False
        raise AnswerTooLate(f"Issue {issue_id} is {issue.state}.")
    if not _answered(session, issue, slot, act, now=now):
        return False
    if slot is not None:
        result, code = _AFTER[act]
        slots.tell(slot, result, code, {"by": by})
    session.add(IssueAct(issue_id=issue_id, act=act, by=by, at=now))
    session.flush()
    return True


def acts(session: Session, issue_id: int) -> list[IssueAct]:
    """List what the newsroom decided about an issue by links, in order."""
    statement = select(IssueAct).where(IssueAct.issue_id == issue_id).order_by(IssueAct.id)
    return list(session.execute(statement).scalars())


def _lock(session: Session, issue: Issue) -> None:
    """Keep everybody else from deciding about an issue, and see what they decided."""
    session.refresh(issue, Issue.__table__.columns.keys(), with_for_update=True)


_AFTER = {
    ReviewAct.SEND: (SlotResult.REVIEW, SlotCode.APPROVED),
    ReviewAct.HOLD: (SlotResult.HELD, SlotCode.HELD_BY_DESK),
    ReviewAct.DROP: (SlotResult.DROPPED, SlotCode.DROPPED_BY_DESK),
}


def _answered(session: Session, issue: Issue, slot: Slot | None, act: ReviewAct, *, now: datetime) -> bool:
    code = slot.code if slot is not None else None
    if act == ReviewAct.DROP:
        issues.cancel(session, issue, now=now)
        return True
    if act == ReviewAct.HOLD:
        if issue.state == IssueState.DRAFT and code == SlotCode.HELD_BY_DESK:
            return False
        if issue.state == IssueState.SCHEDULED:
            issues.unschedule(session, issue, now=now)
        return True
    if issue.state == IssueState.SCHEDULED and code == SlotCode.APPROVED:
        return False
    if slot is not None and slot.slot_at > now:
        issues.schedule(session, issue, at=slot.slot_at, now=now)
    else:
        issues.schedule_now(session, issue, now=now)
    return True


def _open_review(session: Session, issue: Issue, slot: Slot, *, now: datetime) -> None:
    if issue.newsletter.on_silence == OnSilence.SEND:
        issues.schedule(session, issue, at=slot.slot_at, now=now)
    slots.tell(slot, SlotResult.REVIEW, SlotCode.IN_REVIEW, {})
    alerts.note_issue(session, issue, DeskEvent.REVIEW, values={"slot": slot.slot_at.isoformat()}, now=now)
    session.flush()


def _pass_unreviewed(session: Session, issue: Issue, slot: Slot, *, now: datetime) -> bool:
    """Apply the policy on silence to an issue that nobody could see before its moment."""
    if issue.newsletter.on_silence == OnSilence.HOLD:
        return _hold(session, issue, slot, SlotCode.UNREVIEWED_HELD, {}, now=now)
    slots.tell(slot, SlotResult.ISSUED, SlotCode.UNREVIEWED_SENT, {})
    session.flush()
    return True


def _pass_policies(session: Session, issue: Issue, slot: Slot, *, grace: timedelta, now: datetime) -> bool:
    """Apply the policies on lateness and on feeds that can't be read."""
    newsletter = issue.newsletter
    late = _lateness(newsletter, slot.slot_at, grace=grace, now=now)
    if late and newsletter.when_late == WhenLate.HOLD:
        return _hold(session, issue, slot, SlotCode.LATE_HELD, late, now=now)
    if late and newsletter.when_late == WhenLate.MERGE:
        issues.cancel(session, issue, now=now)
        slots.tell(slot, SlotResult.MISSED, SlotCode.LATE_MERGED, late)
        session.flush()
        return False
    if late:
        slots.tell(slot, slot.result, SlotCode.LATE_SENT, late)
    # Who approved an issue knows what it holds.
    stale = None if slot.code == SlotCode.APPROVED else staleness.of_newsletter(session, newsletter, now=now)
    if stale and newsletter.when_stale == WhenStale.HOLD:
        return _hold_stale(session, issue, slot, stale, grace=grace, now=now)
    if stale:
        slots.tell(slot, slot.result, SlotCode.STALE_SENT, stale.values)
    session.flush()
    return True


def _look_again(session: Session, issue: Issue, slot: Slot, *, grace: timedelta, now: datetime) -> bool:
    stale = staleness.of_newsletter(session, issue.newsletter, now=now)
    if stale and issue.newsletter.when_stale == WhenStale.HOLD:
        return _hold_stale(session, issue, slot, stale, grace=grace, now=now)
    # What the feeds tell now is what it waited for, unless somebody worked on it meanwhile, or was shown it for review.
    if issue.updated_at == issue.created_at and not issue.newsletter.review_hours:
        issues.draft_anew(session, issue, now=now)
    return True


def _hold_stale(
    session: Session, issue: Issue, slot: Slot, stale: staleness.Stale, *, grace: timedelta, now: datetime
) -> bool:
    is_fresh = issue.held_since is None or now - issue.held_since < grace
    issues.keep_back(session, issue, PauseReason.FEEDS_STALE, retry_at=now + LOOK_AGAIN if is_fresh else None, now=now)
    values = stale.values if is_fresh else {**stale.values, alerts.LAST: "yes"}
    return _tell_held(session, issue, slot, SlotCode.STALE_HELD, values, now=now)


def _hold(session: Session, issue: Issue, slot: Slot, code: SlotCode, values: dict[str, str], *, now: datetime) -> bool:
    if issue.state == IssueState.SCHEDULED:
        issues.unschedule(session, issue, now=now)
    return _tell_held(session, issue, slot, code, values, now=now)


def _tell_held(
    session: Session, issue: Issue, slot: Slot, code: SlotCode, values: dict[str, str], *, now: datetime
) -> bool:
    slots.tell(slot, SlotResult.HELD, code, values)
    alerts.note_hold(session, issue, code, values, now=now)
    session.flush()
    return False


def _lateness(newsletter: Newsletter, slot_at: datetime, *, grace: timedelta, now: datetime) -> dict[str, str] | None:
    """Return how late a slot is and what is allowed, if it is too late."""
    allowed = timedelta(minutes=newsletter.late_after_minutes) if newsletter.late_after_minutes else grace
    late = now - slot_at
    return {"late": _hours(late), "grace": _hours(allowed)} if late > allowed else None


def _hours(span: timedelta) -> str:
    hours, minutes = divmod(round(span.total_seconds() / 60), 60)
    return " ".join([f"{hours}\u00a0h"] * bool(hours) + [f"{minutes}\u00a0min"] * bool(minutes or not hours))
