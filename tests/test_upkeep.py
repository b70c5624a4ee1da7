"""What is swept away, and what is not."""

from pathlib import Path

from sqlalchemy.orm import Session

from mailer import clock, deliveries, journal, mails, upkeep
from mailer.models.content import MailKind
from tests.factories import a_newsletter, readers


def test_only_journals_that_nobody_needs_any_more_are_removed(session: Session, tmp_path: Path) -> None:
    newsletter = a_newsletter(session)
    reader = readers(session, newsletter, 1)[0]
    variant_id = mails.notice_variant(session, newsletter, MailKind.CONFIRM, "fr", now=clock.now())
    deliveries.queue_one(session, subscription_id=reader.id, variant_id=variant_id, now=clock.now())
    needed, idle, living = (journal.Journal(tmp_path, capacity=1) for _ in range(3))
    assert deliveries.claim(session, owner=needed.owner, lease_seconds=60, now=clock.now()) is not None
    needed.abandon()
    idle.abandon()
    assert upkeep.sweep_journals(session, tmp_path) == 1
    assert {path.name for path in tmp_path.glob("*.*.*")} == {needed.owner, living.owner}
    living.close()
