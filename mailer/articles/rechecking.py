"""Look at articles' pages: before an issue is made, so that nothing that was withdrawn is mailed; and once when they are new.

What a page cannot say, because the site is slow, broken or shut off, changes nothing.
"""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.articles import intake
from mailer.db import transaction
from mailer.feeds import articles, fetch, network, page, urls
from mailer.issues import selection
from mailer.models.content import Article, Feed, Newsletter, NewsletterFeed
from mailer.models.intake import ArticleStatus, ImageSource, StatusCode

SECONDS: Final = 20.0
NEW_SECONDS: Final = 10.0
SECOND_LOOK_SECONDS: Final = 1.0
# A new article's page is looked at within this time or not at all.
NEW: Final = timedelta(days=2)
MOST_NEW: Final = 20
# A page that was gone is looked at again, in case it comes back.
_HOPE: Final = timedelta(days=7)
_ROUNDS: Final = 3
_AT_ONCE: Final = 4
# When so many pages are gone, and most, it is the site that is ill.
_SUSPICIOUS: Final = 3
_BY_PAGE: Final = (StatusCode.PAGE_GONE, StatusCode.PAGE_SAYS_GONE)

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Rechecked:
    """The ids of articles that were withdrawn because their pages are gone, and of those whose pages came back."""

    withdrawn: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Asked:
    id: int
    feed_id: int
    url: str
    title: str


_Answer = page.Page | page.PageGone | None


def recheck_next(newsletter_id: int) -> Rechecked:
    """Recheck the articles of a newsletter's next issue, and those that take the place of what has gone.

    Talks to the network, a little more than 20 seconds at most. Does nothing if MAILER_CHECK_PAGES is off.
    """
    deadline = network.Deadline.after(SECONDS)
    withdrawn: list[int] = []
    returned: list[int] = []
    seen: set[int] = set()
    for _ in range(_ROUNDS):
        with transaction() as session:
            ids = [one for one in _next_ids(session, newsletter_id, now=clock.now()) if one not in seen]
        found = recheck(ids, seconds=max(0.0, deadline.ends_at - time.monotonic()))
        seen.update(ids)
        withdrawn += found.withdrawn
        returned += found.returned
        if not (found.withdrawn or found.returned):
            break
    return Rechecked(withdrawn=tuple(withdrawn), returned=tuple(returned))


def recheck(
    article_ids: Sequence[int], *, seconds: float = SECONDS, second_look_seconds: float = SECOND_LOOK_SECONDS
) -> Rechecked:
    """Withdraw those of the articles whose pages are gone, and let those back whose pages have returned.

    Gone is what the site itself says twice, `second_look_seconds` apart: 404, 410, or a page that says so. Not believed
    if it says so of most of them, three or more. Takes a little more than `seconds` at most. Does nothing if
    MAILER_CHECK_PAGES is off.
    """
    answers = _look(article_ids, seconds=seconds, second_look_seconds=second_look_seconds)
    gone = [asked for asked, answer in answers if isinstance(answer, page.PageGone)]
    known = [asked for asked, answer in answers if answer is not None]
    believed = len(gone) < _SUSPICIOUS or 2 * len(gone) <= len(known)
    if not believed:
        log.warning("pages not believed: most say that they are gone", articles=[asked.id for asked in gone])
    with transaction() as session:
        return _apply(session, answers, withdraws=believed, now=clock.now())


def look_at_new(feed_id: int, *, seconds: float = NEW_SECONDS) -> None:
    """Look at the pages of a feed's new articles for what the feed does not say: picture, proper address, who may read.

    Withdraws nothing: a page may come a little after its feed. Talks to the network, a little more than `seconds` at
    most; later calls take up what time did not suffice for. Does nothing if MAILER_CHECK_PAGES is off.
    """
    now = clock.now()
    with transaction() as session:
        new = (Article.page_read_at.is_(None), Article.first_seen_at > now - NEW, Article.status == ArticleStatus.READY)
        newest = (Article.published_at.desc().nulls_last(), Article.id)
        ids = select(Article.id).where(Article.feed_id == feed_id, *new).order_by(*newest).limit(MOST_NEW)
        article_ids = list(session.execute(ids).scalars())
    answers = _look(article_ids, seconds=seconds, second_look_seconds=None)
    with transaction() as session:
        _apply(session, answers, withdraws=False, now=now)


def _next_ids(session: Session, newsletter_id: int, *, now: datetime) -> list[int]:
    newsletter = session.get_one(Newsletter, newsletter_id)
    chosen = [choice.article.id for choice in selection.select_articles(session, newsletter, now=now).chosen]
    feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter_id)
    hoped = (Article.status_code.in_(_BY_PAGE), Article.page_read_at > now - _HOPE)
    gone = session.execute(select(Article.id).where(Article.feed_id.in_(feeds), *hoped).limit(MOST_NEW)).scalars()
    return [*chosen, *gone]


def _look(
    article_ids: Sequence[int], *, seconds: float, second_look_seconds: float | None
) -> list[tuple[_Asked, _Answer]]:
    """Look at the articles' pages side by side; those that time did not suffice for are left out."""
    if not article_ids or not settings.load().check_pages:
        return []
    with transaction() as session:
        rows = session.execute(
            select(Article.id, Article.feed_id, Article.url, Article.title).where(Article.id.in_(article_ids))
        ).all()
    asked = [_Asked(id=row.id, feed_id=row.feed_id, url=row.url, title=row.title) for row in rows]
    deadline = network.Deadline.after(seconds)

    def look(one: _Asked) -> tuple[_Asked, _Answer] | None:
        try:
            return one, _look_at(one, deadline, second_look_seconds)
        except network.OutOfTime:
            return None

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return [answer for answer in pool.map(look, asked) if answer is not None]


def _look_at(asked: _Asked, deadline: network.Deadline, second_look_seconds: float | None) -> _Answer:
    """Return what the page says, that it is gone (on a second look, unless that is None), or None if none could be had."""
    networks = settings.load().feed_private_networks
    limits = replace(page.LIMITS, total_seconds=deadline.left(page.LIMITS.total_seconds))
    try:
        return page.look(asked.url, title=asked.title, limits=limits, private_networks=networks)
    except page.PageGone as gone:
        if second_look_seconds is None:
            return gone
    except fetch.FeedUnreachable:
        return None
    # A deployment, or one server of several, may have lost it for a moment.
    time.sleep(deadline.left(second_look_seconds))
    return _look_at(asked, deadline, None)


def _apply(session: Session, answers: Sequence[tuple[_Asked, _Answer]], *, withdraws: bool, now: datetime) -> Rechecked:
    # As a reading does: the feeds' locks first, so that neither waits for the other's articles.
    feed_ids = {asked.feed_id for asked, _ in answers}
    session.execute(select(Feed.id).where(Feed.id.in_(feed_ids)).order_by(Feed.id).with_for_update())
    rows = {
        row.id: row
        for row in session.execute(
            select(Article).where(Article.id.in_([asked.id for asked, _ in answers])).with_for_update()
        ).scalars()
    }
    proper = _proper_addresses(session, answers)
    pictures = _own_pictures(session, answers)
    returned: list[int] = []
    gone: dict[StatusCode, list[int]] = {code: [] for code in _BY_PAGE}
    for asked, answer in answers:
        row = rows.get(asked.id)
        # What was said of an address that the article no longer has means nothing.
        if row is None or row.url != asked.url:
            continue
        row.page_read_at = now
        if isinstance(answer, page.PageGone):
            gone[StatusCode.PAGE_SAYS_GONE if answer.is_soft else StatusCode.PAGE_GONE].append(row.id)
        elif answer is not None:
            _take(row, answer, proper=proper.get(row.id), picture=pictures.get(row.id))
            if row.status_code in _BY_PAGE:
                returned.append(row.id)
    session.flush()
    intake.release(session, returned, now=now)
    withdrawn = [one for code, ids in gone.items() if withdraws for one in intake.withdraw(session, ids, code)]
    return Rechecked(withdrawn=tuple(withdrawn), returned=tuple(returned))


def _take(row: Article, found: page.Page, *, proper: str | None, picture: articles.Picture | None) -> None:
    if proper is not None:
        row.canonical_url = proper
    if found.is_locked:
        row.is_locked, row.html, row.minutes = True, "", 0
    if picture is not None and (row.image_url is None or row.image_source == ImageSource.TEXT):
        row.image_url, row.image_alt, row.image_credit = picture.url, picture.alt, ""
        row.image_source = ImageSource.PAGE


def _proper_addresses(session: Session, answers: Sequence[tuple[_Asked, _Answer]]) -> dict[int, str]:
    """Return the canonical addresses that pages give, by article; not those that a site gives to several of a feed."""
    given = [
        (asked, urls.canonical_url(answer.canonical_url))
        for asked, answer in answers
        if isinstance(answer, page.Page) and answer.canonical_url
    ]
    counts = Counter((asked.feed_id, address) for asked, address in given)
    taken = select(Article.id, Article.feed_id, Article.canonical_url).where(
        Article.canonical_url.in_([address for _, address in given]),
        Article.feed_id.in_([asked.feed_id for asked, _ in given]),
    )
    owners = {(row.feed_id, row.canonical_url): row.id for row in session.execute(taken)}
    return {
        asked.id: address
        for asked, address in given
        if counts[asked.feed_id, address] == 1 and owners.get((asked.feed_id, address), asked.id) == asked.id
    }


def _own_pictures(session: Session, answers: Sequence[tuple[_Asked, _Answer]]) -> dict[int, articles.Picture]:
    """Return the pictures that pages name, by article; not those that several of a feed share, which are the site's."""
    named = [
        (asked, answer.picture)
        for asked, answer in answers
        if isinstance(answer, page.Page) and answer.picture and _may_stand(answer.picture)
    ]
    counts = Counter((asked.feed_id, picture.url) for asked, picture in named)
    taken = select(Article.feed_id, Article.image_url).where(
        Article.image_url.in_([picture.url for _, picture in named]),
        Article.feed_id.in_([asked.feed_id for asked, _ in named]),
    )
    used = {(row.feed_id, row.image_url) for row in session.execute(taken)}
    return {
        asked.id: picture
        for asked, picture in named
        if counts[asked.feed_id, picture.url] == 1 and (asked.feed_id, picture.url) not in used
    }


def _may_stand(picture: articles.Picture) -> bool:
    return articles.may_show(picture.url) and (picture.width is None or picture.width > articles.NARROW)
