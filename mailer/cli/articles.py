"""`mailer article …`"""

from typing import Annotated

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer import clock
from mailer.articles import intake
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.models.content import Article, NewsletterFeed
from mailer.models.intake import ArticleRevision, ArticleStatus, StatusCode
from mailer.newsroom import newsletters

app = typer.Typer(
    no_args_is_help=True, help="Articles that the feeds gave: list, hold, release, withdraw.", rich_markup_mode=None
)

Ids = Annotated[list[int], typer.Argument(metavar="ID...")]


@app.command("list")
def list_(
    slug: Slug,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    status: Annotated[ArticleStatus | None, typer.Option(help="Only those.")] = None,
) -> None:
    """List a newsletter's newest articles."""
    with transaction() as session:
        feeds = select(NewsletterFeed.feed_id).where(NewsletterFeed.newsletter_id == newsletters.get(session, slug).id)
        chosen = [Article.feed_id.in_(feeds), *([Article.status == status] if status else [])]
        newest = (Article.published_at.desc().nulls_last(), Article.id)
        found = session.execute(select(Article).where(*chosen).order_by(*newest).limit(limit)).scalars()
        rows = [
            {
                "id": one.id,
                "title": one.title,
                "topic": one.topics[0] if one.topics else None,
                "published_at": one.published_at,
                "first_seen_at": one.first_seen_at,
                "status": one.status,
                "reason": one.status_reason,
                "is_locked": one.is_locked,
                "url": one.url,
            }
            for one in found
        ]
    columns = ("id", "title", "topic", "published_at", "first_seen_at", "status")
    nothing = (
        f"“{slug}” has no article that is {status.value}." if status else f"The feeds of “{slug}” gave no article yet."
    )
    output.emit_rows(rows, columns=columns, empty=nothing)


@app.command()
def hold(ids: Ids) -> None:
    """Keep articles out of automatic issues until they are released."""
    with transaction() as session:
        _need(session, ids)
        changed = intake.hold(session, ids)
    output.emit({"held": changed}, text=f"{len(changed)} held.")


@app.command()
def release(ids: Ids) -> None:
    """Let held or withdrawn articles into the next issue, as if they were first seen now.

    Example:

      mailer article list hebdo --status held
    """
    with transaction() as session:
        _need(session, ids)
        changed = intake.release(session, ids, now=clock.now())
    output.emit({"released": changed}, text=f"{len(changed)} released.")


@app.command()
def withdraw(ids: Ids) -> None:
    """Withdraw articles, so that no issue takes them by itself."""
    with transaction() as session:
        _need(session, ids)
        changed = intake.withdraw(session, ids, StatusCode.WITHDRAWN_BY_HAND)
    output.emit({"withdrawn": changed}, text=f"{len(changed)} withdrawn.")


@app.command()
def revisions(article_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """List what an article said before its feed told it anew, the first words first."""
    with transaction() as session:
        _need(session, [article_id])
        found = select(ArticleRevision).where(ArticleRevision.article_id == article_id)
        rows = [
            {
                "number": one.number,
                "title": one.title,
                "excerpt": one.excerpt,
                "url": one.url,
                "replaced_at": one.replaced_at,
            }
            for one in session.execute(found.order_by(ArticleRevision.number)).scalars()
        ]
    columns = ("number", "title", "excerpt", "replaced_at")
    output.emit_rows(rows, columns=columns, empty=f"Article {article_id} was never changed.")


def _need(session: Session, ids: list[int]) -> None:
    known = set(session.execute(select(Article.id).where(Article.id.in_(ids))).scalars())
    missing = [one for one in ids if one not in known]
    if missing:
        output.fail(f"There is no article {missing[0]}.", output.NOT_FOUND)
