"""Taking an article out of an issue that is being sent, or putting its present words in, for those who have not had theirs.

Each variant that held it is rendered anew as a variant of its own, which passes the gate; deliveries take it when a worker
claims their batch (replacements.py, docs/decisions/0027).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from mailer.issues import amending, contents, corrections, gate, issues, variants
from mailer.issues.amending import Act, ArticleNotFound
from mailer.issues.contents import Content
from mailer.mail import mails
from mailer.models.choices import IssueExclusion, Place, VariantArticle
from mailer.models.content import Article, Issue, IssueArticle, IssueState, Variant
from mailer.models.corrections import ChangeKind, VariantCorrection

STATES: Final = (IssueState.SENDING, IssueState.PAUSED)


@dataclass(frozen=True, kw_only=True)
class _Remade:
    """What became of variants: old and new ids, those of which nothing was left, and the edition's new content."""

    pairs: dict[int, int]
    emptied: list[int]
    edition: Content | None


def pull(session: Session, issue: Issue, article_id: int, act: Act) -> None:
    """Take an article out of the rest of an issue; what is being handed over ends with it, within about a second.

    Readers whose mail held nothing else are skipped. No later issue takes the article by itself.
    Raises IssueStateForbids, ArticleNotFound if no mail holds it, IssueEmpty if nothing would be left for anybody,
    gate.ChecksFailed, CorrectionInvalid, TemplateInvalid or InliningFailed, having changed nothing.
    """
    amending.wait_for_others(session)
    ids = _same_story(session, amending.article_of(session, article_id))
    made = _render(session, issue, ids, act, lambda content, language: _without(issue, content, ids, language))
    rows = [{"issue_id": issue.id, "article_id": one} for one in sorted(ids)]
    session.execute(upsert(IssueExclusion).on_conflict_do_nothing(), rows)
    session.execute(delete(IssueArticle).where(IssueArticle.issue_id == issue.id, IssueArticle.article_id.in_(ids)))
    for one, layout in made.edition.placed if made.edition else ():
        placed = (IssueArticle.issue_id == issue.id, IssueArticle.article_id == one.id)
        session.execute(update(IssueArticle).where(*placed).values(layout=layout))
    amending.note_change(session, issue, article_id, ChangeKind.PULLED, act)
    if act.note.strip():
        corrections.write(session, article_id, act.note, by=act.by, now=act.now)
    _put_in(session, issue, made, act)


def replace_article(session: Session, issue: Issue, article_id: int, act: Act) -> None:
    """Give the rest of an issue an article's present words, and correct it for those who had it: `act.note` is needed.

    Other articles that changed meanwhile come in their present words too. Raises what `pull` does.
    """
    amending.wait_for_others(session)
    corrections.write(session, article_id, act.note, by=act.by, now=act.now)
    ids = _same_story(session, amending.article_of(session, article_id))
    made = _render(session, issue, ids, act, _reworded)
    amending.note_change(session, issue, article_id, ChangeKind.REPLACED, act)
    _put_in(session, issue, made, act)


def can_change(issue: Issue) -> bool:
    """Tell whether an issue is on its way."""
    return issue.state in STATES


def _render(
    session: Session, issue: Issue, ids: Collection[int], act: Act, make: Callable[[Content, str], Content]
) -> _Remade:
    """Render what held one of the articles anew, and check it. Nobody gets it yet."""
    session.refresh(issue, ["state", "revision", "subject", "preview_text"])
    if not can_change(issue):
        raise issues.IssueStateForbids(
            f"Issue {issue.id} is {issue.state}; only one that is being sent can be changed."
        )
    if act.subject is not None and len(act.subject) > issues.LENGTHS["subject"]:
        raise issues.IssueTextTooLong({"subject": len(act.subject)})
    made = _remake(session, issue, _concerned(session, issue, ids, act), act, make)
    if made.pairs:
        _check(session, issue, list(made.pairs.values()), act)
    return made


def _put_in(session: Session, issue: Issue, made: _Remade, act: Act) -> None:
    """Have the rest take what was rendered. The lock on the issue, which workers want too, comes last and is short."""
    for old, new in made.pairs.items():
        of_old = (Variant.id == old) | (Variant.replaced_by == old)
        session.execute(update(Variant).where(of_old).values(replaced_by=new))
    session.execute(update(Variant).where(Variant.id.in_(made.emptied)).values(withdrawn_at=act.now))
    words = {} if made.edition is None else {"subject": made.edition.subject, "preview_text": made.edition.preview_text}
    web_html = amending.web_copy(session, issue, now=act.now)
    moved = session.execute(
        update(Issue)
        .where(Issue.id == issue.id, Issue.state.in_(STATES), Issue.revision == issue.revision)
        .values(revision=Issue.revision + 1, updated_at=act.now, web_html=web_html, **words)
        .execution_options(synchronize_session=False)
    )
    if not moved.rowcount:  # type: ignore[attr-defined]
        raise issues.IssueStateForbids(f"Issue {issue.id} was changed meanwhile. Look again.")
    session.refresh(issue, Issue.__table__.columns.keys())


def _concerned(session: Session, issue: Issue, ids: Collection[int], act: Act) -> list[Variant]:
    """List the variants that are still sent and hold one of the articles, or a subject that is changed."""
    present = session.execute(
        select(Variant)
        .where(Variant.issue_id == issue.id, Variant.replaced_by.is_(None), Variant.withdrawn_at.is_(None))
        .order_by(Variant.id)
    ).scalars()
    every = list(present)
    if any(one.content is None for one in every):
        raise issues.IssueStateForbids(
            f"Issue {issue.id} was started by an older version: pause it, or cancel the rest."
        )
    holding = set(
        session.execute(
            select(VariantArticle.variant_id).where(
                VariantArticle.variant_id.in_([one.id for one in every]),
                VariantArticle.article_id.in_(ids),
                VariantArticle.place == Place.GIVEN,
            )
        ).scalars()
    )
    if not holding:
        raise ArticleNotFound(f"No mail of issue {issue.id} holds that article, or not any more.")
    new_subject = act.subject is not None
    return [one for one in every if one.id in holding or (new_subject and _subject(one) == issue.subject)]


def _remake(
    session: Session, issue: Issue, found: Sequence[Variant], act: Act, make: Callable[[Content, str], Content]
) -> _Remade:
    pairs: dict[int, int] = {}
    emptied: list[int] = []
    edition: Content | None = None
    for one in found:
        content = make(contents.unpack(session, one.content or {}), one.language)
        if not content.placed and issue.body is None:
            emptied.append(one.id)
            continue
        if act.subject is not None and _subject(one) == issue.subject:
            content = replace(content, subject=act.subject, automatic=content.automatic - {"subject"})
        made = mails.issue_variant(session, issue.newsletter, issue, content, one.language, now=act.now)
        made.is_edition = one.is_edition
        pairs[one.id] = made.id
        _note_held(session, one.id, made.id, content)
        if one.is_edition and (edition is None or one.language == issue.newsletter.language):
            edition = content
    if not pairs and len(emptied) == _count_present(session, issue.id):
        raise issues.IssueEmpty(f"Nothing else is in issue {issue.id}: cancel the rest of it instead.")
    return _Remade(pairs=pairs, emptied=emptied, edition=edition)


def _note_held(session: Session, old: int, new: int, content: Content) -> None:
    """Note what a new variant holds: what the old one did, without what was pulled."""
    rows = {article.id: Place.GIVEN for article, _ in content.placed}
    beyond = session.execute(
        select(VariantArticle.article_id, VariantArticle.place).where(
            VariantArticle.variant_id == old, VariantArticle.place != Place.GIVEN
        )
    )
    rows |= {row[0]: row[1] for row in beyond}
    values = [{"variant_id": new, "article_id": one, "place": place} for one, place in rows.items()]
    if values:
        session.execute(insert(VariantArticle), values)
    if content.corrections:
        told = [{"variant_id": new, "correction_id": one.correction_id} for one in content.corrections]
        session.execute(insert(VariantCorrection), told)


def _check(session: Session, issue: Issue, made: Collection[int], act: Act) -> None:
    try:
        gate.check_stored(session, issue, None, only=made)
    except gate.ChecksFailed:
        if not act.despite_checks:
            raise


def _without(issue: Issue, content: Content, ids: Collection[int], language: str) -> Content:
    kept = [(article, layout) for article, layout in content.placed if article.id not in ids]
    if not kept or issue.body is not None:
        # What is written by hand stays around the gap.
        return replace(content, placed=kept)
    return _reworded(replace(content, placed=variants.laid_out(content.placed, kept)), language)


def _reworded(content: Content, language: str) -> Content:
    """Let the words that follow from the articles follow again."""
    if not content.placed:
        return content
    subject, preview_text = variants.headline(content.placed, language)
    return replace(
        content,
        subject=subject if "subject" in content.automatic else content.subject,
        preview_text=preview_text if "preview_text" in content.automatic else content.preview_text,
    )


def _same_story(session: Session, article: Article) -> frozenset[int]:
    same = select(Article.id).where(Article.canonical_url == article.canonical_url)
    return frozenset(session.execute(same).scalars())


def _subject(variant: Variant) -> object:
    return variant.content["subject"] if variant.content else None


def _count_present(session: Session, issue_id: int) -> int:
    gone = (Variant.replaced_by.is_(None), Variant.withdrawn_at.is_(None))
    found = session.execute(select(Variant.id).where(Variant.issue_id == issue_id, *gone)).scalars()
    return len(list(found))
