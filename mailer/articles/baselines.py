"""Which of the articles that a feed already has when a newsletter adds it count as new for that newsletter.

An archive must not be mailed because a feed was added: what was there is let in only as far as the baseline says.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, delete, exists, func, insert, literal, or_, select
from sqlalchemy.orm import Session

from mailer.models.content import Article, Issue, IssueState, Newsletter, NewsletterFeed
from mailer.models.intake import AdmittedArticle, ArticleStatus, Baseline


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A baseline; `count` goes with LAST, `since` with SINCE."""

    kind: Baseline
    count: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A feed's articles: all, those that a newsletter's baseline lets in or that came after it, and those held."""

    articles: int
    let_in: int
    held: int


def counts(session: Session, newsletter_id: int, feed_id: int) -> Counts:
    """Count a feed's articles as a newsletter sees them."""
    return counts_all(session, newsletter_id, [feed_id])[feed_id]


def counts_all(session: Session, newsletter_id: int, feed_ids: Collection[int]) -> dict[int, Counts]:
    """Count the articles of several feeds at once, by the feed's id."""
    statement = (
        select(
            Article.feed_id,
            func.count(),
            func.count(counted_from(newsletter_id)),
            func.count().filter(Article.status == ArticleStatus.HELD),
        )
        .where(Article.feed_id.in_(feed_ids))
        .group_by(Article.feed_id)
    )
    found = dict.fromkeys(feed_ids, Counts(articles=0, let_in=0, held=0))
    for feed_id, articles, let_in, held in session.execute(statement):
        found[feed_id] = Counts(articles=articles, let_in=let_in, held=held)
    return found


def choose(session: Session, newsletter_id: int, feed_id: int, choice: Choice, *, now: datetime) -> None:
    """Set a feed's baseline for a newsletter. It takes effect at once, or at the feed's first reading."""
    link = session.get_one(NewsletterFeed, (newsletter_id, feed_id), with_for_update=True)
    link.baseline, link.baseline_count, link.baseline_since = choice.kind, choice.count, choice.since
    session.flush()
    if link.stock_until is not None:
        _admit(session, link, choice, now=now)


def settle(session: Session, feed_id: int, *, now: datetime) -> None:
    """Fix what a feed had when it was added, for the newsletters that added it since it was last read.

    Without a choice it is the newest articles, as many as an issue holds; for a newsletter that has issues already, what
    was published since the last one.
    """
    unsettled = select(NewsletterFeed).where(NewsletterFeed.feed_id == feed_id, NewsletterFeed.stock_until.is_(None))
    for link in session.execute(unsettled.with_for_update()).scalars().all():
        choice = _chosen(link) or _usual(session, link.newsletter_id)
        link.baseline, link.baseline_count, link.baseline_since = choice.kind, choice.count, choice.since
        link.stock_until = now
        session.flush()
        _admit(session, link, choice, now=now)


def counted_from(newsletter_id: int) -> ColumnElement[datetime | None]:
    """Return the SQL, for a SELECT of Article, of the moment from which an article is new for the newsletter.

    That is its first-seen time; for what its feed had when it was added, the moment that the baseline let it in; NULL
    for what it did not let in.
    """
    is_stock = exists().where(
        NewsletterFeed.newsletter_id == newsletter_id,
        NewsletterFeed.feed_id == Article.feed_id,
        Article.first_seen_at <= NewsletterFeed.stock_until,
    )
    admitted = select(AdmittedArticle.admitted_at).where(
        AdmittedArticle.newsletter_id == newsletter_id, AdmittedArticle.article_id == Article.id
    )
    return case(
        (is_stock.correlate(Article), admitted.correlate(Article).scalar_subquery()), else_=Article.first_seen_at
    )


def _chosen(link: NewsletterFeed) -> Choice | None:
    if link.baseline is None:
        return None
    return Choice(kind=link.baseline, count=link.baseline_count, since=link.baseline_since)


def _usual(session: Session, newsletter_id: int) -> Choice:
    issued = select(func.max(Issue.window_end)).where(
        Issue.newsletter_id == newsletter_id, Issue.started_at.is_not(None), Issue.state != IssueState.FAILED
    )
    last = session.execute(issued).scalar_one()
    if last is not None:
        return Choice(kind=Baseline.SINCE, since=last)
    return Choice(kind=Baseline.LAST, count=session.get_one(Newsletter, newsletter_id).max_articles)


def _admit(session: Session, link: NewsletterFeed, choice: Choice, *, now: datetime) -> None:
    stock = (Article.feed_id == link.feed_id, Article.first_seen_at <= link.stock_until)
    session.execute(
        delete(AdmittedArticle).where(
            AdmittedArticle.newsletter_id == link.newsletter_id,
            AdmittedArticle.article_id.in_(select(Article.id).where(*stock)),
        )
    )
    # What is dated in the future is not published yet, so it is new whatever the baseline.
    rules: list[ColumnElement[bool]] = [Article.published_at > now]
    if choice.kind == Baseline.LAST:
        newest = (Article.published_at.desc().nulls_last(), Article.id)
        rules.append(Article.id.in_(select(Article.id).where(*stock).order_by(*newest).limit(choice.count)))
    elif choice.kind == Baseline.SINCE:
        rules.append(Article.published_at >= choice.since)
    admitted = select(literal(link.newsletter_id), Article.id, literal(now)).where(*stock, or_(*rules))
    session.execute(insert(AdmittedArticle).from_select(["newsletter_id", "article_id", "admitted_at"], admitted))
