"""Issues as everybody may read them: in order, by number, with their neighbours and their picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Select, select, true
from sqlalchemy.orm import Session

from mailer import links
from mailer.articles import pictures
from mailer.mail import merge
from mailer.models.content import Article, Issue, IssueArticle, IssueState, Layout, Newsletter

# What was called back is not listed; who has its address in a mail can still read it.
LISTED: Final = (IssueState.SENDING, IssueState.SENT)


@dataclass(frozen=True, kw_only=True)
class Published:
    """An issue in a list. Its words are said without any reader's values."""

    id: int
    slug: str
    number: int
    title: str
    preview_text: str
    at: datetime

    @property
    def path(self) -> str:
        """Where it is read."""
        return f"/{self.slug}/{self.number}"


def listed(session: Session, newsletter: Newsletter, *, limit: int, before: int | None = None) -> list[Published]:
    """List a newsletter's issues, newest first; with `before`, those with smaller numbers."""
    statement = _published().where(Issue.newsletter_id == newsletter.id).order_by(Issue.number.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Issue.number < before)
    return [_row(row) for row in session.execute(statement).all()]


def neighbours(session: Session, issue: Issue) -> tuple[Published | None, Published | None]:
    """Return the issue before this one and the one after it, where there are such."""
    others = _published().where(Issue.newsletter_id == issue.newsletter_id).limit(1)
    before = session.execute(others.where(Issue.number < issue.number).order_by(Issue.number.desc())).one_or_none()
    after = session.execute(others.where(Issue.number > issue.number).order_by(Issue.number)).one_or_none()
    return _row(before) if before else None, _row(after) if after else None


def find(session: Session, newsletter: Newsletter, number: int) -> int | None:
    """Return the id of the issue with this number; None if there is none."""
    chosen = (Issue.newsletter_id == newsletter.id, Issue.number == number)
    return session.execute(select(Issue.id).where(*chosen)).scalar_one_or_none()


def indexable(session: Session, *, limit: int) -> list[Published]:
    """List the issues of all newsletters that search engines may list, newest first."""
    statement = _published().where(Newsletter.is_indexable == true()).order_by(Issue.started_at.desc()).limit(limit)
    return [_row(row) for row in session.execute(statement).all()]


def picture_url(session: Session, issue_id: int) -> str | None:
    """Return the address of the picture that stands for an issue: its lead's, else the first that there is."""
    rows = session.execute(
        select(Article)
        .join(IssueArticle, IssueArticle.article_id == Article.id)
        .where(IssueArticle.issue_id == issue_id, Article.image_url.is_not(None))
        .order_by((IssueArticle.layout == Layout.LEAD).desc(), IssueArticle.position)
    )
    for article in rows.scalars():
        shown = pictures.shown(article.picture, Layout.LEAD) if article.picture else None
        if shown is not None:
            return links.url(shown.path)
    return None


def title(issue: Issue) -> str:
    """Say an issue's subject to everybody."""
    return merge.say(issue.subject, None)


def preview_text(issue: Issue) -> str:
    """Say an issue's preview text to everybody."""
    return merge.say(issue.preview_text, None)


def _published() -> Select[*tuple[Any, ...]]:
    return (
        select(Issue.id, Newsletter.slug, Issue.number, Issue.subject, Issue.preview_text, Issue.started_at)
        .join(Newsletter, Newsletter.id == Issue.newsletter_id)
        .where(Issue.state.in_(LISTED), Issue.web_html.is_not(None), Issue.number.is_not(None))
    )


def _row(row: Sequence[Any]) -> Published:
    issue_id, slug, number, subject, preview, at = row
    return Published(
        id=issue_id,
        slug=slug,
        number=number,
        title=merge.say(subject, None),
        preview_text=merge.say(preview, None),
        at=at,
    )
