"""Which articles the next issue holds, and why: pure rules over rows that were read once.

A candidate is an article that became new inside the window [start, until): by our own clock of ingest, never by the date
that the feed claims, so nothing that was published late is lost. What a reader has had is never chosen for them again.
"""

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from mailer.articles import baselines, pictures, topics
from mailer.models.choices import IssueExclusion, Overflow, Pin, Place, Topic, VariantArticle
from mailer.models.content import Article, Issue, IssueArticle, Layout, Newsletter, NewsletterFeed, Variant
from mailer.models.intake import ArticleStatus
from mailer.newsroom import newsletters

CARDS: Final = 7
# Rows read for one issue; what lies beyond could never be among the newest.
CANDIDATES: Final = 1000
LATE_SHOWN: Final = 50
# Nothing that waited longer is news any more; more than a month, for readers who want one issue a month.
LONGEST_WAIT: Final = timedelta(days=35)


class Why(enum.StrEnum):
    """The reasons for an article to be in or out; WORDS has their sentences."""

    FIRST = "first"
    NEW = "new"
    DUE = "due"
    EMBARGO_OVER = "embargo_over"
    CARRIED_OVER = "carried_over"
    PINNED = "pinned"
    STATUS = "status"
    TAKEN_OUT = "taken_out"
    IN_EARLIER = "in_earlier"
    HAD = "had"
    TWIN = "twin"
    FUTURE = "future"
    TOO_OLD = "too_old"
    STALE = "stale"
    CATEGORY = "category"
    OTHER_TOPIC = "other_topic"
    FULL = "full"
    LISTED = "listed"
    CARRIED = "carried"
    STOCK = "stock"
    LATE = "late"


# In English; the {names} are filled from Choice.values.
WORDS: Final = {
    Why.FIRST: "among the newest articles, for the first issue",
    Why.NEW: "first seen {moment}, after the last issue",
    Why.DUE: "first seen {moment}, after this reader’s last issue",
    Why.EMBARGO_OVER: "dated {moment}, and held until then",
    Why.CARRIED_OVER: "there was no room for it in the last issue",
    Why.PINNED: "pinned until {moment}",
    Why.STATUS: "{reason}",
    Why.TAKEN_OUT: "taken out of an issue by the newsroom",
    Why.IN_EARLIER: "already in an earlier issue",
    Why.HAD: "this reader has had it already",
    Why.TWIN: "the same article as another one here, from another feed",
    Why.FUTURE: "dated in the future; it is held until then",
    Why.TOO_OLD: "published more than {days} days ago",
    Why.STALE: "first seen more than {days} days ago",
    Why.CATEGORY: "in no category that this newsletter takes, or in one that it leaves out",
    Why.OTHER_TOPIC: "about none of the topics that this reader chose",
    Why.FULL: "an issue holds {count} articles, and these are newer",
    Why.LISTED: "an issue holds {count} articles; this one is counted among those on the site",
    Why.CARRIED: "an issue holds {count} articles; this one waits for the next issue",
    Why.STOCK: "it was there before its feed was added",
    Why.LATE: "first seen {moment}, after the cut-off at {cutoff}: for the next issue",
}
FINAL: Final = (Why.IN_EARLIER, Why.HAD, Why.TWIN)
_FULL: Final = (Why.FULL, Why.LISTED, Why.CARRIED)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An article and its place, or the reason why it is left out (then `layout` is None)."""

    article: Article
    layout: Layout | None
    why: Why
    values: Mapping[str, str | datetime] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The reason as an English sentence."""
        return WORDS[self.why].format_map(
            {
                name: f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else value
                for name, value in self.values.items()
            }
        )


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What an issue would hold if it were made at `window_end`. `is_enough`: the schedule would make it of this."""

    window_start: datetime | None
    window_end: datetime
    chosen: Sequence[Choice]
    left_out: Sequence[Choice]
    is_enough: bool

    def beyond(self, why: Why) -> list[Article]:
        """Return the articles for which there was no room, of one kind: LISTED or CARRIED."""
        return [one.article for one in self.left_out if one.why == why]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An article of the newsletter's feeds; `new_at` is when it became new for this newsletter, `topics` in order of rank.

    `is_taken` tells whether its categories are ones that the newsletter takes.
    """

    article: Article
    new_at: datetime
    pinned_until: datetime | None
    topics: tuple[str, ...]
    is_taken: bool

    @property
    def counts_from(self) -> datetime:
        """The moment that must lie in the window: its first sight, or the date in the future that held it back."""
        return max(self.new_at, self.article.published_at or self.new_at)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Everything that an issue could draw from, in a total order: pinned, newest, as the feed had them."""

    newsletter: Newsletter
    topics: Sequence[Topic]
    candidates: Sequence[Candidate]
    taken_out: Collection[int]
    until: datetime
    # Slugs of topics by canonical address: what two feeds say of the same article counts together.
    about: Mapping[str, tuple[str, ...]]

    def topics_of(self, article: Article) -> tuple[str, ...]:
        """Return the topics that an article is about, the highest rank first, by all feeds that have it."""
        known = self.about.get(article.canonical_url)
        return topics.matching(self.topics, article) if known is None else known


@dataclass(frozen=True, kw_only=True)
class View:
    """For whom is chosen. `had` and `carried` are canonical addresses; no topics mean all.

    `is_reader` says whether `had` is what one reader had, or what earlier issues held.
    """

    start: datetime | None
    topics: frozenset[str] = frozenset()
    had: Collection[str] = frozenset()
    carried: Collection[str] = frozenset()
    is_reader: bool = False


def select_articles(session: Session, newsletter: Newsletter, *, now: datetime) -> Selection:
    """Choose the articles of the next issue as of `now`, each with its reason. Changes nothing.

    The first issue of a newsletter takes the newest articles whatever their age; later ones what was first seen since.
    """
    view = edition_view(session, newsletter, at=now)
    return choose(read_pool(session, newsletter, view, until=now), view)


def edition_view(session: Session, newsletter: Newsletter, *, at: datetime, before: int = 0) -> View:
    """Return how the newsroom sees it at a moment: every topic, without what other issues than `before` held by then."""
    used = session.execute(
        select(Article.canonical_url)
        .join(IssueArticle, IssueArticle.article_id == Article.id)
        .join(Issue, Issue.id == IssueArticle.issue_id)
        .where(Issue.newsletter_id == newsletter.id, Issue.started_at <= at, Issue.id != before)
    ).scalars()
    last = newsletters.last_issue(session, newsletter.id, at=at, before=before)
    carried = session.execute(
        select(Article.canonical_url)
        .join(VariantArticle, VariantArticle.article_id == Article.id)
        .join(Variant, Variant.id == VariantArticle.variant_id)
        .where(Variant.issue_id == (last.id if last else None), Variant.is_edition)
        .where(VariantArticle.place == Place.CARRIED)
    ).scalars()
    return View(start=last.window_end if last else None, had=frozenset(used), carried=frozenset(carried))


def read_pool(session: Session, newsletter: Newsletter, view: View, *, until: datetime) -> Pool:
    """Read the candidates for a window that starts where the view does, and what the view carries over."""
    known = topics.of(session, newsletter.id)
    pins = {
        one.article_id: one
        for one in session.execute(select(Pin).where(Pin.newsletter_id == newsletter.id, Pin.until > until)).scalars()
    }
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    new_at = baselines.counted_from(newsletter.id)
    statement = select(Article, new_at).where(Article.feed_id.in_(feeds), new_at < until)
    kept = Article.canonical_url.in_(view.carried) | Article.id.in_(pins)
    if view.start is not None:
        # A date in the future holds an article back; it becomes a candidate in the window that its date falls in.
        in_window = (new_at >= view.start) | (Article.published_at >= view.start)
        statement = statement.where(in_window | kept)
    # Should there be too many, then neither what is kept for this issue nor what has no date must be the rest.
    first = (kept.desc(), (_dated() > until).asc(), *_newest_first())
    rows = session.execute(statement.order_by(*first).limit(CANDIDATES)).all()
    about = _about(known, [row[0] for row in rows])
    found = [
        Candidate(
            article=row[0],
            new_at=row[1] or row[0].first_seen_at,
            pinned_until=pins[row[0].id].until if row[0].id in pins else None,
            topics=about[row[0].canonical_url],
            is_taken=topics.takes(newsletter, row[0]),
        )
        for row in rows
    ]
    found.sort(key=lambda one: _rank(one, pins))
    taken_out = session.execute(
        select(IssueExclusion.article_id)
        .join(Issue, Issue.id == IssueExclusion.issue_id)
        .where(Issue.newsletter_id == newsletter.id, Issue.started_at.is_not(None))
    ).scalars()
    return Pool(
        newsletter=newsletter, topics=known, candidates=found, taken_out=frozenset(taken_out), until=until, about=about
    )


def choose(pool: Pool, view: View) -> Selection:
    """Choose for a view, newest first, and say why for every candidate of its window."""
    newsletter = pool.newsletter
    chosen: list[Choice] = []
    left_out: list[Choice] = []
    seen: set[str] = set()
    waits_since = pool.until
    for one in pool.candidates:
        if not is_in_window(one, view):
            continue
        out = reason_against(one, pool, view, seen)
        if out is None and len(chosen) >= newsletter.max_articles:
            out = no_room(one.article, pool, view)
        if out is not None:
            left_out.append(out)
            continue
        seen.add(one.article.canonical_url)
        waits_since = min(waits_since, one.new_at)
        chosen.append(_reason_for(one, view))
    places = layouts([one.article for one in chosen], is_first_pinned=bool(chosen) and chosen[0].why == Why.PINNED)
    has_waited = bool(chosen) and pool.until - waits_since >= timedelta(days=newsletter.max_wait_days)
    return Selection(
        window_start=view.start,
        window_end=pool.until,
        chosen=[
            Choice(article=one.article, layout=layout, why=one.why, values=one.values)
            for one, layout in zip(chosen, places, strict=True)
        ],
        left_out=left_out,
        is_enough=len(chosen) >= newsletter.min_articles or has_waited,
    )


def is_in_window(one: Candidate, view: View) -> bool:
    """Tell whether a candidate of the pool is one for this view, in or out."""
    is_kept = one.pinned_until is not None or one.article.canonical_url in view.carried
    return view.start is None or one.counts_from >= view.start or is_kept


def reason_against(one: Candidate, pool: Pool, view: View, seen: Collection[str]) -> Choice | None:
    """Say why a candidate can't be chosen for a view; None if it can. `seen` are those chosen so far."""
    article = one.article
    if article.status != ArticleStatus.READY:
        return _out(article, Why.STATUS, reason=article.status_reason or article.status)
    if article.id in pool.taken_out:
        return _out(article, Why.TAKEN_OUT)
    if article.canonical_url in view.had:
        return _out(article, Why.HAD if view.is_reader else Why.IN_EARLIER)
    if article.canonical_url in seen:
        return _out(article, Why.TWIN)
    if article.published_at is not None and article.published_at > pool.until:
        return _out(article, Why.FUTURE)
    age = _reason_of_age(one, pool, view)
    if age is not None:
        return age
    if not one.is_taken:
        return _out(article, Why.CATEGORY)
    if view.topics and not view.topics.intersection(one.topics):
        return _out(article, Why.OTHER_TOPIC)
    return None


def no_room(article: Article, pool: Pool, view: View) -> Choice:
    """Say what becomes of an article for which the issue has no room, by the newsletter's policy."""
    policy = Why.CARRIED if pool.newsletter.overflow == Overflow.CARRIED else Why.LISTED
    # What was there before the first issue is an archive: it is neither counted nor carried.
    return _out(article, policy if view.start is not None else Why.FULL, count=str(pool.newsletter.max_articles))


def late(session: Session, newsletter: Newsletter, *, since: datetime, now: datetime) -> list[Choice]:
    """List what became new from a cut-off on, up to `now`: it is for the next issue."""
    new_at = baselines.counted_from(newsletter.id)
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    statement = select(Article, new_at).where(Article.feed_id.in_(feeds), new_at >= since, new_at < now)
    rows = session.execute(statement.order_by(new_at, Article.id).limit(LATE_SHOWN))
    return [_out(row[0], Why.LATE, moment=row[1] or since, cutoff=since) for row in rows]


def stock(session: Session, newsletter: Newsletter, *, until: datetime) -> list[Choice]:
    """List the newest of what feeds had when they were added, and their baseline did not let in."""
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    chosen = (Article.feed_id.in_(feeds), baselines.counted_from(newsletter.id).is_(None))
    statement = select(Article).where(*chosen, Article.first_seen_at < until)
    newest = statement.order_by(*_newest_first()).limit(LATE_SHOWN)
    return [_out(one, Why.STOCK) for one in session.execute(newest).scalars()]


def layouts(articles: Sequence[Article], *, is_first_pinned: bool = False) -> list[Layout]:
    """Give each article its layout: the first with a picture among the newest three leads, seven cards, the rest brief.

    A pinned first one leads with or without a picture.
    """
    if not articles:
        return []
    first = articles[:1] if is_first_pinned else articles[:3]
    lead = next((index for index, article in enumerate(first) if pictures.may_lead(article)), 0)
    places = [Layout.CARD if index <= CARDS else Layout.BRIEF for index in range(len(articles))]
    places[lead] = Layout.LEAD
    return places


def _dated() -> ColumnElement[datetime]:
    """Return what an article is ordered by: its date, or for one without a date when it was first seen."""
    return func.coalesce(Article.published_at, Article.first_seen_at)


def _newest_first() -> tuple[ColumnElement[datetime], ColumnElement[datetime], ColumnElement[int]]:
    return _dated().desc(), Article.first_seen_at.desc(), Article.id.asc()


def _rank(one: Candidate, pins: Mapping[int, Pin]) -> tuple[bool, int, float, float, int]:
    """Return the key of the total order: pinned, newest as by _newest_first, as the feed had them."""
    article = one.article
    pin = pins.get(article.id)
    dated = (article.published_at or article.first_seen_at).timestamp()
    return pin is None, -pin.priority if pin else 0, -dated, -article.first_seen_at.timestamp(), article.id


def _about(known: Sequence[Topic], articles: Iterable[Article]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for article in articles:
        found.setdefault(article.canonical_url, set()).update(topics.matching(known, article))
    return {url: tuple(one.slug for one in known if one.slug in slugs) for url, slugs in found.items()}


def _reason_of_age(one: Candidate, pool: Pool, view: View) -> Choice | None:
    if view.start is None or one.pinned_until is not None:
        return None
    longest = timedelta(days=pool.newsletter.max_age_days)
    published_at = one.article.published_at
    if published_at is not None and one.new_at - published_at > longest:
        return _out(one.article, Why.TOO_OLD, days=str(longest.days))
    most = max(longest, LONGEST_WAIT)
    return _out(one.article, Why.STALE, days=str(most.days)) if pool.until - one.counts_from > most else None


def _reason_for(one: Candidate, view: View) -> Choice:
    if one.pinned_until is not None:
        return _out(one.article, Why.PINNED, moment=one.pinned_until)
    if view.start is None:
        return _out(one.article, Why.FIRST)
    if one.counts_from < view.start:
        return _out(one.article, Why.CARRIED_OVER)
    if one.counts_from > one.new_at and one.new_at < view.start:
        return _out(one.article, Why.EMBARGO_OVER, moment=one.counts_from)
    return _out(one.article, Why.DUE if view.is_reader else Why.NEW, moment=one.new_at)


def _out(article: Article, why: Why, **values: str | datetime) -> Choice:
    return Choice(article=article, layout=None, why=why, values=values)
