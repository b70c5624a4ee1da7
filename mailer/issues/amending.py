"""Issues that have left: corrections of what they held, their web copies made anew, and the history of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, joinedload

from mailer.delivery import ledger
from mailer.issues import contents, corrections, issues
from mailer.issues.contents import Content, Remark
from mailer.mail import mails
from mailer.models.choices import Place, VariantArticle
from mailer.models.content import Article, Issue, Variant
from mailer.models.corrections import ChangeKind, IssueChange
from mailer.models.intake import ArticleRevision

# Any number; the same for all issues.
_LOCK: Final = 7_031_905


class ArticleNotFound(LookupError):
    """No article has that number, or no reader of the issue is given it."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One act on an issue that had left. `had` counts the readers whose mail went, or may have gone, with the old words.

    None if they were not counted.
    """

    kind: ChangeKind
    article_id: int
    title: str
    note: str
    by: str
    at: datetime
    had: int | None


@dataclass(frozen=True, kw_only=True)
class Act:
    """Who changes an issue and what they say. `note`: a correction for the readers who had the article already.

    `subject`: a new one for all the rest, in place of one that tells of the article; None leaves it. `despite_checks`:
    whatever the checks before sending find.
    """

    by: str
    now: datetime
    note: str = ""
    subject: str | None = None
    despite_checks: bool = False


def correct(session: Session, article_id: int, note: str, *, by: str, now: datetime) -> list[Issue]:
    """Correct an article that was sent: a note in the web copies, and in a box for the readers who were given it.

    The web copies get the article's present words. Returns the issues that held it, newest first; of those that are still
    being sent, the rest is not changed (see pulling.replace_article). Raises ArticleNotFound, CorrectionInvalid, TemplateInvalid
    or InliningFailed.
    """
    wait_for_others(session)
    held = _issues_with(session, article_of(session, article_id))
    if not held:
        raise ArticleNotFound(f"Article {article_id} was in no issue yet, so there is nobody to tell of a correction.")
    act = Act(by=by, note=note, now=now)
    corrections.write(session, article_id, note, by=by, now=now)
    for issue in held:
        note_change(session, issue, article_id, ChangeKind.CORRECTED, act)
    made = [(issue, web_copy(session, issue, now=now)) for issue in held]
    for issue, html in made:
        issue.web_html = html
    session.flush()
    return held


def wait_for_others(session: Session) -> None:
    """Wait until nobody else changes what has left, and keep others waiting: each must see what the one before did.

    Workers are not kept waiting by it.
    """
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))


def article_of(session: Session, article_id: int) -> Article:
    """Read an article. Raises ArticleNotFound."""
    found = session.get(Article, article_id)
    if found is None:
        raise ArticleNotFound(f"There is no article {article_id}.")
    return found


def note_change(session: Session, issue: Issue, article_id: int, kind: ChangeKind, act: Act) -> None:
    """Add to an issue's history."""
    change = IssueChange(
        issue_id=issue.id, article_id=article_id, kind=kind, note=act.note.strip(), by=act.by, at=act.now
    )
    if kind is not ChangeKind.CORRECTED:
        url = article_of(session, article_id).canonical_url
        change.had = _count(ledger.count_given(session, issue.id), _held(session, issue.id), url, act.now)
    session.add(change)
    session.flush()


def web_copy(session: Session, issue: Issue, *, now: datetime) -> str | None:
    """Make the web copy anew from the edition as it is now; what was corrected or removed is said in it.

    None if the issue has none. Raises TemplateInvalid or InliningFailed.
    """
    if issue.web_html is None or issue.started_at is None:
        return None
    content = _edition(session, issue)
    articles = [article for article, _ in content.placed]
    content = replace(
        content,
        corrections=(),
        corrected=corrections.of_articles(session, articles, since=issue.started_at),
        removed=_removed(session, issue.id),
    )
    return mails.web_version(issue.newsletter, issue, content, now=now)


def history(session: Session, issue: Issue, *, is_exact: bool = True) -> list[Change]:
    """List what was done to an issue since it left, oldest first.

    If there is something, every delivery is read to count who had the old words; without `is_exact` it is what was
    counted at that moment.
    """
    rows = session.execute(
        select(IssueChange, Article.title, Article.canonical_url)
        .join(Article, Article.id == IssueChange.article_id)
        .where(IssueChange.issue_id == issue.id)
        .order_by(IssueChange.id)
    ).all()
    given = ledger.count_given(session, issue.id) if rows and is_exact else {}
    held = _held(session, issue.id) if rows and is_exact else []
    return [
        Change(
            kind=one.kind,
            article_id=one.article_id,
            title=title,
            note=one.note,
            by=one.by,
            at=one.at,
            had=_count(given, held, url, one.at) if is_exact else one.had,
        )
        for one, title, url in rows
    ]


def changed_since(session: Session, issue: Issue) -> set[int]:
    """Return the articles that say something else by now than when the issue was made, by id."""
    packed = session.execute(_editions(issue)).scalars().first()
    if packed is None or packed.content is None:
        return set()
    put_in = contents.revisions(packed.content)
    now = session.execute(select(Article.id, Article.revision).where(Article.id.in_(put_in)))
    return {row[0] for row in now if row[1] > put_in[row[0]]}


def words_sent(session: Session, issue: Issue, article: Article) -> ArticleRevision | None:
    """Return what the article said when the issue was made; None if it is what it says now, or is not known."""
    packed = session.execute(_editions(issue)).scalars().first()
    if packed is None or packed.content is None:
        return None
    put_in = contents.revisions(packed.content).get(article.id, article.revision)
    return session.get(ArticleRevision, (article.id, put_in)) if put_in < article.revision else None


def _edition(session: Session, issue: Issue) -> Content:
    """Return the edition in the newsletter's language; of issues that older versions made, what is known of it."""
    found = session.execute(_editions(issue)).scalars().first()
    if found is not None and found.content is not None:
        content = contents.unpack(session, found.content)
        return replace(content, placed=()) if found.withdrawn_at is not None else content
    placed = issues.placed(session, issue.id)
    names = {article.id: article.topics[0] for article, _ in placed if article.topics}
    return Content(subject=issue.subject, preview_text=issue.preview_text, placed=placed, topics=names, more=0)


def _editions(issue: Issue) -> Select[Variant]:
    own_language_first = (Variant.language == issue.newsletter.language).desc()
    chosen = select(Variant).where(Variant.issue_id == issue.id, Variant.is_edition)
    return chosen.order_by(own_language_first, Variant.id.desc()).limit(1)


def _issues_with(session: Session, article: Article) -> list[Issue]:
    """List the issues that gave readers the article, from any feed, newest first."""
    gave = (
        select(Variant.issue_id)
        .join(VariantArticle, VariantArticle.variant_id == Variant.id)
        .join(Article, Article.id == VariantArticle.article_id)
        .where(Article.canonical_url == article.canonical_url, VariantArticle.place == Place.GIVEN)
    )
    statement = select(Issue).where(Issue.id.in_(gave)).options(joinedload(Issue.newsletter))
    return list(session.execute(statement.order_by(Issue.id.desc())).scalars())


def _removed(session: Session, issue_id: int) -> list[Remark]:
    pulled = (IssueChange.issue_id == issue_id, IssueChange.kind == ChangeKind.PULLED)
    rows = session.execute(select(IssueChange.at, IssueChange.note).where(*pulled).order_by(IssueChange.id))
    return [Remark(at=row[0], note=row[1]) for row in rows]


def _held(session: Session, issue_id: int) -> list[tuple[int, datetime, str]]:
    """List what the variants of an issue gave: variant, when it was made, address of the article."""
    rows = session.execute(
        select(Variant.id, Variant.created_at, Article.canonical_url)
        .join(VariantArticle, VariantArticle.variant_id == Variant.id)
        .join(Article, Article.id == VariantArticle.article_id)
        .where(Variant.issue_id == issue_id, VariantArticle.place == Place.GIVEN)
        .distinct()
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _count(given: Mapping[int, int], held: Sequence[tuple[int, datetime, str]], url: str, before: datetime) -> int:
    return sum(given.get(variant, 0) for variant, made_at, told in held if told == url and made_at < before)
