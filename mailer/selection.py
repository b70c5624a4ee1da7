"""Which articles the next issue holds, and why: pure rules over rows that were read once.

A candidate is an article of the newsletter's feeds that we first saw inside the window [start, end): our own clock of
ingest, never the date that the feed claims, so nothing that was published late is lost and nothing comes twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.models.content import Article, Issue, IssueArticle, IssueState, Layout, Newsletter, NewsletterFeed

CARDS = 7
# Rows read for one issue; what lies beyond could never be among the newest.
CANDIDATES = 1000


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An article and its place, or the reason why it is left out (then `layout` is None)."""

    article: Article
    layout: Layout | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What an issue would hold if it were made at `window_end`."""

    window_start: datetime | None
    window_end: datetime
    chosen: Sequence[Choice]
    left_out: Sequence[Choice]
    is_enough: bool


def select_articles(session: Session, newsletter: Newsletter, *, now: datetime) -> Selection:
    """Choose the articles of the next issue as of `now`, each with its reason. Changes nothing.

    The first issue of a newsletter takes the newest articles whatever their age; later ones what was first seen since.
    """
    start = window_start(session, newsletter.id)
    used = set(
        session.execute(
            select(Article.canonical_url)
            .join(IssueArticle, IssueArticle.article_id == Article.id)
            .join(Issue, Issue.id == IssueArticle.issue_id)
            .where(Issue.newsletter_id == newsletter.id, Issue.started_at.is_not(None))
        ).scalars()
    )
    chosen: list[Article] = []
    left_out: list[Choice] = []
    seen: set[str] = set()
    for article in _candidates(session, newsletter, start, now):
        reason = _reason_against(article, newsletter, start, now=now, used=used, seen=seen)
        if reason is None and len(chosen) >= newsletter.max_articles:
            reason = f"an issue holds {newsletter.max_articles} articles, and these are newer"
        if reason is None:
            chosen.append(article)
            seen.add(article.canonical_url)
        else:
            left_out.append(Choice(article=article, layout=None, reason=reason))
    return Selection(
        window_start=start,
        window_end=now,
        chosen=[
            Choice(article=article, layout=layout, reason=_reason_for(article, start))
            for article, layout in zip(chosen, layouts(chosen), strict=True)
        ],
        left_out=left_out,
        is_enough=len(chosen) >= newsletter.min_articles,
    )


def window_start(session: Session, newsletter_id: int) -> datetime | None:
    """Return where the last issue's window ended; None before the first issue."""
    return session.execute(
        select(Issue.window_end)
        .where(Issue.newsletter_id == newsletter_id, Issue.started_at.is_not(None), Issue.window_end.is_not(None))
        .where(Issue.state != IssueState.FAILED)
        .order_by(Issue.window_end.desc())
        .limit(1)
    ).scalar_one_or_none()


def layouts(articles: Sequence[Article]) -> list[Layout]:
    """Give each article its layout: the first with a picture among the newest three leads, seven cards, the rest brief."""
    if not articles:
        return []
    lead = next((index for index, article in enumerate(articles[:3]) if article.image_url), 0)
    places = [Layout.CARD if index <= CARDS else Layout.BRIEF for index in range(len(articles))]
    places[lead] = Layout.LEAD
    return places


def _candidates(session: Session, newsletter: Newsletter, start: datetime | None, now: datetime) -> Sequence[Article]:
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    statement = select(Article).where(Article.feed_id.in_(feeds), Article.first_seen_at < now)
    if start is not None:
        # A date in the future holds an article back; it becomes a candidate in the window that its date falls in.
        statement = statement.where((Article.first_seen_at >= start) | (Article.published_at >= start))
    # A total order: newest first, then as the feed had them.
    newest_first = (Article.published_at.desc().nulls_last(), Article.first_seen_at.desc(), Article.id)
    return session.execute(statement.order_by(*newest_first).limit(CANDIDATES)).scalars().all()


def _reason_against(
    article: Article, newsletter: Newsletter, start: datetime | None, *, now: datetime, used: set[str], seen: set[str]
) -> str | None:
    if article.canonical_url in used:
        return "already in an earlier issue"
    if article.canonical_url in seen:
        return "the same article as another one here, from another feed"
    if article.published_at is not None and article.published_at > now:
        return "dated in the future; it is held until then"
    if start is not None and article.published_at is not None:
        age = now - article.published_at
        if age > timedelta(days=newsletter.max_age_days):
            return f"published more than {newsletter.max_age_days} days ago"
    return None


def _reason_for(article: Article, start: datetime | None) -> str:
    if start is None:
        return "among the newest articles, for the first issue"
    return f"first seen {article.first_seen_at:%Y-%m-%d %H:%M} UTC, after the last issue"
