"""Slots: the moments of newsletters' schedules, each decided once. Two beats, or two tasks, at once are harmless."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from mailer import issues, schedules, selection
from mailer.models.content import Issue, Newsletter, Slot, SlotResult


@dataclass(frozen=True, kw_only=True)
class Due:
    """A slot that waits for a decision. `missed` are older ones of the same silence, caught up by this one."""

    newsletter_id: int
    slot_at: datetime
    missed: tuple[datetime, ...]


def due_slots(session: Session, *, now: datetime) -> list[Due]:
    """List the newsletters whose schedule is due, each with its latest slot. Reads the clock of the schedule only."""
    due = []
    scheduled = select(Newsletter).where(Newsletter.cron.is_not(None), Newsletter.is_paused.is_(False))
    for newsletter in session.execute(scheduled).scalars():
        last = session.execute(select(func.max(Slot.slot_at)).where(Slot.newsletter_id == newsletter.id)).scalar_one()
        since = max(newsletter.scheduled_since, last) if last else newsletter.scheduled_since
        slots = schedules.due_slots(newsletter.cron or "", newsletter.timezone, since=since, now=now)
        if slots:
            due.append(Due(newsletter_id=newsletter.id, slot_at=slots[-1], missed=tuple(slots[:-1])))
    return due


def decide_slot(session: Session, due: Due, *, grace: timedelta, now: datetime) -> Issue | None:
    """Make the issue of a slot, or record why there is none; the first to ask decides, for everybody else it is done.

    Returns the issue, in state draft and ready to start, or None: decided already, nothing new, or too late.
    """
    newsletter = session.get_one(Newsletter, due.newsletter_id)
    if not _take_slot(session, due, now=now):
        return None
    late = now - due.slot_at
    if late > grace:
        _note_slot(session, due, SlotResult.MISSED, f"found {_hours(late)} late; the grace is {_hours(grace)}")
        return None
    chosen = selection.select_articles(session, newsletter, now=now)
    if not chosen.is_enough:
        found, wanted = len(chosen.chosen), newsletter.min_articles
        too_few = f"{found} new articles of at least {wanted}; they wait for the next issue"
        _note_slot(session, due, SlotResult.EMPTY, too_few if found else "no new article")
        return None
    issue = issues.draft(session, newsletter, now=now)
    session.execute(update(Slot).where(*_is_slot(due)).values(issue_id=issue.id))
    return issue


def fail_slot(session: Session, due: Due, reason: str, *, now: datetime) -> None:
    """Record that a slot's issue could not be made, with the reason."""
    if _take_slot(session, due, now=now):
        _note_slot(session, due, SlotResult.FAILED, reason)


def note_held(session: Session, issue_id: int, reason: str) -> None:
    """Record that the issue of a slot, if it has one, is held back by the checks."""
    waiting = (Slot.issue_id == issue_id, Slot.result.in_((SlotResult.ISSUED, SlotResult.HELD)))
    session.execute(update(Slot).where(*waiting).values(result=SlotResult.HELD, note=reason[:500]))


def note_started(session: Session, issue_id: int) -> None:
    """Record that the issue of a slot, if it has one, leaves."""
    held = (Slot.issue_id == issue_id, Slot.result == SlotResult.HELD)
    session.execute(update(Slot).where(*held).values(result=SlotResult.ISSUED, note=""))


def _take_slot(session: Session, due: Due, *, now: datetime) -> bool:
    caught_up = f"caught up by the slot of {due.slot_at:%Y-%m-%d %H:%M} UTC"
    rows = [{"slot_at": slot, "result": SlotResult.MISSED, "note": caught_up} for slot in due.missed] + [
        {"slot_at": due.slot_at, "result": SlotResult.ISSUED, "note": ""}
    ]
    taken = session.execute(
        upsert(Slot)
        .values([{"newsletter_id": due.newsletter_id, "decided_at": now, **row} for row in rows])
        .on_conflict_do_nothing()
        .returning(Slot.slot_at)
    ).scalars()
    return due.slot_at in set(taken)


def _note_slot(session: Session, due: Due, result: SlotResult, note: str) -> None:
    session.execute(update(Slot).where(*_is_slot(due)).values(result=result, note=note[:500]))


def _is_slot(due: Due) -> tuple[ColumnElement[bool], ...]:
    return Slot.newsletter_id == due.newsletter_id, Slot.slot_at == due.slot_at


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.1f} h"
