"""The tick: what is due now, and making the issues of due slots. Two ticks at once are harmless.

Nothing here is remembered outside the database, so a tick that was lost is made good by the next.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.orm import Session

from mailer import clock, queue, settings, signs
from mailer.articles import fetching, pictures, polling, rechecking
from mailer.audience import readers, signups
from mailer.counting import tracking
from mailer.db import transaction
from mailer.delivery import consequences, deliveries, incoming, mailbox
from mailer.issues import approvals, findings, gate, issues, markdown, reviewing, selection, slots
from mailer.mail import inlining, rendering
from mailer.models.content import Issue, Newsletter, PauseReason
from mailer.newsroom import account_links, calling, deskmail, installation, site_reading

# How often an issue that the checks hold back is tried again.
CHECK_AGAIN: Final = timedelta(minutes=10)
# A feed that was read this recently is fresh enough for an issue.
FRESH: Final = timedelta(seconds=30)
# An issue that is about to be made waits no longer for its pictures; it does without those that are not there.
PICTURE_SECONDS: Final = 20
FEEDS_A_TICK: Final = 50
SIGNUPS_A_TICK: Final = 200
DESK_MAILS_A_TIME: Final = 50
# By a process that sends, twice a second.
SIGNUPS_AT_ONCE: Final = 20
DOORBELLS: Final = 16
# A sign-up rings by itself; the tick only finds those whose bell was lost.
SIGNUP_PATIENCE: Final = timedelta(seconds=15)

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one tick found to do."""

    slots: list[slots.Due]
    issues: list[int]
    feeds: list[int]
    has_pictures: bool
    signups: list[int]
    link_requests: list[int]
    batches: int
    has_desk_mail: bool = False
    has_site: bool = False
    has_calls: bool = False
    has_returns: bool = False


def tick() -> Found:
    """Ring for everything that is due. Talks to the database, then to Redis."""
    now = clock.now()
    with transaction() as session:
        reviewing.end_silences(session, now=now)
    with transaction() as session:
        pictures.want_recent(session, now=now)
        found = Found(
            slots=slots.due_slots(session, now=now),
            issues=issues.due_issues(session, now=now),
            feeds=polling.due_feeds(session, now=now, limit=FEEDS_A_TICK),
            has_pictures=pictures.is_any_due(session, now=now),
            signups=signups.waiting(session, before=now - SIGNUP_PATIENCE, limit=SIGNUPS_A_TICK),
            link_requests=readers.waiting_links(session, before=now - SIGNUP_PATIENCE, limit=SIGNUPS_A_TICK),
            batches=deliveries.count_due(session, now=now, limit=DOORBELLS),
            has_desk_mail=bool(deskmail.waiting(session, limit=1) or account_links.waiting(session, limit=1)),
            has_site=installation.is_site_waiting(session, before=now - site_reading.PATIENCE),
            has_calls=calling.is_any_due(session, now=now),
            has_returns=consequences.is_any_waiting(session),
        )
    with transaction() as session:
        for issue_id in issues.unfinished(session):
            issues.finish(session, issue_id, now=now)
        tracking.mark_bursts(session, since=now - tracking.BURST_SPAN)
    signs.note("tick")
    _ring(found)
    return found


def make_issue(newsletter_id: int) -> int | None:
    """Make and start the issue of a newsletter's due slot, from feeds read a moment ago. Returns its id, or None.

    What can't be made is recorded on the slot with the reason; the slot then counts as decided. An issue that the checks
    hold back stays, and is tried again. None, too, for an issue that the newsroom reviews first, or that is held.
    """
    with transaction() as session:
        due = next(iter(slots.due_slots(session, now=clock.now(), newsletter_id=newsletter_id)), None)
    if due is None:
        return None
    polling.read_for(newsletter_id, older_than=FRESH)
    rechecking.recheck_next(newsletter_id)
    fetching.fetch_for_newsletter(newsletter_id, budget_seconds=PICTURE_SECONDS)
    answers = _ask_links(newsletter_id=newsletter_id)
    now = clock.now()
    try:
        with transaction() as session:
            issue = reviewing.decide(session, due, grace=_grace(), now=now)
            if issue is None:
                return None
            issue_id = issue.id
            if not _start(session, issue, answers, now=now):
                return None
    except (issues.IssueEmpty, rendering.TemplateInvalid, inlining.InliningFailed) as error:
        log.warning("issue not made", newsletter=newsletter_id, error=str(error))
        with transaction() as session:
            slots.fail_slot(session, due, str(error), now=now)
        return None
    ring_senders(now)
    return issue_id


def start_issue(issue_id: int, *, only_due: bool = False) -> bool:
    """Start a scheduled or drafted issue. Returns False if it can't be, or not yet; then its page says why.

    With `only_due`, as for a bell, one that was taken back meanwhile stays a draft.
    """
    _read_stale_feeds(issue_id)
    fetching.fetch_for_issue(issue_id, budget_seconds=PICTURE_SECONDS)
    answers = _ask_links(issue_id=issue_id)
    now = clock.now()
    try:
        with transaction() as session:
            issue = issues.get(session, issue_id)
            if not reviewing.may_start(session, issue, grace=_grace(), now=now, only_due=only_due):
                return False
            if not _start(session, issue, answers, now=now):
                return False
    except issues.IssueStateForbids:
        return False
    except (issues.IssueEmpty, rendering.TemplateInvalid, inlining.InliningFailed) as error:
        log.warning("issue not started", issue=issue_id, error=str(error))
        with transaction() as session:
            is_empty = isinstance(error, issues.IssueEmpty)
            code = PauseReason.NOTHING_TO_SEND if is_empty else PauseReason.TEMPLATE_INVALID
            issues.fail(session, issue_id, str(error), code=code, now=now)
            slots.note_failed(session, issue_id, str(error))
        return False
    ring_senders(now)
    return True


def answer_signups() -> None:
    """Queue the mails that answer fresh sign-ups and requests for the link, if no task has yet.

    For processes that send: all may be busy for long.
    """
    now = clock.now()
    with transaction() as session:
        fresh = now - SIGNUP_PATIENCE
        asked = signups.waiting(session, before=now, after=fresh, limit=SIGNUPS_AT_ONCE)
        wanted = readers.waiting_links(session, before=now, after=fresh, limit=SIGNUPS_AT_ONCE)
    answer(signups.handle, asked)
    answer(readers.send_link, wanted)


def answer(how: Callable[..., object], request_ids: Iterable[int]) -> None:
    """Queue the mails that answer requests by number; `how` is signups.handle or the like, and does nothing twice."""
    now = clock.now()
    for request_id in request_ids:
        try:
            with transaction() as session:
                how(session, request_id, now=now)
        except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
            # Sending goes on all the same; the tick comes back to it.
            log.warning("request not answered", request=request_id, error=str(error))


def mail_desk() -> None:
    """Queue the mails that tell the newsroom what happened."""
    with transaction() as session:
        waiting = deskmail.waiting(session, limit=DESK_MAILS_A_TIME)
        asked = account_links.waiting(session, limit=DESK_MAILS_A_TIME)
    for queue_it, ids in ((account_links.answer, asked), (deskmail.queue_mail, waiting)):
        for row_id in ids:
            try:
                with transaction() as session:
                    queue_it(session, row_id, now=clock.now())
            except (rendering.TemplateInvalid, inlining.InliningFailed) as error:
                log.error("newsroom not told", kind=queue_it.__name__, id=row_id, error=str(error))


def read_mailbox(*, limit: int) -> int:
    """Take in what came back to the mailbox. Returns how many mails there were; talks to the network."""
    url = settings.load().bounce_mailbox_url
    if url is None:
        return 0

    def take(raw: bytes) -> None:
        take_mails([incoming.Mail(raw=raw, recipient=None, via="mailbox")])

    try:
        return mailbox.read(url, take, limit=limit)
    except mailbox.MailboxUnreadable as error:
        log.warning("mailbox not read", error=str(error))
        return 0


def take_mails(mails: Sequence[incoming.Mail]) -> list[incoming.Taken]:
    """Take in mails that came back. Returns what each was."""
    now = clock.now()
    understood = [incoming.understand(one, now=now) for one in mails]
    with transaction() as session:
        return incoming.take(session, understood, now=now)


def handle_returns(*, budget_seconds: float) -> int:
    """Let what came back take effect, for about so long. Returns how many reports did."""
    end, handled = time.monotonic() + budget_seconds, 0
    while True:
        with transaction() as session:
            count = consequences.handle(session, now=clock.now())
        handled += count
        if not count or time.monotonic() >= end:
            return handled


def ring_senders(now: datetime) -> None:
    """Ring for the workers that send. If Redis is away, the tick does it later."""
    with transaction() as session:
        batches = deliveries.count_due(session, now=now, limit=DOORBELLS)
    try:
        for _ in range(batches):
            queue.enqueue(queue.SEND)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", error=str(error))


def _ring(found: Found) -> None:
    """Ring for what a tick found."""
    expires = max(2 * settings.load().tick_seconds, 10)
    for due in found.slots:
        queue.enqueue(queue.MAKE_ISSUE, due.newsletter_id, expires_seconds=expires)
    for issue_id in found.issues:
        queue.enqueue(queue.START_ISSUE, issue_id, expires_seconds=expires)
    for feed_id in found.feeds:
        queue.enqueue(queue.READ_FEED, feed_id)
    for request_id in found.signups:
        queue.enqueue(queue.HANDLE_SIGNUP, request_id)
    wanted = {
        queue.FETCH_PICTURES: found.has_pictures,
        queue.READ_SITE: found.has_site,
        queue.CALL_WEBHOOKS: found.has_calls,
        queue.MAIL_DESK: found.has_desk_mail,
        queue.HANDLE_RETURNS: found.has_returns,
    }
    for name in (one for one, is_wanted in wanted.items() if is_wanted):
        queue.enqueue(name, expires_seconds=expires)
    for request_id in found.link_requests:
        queue.enqueue(queue.SEND_LINK, request_id)
    for _ in range(found.batches):
        queue.enqueue(queue.SEND, expires_seconds=expires)


def _read_stale_feeds(issue_id: int) -> None:
    """Read the feeds of an issue that waits for them. Talks to the network."""
    with transaction() as session:
        issue = issues.get(session, issue_id)
        waits = issue.state_code == PauseReason.FEEDS_STALE
        newsletter_id = issue.newsletter_id
    if waits:
        polling.read_for(newsletter_id, older_than=FRESH)


def _start(session: Session, issue: Issue, answers: issues.Answers | None, *, now: datetime) -> bool:
    """Start an issue; if the checks forbid it, hold it back, all the rest of this transaction being kept."""
    issue_id = issue.id
    if approvals.hold_unapproved(session, issue, now=now):
        return False
    try:
        with session.begin_nested():
            issues.start(session, issue, batch_size=settings.load().batch_size, now=now, answers=answers)
    except gate.ChecksFailed as failed:
        # What `start` wrote is undone in the database, not in what was read from there.
        session.expire_all()
        issue = issues.get(session, issue_id)
        is_fresh = issue.held_since is None or now - issue.held_since < _grace()
        issues.hold(session, issue, failed.findings, retry_at=now + CHECK_AGAIN if is_fresh else None, now=now)
        slots.note_held(session, issue_id, str(failed))
        codes = [one.code.value for one in findings.blocking(failed.findings)]
        log.warning("issue held back", issue=issue_id, findings=codes, is_tried_again=is_fresh)
        return False
    slots.note_started(session, issue_id, now=now)
    return True


def _ask_links(*, newsletter_id: int | None = None, issue_id: int | None = None) -> issues.Answers | None:
    """Ask what an issue, or the next one, will link to, if its answers can hold the issue back. Talks to the network."""
    if not settings.load().blocking.intersection(findings.ASKED):
        return None
    with transaction() as session:
        if issue_id is not None:
            issue = issues.get(session, issue_id)
            newsletter = issue.newsletter
            linked = [article.url for article, _ in issues.placed(session, issue_id)]
            linked += markdown.addresses(markdown.parse(issue.body), newsletter.site_url) if issue.body else []
        else:
            newsletter = session.get_one(Newsletter, newsletter_id)
            chosen = selection.select_articles(session, newsletter, now=clock.now()).chosen
            linked = [one.article.url for one in chosen]
        asked = [newsletter.site_url, *linked]
        pictures_asked = [newsletter.logo_url] if newsletter.logo_url else []
    return gate.ask_addresses(asked, pictures_asked)


def _grace() -> timedelta:
    return timedelta(hours=settings.load().schedule_grace_hours)
