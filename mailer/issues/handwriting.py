"""Writing an issue by hand: its text is read, the articles that it names are found, or read from their pages."""

import html
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from mailer import clock, settings
from mailer.articles import intake, pictures
from mailer.db import transaction
from mailer.feeds import articles, fetch, page, sanitise, text
from mailer.issues import bodies, issues, markdown
from mailer.issues.markdown import ArticleBlock, BodyInvalid, Passage, Problem
from mailer.models.content import Feed, Issue, IssueState, Newsletter

# Articles read from their pages are of no newsletter's feed, so that no other issue takes them.
FEED_URL: Final = "by-hand:"
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 8
_PREVIEW_LENGTH: Final = 150


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What is written for an issue; without a preview text the text's first words are one."""

    subject: str
    body: str
    preview_text: str = ""
    respects_rhythm: bool = False


def look_up(newsletter_id: int, body: str) -> None:
    """Read the pages of those articles in a text that are not known yet, and store them. Raises BodyInvalid.

    Talks to the network, for seconds, and to the database before and after.
    """
    parts = markdown.parse(body)
    with transaction() as session:
        unknown = bodies.unknown(session, session.get_one(Newsletter, newsletter_id), parts)
    if not unknown:
        return
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="pages") as pool:
        found = list(pool.map(_look, unknown))
    with transaction() as session:
        _store(session, dict(zip(unknown, found, strict=True)), now=clock.now())


def draft(session: Session, newsletter: Newsletter, wanted: Draft, *, now: datetime) -> Issue:
    """Make a draft of what is written. Raises BodyInvalid, and IssueTextTooLong."""
    parts = markdown.parse(wanted.body)
    if not wanted.subject.strip():
        raise BodyInvalid(Problem.NO_SUBJECT)
    # Before the issue takes a number.
    bodies.articles(session, newsletter, parts)
    issue = Issue(
        newsletter_id=newsletter.id,
        newsletter=newsletter,
        state=IssueState.DRAFT,
        subject="",
        preview_text="",
        introduction="",
        body="",
        respects_rhythm=wanted.respects_rhythm,
        created_at=now,
        updated_at=now,
    )
    session.add(issue)
    session.flush()
    preview_text = wanted.preview_text.strip() or _first_words(newsletter, parts)
    issues.edit(session, issue, subject=wanted.subject, preview_text=preview_text, introduction="", now=now)
    rewrite(session, issue, wanted.body, now=now)
    return issue


def rewrite(session: Session, issue: Issue, body: str, *, now: datetime) -> None:
    """Change the text of an issue before it is sent. Raises BodyInvalid and IssueStateForbids, having changed nothing."""
    issues.require_written(issue)
    parts = markdown.parse(body)
    held = bodies.articles(session, issue.newsletter, parts)
    pictures.want(session, markdown.images(parts, issue.newsletter.site_url), now=now)
    issue.body = body.replace("\r\n", "\n").strip("\n")
    issue.updated_at = now
    issues.place(session, issue.id, held)
    session.flush()


def _look(block: ArticleBlock) -> page.Page | BodyInvalid:
    limits = page.LIMITS
    networks = settings.load().feed_private_networks
    try:
        return page.look(str(block.url), title="", limits=limits, private_networks=networks)
    except page.PageGone as error:
        reason = str(error)
    except fetch.FeedUnreachable as error:
        reason = error.message
    return BodyInvalid(Problem.UNREACHABLE, line=block.line, article=block.name, reason=reason)


def _store(session: Session, found: Mapping[ArticleBlock, page.Page | BodyInvalid], *, now: datetime) -> None:
    raw = []
    for block, told in found.items():
        if isinstance(told, BodyInvalid):
            raise told
        title = told.told_title or told.headline or told.title
        if not title:
            raise BodyInvalid(Problem.NO_TITLE, line=block.line, article=block.name)
        raw.append(
            articles.RawArticle(
                guid=str(block.url),
                link=str(block.url),
                title=html.escape(title),
                summary=html.escape(told.summary),
                pictures=[told.picture] if told.picture else [],
                is_locked=bool(told.is_locked),
            )
        )
    feed = _feed(session, now=now)
    told_feed = articles.RawFeed(url=feed.url, title="", home="", language="", articles=raw)
    intake.store(session, feed.id, articles.finish(told_feed).articles, is_whole=False, now=now)


def _feed(session: Session, *, now: datetime) -> Feed:
    values = {"url": FEED_URL, "is_pushed": True, "next_read_at": _NEVER, "created_at": now}
    session.execute(insert(Feed).values(**values).on_conflict_do_nothing())
    return session.execute(select(Feed).where(Feed.url == FEED_URL)).scalar_one()


def _first_words(newsletter: Newsletter, parts: bodies.Parts) -> str:
    """Return the first words of a text, without its headings; "" if it has only articles."""
    setting = markdown.Setting(reader=None, language=newsletter.language, base=newsletter.site_url, images={})
    for part in parts:
        if isinstance(part, Passage):
            words = sanitise.plain(markdown.html(markdown.without_headings(part), setting))
            if words:
                return text.cut(words, _PREVIEW_LENGTH)
    return ""
