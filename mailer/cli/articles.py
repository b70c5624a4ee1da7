"""`mailer article …`"""

from typing import Annotated

import typer
from sqlalchemy import select

from mailer import newsletters
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.models.content import Article, NewsletterFeed

app = typer.Typer(no_args_is_help=True, help="Articles that the feeds gave.", rich_markup_mode=None)


@app.command("list")
def list_(slug: Slug, limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20) -> None:
    """List a newsletter's newest articles."""
    with transaction() as session:
        feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletters.get(session, slug).id)
        newest = (Article.published_at.desc().nulls_last(), Article.id)
        found = session.execute(
            select(Article).where(Article.feed_id.in_(feeds)).order_by(*newest).limit(limit)
        ).scalars()
        rows = [
            {
                "id": one.id,
                "title": one.title,
                "topic": one.topics[0] if one.topics else None,
                "published_at": one.published_at,
                "first_seen_at": one.first_seen_at,
                "url": one.url,
            }
            for one in found
        ]
    columns = ("id", "title", "topic", "published_at", "first_seen_at")
    output.emit_rows(rows, columns=columns, empty=f"The feeds of “{slug}” gave no article yet.")
