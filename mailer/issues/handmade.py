"""Issues written by hand, as readers get them: one text for all, in a frame of each reader's language."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from mailer.issues import bodies, grouping
from mailer.issues.contents import Content, Placed
from mailer.mail import mails
from mailer.models.choices import Place, VariantArticle
from mailer.models.content import Issue


def content(session: Session, issue: Issue, placed: Placed) -> Content:
    """Return what every reader gets."""
    return Content(
        subject=issue.subject,
        preview_text=issue.preview_text,
        placed=placed,
        topics={},
        more=0,
        images=bodies.images(session, issue.newsletter, issue.body or ""),
    )


def freeze(session: Session, issue: Issue, made: Content, *, now: datetime) -> tuple[Mapping[str, int], int]:
    """Render the issue in each language; return the variants by language, the newsletter's first, and how many wait.

    It goes to all confirmed readers, whatever their topics, but not to those who paused; and to those who are not due by
    their rhythm only if the issue does not respect it. Raises TemplateInvalid or InliningFailed.
    """
    grouping.gather(session, issue, start=None, until=now, now=now)
    grouping.keep_aside(session, only_paused=not issue.respects_rhythm, now=now)
    if issue.for_others_of is not None:
        grouping.leave_out(session, issue.for_others_of)
    own = issue.newsletter.language
    languages = [own, *(one for one in grouping.ordinary_languages(session, issue.newsletter_id) if one != own)]
    editions = {language: _variant(session, issue, made, language, now=now) for language in languages}
    return editions, grouping.count_left_aside(session)["not_due"]


def _variant(session: Session, issue: Issue, made: Content, language: str, *, now: datetime) -> int:
    variant = mails.issue_variant(session, issue.newsletter, issue, made, language, now=now)
    variant.is_edition = True
    rows = [{"variant_id": variant.id, "article_id": one.id, "place": Place.GIVEN} for one, _ in made.placed]
    if rows:
        session.execute(insert(VariantArticle), rows)
    return variant.id
