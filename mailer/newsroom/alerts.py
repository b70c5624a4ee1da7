"""What the newsroom must hear of: noted here with what happened, in its transaction; deskmail.py makes mails of it.

A note is a row for each address, and each event has a name within its kind, so that it is told once.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer.models.content import Feed, Issue, Newsletter, NewsletterFeed, PauseReason
from mailer.models.desk import DeskEvent, DeskMail, SlotCode

# Among an event's values: an issue that was held is not tried again by itself any more.
LAST: Final = "last"


def note(
    session: Session, newsletter: Newsletter, event: DeskEvent, *, about: str, values: Mapping[str, str], now: datetime
) -> None:
    """Have the newsletter's desk addresses told of an event. A second time, and without such addresses, nothing happens."""
    _insert(session, newsletter, {"event": event, "about": about, "values": dict(values), "created_at": now})


def note_issue(
    session: Session, issue: Issue, event: DeskEvent, *, about: str = "", values: Mapping[str, str], now: datetime
) -> None:
    """Have the desk told of an event of an issue, once for each `about`."""
    row = {
        "issue_id": issue.id,
        "event": event,
        "about": f"{issue.id}:{about}",
        "values": dict(values),
        "created_at": now,
    }
    _insert(session, session.get_one(Newsletter, issue.newsletter_id), row)


def note_stop(session: Session, issue: Issue, code: PauseReason, words: str | None, *, now: datetime) -> None:
    """Have the desk told that an issue stopped by itself: paused, or failed before it began."""
    event = DeskEvent.ISSUE_PAUSED if issue.started_at is not None else DeskEvent.ISSUE_FAILED
    note_issue(session, issue, event, about=now.isoformat(), values={"code": code, "words": words or ""}, now=now)


def note_checks(session: Session, issue: Issue, *, is_last: bool, now: datetime) -> None:
    """Have the desk told that the checks hold an issue back: once, however often it is tried, and when that ends."""
    since = f"{issue.held_since}"
    about, values = (f"{since} at last", {LAST: "yes"}) if is_last else (since, {})
    note_issue(session, issue, DeskEvent.CHECKS_HELD, about=about, values=values, now=now)


def note_hold(session: Session, issue: Issue, code: SlotCode, values: Mapping[str, str], *, now: datetime) -> None:
    """Have the desk told that an issue is held, and why: once for each reason, and once more when it is not tried again."""
    about = f"{code} at last" if LAST in values else code
    note_issue(session, issue, DeskEvent.ISSUE_HELD, about=about, values={**values, "code": code}, now=now)


def note_silence(session: Session, feed: Feed, since: datetime, *, now: datetime) -> None:
    """Have the desks of all newsletters that draw on a feed told that it fell silent."""
    drawing = select(Newsletter).join(NewsletterFeed, NewsletterFeed.newsletter_id == Newsletter.id)
    for newsletter in session.execute(drawing.where(NewsletterFeed.feed_id == feed.id)).scalars():
        values = {"url": feed.url, "title": feed.title or feed.url, "since": since.isoformat()}
        about = f"{feed.id}:{since.isoformat()}"
        note(session, newsletter, DeskEvent.FEED_SILENT, about=about, values=values, now=now)


def _insert(session: Session, newsletter: Newsletter, row: Mapping[str, object]) -> None:
    rows = [{"newsletter_id": newsletter.id, "address": address, **row} for address in newsletter.desk_addresses]
    if rows:
        session.execute(insert(DeskMail).values(rows).on_conflict_do_nothing())
