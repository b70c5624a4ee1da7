"""`mailer article pictures`"""

from typing import Annotated

import typer
from sqlalchemy import select

from mailer import clock
from mailer.articles import pictures
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.models.content import Article, NewsletterFeed
from mailer.newsroom import newsletters


def show(
    slug: Slug,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    again: Annotated[bool, typer.Option("--again", help="Have those that could not be had fetched once more.")] = False,
) -> None:
    """Show what became of the pictures of a newsletter's newest articles, and why mails show none.

    Example:

      mailer article pictures courrier --again
    """
    with transaction() as session:
        newsletter_id = newsletters.get(session, slug).id
        if again:
            count = pictures.try_again(session, newsletter_id, now=clock.now())
            output.say(f"{count} pictures will be fetched once more within seconds.")
        feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletter_id)
        newest = (Article.published_at.desc().nulls_last(), Article.id)
        found = session.execute(select(Article).where(Article.feed_id.in_(feeds)).order_by(*newest).limit(limit))
        rows = [_row(article) for article in found.scalars()]
    columns = ("article", "title", "state", "reason", "files")
    output.emit_rows(rows, columns=columns, empty=f"The feeds of “{slug}” gave no article yet.")


def _row(article: Article) -> dict[str, object]:
    picture = article.picture
    files = sorted(picture.renditions, key=lambda file: -file.width) if picture else []
    state = "none" if article.image_url is None else picture.state if picture else "waiting"
    return {
        "article": article.id,
        "title": article.title,
        "state": state,
        "reason": picture.reason if picture else None,
        "files": ", ".join(f"{one.width} × {one.height} ({max(1, one.size_bytes // 1000)} kB)" for one in files)
        or None,
        "source": article.image_url,
        "alt": article.image_alt,
    }
