"""Pictures in the database: which are wanted, which are due to be fetched, and the files that were made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer.articles import shrinking
from mailer.models.content import Article, IssueArticle, Layout, NewsletterFeed
from mailer.models.pictures import Picture, PictureKind, PictureState, PictureUse, Rendition

# How long after each failure that may pass by itself; then the picture is given up.
RETRIES: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
# Articles first seen this lately have their pictures fetched at once; for the others, the issue that shows them does it.
RECENT: Final = timedelta(days=2)
# What a feed tells of long ago, when it is read for the first time, is hardly going to be mailed.
NEWS: Final = timedelta(days=30)
MOST_A_TICK: Final = 200
# A picture that is being fetched is left to whoever took it for so long.
TAKEN: Final = timedelta(minutes=2)
# Pictures that no mail ever showed are kept for so long.
UNUSED: Final = timedelta(days=90)
# CSS pixels, as templates/email shows them; decoding.py makes files of twice that width.
SHOWN_WIDTHS: Final = {Layout.LEAD: 552, Layout.CARD: 120}
# Of the newest articles; an issue shows far fewer.
MOST_FOR_AN_ISSUE: Final = 60
_REASON_LENGTH: Final = 500


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture in its place in a mail: our path, and width and height in CSS pixels (half of the file's, or less)."""

    path: str
    width: int
    height: int


def shown(picture: Picture, layout: Layout) -> Shown | None:
    """Return how an article's picture is shown in a layout; None when there is no file for it."""
    width = SHOWN_WIDTHS.get(layout)
    use = PictureUse.LEAD if layout == Layout.LEAD else PictureUse.CARD
    file = next((one for one in picture.renditions if one.use == use), None)
    if picture.state != PictureState.READY or width is None or file is None:
        return None
    height = max(1, round(width * file.height / file.width))
    return Shown(path=_path(picture.digest, file.width, file.kind), width=width, height=height)


def may_lead(article: Article) -> bool:
    """Tell whether an article has a picture for the top of a mail, or will have one as far as is known."""
    picture = article.picture
    if picture is None or picture.state == PictureState.WAITING:
        return article.image_url is not None
    return any(file.use == PictureUse.LEAD for file in picture.renditions)


def want_recent(session: Session, *, now: datetime) -> None:
    """Have the pictures of articles that came in lately fetched soon, whoever stored the articles."""
    published = func.coalesce(Article.published_at, Article.first_seen_at)
    recent = (
        select(Article.image_url)
        .where(Article.image_url.is_not(None), Article.first_seen_at > now - RECENT, published > now - NEWS)
        .where(~exists().where(Picture.url == Article.image_url))
    )
    want(session, session.execute(recent.order_by(published.desc()).limit(MOST_A_TICK)).scalars(), now=now)


def is_any_due(session: Session, *, now: datetime) -> bool:
    """Tell whether a picture waits to be fetched."""
    return bool(session.execute(select(exists().where(*_due(now)))).scalar_one())


def take_due(session: Session, *, now: datetime, limit: int) -> dict[int, str]:
    """Take pictures to fetch, so that nobody else does meanwhile. Returns addresses by id."""
    chosen = select(Picture.id).where(*_due(now)).order_by(Picture.due_at, Picture.id).limit(limit)
    return _take(session, chosen.with_for_update(skip_locked=True), now=now)


def take_for_newsletter(session: Session, newsletter_id: int, *, since: datetime, now: datetime) -> dict[int, str]:
    """Take what is missing of the pictures that a newsletter's next issue may show, whoever else is at it.

    `since`: articles first seen before that are too old for the issue. Returns addresses by id.
    """
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter_id)
    newest = func.coalesce(Article.published_at, Article.first_seen_at).desc()
    recent = select(Article.image_url).where(Article.feed_id.in_(drawn), Article.first_seen_at >= since)
    return _take_missing(session, recent.order_by(newest, Article.id).limit(MOST_FOR_AN_ISSUE), now=now)


def take_for_issue(session: Session, issue_id: int, *, also: Sequence[str] = (), now: datetime) -> dict[int, str]:
    """Take what is missing of an issue's pictures, whoever else is at it. Returns addresses by id.

    `also` are those that its text shows.
    """
    placed = select(Article.image_url).join(IssueArticle, IssueArticle.article_id == Article.id)
    shown = placed.where(IssueArticle.issue_id == issue_id).order_by(IssueArticle.position)
    return _take_missing(session, shown, also=also, now=now)


def keep(session: Session, picture_id: int, made: shrinking.Shrunk, *, now: datetime) -> None:
    """Store what was made of a picture. Doing it twice changes nothing."""
    rows = [
        {
            "picture_id": picture_id,
            "use": PictureUse(file.use),
            "width": file.width,
            "height": file.height,
            "kind": PictureKind(file.kind),
            "size_bytes": len(file.content),
            "content": file.content,
        }
        for file in made.files
    ]
    ready = {"state": PictureState.READY, "digest": made.digest, "reason": None, "updated_at": now}
    moved = session.execute(
        update(Picture).where(Picture.id == picture_id, Picture.state == PictureState.WAITING).values(**ready)
    )
    if moved.rowcount:  # type: ignore[attr-defined]
        session.execute(insert(Rendition).values(rows))


def fail(session: Session, picture_id: int, reason: str, *, temporary: bool, now: datetime) -> None:
    """Record why a picture could not be had. It is tried again later if that is `temporary`, a few times."""
    picture = session.get(Picture, picture_id, with_for_update=True)
    if picture is None or picture.state != PictureState.WAITING:
        return
    picture.reason, picture.updated_at = reason[:_REASON_LENGTH], now
    if temporary and picture.tries < len(RETRIES):
        picture.due_at = now + RETRIES[picture.tries]
    else:
        picture.state = PictureState.REFUSED
    picture.tries += 1
    session.flush()


def try_again(session: Session, newsletter_id: int, *, now: datetime) -> int:
    """Have a newsletter's refused pictures fetched once more. Returns how many."""
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter_id)
    shown = select(Article.image_url).where(Article.feed_id.in_(drawn), Article.image_url.is_not(None))
    refused = (Picture.state == PictureState.REFUSED, Picture.url.in_(shown))
    values = {"state": PictureState.WAITING, "tries": 0, "due_at": now, "updated_at": now}
    return int(session.execute(update(Picture).where(*refused).values(**values)).rowcount)  # type: ignore[attr-defined]


def rendition(session: Session, digest: str, width: int, kind: PictureKind) -> bytes | None:
    """Return the file at an address of ours; None if there is none."""
    chosen = (Picture.digest == digest, Rendition.width == width, Rendition.kind == kind)
    found = select(Rendition.content).join(Picture, Picture.id == Rendition.picture_id).where(*chosen).limit(1)
    return session.execute(found).scalar_one_or_none()


def weights(session: Session, issue_id: int) -> dict[str, int]:
    """Return the bytes of the files that the mails of an issue may show, by our paths."""
    rows = session.execute(
        select(Picture.digest, Rendition.width, Rendition.kind, Rendition.size_bytes)
        .join(Rendition, Rendition.picture_id == Picture.id)
        .join(Article, Article.image_url == Picture.url)
        .join(IssueArticle, IssueArticle.article_id == Article.id)
        .where(IssueArticle.issue_id == issue_id)
    )
    return {_path(str(row.digest), row.width, row.kind): row.size_bytes for row in rows}


def keep_for_good(session: Session, urls: Iterable[str | None], *, now: datetime) -> None:
    """Note that mails show these pictures, so that they are never forgotten."""
    used = select(Picture.id).where(Picture.url.in_(set(filter(None, urls))), Picture.used_at.is_(None))
    session.execute(
        update(Picture)
        .where(Picture.id.in_(used.order_by(Picture.id).with_for_update()))
        .values(used_at=now)
        .execution_options(synchronize_session=False)
    )


def forget_unused(session: Session, *, now: datetime) -> int:
    """Erase pictures that no mail showed and that no new issue is likely to. Returns how many."""
    unused = (Picture.used_at.is_(None), Picture.created_at < now - UNUSED)
    return int(session.execute(delete(Picture).where(*unused)).rowcount)  # type: ignore[attr-defined]


def _path(digest: str | None, width: int, kind: PictureKind) -> str:
    return f"/img/{digest}/{width}.{kind}"


def want(session: Session, urls: Iterable[str | None], *, now: datetime) -> None:
    """Enter addresses to fetch from. Those that are known stay as they are."""
    # In one order for everybody, here and where rows are locked, so that no two wait for each other.
    rows = [
        {"url": url, "due_at": now, "created_at": now, "updated_at": now} for url in sorted(set(filter(None, urls)))
    ]
    if rows:
        session.execute(insert(Picture).values(rows).on_conflict_do_nothing())


def _take_missing(
    session: Session, wanted: Select[str | None], *, also: Sequence[str] = (), now: datetime
) -> dict[int, str]:
    urls = [*session.execute(wanted.where(Article.image_url.is_not(None))).scalars(), *also]
    want(session, urls, now=now)
    # Not what just failed and waits for its next try: that would cost every issue all the time there is.
    is_worth_it = or_(Picture.reason.is_(None), Picture.due_at <= now)
    missing = select(Picture.id).where(Picture.url.in_(urls), is_worth_it).order_by(Picture.id).with_for_update()
    taken = _take(session, missing, now=now)
    return dict(sorted(taken.items(), key=lambda one: urls.index(one[1])))


def _take(session: Session, ids: Select[int], *, now: datetime) -> dict[int, str]:
    taken = session.execute(
        update(Picture)
        .where(Picture.id.in_(ids), Picture.state == PictureState.WAITING)
        .values(due_at=now + TAKEN)
        .returning(Picture.id, Picture.url)
        .execution_options(synchronize_session=False)
    )
    return {row.id: row.url for row in taken}


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return Picture.state == PictureState.WAITING, Picture.due_at <= now
