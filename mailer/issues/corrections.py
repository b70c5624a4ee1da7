"""Corrections: what the newsroom says about articles that readers were given, and who of them is yet to be told.

Who is told stands in the account of decision 25: `variant_corrections` has what the box of each variant held.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session, aliased

from mailer.feeds.text import one_line
from mailer.issues import grouping
from mailer.issues.checks import wording
from mailer.issues.contents import Remark
from mailer.models.choices import CarriedCorrections, Place, VariantArticle
from mailer.models.content import Article, Issue, Variant
from mailer.models.corrections import Correction, VariantCorrection

NOTE_LENGTH: Final = 1000
# Readers who want one issue a month are told too; nobody is told of what is older.
LONGEST_WAIT: Final = timedelta(days=62)

# Of a mail that was sent twice because an answer was lost, the first variant may have arrived as well.
_OWE: Final = text("""
WITH sent AS (
    SELECT d.id, d.issue_id, d.variant_id, d.subscription_id, o.outcome
    FROM unnest(:issue_ids, :firsts, :lasts) i(id, first, last)
    JOIN deliveries d ON d.id BETWEEN i.first AND i.last AND d.issue_id = i.id
    LEFT JOIN outcomes o ON o.delivery_id = d.id
), got AS (
    SELECT subscription_id, variant_id FROM sent WHERE outcome IN ('accepted', 'uncertain')
    UNION ALL
    SELECT s.subscription_id, f.variant_id FROM deferrals f JOIN sent s ON s.id = f.delivery_id WHERE f.variant_id IS NOT NULL
), given AS (
    SELECT other.subscriber_id, h.correction_id
    FROM unnest(:variant_ids, :correction_ids) h(variant_id, correction_id)
    JOIN got ON got.variant_id = h.variant_id
    JOIN subscriptions other ON other.id = got.subscription_id
), told AS (
    SELECT other.subscriber_id, b.correction_id
    FROM unnest(:box_ids, :told_ids) b(variant_id, correction_id)
    JOIN sent ON sent.variant_id = b.variant_id AND coalesce(sent.outcome, '') NOT IN ('refused', 'skipped')
    JOIN subscriptions other ON other.id = sent.subscription_id
), owed AS (
    SELECT subscriber_id, array_agg(correction_id ORDER BY correction_id) AS ids
    FROM (SELECT * FROM given EXCEPT SELECT * FROM told) due GROUP BY subscriber_id
)
INSERT INTO variant_readers (subscription_id, language, topics, start, is_due, owed)
SELECT s.id, s.language, s.topics, coalesce(:start, '-infinity'), true, owed.ids
FROM owed JOIN subscriptions s ON s.subscriber_id = owed.subscriber_id
WHERE s.newsletter_id = :newsletter_id AND s.state = 'confirmed'
ON CONFLICT (subscription_id) DO UPDATE SET owed = EXCLUDED.owed
""")


class NoteProblem(enum.StrEnum):
    """What is wrong with a note, in English; the {names} are filled from CorrectionInvalid.values."""

    EMPTY = "Write what was wrong and what is right: readers are told in these words."
    TOO_LONG = "The note has {count} characters of at most {most}."
    # The checks before sending would hold back every issue that tells of it.
    PLACEHOLDER = "“{found}” in the note looks like a placeholder; write it in other words."


class CorrectionInvalid(ValueError):
    """A correction can't be told in these words."""

    def __init__(self, problem: NoteProblem, **values: str) -> None:
        self.problem, self.values = problem, values
        super().__init__(problem.format(**values))


def write(session: Session, article_id: int, note: str, *, by: str, now: datetime) -> Correction:
    """Write down what is said of an article, for the next issues. Raises CorrectionInvalid."""
    note = one_line(note)
    if not note:
        raise CorrectionInvalid(NoteProblem.EMPTY)
    if len(note) > NOTE_LENGTH:
        raise CorrectionInvalid(NoteProblem.TOO_LONG, count=str(len(note)), most=str(NOTE_LENGTH))
    if left := wording.LEFT_OVER.search(note):
        raise CorrectionInvalid(NoteProblem.PLACEHOLDER, found=left[0])
    made = Correction(article_id=article_id, note=note, by=by, at=now)
    session.add(made)
    session.flush()
    return made


def of_articles(session: Session, articles: Collection[Article], *, since: datetime) -> dict[int, list[Remark]]:
    """Return what was said of articles since a moment, oldest first, by id; the same story of another feed counts."""
    rows = session.execute(
        select(Article.canonical_url, Correction.at, Correction.note)
        .join(Correction, Correction.article_id == Article.id)
        .where(Article.canonical_url.in_({one.canonical_url for one in articles}), Correction.at > since)
        .order_by(Correction.id)
    ).all()
    return {
        one.id: [Remark(at=row[1], note=row[2]) for row in rows if row[0] == one.canonical_url]
        for one in articles
        if any(row[0] == one.canonical_url for row in rows)
    }


def note_owed(session: Session, issue: Issue, *, start: datetime | None, now: datetime) -> Sequence[int]:
    """Note in the temporary table of grouping.py whom the issue owes which corrections, and return all of them.

    Owed is what was said after a reader was given the article, unless a mail has told them. Readers who were to get the
    edition come into the table with `start`.
    """
    held = _holding(session, issue, since=now - LONGEST_WAIT)
    if not held:
        return ()
    corrections = sorted({one[2] for one in held})
    boxes = session.execute(
        select(VariantCorrection.variant_id, VariantCorrection.correction_id, Variant.issue_id)
        .join(Variant, Variant.id == VariantCorrection.variant_id)
        .where(VariantCorrection.correction_id.in_(corrections))
    ).all()
    ranges = grouping.ranges(session, {one[1] for one in held} | {one[2] for one in boxes if one[2] is not None})
    names = ("issue_ids", "firsts", "lasts", "variant_ids", "correction_ids", "box_ids", "told_ids")
    statement = _OWE.bindparams(*grouping.moments("start"), *grouping.numbers(*names))
    values: Mapping[str, Any] = {
        "newsletter_id": issue.newsletter_id,
        "start": start,
        "issue_ids": [one[0] for one in ranges],
        "firsts": [one[1] for one in ranges],
        "lasts": [one[2] for one in ranges],
        "variant_ids": [one[0] for one in held],
        "correction_ids": [one[2] for one in held],
        "box_ids": [one[0] for one in boxes],
        "told_ids": [one[1] for one in boxes],
    }
    session.execute(statement, values)
    session.execute(text("ANALYZE variant_readers"))
    return corrections


def _holding(session: Session, issue: Issue, *, since: datetime) -> list[tuple[int, int, int]]:
    """List the variants that held an article before it was corrected: variant, its issue, correction."""
    carried = issue.newsletter.carries_corrections
    newest = select(func.max(Correction.at)).scalar_subquery()
    if carried == CarriedCorrections.NONE or not session.execute(select(newest >= since)).scalar_one():
        return []
    corrected = aliased(Article)
    statement = (
        select(Variant.id, Issue.id, Correction.id)
        .select_from(Correction)
        .join(corrected, corrected.id == Correction.article_id)
        .join(Article, Article.canonical_url == corrected.canonical_url)
        .join(VariantArticle, VariantArticle.article_id == Article.id)
        .join(Variant, Variant.id == VariantArticle.variant_id)
        .join(Issue, Issue.id == Variant.issue_id)
        .where(Correction.at >= since, VariantArticle.place == Place.GIVEN, Variant.created_at < Correction.at)
        .distinct()
    )
    if carried == CarriedCorrections.OWN:
        statement = statement.where(Issue.newsletter_id == issue.newsletter_id)
    return [(row[0], row[1], row[2]) for row in session.execute(statement)]
