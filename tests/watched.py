"""Issues on their way and after, as workers would have recorded them: by the ledger's own functions, at moments of the past."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.delivery import deliveries, tallies
from mailer.issues import issues
from mailer.models.audience import Subscriber, Subscription
from mailer.models.content import Issue, Newsletter
from mailer.models.deliveries import Delivery, Outcome
from mailer.newsroom import newsletters
from tests.factories import NOW, an_article

PROVIDERS = ("gmail.example", "orange.example", "outlook.example", "laposte.example", "mail.example", "free.example")


def readers_at(session: Session, newsletter: Newsletter, count: int, providers: Sequence[str] = PROVIDERS) -> None:
    """Confirmed readers w0@…, w1@…, at each provider half as many as at the one before."""
    for number in range(count):
        provider = providers[min(len(providers) - 1, ((number + 1) & -(number + 1)).bit_length() - 1)]
        subscriptions.add(
            session, newsletter, f"w{number}@{provider}", language=newsletter.language, proof="test", now=NOW
        )


def started_at(session: Session, newsletter: Newsletter, at: datetime, *, batch_size: int = 20) -> Issue:
    """An issue that began to be sent at a moment."""
    slug = f"s{at:%m%d%H%M%S%f}"
    an_article(session, newsletter, slug, seen=at - timedelta(minutes=1))
    issue = issues.draft(session, newsletter, now=at)
    issues.start(session, issue, batch_size=batch_size, now=at)
    return issue


def record(
    session: Session,
    issue: Issue,
    at: datetime,
    *,
    accepted: int = 0,
    refused: Sequence[str] = (),
    deferred: Sequence[str] = (),
    retry_in: timedelta = timedelta(minutes=5),
) -> None:
    """A worker takes the issue's next batch and records this much of it: so many accepted, then these replies."""
    claim = deliveries.claim(session, owner="host.1", lease_seconds=600, now=at)
    assert claim is not None
    assert claim.issue_id == issue.id
    open_now = deliveries.recipients(session, claim, now=at)
    replies = [("accepted", "250 2.0.0 OK")] * accepted
    replies += [("refused", one) for one in refused] + [("deferred", one) for one in deferred]
    settled, put_off = [], []
    for one, (what, reply) in zip(open_now, replies, strict=False):
        provider = one.address.rpartition("@")[2]
        if what == "deferred":
            put_off.append(
                tallies.Deferred(
                    delivery_id=one.delivery_id,
                    attempt=one.attempts + 1,
                    reply=reply,
                    retry_at=at + retry_in,
                    provider=provider,
                )
            )
        else:
            settled.append(
                tallies.Settled(
                    delivery_id=one.delivery_id,
                    outcome=Outcome(what),
                    reply=reply,
                    provider=provider,
                    attempts=one.attempts,
                )
            )
    deliveries.record(session, claim, settled, put_off, now=at)
    is_all = len(replies) >= len(open_now)
    deliveries.release(session, claim, due_at=None if is_all else at, now=at)


def sent_at(session: Session, newsletter: Newsletter, at: datetime, *, refused: int = 0) -> Issue:
    """An issue that was sent to everybody within a minute, some of whom refused it."""
    issue = started_at(session, newsletter, at, batch_size=1000)
    record(
        session,
        issue,
        at + timedelta(seconds=30),
        accepted=issue.recipients - refused,
        refused=["550 5.1.1 no"] * refused,
    )
    assert issues.finish(session, issue.id, now=at + timedelta(seconds=31))
    return issue


def leave(session: Session, issue: Issue, count: int, *, at: datetime, complained: bool = False) -> None:
    """Some of those who got an issue leave, or complain."""
    reason = subscriptions.EndedReason.COMPLAINED if complained else subscriptions.EndedReason.UNSUBSCRIBED
    rows = session.execute(
        select(Subscription.id)
        .join(Delivery, Delivery.subscription_id == Subscription.id)
        .where(Delivery.issue_id == issue.id, Subscription.ended_at.is_(None))
        .limit(count)
    )
    for subscription_id in rows.scalars().all():
        subscriptions.end(session, subscription_id, reason, origin=subscriptions.Origin(), now=at)


def an_address(session: Session, issue: Issue) -> str:
    """The address of the issue's first recipient."""
    return (
        session.execute(
            select(Subscriber.address)
            .join(Subscription, Subscription.subscriber_id == Subscriber.id)
            .join(Delivery, Delivery.subscription_id == Subscription.id)
            .where(Delivery.issue_id == issue.id)
            .order_by(Delivery.id)
        )
        .scalars()
        .first()
        or ""
    )


def on_its_way(*, readers: int = 60, seconds: int = 40, accepted: int = 18) -> int:
    """An issue that began a while ago, of which one batch is recorded."""
    at = clock.now() - timedelta(seconds=seconds)
    with transaction() as session:
        newsletter = newsletters.get(session, "courrier")
        readers_at(session, newsletter, readers)
        begun = started_at(session, newsletter, at)
        refused = ["550 5.1.1 <w@x.example> unknown"] * (20 - accepted)
        record(session, begun, at + timedelta(seconds=5), accepted=accepted, refused=refused)
        return begun.id


def more(issue_id: int, **recorded: int) -> None:
    """A worker records more of an issue, now."""
    with transaction() as session:
        record(session, issues.get(session, issue_id), clock.now(), **recorded)
