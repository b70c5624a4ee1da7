"""`mailer feed …`"""

from typing import Annotated

import typer
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mailer import clock, newsletters, polling
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.models.content import Article

app = typer.Typer(no_args_is_help=True, help="Feeds: list, add, remove, read.", rich_markup_mode=None)


@app.command("list")
def list_(slug: Slug) -> None:
    """List a newsletter's feeds and how their last reading went."""
    with transaction() as session:
        rows = [
            {
                "id": feed.id,
                "url": feed.url,
                "articles": _count(session, feed.id),
                "last_success_at": feed.last_success_at,
                "error": feed.error,
            }
            for feed in newsletters.feeds(session, newsletters.get(session, slug))
        ]
    columns = ("id", "url", "articles", "last_success_at", "error")
    output.emit_rows(rows, columns=columns, empty=f"“{slug}” has no feed yet: mailer feed add {slug} URL")


@app.command()
def add(slug: Slug, url: Annotated[str, typer.Argument(help="The feed's address.")]) -> None:
    """Draw from a feed, and read it at once.

    Example:

      mailer feed add hebdo https://courrier.example/feed/
    """
    with transaction() as session:
        feed_id = newsletters.add_feed(session, newsletters.get(session, slug), url, now=clock.now()).id
    _read([feed_id])


@app.command()
def remove(slug: Slug, feed_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Stop drawing from a feed. Its articles stay."""
    with transaction() as session:
        newsletters.remove_feed(session, newsletters.get(session, slug), feed_id)
    output.emit({"removed": feed_id}, text=f"“{slug}” no longer draws from feed {feed_id}.")


@app.command()
def read(slug: Slug) -> None:
    """Read a newsletter's feeds now, and tell what is there or what is wrong."""
    with transaction() as session:
        feed_ids = [feed.id for feed in newsletters.feeds(session, newsletters.get(session, slug))]
    _read(feed_ids)


def _read(feed_ids: list[int]) -> None:
    rows = []
    for feed_id in feed_ids:
        error = polling.read_feed(feed_id)
        with transaction() as session:
            rows.append({"id": feed_id, "articles": _count(session, feed_id), "error": error})
    output.emit_rows(rows, columns=("id", "articles", "error"), empty="There is no feed to read.")
    if any(row["error"] for row in rows):
        raise typer.Exit(output.DONE_IN_PART if any(not row["error"] for row in rows) else output.FAILED)


def _count(session: Session, feed_id: int) -> int:
    statement = select(func.count()).select_from(Article).where(Article.feed_id == feed_id)
    return session.execute(statement).scalar_one()
