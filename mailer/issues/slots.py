"""Slots: the moments of newsletters' schedules, each decided once. Two beats, or two tasks, at once are harmless.

What becomes of a slot's issue until it leaves is in reviewing.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from mailer.articles import staleness
from mailer.issues import issues, schedules, selection
from mailer.models.content import Issue, Newsletter, Slot, SlotResult
from mailer.models.desk import DeskEvent, SlotCode
from mailer.newsroom import alerts, slot_words


@dataclass(frozen=True, kw_only=True)
class Due:
    """A slot that waits for a decision. `missed` are older ones of the same silence, caught up by this one.

    `is_early`: its moment has not come, but the newsroom wants to see its issue before.
    """

    newsletter_id: int
    slot_at: datetime
    missed: tuple[datetime, ...]
    is_early: bool = False


def due_slots(session: Session, *, now: datetime, newsletter_id: int | None = None) -> list[Due]:
    """List the newsletters whose schedule is due, each with its latest slot; or of one newsletter only.

    A slot whose issue is to be reviewed is due hours before, as soon as there are enough articles.
    """
    due = []
    scheduled = select(Newsletter).where(Newsletter.cron.is_not(None), Newsletter.is_paused.is_(False))
    if newsletter_id is not None:
        scheduled = scheduled.where(Newsletter.id == newsletter_id)
    for newsletter in session.execute(scheduled).scalars():
        # A slot that was taken for review is decided before its moment: slots of a new schedule may come before it.
        decided = select(func.max(Slot.slot_at)).where(Slot.newsletter_id == newsletter.id, Slot.slot_at <= now)
        last = session.execute(decided).scalar_one()
        since = max(newsletter.scheduled_since, last) if last else newsletter.scheduled_since
        found = _kept(newsletter, since=since, until=now)
        if found:
            due.append(Due(newsletter_id=newsletter.id, slot_at=found[-1], missed=tuple(found[:-1])))
        elif newsletter.review_hours and since <= now:
            due += _due_early(session, newsletter, now=now)
    return due


def draft(session: Session, due: Due, *, now: datetime) -> Issue | None:
    """Make the issue of a slot as a draft, or record why there is none; the first to ask decides, for others it is done.

    None: decided already, nothing new; or, for an early slot, not enough yet: then it is not decided.
    """
    newsletter = session.get_one(Newsletter, due.newsletter_id)
    chosen = selection.select_articles(session, newsletter, now=now)
    if due.is_early and not chosen.is_enough:
        return None
    if not take(session, due, now=now):
        return None
    if not chosen.is_enough:
        found, wanted = len(chosen.chosen), newsletter.min_articles
        too_few = f"{found} new articles of at least {wanted}; they wait for the next issue"
        _set(session, due, result=SlotResult.EMPTY, note=too_few if found else "no new article")
        stale = staleness.of_newsletter(session, newsletter, now=now)
        if stale:
            _tell_not_made(session, due, staleness.WORDS.format_map(stale.values), now=now)
        return None
    issue = issues.draft(session, newsletter, now=now)
    _set(session, due, issue_id=issue.id)
    return issue


def take(session: Session, due: Due, *, now: datetime) -> bool:
    """Take a slot, so that nobody else decides it. False if somebody has."""
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


def miss(session: Session, due: Due, code: SlotCode, values: Mapping[str, str]) -> None:
    """Record that a slot that was taken has no issue."""
    _set(session, due, result=SlotResult.MISSED, **_told(code, values))


def fail_slot(session: Session, due: Due, reason: str, *, now: datetime) -> None:
    """Record that a slot's issue could not be made, with the reason, and tell the desk."""
    if take(session, due, now=now):
        _set(session, due, result=SlotResult.FAILED, note=reason[:500])
        _tell_not_made(session, due, reason[:500], now=now)


def of_issue(session: Session, issue_id: int) -> Slot | None:
    """Return the slot that an issue was made for; None for one that somebody made."""
    return session.execute(select(Slot).where(Slot.issue_id == issue_id)).scalar_one_or_none()


def tell(slot: Slot, result: SlotResult, code: SlotCode, values: Mapping[str, str]) -> None:
    """Record what became of a slot's issue, and why."""
    slot.result = result
    slot.code, slot.values, slot.note = code, dict(values), slot_words.say(code, values)[:500]


def note_held(session: Session, issue_id: int, reason: str) -> None:
    """Record that the issue of a slot, if it has one, is held back by the checks."""
    waiting = (Slot.issue_id == issue_id, Slot.result.in_((SlotResult.ISSUED, SlotResult.HELD, SlotResult.REVIEW)))
    values: dict[str, object] = {"result": SlotResult.HELD, "note": reason[:500], "code": None, "values": {}}
    session.execute(update(Slot).where(*waiting).values(**values))


def note_started(session: Session, issue_id: int, *, now: datetime) -> None:
    """Record that the issue of a slot, if it has one, leaves. Who approved it, or that nobody answered, stays.

    The desk is told of one that it should have seen before.
    """
    slot = of_issue(session, issue_id)
    if slot is not None and slot.code == SlotCode.UNREVIEWED_SENT:
        issue, values = issues.get(session, issue_id), {"slot": slot.slot_at.isoformat()}
        alerts.note_issue(session, issue, DeskEvent.UNREVIEWED, values=values, now=now)
    if slot is None or slot.result not in (SlotResult.HELD, SlotResult.REVIEW):
        return
    if slot.result == SlotResult.HELD or slot.code == SlotCode.IN_REVIEW:
        slot.code, slot.values, slot.note = None, {}, ""
    slot.result = SlotResult.ISSUED
    session.flush()


def note_failed(session: Session, issue_id: int, reason: str) -> None:
    """Record that the issue of a slot, if it has one, could not be started."""
    values: dict[str, object] = {"result": SlotResult.FAILED, "note": reason[:500], "code": None, "values": {}}
    session.execute(update(Slot).where(Slot.issue_id == issue_id).values(**values))


def latest(session: Session, newsletter_id: int, *, limit: int) -> list[Slot]:
    """List the slots of a newsletter that were decided, the newest first."""
    statement = select(Slot).where(Slot.newsletter_id == newsletter_id).order_by(Slot.slot_at.desc())
    return list(session.execute(statement.limit(limit)).scalars())


def _due_early(session: Session, newsletter: Newsletter, *, now: datetime) -> list[Due]:
    until = now + timedelta(hours=newsletter.review_hours)
    since = max(newsletter.scheduled_since, now)
    ahead = _kept(newsletter, since=since, until=until)
    if not ahead or session.get(Slot, (newsletter.id, ahead[0])) is not None:
        return []
    if not selection.select_articles(session, newsletter, now=now).is_enough:
        return []
    return [Due(newsletter_id=newsletter.id, slot_at=ahead[0], missed=(), is_early=True)]


def _kept(newsletter: Newsletter, *, since: datetime, until: datetime) -> list[datetime]:
    """Return the slots of (since, until] that the newsletter does not leave out."""
    every = schedules.due_slots(newsletter.cron or "", newsletter.timezone, since=since, now=until)
    return list(schedules.kept(every, newsletter))


def _tell_not_made(session: Session, due: Due, reason: str, *, now: datetime) -> None:
    newsletter = session.get_one(Newsletter, due.newsletter_id)
    values = {"slot": due.slot_at.isoformat(), "reason": reason}
    alerts.note(session, newsletter, DeskEvent.NOT_MADE, about=values["slot"], values=values, now=now)


def _told(code: SlotCode, values: Mapping[str, str]) -> dict[str, object]:
    return {"code": code, "values": dict(values), "note": slot_words.say(code, values)[:500]}


def _set(session: Session, due: Due, **values: object) -> None:
    is_slot: tuple[ColumnElement[bool], ...] = (
        Slot.newsletter_id == due.newsletter_id,
        Slot.slot_at == due.slot_at,
    )
    session.execute(update(Slot).where(*is_slot).values(**values))
