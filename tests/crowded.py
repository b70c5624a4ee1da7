"""Rows of every kind that pages show, with words of the test's own in every field that somebody else fills in."""

import secrets
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from mailer import clock
from mailer.models.accounts import Account, Role
from mailer.models.audience import Consent, ConsentEvent, Subscriber, Subscription, SubscriptionState
from mailer.models.audit import Actor, AuditEntry
from mailer.models.choices import Place, Topic, VariantArticle
from mailer.models.content import (
    Article,
    Feed,
    Issue,
    IssueArticle,
    IssueState,
    Layout,
    MailKind,
    Newsletter,
    NewsletterFeed,
    Slot,
    SlotResult,
    Variant,
)
from mailer.models.deliveries import Batch, BatchState, Deferral, Delivery, DeliveryOutcome, Outcome
from mailer.models.progress import IssueEvent, IssueReport, ProviderTotal, ReaderDay, ReplyTotal
from mailer.models.segments import Segment
from mailer.models.tokens import AccessToken, Scope
from mailer.models.tracking import Event, VariantLink

Say = Callable[[str], str]


def crowd(session: Session, newsletter: Newsletter, number: int, say: Say = str) -> dict[str, int]:
    """Add one of everything. `say` makes the words from the name of their field; returns ids by a path's parameters."""
    articles = [an_article(session, newsletter, number * 10 + one, say) for one in range(3)]
    subscriber, subscription = a_reader(session, newsletter, number, say)
    issue = an_issue(session, newsletter, number, say, articles)
    a_mail(session, issue, subscription, articles[0], say)
    account = the_newsroom(session, newsletter, number, say)
    session.flush()
    return {
        "issue_id": issue.id,
        "article_id": articles[0].id,
        "feed_id": articles[0].feed_id,
        "subscriber_id": subscriber.id,
        "account_id": account.id,
    }


def many_readers(session: Session, newsletter: Newsletter, count: int) -> None:
    """Confirmed readers m1@example.org …, all at once."""
    values = {"count": count, "newsletter_id": newsletter.id, "now": clock.now()}
    session.execute(_READERS, values)
    session.execute(_SUBSCRIPTIONS, values)


_READERS = text(
    "INSERT INTO subscribers (address, address_key, created_at) SELECT a, a, :now"
    " FROM (SELECT 'm' || n || '@example.org' AS a FROM generate_series(1, :count) AS n) AS made"
)
_SUBSCRIPTIONS = text(
    "INSERT INTO subscriptions (subscriber_id, newsletter_id, state, language, requested_at, confirmed_at)"
    " SELECT id, :newsletter_id, 'confirmed', 'fr', :now, :now FROM subscribers WHERE address LIKE 'm%'"
)


def an_article(session: Session, newsletter: Newsletter, number: int, say: Say) -> Article:
    """An article of a feed of its own, first seen a moment ago."""
    now = clock.now()
    feed = Feed(
        url=f"https://courrier.example/feed-{number}.xml",
        title=say("feed title"),
        error=say("feed error"),
        next_read_at=now + timedelta(days=3),
        last_read_at=now,
        last_success_at=now,
        created_at=now,
    )
    session.add(feed)
    session.flush()
    session.add(NewsletterFeed(newsletter_id=newsletter.id, feed_id=feed.id))
    url = f"https://courrier.example/crowd-{number}"
    article = Article(
        feed_id=feed.id,
        guid=f"crowd-{number}",
        url=url,
        canonical_url=url,
        title=say("title"),
        excerpt=say("excerpt"),
        author=say("author"),
        topics=[say("category")],
        published_at=now - timedelta(minutes=2),
        first_seen_at=now - timedelta(minutes=2),
        updated_at=now,
        minutes=3,
    )
    session.add(article)
    session.flush()
    return article


def a_reader(session: Session, newsletter: Newsletter, number: int, say: Say) -> tuple[Subscriber, Subscription]:
    """A confirmed reader who came from somewhere and changed something."""
    now = clock.now()
    subscriber = Subscriber(
        address=f"crowd{number}@example.org",
        address_key=f"crowd{number}@example.org",
        name=say("reader"),
        attributes={"city": say("city")},
        created_at=now,
    )
    session.add(subscriber)
    session.flush()
    subscription = Subscription(
        subscriber_id=subscriber.id,
        newsletter_id=newsletter.id,
        state=SubscriptionState.CONFIRMED,
        language="fr",
        source=say("source"),
        requested_at=now,
        confirmed_at=now,
    )
    session.add(subscription)
    session.flush()
    session.add(
        Consent(
            subscription_id=subscription.id,
            event=ConsentEvent.CHANGED,
            at=now,
            source=say("source"),
            form_version=say("form"),
            network="192.0.2.0/24",
            detail=say("detail"),
        )
    )
    return subscriber, subscription


def an_issue(session: Session, newsletter: Newsletter, number: int, say: Say, articles: list[Article]) -> Issue:
    """An issue that was sent, with what came of it."""
    now = clock.now()
    issue = Issue(
        newsletter_id=newsletter.id,
        number=1000 + number,
        state=IssueState.SENT,
        subject=say("subject"),
        preview_text=say("preview"),
        introduction=say("introduction"),
        started_at=now - timedelta(days=1, seconds=number),
        finished_at=now - timedelta(hours=23, seconds=number),
        window_end=now - timedelta(days=1, seconds=number),
        recipients=1,
        created_at=now,
        updated_at=now,
    )
    session.add(issue)
    session.flush()
    for position, article in enumerate(articles):
        session.add(IssueArticle(issue_id=issue.id, article_id=article.id, position=position, layout=Layout.CARD))
    counts = {"accepted": 1, "refused": 0, "clicks": 0, "left": 0, "complained": 0}
    session.add(IssueReport(issue_id=issue.id, **counts, hourly=[0] * 48, counted_at=now))
    session.add(IssueEvent(issue_id=issue.id, at=now, state=IssueState.SENT, words=say("event")))
    session.add(
        ProviderTotal(issue_id=issue.id, provider=say("provider"), accepted=1, refused=0, deferred=1, recovered=1)
    )
    session.add(ReplyTotal(issue_id=issue.id, said=say("said"), count=1))
    slot = {"result": SlotResult.ISSUED, "note": say("note"), "issue_id": issue.id, "decided_at": now}
    session.add(Slot(newsletter_id=newsletter.id, slot_at=now - timedelta(days=number + 1), **slot))
    day = (now - timedelta(days=number)).date()
    session.merge(ReaderDay(newsletter_id=newsletter.id, day=day, joined=1, left=0, readers=number + 1))
    return issue


def a_mail(session: Session, issue: Issue, subscription: Subscription, article: Article, say: Say) -> None:
    """The issue's mail to a reader: put off, then refused, and followed by a click that the reader agreed to be known."""
    now = clock.now()
    variant = Variant(
        newsletter_id=issue.newsletter_id,
        issue_id=issue.id,
        kind=MailKind.ISSUE,
        language="fr",
        is_edition=True,
        digest=secrets.token_bytes(32),
        nonce=secrets.token_hex(8),
        headers={},
        subject=issue.subject,
        html="<p>mail</p>",
        text="mail",
        tracks=["clicks"],
        created_at=now,
    )
    session.add(variant)
    session.flush()
    session.add(VariantArticle(variant_id=variant.id, article_id=article.id, place=Place.GIVEN))
    session.add(VariantLink(variant_id=variant.id, number=1, url=f"https://courrier.example/?{say('link')}"))
    delivery = Delivery(issue_id=issue.id, variant_id=variant.id, subscription_id=subscription.id)
    session.add(delivery)
    session.flush()
    span = {"first_id": delivery.id, "last_id": delivery.id, "size": 1, "refused": 1}
    session.add(Batch(issue_id=issue.id, **span, state=BatchState.DONE, due_at=now))
    put_off = {"attempt": 1, "recorded_at": now, "retry_at": now}
    session.add(Deferral(delivery_id=delivery.id, reply=f"451 {say('deferral')}"[:200], **put_off))
    reply = f"550 {say('reply')}"[:200]
    session.add(DeliveryOutcome(delivery_id=delivery.id, outcome=Outcome.REFUSED, reply=reply, recorded_at=now))
    session.add(
        Event(
            variant_id=variant.id,
            link=1,
            at=now,
            subscription_id=subscription.id,
            is_head=False,
            agent=say("agent")[:200],
        )
    )


def the_newsroom(session: Session, newsletter: Newsletter, number: int, say: Say) -> Account:
    """An account with what it did; a topic, a segment, a token."""
    now = clock.now()
    account = Account(
        email=f"crowd{number}@courrier.example", name=say("account"), language="fr", role=Role.EDITOR, created_at=now
    )
    session.add(account)
    session.flush()
    did = {"actor": Actor.ACCOUNT, "actor_id": account.id, "actor_name": account.name, "action": "issues.draft"}
    session.add(AuditEntry(at=now, **did, newsletter_id=newsletter.id, objects={"topic": say("object")}))
    rules = {"categories": [say("category")], "include": [say("word")], "exclude": []}
    names = {"fr": say("topic")}
    topic = {"newsletter_id": newsletter.id, "slug": f"crowd-{number}", "names": names, "position": number + 10}
    session.add(Topic(**topic, **rules))
    session.add(Segment(name=f"{say('segment')}{number}"[-80:], chosen={"source": say("source")[:100]}, created_at=now))
    token = {"name": say("token"), "token_hash": secrets.token_bytes(32), "newsletter_id": newsletter.id}
    session.add(AccessToken(**token, scopes=[Scope.ARTICLES], created_at=now))
    return account
