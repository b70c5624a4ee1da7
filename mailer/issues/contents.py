"""What one group of readers gets of an issue, as values; packed beside each variant, so that it can be made once more."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import case, or_, select
from sqlalchemy.orm import Session

from mailer.models.content import Article, Layout
from mailer.models.corrections import ChangeKind, Correction, IssueChange
from mailer.models.intake import ArticleStatus
from mailer.models.pictures import Picture

# An article without a topic of its own stands under the last section.
Placed = Sequence[tuple[Article, Layout]]


@dataclass(frozen=True, kw_only=True)
class Erratum:
    """A correction as it stands in the box of a mail; without a link if the article was taken back."""

    correction_id: int
    title: str
    url: str | None
    note: str


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What a web copy says of a change made after the issue was sent."""

    at: datetime
    note: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """What one group of readers gets of an issue. `topics` has an article's topic, by id of the article; `more` counts.

    `automatic` names the words (subject, preview_text) that follow from the articles. `corrected`, by id of the article,
    and `removed` are for the web copy alone.
    """

    subject: str
    preview_text: str
    placed: Placed
    topics: Mapping[int, str]
    more: int
    automatic: frozenset[str] = frozenset()
    corrections: Sequence[Erratum] = ()
    corrected: Mapping[int, Sequence[Remark]] = field(default_factory=dict)
    removed: Sequence[Remark] = ()
    # Of an issue written by hand, the pictures in its words, by address.
    images: Mapping[str, Picture] = field(default_factory=dict)


def pack(content: Content) -> dict[str, object]:
    """Return what `unpack` needs, as JSON: ids, not words."""
    return {
        "subject": content.subject,
        "preview_text": content.preview_text,
        "placed": [[one.id, layout.value, one.revision] for one, layout in content.placed],
        "topics": {str(one): name for one, name in content.topics.items()},
        "more": content.more,
        "automatic": sorted(content.automatic),
        "corrections": [one.correction_id for one in content.corrections],
        "images": sorted(content.images),
    }


def unpack(session: Session, packed: Mapping[str, Any]) -> Content:
    """Make the content again, with the articles' present words."""
    ids = [one[0] for one in packed["placed"]]
    found = {one.id: one for one in session.execute(select(Article).where(Article.id.in_(ids))).scalars()}
    return Content(
        subject=packed["subject"],
        preview_text=packed["preview_text"],
        placed=[(found[one[0]], Layout(one[1])) for one in packed["placed"] if one[0] in found],
        topics={int(one): name for one, name in packed["topics"].items()},
        more=packed["more"],
        automatic=frozenset(packed["automatic"]),
        corrections=errata(session, packed["corrections"]),
        images=images(session, packed.get("images", [])),
    )


def revisions(packed: Mapping[str, Any]) -> dict[int, int]:
    """Return which revision of each article was put in, by id of the article."""
    return {one[0]: one[2] for one in packed["placed"]}


def images(session: Session, addresses: Collection[str]) -> dict[str, Picture]:
    """Read what is known of pictures, by address."""
    if not addresses:
        return {}
    return {one.url: one for one in session.execute(select(Picture).where(Picture.url.in_(addresses))).scalars()}


def errata(session: Session, correction_ids: Collection[int]) -> list[Erratum]:
    """Read corrections for a box, oldest first."""
    if not correction_ids:
        return []
    pulled = select(IssueChange.id).where(IssueChange.article_id == Article.id, IssueChange.kind == ChangeKind.PULLED)
    is_taken_back = or_(pulled.exists(), Article.status == ArticleStatus.WITHDRAWN)
    rows = session.execute(
        select(Correction.id, Article.title, case((is_taken_back, None), else_=Article.url), Correction.note)
        .join(Article, Article.id == Correction.article_id)
        .where(Correction.id.in_(correction_ids))
        .order_by(Correction.id)
    )
    return [Erratum(correction_id=row[0], title=row[1], url=row[2], note=row[3]) for row in rows]
