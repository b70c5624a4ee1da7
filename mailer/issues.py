"""Issues: drafted, scheduled, started, paused, resumed, cancelled, finished. Every state change is one function here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, joinedload

from mailer import deliveries, i18n, ledger, mails, schedules, selection
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import (
    Article,
    Issue,
    IssueArticle,
    IssueState,
    Layout,
    Newsletter,
    PauseReason,
    Slot,
    SlotResult,
    WhenUncertain,
)

# Characters that fit.
LENGTHS: Final = {"subject": 200, "preview_text": 300, "introduction": 5000}
REASON_LENGTH: Final = 500
EDITABLE_STATES: Final = (IssueState.DRAFT, IssueState.SCHEDULED)


class IssueNotFound(LookupError):
    """No issue has that number."""


class IssueStateForbids(Exception):
    """What was asked for can't be done in the issue's present state."""


class IssueTextTooLong(ValueError):
    """What was written for an issue does not fit; `names` says which texts (keys of LENGTHS)."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.names = tuple(lengths)
        told = (f"{name.replace('_', ' ')} {have} of at most {LENGTHS[name]}" for name, have in lengths.items())
        super().__init__(f"Too many characters: {', '.join(told)}.")


class IssueEmpty(Exception):
    """There is nothing to send, or nobody to send it to."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """A slot that waits for a decision. `missed` are older ones of the same silence, caught up by this one."""

    newsletter_id: int
    slot_at: datetime
    missed: tuple[datetime, ...]


def get(session: Session, issue_id: int) -> Issue:
    """Read an issue with its newsletter. Raises IssueNotFound."""
    found = session.execute(
        select(Issue).where(Issue.id == issue_id).options(joinedload(Issue.newsletter))
    ).scalar_one_or_none()
    if found is None:
        raise IssueNotFound(f"There is no issue {issue_id}.")
    return found


def latest(
    session: Session, newsletter_id: int, *, limit: int, states: tuple[IssueState, ...] = tuple(IssueState)
) -> list[Issue]:
    """List a newsletter's issues, newest first."""
    statement = select(Issue).where(Issue.newsletter_id == newsletter_id, Issue.state.in_(states))
    return list(session.execute(statement.order_by(Issue.id.desc()).limit(limit)).scalars())


def placed(session: Session, issue_id: int) -> list[tuple[Article, Layout]]:
    """Return an issue's articles in order, each with its layout."""
    rows = session.execute(
        select(Article, IssueArticle.layout)
        .join(IssueArticle, IssueArticle.article_id == Article.id)
        .where(IssueArticle.issue_id == issue_id)
        .order_by(IssueArticle.position)
    )
    return [(row[0], row[1]) for row in rows]


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
    issue = draft(session, newsletter, now=now)
    session.execute(update(Slot).where(*_is_slot(due)).values(issue_id=issue.id))
    return issue


def fail_slot(session: Session, due: Due, reason: str, *, now: datetime) -> None:
    """Record that a slot's issue could not be made, with the reason."""
    if _take_slot(session, due, now=now):
        _note_slot(session, due, SlotResult.FAILED, reason)


def draft(session: Session, newsletter: Newsletter, *, now: datetime) -> Issue:
    """Draft the next issue from the newest articles. Raises IssueEmpty if there is none."""
    chosen = selection.select_articles(session, newsletter, now=now)
    if not chosen.chosen:
        raise IssueEmpty(f"“{newsletter.slug}” has no new article since its last issue.")
    articles = [(choice.article, choice.layout) for choice in chosen.chosen if choice.layout is not None]
    subject, preview_text = headline(articles, newsletter.language)
    issue = Issue(
        newsletter_id=newsletter.id,
        newsletter=newsletter,
        state=IssueState.DRAFT,
        subject=subject,
        preview_text=preview_text,
        introduction=newsletter.introduction,
        window_start=chosen.window_start,
        window_end=chosen.window_end,
        created_at=now,
        updated_at=now,
    )
    session.add(issue)
    session.flush()
    _place(session, issue.id, articles)
    return issue


def headline(articles: list[tuple[Article, Layout]], language: str) -> tuple[str, str]:
    """Return the subject (the lead's title) and the preview text (the next titles) of an automatic issue."""
    lead = next((article for article, layout in articles if layout == Layout.LEAD), articles[0][0])
    others = [article.title for article, _ in articles if article is not lead][:3]
    also = i18n.gettext(language, "Also: {titles}", titles=" · ".join(others)) if others else lead.excerpt
    return lead.title[: LENGTHS["subject"]], also[:200]


def edit(session: Session, issue: Issue, *, subject: str, preview_text: str, introduction: str, now: datetime) -> None:
    """Change an issue's words before it is sent. An empty subject stays as it was.

    Raises IssueStateForbids, and IssueTextTooLong, having changed nothing.
    """
    _require(issue, EDITABLE_STATES, "edited")
    texts = {
        "subject": " ".join(subject.split()) or issue.subject,
        "preview_text": " ".join(preview_text.split()),
        "introduction": introduction.strip(),
    }
    too_long = {name: len(text) for name, text in texts.items() if len(text) > LENGTHS[name]}
    if too_long:
        raise IssueTextTooLong(too_long)
    for name, text in texts.items():
        setattr(issue, name, text)
    issue.updated_at = now
    session.flush()


def arrange(session: Session, issue: Issue, articles: list[tuple[Article, Layout]], *, now: datetime) -> None:
    """Replace an issue's articles and their order before it is sent. Raises IssueStateForbids or IssueEmpty."""
    _require(issue, EDITABLE_STATES, "changed")
    if not articles:
        raise IssueEmpty("An issue needs at least one article.")
    session.execute(delete(IssueArticle).where(IssueArticle.issue_id == issue.id))
    _place(session, issue.id, articles)
    issue.updated_at = now
    session.flush()


def schedule(session: Session, issue: Issue, *, at: datetime, now: datetime) -> None:
    """Have a draft leave at a moment. Raises IssueStateForbids."""
    _require(issue, EDITABLE_STATES, "scheduled")
    if at <= now:
        raise IssueStateForbids("That moment has passed; choose a later one or send now.")
    _move(session, issue, EDITABLE_STATES, IssueState.SCHEDULED, scheduled_at=at, updated_at=now)


def schedule_now(session: Session, issue: Issue, *, now: datetime) -> None:
    """Have a draft leave at once: the next tick starts it, or a START_ISSUE task before that. Raises IssueStateForbids."""
    _move(session, issue, EDITABLE_STATES, IssueState.SCHEDULED, scheduled_at=now, updated_at=now)


def unschedule(session: Session, issue: Issue, *, now: datetime) -> None:
    """Make a scheduled issue a draft again. Raises IssueStateForbids."""
    _move(session, issue, (IssueState.SCHEDULED,), IssueState.DRAFT, scheduled_at=None, updated_at=now)


def due_issues(session: Session, *, now: datetime) -> list[int]:
    """List the scheduled issues whose moment has come."""
    chosen = (Issue.state == IssueState.SCHEDULED, Issue.scheduled_at <= now)
    return list(session.execute(select(Issue.id).where(*chosen)).scalars())


def start(session: Session, issue: Issue, *, batch_size: int, now: datetime) -> None:
    """Freeze an issue, content and recipients together, and let workers send it.

    Raises IssueStateForbids if it started already (also by somebody else meanwhile), IssueEmpty without articles or
    readers, and TemplateInvalid or InliningFailed before anything is queued.
    """
    newsletter = issue.newsletter
    articles = placed(session, issue.id)
    if not articles:
        raise IssueEmpty(f"Issue {issue.id} has no article.")
    number = _next_number(session, newsletter.id)
    _move(session, issue, EDITABLE_STATES, IssueState.SENDING, started_at=now, number=number, updated_at=now)
    variants = {
        language: mails.issue_variant(session, newsletter, issue, articles, language, now=now).id
        for language in _languages(session, newsletter)
    }
    issue.web_html = mails.web_version(newsletter, issue, articles, now=now)
    issue.recipients = deliveries.freeze(session, issue, variants, batch_size=batch_size, now=now)
    if issue.recipients == 0:
        raise IssueEmpty(f"“{newsletter.slug}” has no confirmed readers yet.")
    session.flush()


def set_when_uncertain(session: Session, issue: Issue, chosen: WhenUncertain, *, now: datetime) -> None:
    """Choose what happens to mails whose answer is lost, until the issue is sent. Raises IssueStateForbids."""
    session.refresh(issue, ["state"], with_for_update=True)
    _require(issue, (*EDITABLE_STATES, IssueState.SENDING, IssueState.PAUSED), "changed")
    issue.when_uncertain, issue.updated_at = chosen, now
    session.flush()


def fail(session: Session, issue_id: int, reason: str, *, code: PauseReason | None = None, now: datetime) -> None:
    """Record that an issue could not be started; nothing left the server."""
    _move(session, get(session, issue_id), EDITABLE_STATES, IssueState.FAILED, **_why(code, reason), updated_at=now)


def reopen(session: Session, issue: Issue, *, now: datetime) -> None:
    """Make an issue that could not be started a draft again. Raises IssueStateForbids."""
    _move(session, issue, (IssueState.FAILED,), IssueState.DRAFT, **_why(), scheduled_at=None, updated_at=now)


def pause(
    session: Session, issue: Issue, reason: str, *, code: PauseReason = PauseReason.BY_HAND, now: datetime
) -> None:
    """Stop handing over; workers notice within a second. `reason` is who did it, or the server's words.

    Raises IssueStateForbids.
    """
    _move(session, issue, (IssueState.SENDING,), IssueState.PAUSED, **_why(code, reason), updated_at=now)


def resume(session: Session, issue: Issue, *, now: datetime) -> None:
    """Go on where it was paused. Raises IssueStateForbids."""
    _move(session, issue, (IssueState.PAUSED,), IssueState.SENDING, **_why(), updated_at=now)


def send_again(session: Session, issue: Issue, *, now: datetime) -> None:
    """Let an issue take up deliveries that became open again; a paused one stays so. Raises IssueStateForbids."""
    if issue.state != IssueState.PAUSED:
        sent = (IssueState.SENT, IssueState.SENDING)
        _move(session, issue, sent, IssueState.SENDING, finished_at=None, updated_at=now)


def cancel(session: Session, issue: Issue, *, now: datetime) -> None:
    """Give up the rest: workers record it as skipped. Before sending it just ends. Raises IssueStateForbids."""
    stoppable = (*EDITABLE_STATES, IssueState.SENDING, IssueState.PAUSED)
    ended_at = now if issue.state in EDITABLE_STATES else None
    ends = {"finished_at": ended_at, "scheduled_at": None, **_why()}
    _move(session, issue, stoppable, IssueState.CANCELLED, **ends, updated_at=now)


def note(session: Session, issue_id: int, reason: str | None, *, code: PauseReason | None = None) -> None:
    """Show why a sending issue waits (None: it goes on)."""
    is_sending = (Issue.id == issue_id, Issue.state == IssueState.SENDING)
    session.execute(update(Issue).where(*is_sending).values(**_why(code, reason)))


def finish(session: Session, issue_id: int, *, now: datetime) -> bool:
    """Mark an issue as sent when every delivery ended and the ledger, counted row by row, agrees. Returns whether it did."""
    if not ledger.is_done(session, issue_id):
        return False
    issue = session.execute(select(Issue).where(Issue.id == issue_id).with_for_update()).scalar_one()
    if issue.finished_at is not None or issue.state not in (IssueState.SENDING, IssueState.CANCELLED):
        return False
    proof = ledger.count_ledger(session, issue_id)
    if not proof.holds or proof.recipients != issue.recipients or proof != ledger.equation(session, issue_id):
        issue.state, issue.state_code = IssueState.PAUSED, PauseReason.LEDGER_MISMATCH
        issue.state_reason = f"the ledger does not add up: {proof}"[:REASON_LENGTH]
        return False
    issue.state = IssueState.SENT if issue.state == IssueState.SENDING else issue.state
    issue.finished_at, issue.updated_at, issue.state_code, issue.state_reason = now, now, None, None
    return True


def unfinished(session: Session) -> list[int]:
    """List issues that are being sent, or cancelled and not yet accounted for."""
    chosen = (
        Issue.state.in_((IssueState.SENDING, IssueState.CANCELLED))
        & Issue.finished_at.is_(None)
        & Issue.started_at.is_not(None)
    )
    return list(session.execute(select(Issue.id).where(chosen)).scalars())


def _languages(session: Session, newsletter: Newsletter) -> list[str]:
    """List the newsletter's own language first, then the others that have readers."""
    others = session.execute(
        select(Subscription.language)
        .where(Subscription.newsletter_id == newsletter.id, Subscription.state == SubscriptionState.CONFIRMED)
        .where(Subscription.language != newsletter.language)
        .distinct()
    ).scalars()
    return [newsletter.language, *sorted(others)]


def _next_number(session: Session, newsletter_id: int) -> int:
    # Two issues that start at once wait here for each other, so that their numbers differ.
    session.execute(select(Newsletter.id).where(Newsletter.id == newsletter_id).with_for_update())
    last = session.execute(select(func.max(Issue.number)).where(Issue.newsletter_id == newsletter_id)).scalar_one()
    return int(last or 0) + 1


def _place(session: Session, issue_id: int, articles: list[tuple[Article, Layout]]) -> None:
    rows = [
        {"issue_id": issue_id, "article_id": article.id, "position": position, "layout": layout}
        for position, (article, layout) in enumerate(articles)
    ]
    session.execute(insert(IssueArticle), rows)


def _why(code: PauseReason | None = None, reason: str | None = None) -> dict[str, object]:
    return {"state_code": code, "state_reason": None if reason is None else reason[:REASON_LENGTH]}


def _require(issue: Issue, states: tuple[IssueState, ...], act: str) -> None:
    if issue.state not in states:
        raise IssueStateForbids(f"Issue {issue.id} is {issue.state} and can't be {act} any more.")


def _move(session: Session, issue: Issue, allowed: tuple[IssueState, ...], to: IssueState, **values: object) -> None:
    """Change the state only if it is still an allowed one: two editors, or an editor and a worker, can't both win."""
    session.flush()
    moved = session.execute(
        update(Issue)
        .where(Issue.id == issue.id, Issue.state.in_(allowed))
        .values(state=to, **values)
        .execution_options(synchronize_session=False)
    )
    if not moved.rowcount:  # type: ignore[attr-defined]
        session.refresh(issue, ["state"])
        raise IssueStateForbids(f"Issue {issue.id} is {issue.state}; it can't become {to} from there.")
    # Columns only: a refreshed relationship would be unloaded.
    session.refresh(issue, Issue.__table__.columns.keys())


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
