"""Whether feeds, sending and the workers are well: three lines, each with what to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer import i18n, settings, signs
from mailer.delivery import servers
from mailer.models.content import Article, Feed, Issue, IssueState, Newsletter, NewsletterFeed
from mailer.newsroom import backlog, newsletters
from mailer.web.admin import words

GOOD: Final = "good"
LOOK: Final = "look"
PROBLEM: Final = "problem"
_BEHIND: Final = ("signups", "feeds", "pictures", "desk_mails")


@dataclass(frozen=True, kw_only=True)
class Line:
    """How something is, in words, and where to look; "" for nowhere."""

    state: str
    words: str
    path: str
    link: str = "Look at it"


def lines(session: Session, newsletter: Newsletter, language: str, *, now: datetime) -> list[Line]:
    """Say how a newsletter's feeds are, whether its mails leave, and whether the work gets done."""
    waiting = backlog.listed(session, now=now)
    return [
        _feeds(session, newsletter, language, now=now),
        _sending(session, newsletter, waiting, language, now=now),
        _work(waiting, language, now=now),
    ]


def _feeds(session: Session, newsletter: Newsletter, language: str, *, now: datetime) -> Line:
    path = f"/admin/newsletters/{newsletter.slug}/feeds"
    feeds = newsletters.feeds(session, newsletter)
    broken = [one for one in feeds if one.error]
    if not feeds:
        words_ = i18n.gettext(language, "This newsletter draws from no feed yet, so its issues would be empty.")
        return Line(state=LOOK, words=words_, path=path, link="Add a feed")
    if broken:
        first = broken[0]
        said = words.reason(language, first.error or "")
        words_ = i18n.gettext(language, "“{feed}” can’t be read: {why}", feed=first.title or first.url, why=said)
        return Line(state=PROBLEM, words=words_, path=path)
    silent = [one for one in feeds if one.silent_since]
    if silent:
        words_ = i18n.gettext(
            language, "“{feed}” is silent for longer than usual.", feed=silent[0].title or silent[0].url
        )
        return Line(state=LOOK, words=words_, path=path)
    return Line(state=GOOD, words=_read(session, newsletter, feeds, language, now=now), path="")


def _read(session: Session, newsletter: Newsletter, feeds: Sequence[Feed], language: str, *, now: datetime) -> str:
    drawn = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter.id)
    lately = (Article.feed_id.in_(drawn), Article.first_seen_at > now - timedelta(days=1))
    count = session.execute(select(func.count()).select_from(Article).where(*lately)).scalar_one()
    came = i18n.ngettext(language, "{n} new article in the last day.", "{n} new articles in the last day.", count)
    read = max((one.last_read_at for one in feeds if one.last_read_at), default=None)
    if read is None:
        return i18n.gettext(language, "The feed is not read yet.")
    ago = words.distance(language, read, now)
    return i18n.ngettext(language, "Feed read {ago}.", "Feeds read {ago}.", len(feeds), ago=ago) + " " + came


def _sending(
    session: Session, newsletter: Newsletter, waiting: Sequence[backlog.Waiting], language: str, *, now: datetime
) -> Line:
    stopped = session.execute(
        select(Issue.id)
        .where(Issue.newsletter_id == newsletter.id, Issue.state == IssueState.PAUSED)
        .order_by(Issue.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    if not servers.routes(session):
        words_ = i18n.gettext(language, "There is no mail server yet, so no mail leaves.")
        return Line(state=PROBLEM, words=words_, path="/admin/settings/sending", link="Add one")
    if stopped is not None:
        words_ = i18n.gettext(language, "An issue is paused on its way; the rest of its readers wait.")
        return Line(state=LOOK, words=words_, path=f"/admin/issues/{stopped}")
    late = next((one for one in waiting if one.kind == "mails" and one.is_late and one.since), None)
    if late is not None and late.since is not None:
        ago = words.distance(language, late.since, now)
        words_ = i18n.ngettext(
            language,
            "{n} mail waits, the oldest since {ago}.",
            "{n} mails wait, the oldest since {ago}.",
            late.count,
            ago=ago,
        )
        return Line(state=LOOK, words=words_, path="/admin/settings/system")
    return Line(state=GOOD, words=i18n.gettext(language, "Mails leave as they should."), path="")


def _work(waiting: Sequence[backlog.Waiting], language: str, *, now: datetime) -> Line:
    behind = [one.since for one in waiting if one.kind in _BEHIND and one.is_late and one.since]
    if behind:
        ago = words.distance(language, min(behind), now)
        words_ = i18n.gettext(
            language, "Work is due since {ago} and not done: the workers or the schedule stand still.", ago=ago
        )
        return Line(state=PROBLEM, words=words_, path="/admin/settings/system")
    age = signs.seconds_since("tick")
    if age is not None and age > max(30.0, 6 * settings.load().tick_seconds):
        ago = words.distance(language, now - timedelta(seconds=age), now)
        words_ = i18n.gettext(
            language, "The schedule ran last {ago}; nothing is made or sent by itself until it runs.", ago=ago
        )
        return Line(state=PROBLEM, words=words_, path="/admin/settings/system")
    return Line(state=GOOD, words=i18n.gettext(language, "Workers and schedule keep up; nothing is overdue."), path="")
