"""A newsletter whose newsroom reviews its issues, and the mails that the newsroom gets."""

import re
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

from sqlalchemy import select

from mailer import clock, scheduling
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.content import Feed, Issue, IssueState, Slot
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter, an_article, readers

DESK = "redaction@courrier.example"


def a_scheduled_newsletter(*, slot_in: timedelta, articles: int = 2, **policies: Any) -> int:
    """A newsletter with two readers and a slot a while ahead, or that long ago, and a desk address."""
    now = clock.now()
    with transaction() as session:
        newsletter = a_newsletter(session, "hebdo", **{"desk_addresses": [DESK], **policies})
        for feed in newsletters.feeds(session, newsletter):
            feed.last_read_at = feed.last_success_at = now
            feed.next_read_at = now + timedelta(days=3)
        for number in range(articles):
            an_article(session, newsletter, f"a{number}", seen=now - timedelta(days=2))
        readers(session, newsletter, 2)
        slot = now + slot_in
        newsletters.schedule(
            session,
            newsletter,
            cron=f"{slot.minute} {slot.hour} * * *",
            timezone="UTC",
            now=now,
            since=min(now, slot - timedelta(minutes=2)),
        )
        return newsletter.id


def read_just_now() -> None:
    """Let the feeds be fresh, so that nothing is asked over the network."""
    with transaction() as session:
        for feed in session.execute(select(Feed)).scalars():
            feed.last_read_at = feed.last_success_at = clock.now()
            feed.next_read_at = clock.now() + timedelta(days=3)


def tick() -> None:
    """Do what a tick rings for, but the feeds."""
    found = scheduling.tick()
    for due in found.slots:
        scheduling.make_issue(due.newsletter_id)
    for issue_id in found.issues:
        scheduling.start_issue(issue_id)
    scheduling.mail_desk()


def sent(inbox: SmtpInbox) -> list[EmailMessage]:
    """Send all that is queued, and return what the inbox has."""
    sending.send_due(budget_seconds=10)
    return [one.email for one in inbox.messages]


def to_desk(inbox: SmtpInbox) -> list[EmailMessage]:
    """Send all that is queued, and return what the newsroom got."""
    return [one for one in sent(inbox) if one["To"] == DESK]


def to_readers(inbox: SmtpInbox) -> int:
    """How many readers got an issue."""
    return len([one for one in sent(inbox) if "@example.org" in one["To"]])


def text_of(mail: EmailMessage) -> str:
    """The plain text of a mail."""
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link(mail: EmailMessage, act: str) -> str:
    """The path of a link in a mail to the newsroom."""
    found = re.search(rf"https?://[^/]+(/review/{act}/\S+)", text_of(mail))
    assert found, text_of(mail)
    return found[1]


def the_issue() -> Issue:
    """The only issue."""
    with transaction() as session:
        return session.execute(select(Issue)).scalar_one()


def the_slot() -> Slot:
    """The only slot that is decided."""
    with transaction() as session:
        return session.execute(select(Slot)).scalar_one()


def state_of(issue_id: int) -> IssueState:
    """Where an issue stands."""
    with transaction() as session:
        return issues.get(session, issue_id).state


def joined(text: str) -> str:
    """A text on one line, its no-break spaces kept."""
    return re.sub(r"[ \r\n]+", " ", text)
