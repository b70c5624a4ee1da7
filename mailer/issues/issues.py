"""Issues: drafted, scheduled, started, paused, resumed, cancelled, finished. Every state change is one function here."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, joinedload

from mailer.audience import hours
from mailer.delivery import freezing, ledger, tallies
from mailer.feeds.text import one_line
from mailer.issues import gate, selection, states, variants
from mailer.issues.checks.reach import Answer
from mailer.issues.findings import Code, Finding
from mailer.mail import mails
from mailer.models.choices import IssueExclusion
from mailer.models.content import (
    Article,
    Issue,
    IssueArticle,
    IssueState,
    Layout,
    Newsletter,
    PauseReason,
    WhenUncertain,
)
from mailer.models.intake import ArticleStatus
from mailer.newsroom import alerts, outbox, reports

Answers = Mapping[str, Answer]

# Characters that fit.
LENGTHS: Final = {"subject": 200, "preview_text": 300, "introduction": 5000}
REASON_LENGTH: Final = states.REASON_LENGTH
EDITABLE_STATES: Final = states.EDITABLE
IssueStateForbids = states.IssueStateForbids


class IssueNotFound(LookupError):
    """No issue has that number."""


class IssueTextTooLong(ValueError):
    """What was written for an issue does not fit; `names` says which texts (keys of LENGTHS)."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.names = tuple(lengths)
        told = (f"{name.replace('_', ' ')} {have} of at most {LENGTHS[name]}" for name, have in lengths.items())
        super().__init__(f"Too many characters: {', '.join(told)}.")


class IssueEmpty(Exception):
    """There is nothing to send, or nobody to send it to."""


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


def place(session: Session, issue_id: int, articles: list[tuple[Article, Layout]]) -> None:
    """Write down an issue's articles, in order, in place of those that it had."""
    session.execute(delete(IssueArticle).where(IssueArticle.issue_id == issue_id))
    rows = [
        {"issue_id": issue_id, "article_id": article.id, "position": position, "layout": layout}
        for position, (article, layout) in enumerate(articles)
    ]
    if rows:
        session.execute(insert(IssueArticle), rows)


def draft(session: Session, newsletter: Newsletter, *, now: datetime) -> Issue:
    """Draft the next issue from the newest articles. Raises IssueEmpty if there is none."""
    chosen = selection.select_articles(session, newsletter, now=now)
    if not chosen.chosen:
        raise IssueEmpty(f"“{newsletter.slug}” has no new article since its last issue.")
    issue = Issue(
        newsletter_id=newsletter.id,
        newsletter=newsletter,
        state=IssueState.DRAFT,
        introduction=newsletter.introduction,
        created_at=now,
        updated_at=now,
    )
    _fill(session, issue, chosen)
    return issue


def draft_anew(session: Session, issue: Issue, *, now: datetime) -> None:
    """Choose an issue's articles and headline as if it were drafted now; it stays as it is where there are none."""
    states.require(issue, EDITABLE_STATES, "drafted again")
    if issue.body is not None:
        return
    chosen = selection.select_articles(session, issue.newsletter, now=now)
    if chosen.chosen:
        _fill(session, issue, chosen)


def edit(session: Session, issue: Issue, *, subject: str, preview_text: str, introduction: str, now: datetime) -> None:
    """Change an issue's words before it is sent. An empty subject stays as it was.

    Raises IssueStateForbids, and IssueTextTooLong, having changed nothing.
    """
    states.require(issue, EDITABLE_STATES, "edited")
    texts = {"subject": one_line(subject) or issue.subject, "preview_text": one_line(preview_text)}
    texts["introduction"] = introduction.strip()
    too_long = {name: len(text) for name, text in texts.items() if len(text) > LENGTHS[name]}
    if too_long:
        raise IssueTextTooLong(too_long)
    for name, text in texts.items():
        setattr(issue, name, text)
    issue.updated_at = now
    session.flush()


def arrange(session: Session, issue: Issue, articles: list[tuple[Article, Layout]], *, now: datetime) -> None:
    """Replace an issue's articles and their order before it is sent. Raises IssueStateForbids or IssueEmpty."""
    states.require(issue, EDITABLE_STATES, "changed")
    if issue.body is not None:
        raise IssueStateForbids(f"Issue {issue.id} is written by hand; its articles are changed in its text.")
    if not articles:
        raise IssueEmpty("An issue needs at least one article.")
    _note_exclusions(session, issue.id, {article.id for article, _ in articles})
    place(session, issue.id, articles)
    issue.updated_at = now
    session.flush()


def require_written(issue: Issue) -> None:
    """Raise IssueStateForbids unless an issue is written by hand and can still be changed."""
    states.require(issue, EDITABLE_STATES, "edited")
    if issue.body is None:
        raise IssueStateForbids(f"Issue {issue.id} is made of articles; it has no text to change.")


def schedule(session: Session, issue: Issue, *, at: datetime, now: datetime) -> None:
    """Have a draft leave at a moment. Raises IssueStateForbids."""
    states.require(issue, EDITABLE_STATES, "scheduled")
    if at <= now:
        raise IssueStateForbids("That moment has passed; choose a later one or send now.")
    states.move(session, issue, EDITABLE_STATES, IssueState.SCHEDULED, scheduled_at=at, **states.free(), updated_at=now)


def schedule_now(session: Session, issue: Issue, *, now: datetime) -> None:
    """Have a draft leave at once: the next tick starts it, or a START_ISSUE task before that. Raises IssueStateForbids."""
    states.move(
        session, issue, EDITABLE_STATES, IssueState.SCHEDULED, scheduled_at=now, **states.free(), updated_at=now
    )


def unschedule(session: Session, issue: Issue, *, now: datetime) -> None:
    """Make a scheduled issue a draft again. Raises IssueStateForbids."""
    states.move(
        session, issue, (IssueState.SCHEDULED,), IssueState.DRAFT, scheduled_at=None, **states.free(), updated_at=now
    )


def due_issues(session: Session, *, now: datetime) -> list[int]:
    """List the scheduled issues whose moment has come."""
    chosen = (Issue.state == IssueState.SCHEDULED, Issue.scheduled_at <= now)
    return list(session.execute(select(Issue.id).where(*chosen)).scalars())


def start(session: Session, issue: Issue, *, batch_size: int, now: datetime, answers: Answers | None = None) -> None:
    """Freeze an issue, content and recipients together, and let workers send it.

    Raises IssueStateForbids if it started already (also by somebody else meanwhile), IssueEmpty without articles or
    readers, TemplateInvalid or InliningFailed, and gate.ChecksFailed, before anything is queued. `answers` are what its
    links said (gate.ask), None if they were not asked.
    """
    newsletter = issue.newsletter
    variants.wait_for_others(session)
    articles = _ready(session, issue)
    number = _next_number(session, newsletter.id)
    states.move(
        session,
        issue,
        EDITABLE_STATES,
        IssueState.SENDING,
        started_at=now,
        number=number,
        **states.free(),
        updated_at=now,
    )
    frozen = variants.freeze(session, issue, articles, now=now)
    note_findings(session, issue, gate.check_stored(session, issue, answers), now=now)
    issue.web_html = mails.web_version(newsletter, issue, frozen.edition, now=now)
    issue.recipients = freezing.freeze(session, issue, frozen.editions, batch_size=batch_size, now=now)
    issue.readers_not_due, issue.readers_without_news = frozen.not_due, frozen.without_news
    if issue.recipients == 0:
        raise IssueEmpty(_nobody(issue))
    variants.advance(session, issue, now=now)
    session.flush()


def hold(session: Session, issue: Issue, found: list[Finding], *, retry_at: datetime | None, now: datetime) -> None:
    """Keep an issue back because of what the checks found: until `retry_at`, or (None) as a draft. Raises IssueStateForbids."""
    keep_back(session, issue, PauseReason.CHECKS_FAILED, retry_at=retry_at, now=now)
    note_findings(session, issue, found, now=now)
    alerts.note_checks(session, issue, is_last=retry_at is None, now=now)


def keep_back(session: Session, issue: Issue, code: PauseReason, *, retry_at: datetime | None, now: datetime) -> None:
    """Keep an issue back for another reason: until `retry_at`, or (None) as a draft. Raises IssueStateForbids."""
    values = {"scheduled_at": retry_at, "held_since": issue.held_since or now, **states.why(code)}
    states.move(session, issue, EDITABLE_STATES, IssueState.SCHEDULED if retry_at else IssueState.DRAFT, **values)


def note_findings(session: Session, issue: Issue, found: list[Finding], *, now: datetime) -> None:
    """Keep what the checks found, for the pages."""
    issue.findings, issue.checked_at = [one.as_dict() for one in found], now
    session.flush()


def let_pass(session: Session, issue: Issue, codes: Collection[Code], *, now: datetime) -> None:
    """Let an issue leave despite findings with these codes, and no others. Raises IssueStateForbids."""
    states.require(issue, EDITABLE_STATES, "let pass")
    issue.allowed_findings = sorted({*issue.allowed_findings, *(code.value for code in codes)})
    issue.updated_at = now
    session.flush()


def set_when_uncertain(session: Session, issue: Issue, chosen: WhenUncertain, *, now: datetime) -> None:
    """Choose what happens to mails whose answer is lost, until the issue is sent. Raises IssueStateForbids."""
    session.refresh(issue, ["state"], with_for_update=True)
    states.require(issue, (*EDITABLE_STATES, IssueState.SENDING, IssueState.PAUSED), "changed")
    issue.when_uncertain, issue.updated_at = chosen, now
    session.flush()


def fail(session: Session, issue_id: int, reason: str, *, code: PauseReason | None = None, now: datetime) -> None:
    """Record that an issue could not be started; nothing left the server."""
    issue = get(session, issue_id)
    states.move(session, issue, EDITABLE_STATES, IssueState.FAILED, **states.why(code, reason), updated_at=now)
    if code is not None:
        alerts.note_stop(session, issue, code, reason, now=now)


def reopen(session: Session, issue: Issue, *, now: datetime) -> None:
    """Make an issue that could not be started a draft again. Raises IssueStateForbids."""
    states.move(
        session, issue, (IssueState.FAILED,), IssueState.DRAFT, **states.why(), scheduled_at=None, updated_at=now
    )


def pause(
    session: Session, issue: Issue, reason: str, *, code: PauseReason = PauseReason.BY_HAND, now: datetime
) -> None:
    """Stop handing over; workers notice within a second. `reason` is who did it, or the server's words.

    Raises IssueStateForbids.
    """
    states.move(session, issue, (IssueState.SENDING,), IssueState.PAUSED, **states.why(code, reason), updated_at=now)
    if code != PauseReason.BY_HAND:
        alerts.note_stop(session, issue, code, reason, now=now)


def resume(session: Session, issue: Issue, *, now: datetime) -> None:
    """Go on where it was paused. Raises IssueStateForbids."""
    states.move(session, issue, (IssueState.PAUSED,), IssueState.SENDING, **states.why(), updated_at=now)


def send_again(session: Session, issue: Issue, *, now: datetime) -> None:
    """Let an issue take up deliveries that became open again; a paused one stays so. Raises IssueStateForbids."""
    if issue.state != IssueState.PAUSED:
        sent = (IssueState.SENT, IssueState.SENDING)
        states.move(session, issue, sent, IssueState.SENDING, finished_at=None, updated_at=now)


def cancel(session: Session, issue: Issue, *, now: datetime) -> None:
    """Give up the rest: workers record it as skipped. Before sending it just ends. Raises IssueStateForbids."""
    stoppable = (*EDITABLE_STATES, IssueState.SENDING, IssueState.PAUSED)
    ended_at = now if issue.state in EDITABLE_STATES else None
    ends = {"finished_at": ended_at, "scheduled_at": None, **states.why()}
    states.move(session, issue, stoppable, IssueState.CANCELLED, **ends, updated_at=now)
    hours.call_off(session, issue.id, now=now)


def note(session: Session, issue_id: int, reason: str | None, *, code: PauseReason | None = None) -> None:
    """Show why a sending issue waits (None: it goes on)."""
    is_sending = (Issue.id == issue_id, Issue.state == IssueState.SENDING)
    session.execute(update(Issue).where(*is_sending).values(**states.why(code, reason)))


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
        alerts.note_stop(session, issue, PauseReason.LEDGER_MISMATCH, issue.state_reason, now=now)
        session.flush()
        states.note(session, issue)
        outbox.note_issue(session, issue.id, IssueState.PAUSED, now=now)
        return False
    is_sent = issue.state == IssueState.SENDING
    issue.state = IssueState.SENT if is_sent else issue.state
    issue.finished_at, issue.updated_at, issue.state_code, issue.state_reason = now, now, None, None
    session.flush()
    states.note(session, issue)
    tallies.fold(session, issue_id)
    reports.count_issue(session, issue, now=now)
    if is_sent:
        outbox.note_issue(session, issue.id, IssueState.SENT, now=now)
    return True


def unfinished(session: Session) -> list[int]:
    """List issues that are being sent, or cancelled and not yet accounted for."""
    chosen = (
        Issue.state.in_((IssueState.SENDING, IssueState.CANCELLED))
        & Issue.finished_at.is_(None)
        & Issue.started_at.is_not(None)
    )
    return list(session.execute(select(Issue.id).where(chosen)).scalars())


def _fill(session: Session, issue: Issue, chosen: selection.Selection) -> None:
    articles = [(choice.article, choice.layout) for choice in chosen.chosen if choice.layout is not None]
    issue.subject, issue.preview_text = variants.headline(articles, issue.newsletter.language)
    issue.window_start, issue.window_end = chosen.window_start, chosen.window_end
    session.add(issue)
    session.flush()
    place(session, issue.id, articles)


def _ready(session: Session, issue: Issue) -> list[tuple[Article, Layout]]:
    """Return an issue's articles, without those that were withdrawn or held meanwhile. Raises IssueEmpty."""
    found = placed(session, issue.id)
    ready = [entry for entry in found if entry[0].status == ArticleStatus.READY]
    if not ready and issue.body is None:
        raise IssueEmpty(f"Issue {issue.id} has no article.")
    if len(ready) < len(found):
        place(session, issue.id, ready)
    return ready


def _nobody(issue: Issue) -> str:
    if issue.readers_not_due or issue.readers_without_news:
        return f"“{issue.newsletter.slug}” has no reader who is due and has not had all of it."
    return f"“{issue.newsletter.slug}” has no confirmed readers yet."


def _next_number(session: Session, newsletter_id: int) -> int:
    # Two issues that start at once wait here for each other, so that their numbers differ.
    session.execute(select(Newsletter.id).where(Newsletter.id == newsletter_id).with_for_update())
    last = session.execute(select(func.max(Issue.number)).where(Issue.newsletter_id == newsletter_id)).scalar_one()
    return int(last or 0) + 1


def _note_exclusions(session: Session, issue_id: int, kept: set[int]) -> None:
    """Note what the newsroom takes out of an issue, which then nobody gets; choosing everything anew takes nothing out."""
    before = {article.id for article, _ in placed(session, issue_id)}
    session.execute(
        delete(IssueExclusion).where(IssueExclusion.issue_id == issue_id, IssueExclusion.article_id.in_(kept))
    )
    if kept < before:
        rows = [{"issue_id": issue_id, "article_id": one} for one in sorted(before - kept)]
        session.execute(upsert(IssueExclusion).on_conflict_do_nothing(), rows)
