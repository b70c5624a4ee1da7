"""What a feed tells becomes rows: which article it is, what it said before, what is held back. No network.

An article is the same if its guid is, or its address where only the guid changed; what once was seen stays.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import structlog
from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.orm import Session

from mailer.articles import baselines
from mailer.feeds import sanitise, urls
from mailer.feeds.parsed import ParsedArticle
from mailer.models.content import Article, Feed
from mailer.models.intake import ArticleRevision, ArticleStatus, ImageSource, StatusCode

REVISIONS_KEPT: Final = 20
_IMAGE: Final = ("image_url", "image_alt", "image_credit", "image_source")
# Fewer new articles than this are never suspicious, however short the feed.
_FEW: Final = 3
_TITLES_COMPARED: Final = 2000
# Titles less alike than this are of two articles; a correction changes less.
_ALIKE: Final = 0.6

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What came of one reading or push: how many articles were new, said something else, are held back, were withdrawn."""

    new: int
    changed: int
    held: int
    withdrawn: int


@dataclass(frozen=True, kw_only=True)
class _Matched:
    known: list[tuple[Article, ParsedArticle]]
    new: list[ParsedArticle]
    # Whose guid now stands for another article.
    outlived: list[Article]


def store(
    session: Session,
    feed_id: int,
    articles: Sequence[ParsedArticle],
    *,
    is_whole: bool,
    withdrawn: Sequence[str] = (),
    now: datetime,
) -> Stored:
    """Store what a feed tells: new articles with `now` as first-seen time, known ones with their latest words.

    `is_whole`: these are all that the feed lists, so changed guids and floods of old articles can be told; False for a
    push, where the guid alone decides. `withdrawn` are guids that the site takes back. An article that only left the
    feed stays.
    """
    # One reading of a feed at a time: the tick and an editor may both have asked.
    session.get_one(Feed, feed_id, with_for_update=True)
    told = list({article.guid: article for article in reversed(articles)}.values())[::-1]
    matched = _match(told, _known(session, feed_id, told), is_whole=is_whole)
    for row in matched.outlived:
        row.guid = f"{row.guid}#{row.id}"
    if matched.outlived:
        log.info("guids used again for other articles", feed=feed_id, articles=len(matched.outlived))
    session.flush()
    changed = [row for row, article in matched.known if _update(session, row, article, now=now)]
    held = _held(session, feed_id, matched.new, told) if is_whole else set()
    if matched.new:
        session.execute(insert(Article), [_row(feed_id, one, is_held=one.guid in held, now=now) for one in matched.new])
    taken_back = take_back(session, feed_id, withdrawn)
    baselines.settle(session, feed_id, now=now)
    if held:
        log.warning("articles held: their titles are known", feed=feed_id, held=len(held))
    return Stored(new=len(matched.new), changed=len(changed), held=len(held), withdrawn=len(taken_back))


def take_back(session: Session, feed_id: int, guids: Sequence[str]) -> list[int]:
    """Withdraw articles that the site itself takes back; told again, they return. Returns their ids."""
    if not guids:
        return []
    chosen = (Article.feed_id == feed_id, Article.guid.in_(guids), Article.status != ArticleStatus.WITHDRAWN)
    return _set_status(session, chosen, ArticleStatus.WITHDRAWN, StatusCode.WITHDRAWN_BY_SITE)


def withdraw(session: Session, article_ids: Iterable[int], code: StatusCode) -> list[int]:
    """Withdraw ready or held articles, so that no issue takes them. Returns the ids of those it changed."""
    chosen = (Article.id.in_(article_ids), Article.status != ArticleStatus.WITHDRAWN)
    return _set_status(session, chosen, ArticleStatus.WITHDRAWN, code)


def hold(session: Session, article_ids: Iterable[int]) -> list[int]:
    """Hold ready articles back until they are released. Returns the ids of those it changed."""
    chosen = (Article.id.in_(article_ids), Article.status == ArticleStatus.READY)
    return _set_status(session, chosen, ArticleStatus.HELD, StatusCode.HELD_BY_HAND)


def release(session: Session, article_ids: Iterable[int], *, now: datetime) -> list[int]:
    """Make held or withdrawn articles ready. They count as first seen now: the next issue may take them.

    Returns the ids of those it changed.
    """
    chosen = (Article.id.in_(article_ids), Article.status != ArticleStatus.READY)
    return _set_status(session, chosen, ArticleStatus.READY, None, first_seen_at=now)


def _set_status(
    session: Session, chosen: tuple[object, ...], status: ArticleStatus, code: StatusCode | None, **values: object
) -> list[int]:
    statement = update(Article).where(*chosen).values(status=status, status_code=code, **values)  # type: ignore[arg-type]
    return list(session.execute(statement.returning(Article.id)).scalars())


def _known(session: Session, feed_id: int, told: Sequence[ParsedArticle]) -> list[Article]:
    if not told:
        return []
    guids, addresses = [one.guid for one in told], [one.url for one in told]
    same = or_(
        Article.guid.in_(guids),
        Article.canonical_url.in_([urls.canonical_url(address) for address in addresses]),
        Article.url.in_(addresses),
    )
    return list(session.execute(select(Article).where(Article.feed_id == feed_id, same).order_by(Article.id)).scalars())


def _match(told: Sequence[ParsedArticle], known: Sequence[Article], *, is_whole: bool) -> _Matched:
    by_guid = {row.guid: row for row in known}
    matched = _Matched(known=[], new=[], outlived=[])
    left: list[ParsedArticle] = []
    for article in told:
        row = by_guid.get(article.guid)
        if row is None:
            left.append(article)
        elif is_whole and _is_another(row, article) and not _same_address(row, article):
            matched.outlived.append(row)
            matched.new.append(article)
        else:
            matched.known.append((row, article))
    by_address = _movable(told, known) if is_whole else {}
    for article in left:
        row = by_address.get(urls.canonical_url(article.url))
        if row is None or _is_another(row, article):
            matched.new.append(article)
        else:
            matched.known.append((row, article))
    # Articles of one reading stay in the feed's order.
    places = {article.guid: place for place, article in enumerate(told)}
    matched.new.sort(key=lambda article: places[article.guid])
    return matched


def _movable(told: Sequence[ParsedArticle], known: Sequence[Article]) -> dict[str, Article]:
    """Return the known articles that the feed no longer lists by their guid, by addresses that are theirs alone."""
    guids = {article.guid for article in told}
    told_addresses = Counter(urls.canonical_url(article.url) for article in told)
    gone = [row for row in known if row.guid not in guids]
    counts = Counter(urls.canonical_url(row.url) for row in gone)
    return {
        address: row
        for row in gone
        # A front page is where articles without an address of their own lead.
        if counts[address := urls.canonical_url(row.url)] == told_addresses[address] == 1 and urlsplit(address).path
    }


def _is_another(row: Article, article: ParsedArticle) -> bool:
    """Tell whether a guid or an address was used again for a later article, and not for a correction of the same."""
    if article.published_at is None or row.published_at is None or article.published_at <= row.published_at:
        return False
    return difflib.SequenceMatcher(None, row.title.casefold(), article.title.casefold()).ratio() < _ALIKE


def _same_address(row: Article, article: ParsedArticle) -> bool:
    return urls.canonical_url(row.url) == urls.canonical_url(article.url)


def _held(session: Session, feed_id: int, new: Sequence[ParsedArticle], told: Sequence[ParsedArticle]) -> set[str]:
    """Return the guids of new articles that are old ones under new addresses, when they are most of the feed."""
    if len(new) < _FEW:
        return set()
    latest = (
        select(Article.title).where(Article.feed_id == feed_id).where(Article.guid.not_in([one.guid for one in told]))
    )
    titles = session.execute(latest.order_by(Article.first_seen_at.desc()).limit(_TITLES_COMPARED)).scalars()
    known = {_letters(title) for title in titles}
    again = {article.guid for article in new if _letters(article.title) in known}
    return again if len(again) >= _FEW and 2 * len(again) > len(told) else set()


def _letters(title: str) -> str:
    return "".join(filter(str.isalnum, title.casefold()))


def _update(session: Session, row: Article, article: ParsedArticle, *, now: datetime) -> bool:
    """Give a known article its latest words, keeping the ones before. Tells whether anything is different."""
    values = _columns(article)
    # What the article's page said stays true until the feed names something, or the page is another one.
    if article.url == row.url:
        del values["canonical_url"]
        if row.page_read_at is not None and row.is_locked:
            values |= {"is_locked": True, "html": "", "minutes": 0}
    else:
        values["page_read_at"] = None
    if row.image_source == ImageSource.PAGE and values["image_source"] != ImageSource.FEED:
        for name in _IMAGE:
            del values[name]
    if row.status_code == StatusCode.WITHDRAWN_BY_SITE:
        values |= {"status": ArticleStatus.READY, "status_code": None, "first_seen_at": now}
    different = {name for name, value in values.items() if getattr(row, name) != value}
    if not different:
        return False
    if different & {"title", "excerpt", "url"} or ("html" in different and _says_else(row.html, values["html"])):
        _keep_revision(session, row, now=now)
    for name in different:
        setattr(row, name, values[name])
    row.updated_at = now
    session.flush()
    return True


def _says_else(before: str, after: object) -> bool:
    # Some systems put a number into the markup that is another one at each reading.
    return sanitise.plain(before) != sanitise.plain(str(after))


def _keep_revision(session: Session, row: Article, *, now: datetime) -> None:
    revision = ArticleRevision(
        article_id=row.id,
        number=row.revision,
        url=row.url,
        title=row.title,
        excerpt=row.excerpt,
        html=row.html,
        replaced_at=now,
    )
    session.add(revision)
    row.revision += 1
    session.flush()
    # The first words stay, whatever comes: they may be the ones that were mailed.
    too_many = (ArticleRevision.number > 0, ArticleRevision.number < row.revision - REVISIONS_KEPT)
    session.execute(delete(ArticleRevision).where(ArticleRevision.article_id == row.id, *too_many))


def _row(feed_id: int, article: ParsedArticle, *, is_held: bool, now: datetime) -> dict[str, object]:
    return {
        "feed_id": feed_id,
        **_columns(article),
        "first_seen_at": now,
        "updated_at": now,
        "status": ArticleStatus.HELD if is_held else ArticleStatus.READY,
        "status_code": StatusCode.KNOWN_TITLE if is_held else None,
    }


def _columns(article: ParsedArticle) -> dict[str, object]:
    return {
        "guid": article.guid,
        "url": article.url,
        "canonical_url": urls.canonical_url(article.url),
        "title": article.title,
        "excerpt": article.excerpt,
        "html": article.html,
        "author": article.author,
        "topics": list(article.topics),
        "language": article.language,
        "image_url": article.image_url,
        "image_alt": article.image_alt,
        "image_credit": article.image_credit,
        "image_source": _image_source(article),
        "minutes": article.minutes,
        "published_at": article.published_at,
        "is_locked": article.is_locked,
    }


def _image_source(article: ParsedArticle) -> ImageSource | None:
    if article.image_url is None:
        return None
    return ImageSource.TEXT if article.is_image_in_text else ImageSource.FEED
