"""Articles as a feed tells them, for tests."""

from datetime import datetime

from mailer.feeds.parsed import ParsedArticle
from tests.factories import NOW


def told(slug: str, *, title: str | None = None, published: datetime | None = NOW, **values: object) -> ParsedArticle:
    """An article whose guid is its slug; any field may be given."""
    fields: dict[str, object] = {
        "guid": slug,
        "url": f"https://courrier.example/{slug}",
        "title": title or f"Le titre de {slug}",
        "excerpt": f"Le résumé de {slug}.",
        "html": f"<p>Le texte de {slug}.</p>",
        "author": "",
        "topics": (),
        "language": "fr",
        "image_url": None,
        "image_alt": "",
        "image_credit": "",
        "published_at": published,
        "updated_at": None,
        "minutes": 1,
    }
    return ParsedArticle(**{**fields, **values})  # type: ignore[arg-type]
