"""What keeps the database and the disk small and private: erasing what has served its time."""

from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.articles import pictures
from mailer.audience import readers, signups, subscriptions
from mailer.counting import tracking
from mailer.delivery import journal
from mailer.models.deliveries import Batch, BatchState
from mailer.newsroom import account_links, answers, reports, webhooks


def clean_up(session: Session, *, now: datetime) -> int:
    """Erase what has served its time: sign-ups that nobody confirmed while their link worked, requests for a link, links of the
    newsroom and moves to another address, pictures that no mail showed, kept answers of the API and what webhooks were told;
    make sums of old single events, and count what the reports tell.

    Returns how many subscriptions went.
    """
    signups.warn_if_few_confirm(session, now=now)
    pictures.forget_unused(session, now=now)
    readers.clean_up(session, now=now)
    account_links.clean_up(session, now=now)
    answers.forget(session, now=now)
    webhooks.forget(session, now=now)
    # Before single events become sums, which know no hours.
    reports.count(session, now=now)
    tracking.aggregate(session, now=now)
    return subscriptions.delete_unconfirmed(session, now=now)


def sweep_journals(session: Session, folder: Path) -> int:
    """Remove this host's journals of workers that have ended and left no batch behind. Returns how many."""
    # The folder first: a journal that is ownerless by now can't get a batch any more.
    ownerless = journal.ownerless(folder)
    needed = set(session.execute(select(Batch.owner).where(Batch.state == BatchState.CLAIMED)).scalars())
    idle = [one for one in ownerless if one not in needed]
    for one in idle:
        journal.forget(folder, one)
    return len(idle)
