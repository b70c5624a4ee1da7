"""`mailer demo --once`: from feed to inbox without a person, every claim checked on the mails that arrived."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from mailer import clock
from mailer.articles import baselines
from mailer.cli.demo_installation import SLUG, TIMEZONE, Installation, Progress, set_up_newsletter
from mailer.cli.demo_readers import CheckFailed, Inbox, Mail, Reader, browser, first, wait_until
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import issues, schedules
from mailer.models.content import Article, Feed, Issue, IssueState, Slot
from mailer.models.intake import Baseline
from mailer.newsroom import newsletters

READERS = (("Léa", "lea@example.org"), ("Timour", "timour@example.org"), ("Ainoura", "ainoura@example.org"))
# Slots of the last minutes: within the grace, and each of them decided once.
FIRST_SLOT_AGO, SECOND_SLOT_AGO = timedelta(minutes=3), timedelta(minutes=2)


@dataclass(frozen=True, kw_only=True)
class IssueResult:
    """What became of one issue."""

    issue: int
    subject: str
    articles: int
    equation: ledger.Equation


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the scenario did: its issues, and every mail in order of arrival."""

    results: list[IssueResult]
    mails: list[Mail]


def play(installation: Installation, *, has_own_feed: bool, progress: Progress) -> Outcome:
    """Subscribe, confirm, send, unsubscribe, send again, and check. Raises CheckFailed with what did not happen."""
    set_up_newsletter(installation)
    progress("the feed is read")
    _read_feeds(installation, articles=1)
    inbox = Inbox(client=browser(installation), url=installation.inbox_url)
    readers = [Reader(name, address, lambda: browser(installation)) for name, address in READERS]
    progress("three readers subscribe by the form")
    for reader in readers:
        reader.subscribe(f"{installation.web_url}/{SLUG}")
    confirmations = inbox.wait_for("three confirmation mails", lambda mail: not mail.is_issue, 3)
    progress("they confirm by the links in their mails")
    for reader in readers:
        mail = first([one for one in confirmations if one.recipient == reader.address], f"{reader.name}’s confirmation")
        reader.confirm(mail, same_browser=reader is readers[0])
    progress("the schedule is due: first issue")
    earlier = _send_by_schedule(installation, FIRST_SLOT_AGO)
    copies = inbox.wait_for("the first issue in three inboxes", lambda mail: mail.is_issue, 3)
    leaver = readers[2]
    progress(f"{leaver.name} leaves with one click, and two more articles appear")
    leaver.unsubscribe_with_one_click(first([one for one in copies if one.recipient == leaver.address], "that issue"))
    _publish_two_more(installation, has_own_feed=has_own_feed)
    progress("the schedule is due again: second issue")
    later = _send_by_schedule(installation, SECOND_SLOT_AGO)
    inbox.wait_for("the second issue in two inboxes", lambda mail: mail.is_issue, 5)
    progress("checking what arrived")
    outcome = Outcome(results=[earlier, later], mails=inbox.mails())
    _check(outcome, leaver)
    return outcome


def write_outbox(outcome: Outcome, folder: Path) -> list[Path]:
    """Write every mail as it came over the wire, with names that sort in order of arrival."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, mail in enumerate(outcome.mails, 1):
        kind = "issue" if mail.is_issue else "confirm"
        who = re.sub(r"[^a-z0-9]+", "-", mail.recipient.partition("@")[0].lower())
        path = folder / f"{number:02}-{kind}-{who}.eml"
        path.write_bytes(mail.content)
        written.append(path)
    return written


def _read_feeds(installation: Installation, *, articles: int) -> None:
    """Wait until beat and worker have read every feed of the newsletter and `articles` are there."""

    def look() -> bool:
        installation.supervisor.check()
        with transaction() as session:
            feeds = newsletters.feeds(session, newsletters.get(session, SLUG))
            errors = [feed.error for feed in feeds if feed.error]
            if errors:
                raise CheckFailed(f"The feed can't be read: {errors[0]}")
            ids = [feed.id for feed in feeds]
            found = session.execute(select(Article.id).where(Article.feed_id.in_(ids))).all()
            were_read = all(feed.last_success_at is not None for feed in feeds)
        if were_read and not found:
            raise CheckFailed("The feed can be read, but has no article.")
        return were_read and len(found) >= articles

    wait_until("reading the feed", look)


def _publish_two_more(installation: Installation, *, has_own_feed: bool) -> None:
    with transaction() as session:
        newsletter = newsletters.get(session, SLUG)
        count = len(session.execute(select(Article.id)).all())
        now = clock.now()
        if has_own_feed:
            feed = newsletters.add_feed(session, newsletter, f"{installation.site_url}/late.xml", now=now)
            # Its articles are dated before the first issue: without a choice they would count as an archive.
            newest = baselines.Choice(kind=Baseline.LAST, count=2)
            baselines.choose(session, newsletter.id, feed.id, newest, now=now)
    browser(installation).post(f"{installation.site_url}/publish-later").raise_for_status()
    with transaction() as session:
        ids = list(session.execute(select(Feed.id)).scalars())
        newsletters.read_soon(session, ids, now=clock.now())
    _read_feeds(installation, articles=count + 2)


def _send_by_schedule(installation: Installation, ago: timedelta) -> IssueResult:
    """Let the newsletter's schedule be due since a few minutes, and wait for beat and worker to send its issue."""
    local = (clock.now() - ago).astimezone(schedules.zone(TIMEZONE))
    with transaction() as session:
        newsletter = newsletters.get(session, SLUG)
        cron = f"{local.minute} {local.hour} * * *"
        since = local.replace(second=0, microsecond=0) - timedelta(seconds=1)
        newsletters.schedule(session, newsletter, cron=cron, timezone=TIMEZONE, now=clock.now(), since=since)
        before = session.execute(select(Issue.id).order_by(Issue.id.desc()).limit(1)).scalar_one_or_none() or 0

    def look() -> Issue | None:
        installation.supervisor.check()
        with transaction() as session:
            refused = (
                session.execute(select(Slot).where(Slot.slot_at > since, Slot.issue_id.is_(None))).scalars().first()
            )
            if refused is not None:
                raise CheckFailed(f"The slot was decided as {refused.result}: {refused.note}")
            issue = session.execute(select(Issue).where(Issue.id > before)).scalar_one_or_none()
        if issue is not None and issue.state in (IssueState.PAUSED, IssueState.FAILED):
            raise CheckFailed(f"The issue is {issue.state}: {issue.state_reason}")
        return issue if issue is not None and issue.state == IssueState.SENT else None

    issue = wait_until("an issue sent by the schedule", look)
    with transaction() as session:
        articles = len(issues.placed(session, issue.id))
        return IssueResult(
            issue=issue.id,
            subject=issue.subject,
            articles=articles,
            equation=ledger.count_ledger(session, issue.id),
        )


def _check(outcome: Outcome, leaver: Reader) -> None:
    sent = [mail for mail in outcome.mails if mail.is_issue]
    others = len(outcome.mails) - len(sent)
    _expect(others == len(READERS), f"{others} confirmation mails arrived, not {len(READERS)}")
    _expect(len(sent) == 5, f"{len(sent)} copies of issues arrived, not 5")
    _expect(sum(mail.recipient == leaver.address for mail in sent) == 1, f"{leaver.name} got an issue after leaving")
    for result in outcome.results:
        _expect(result.equation.holds, f"issue {result.issue} does not add up: {result.equation}")
    with transaction() as session:
        addresses = set(session.execute(select(Article.url)).scalars())
    for _, address in READERS:
        got = [url for mail in sent if mail.recipient == address for url in _articles_in(mail, addresses)]
        _expect(
            len(got) == len(set(got)),
            f"a reader got an article twice: {[one for one in got if got.count(one) > 1][:1]}",
        )
        _expect(bool(got), "an issue arrived without an article")


def _articles_in(mail: Mail, addresses: set[str]) -> set[str]:
    """Find the articles that a mail's text links to, each on a line of its own."""
    return addresses.intersection(line.strip() for line in mail.part("plain").splitlines())


def _expect(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise CheckFailed(otherwise)
