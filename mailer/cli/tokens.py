"""`mailer token …`"""

from typing import Annotated

import typer

from mailer import clock, settings
from mailer.cli import output
from mailer.cli.newsletters import Slug
from mailer.db import transaction
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters, tokens

app = typer.Typer(no_args_is_help=True, help="Tokens that let other programs push articles.", rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """List the tokens; what they are is not kept."""
    with transaction() as session:
        rows = [
            {
                "id": one.id,
                "name": one.name,
                "scope": one.scope,
                "newsletter": one.newsletter.slug,
                "created_at": one.created_at,
                "used_at": one.used_at,
            }
            for one in tokens.all_tokens(session)
        ]
    columns = ("id", "name", "scope", "newsletter", "created_at", "used_at")
    output.emit_rows(rows, columns=columns, empty="There is no token yet: mailer token create NEWSLETTER NAME")


@app.command()
def create(slug: Slug, name: Annotated[str, typer.Argument(help="The program that it is for.")]) -> None:
    """Make a token with which a site's own system sends its articles, and print it, once.

    Example:

      mailer token create hebdo "publishing system"

      curl -H "Authorization: Bearer $TOKEN" --json @article.json https://lettre.example/api/v1/newsletters/hebdo/articles
    """
    with transaction() as session:
        newsletter = newsletters.get(session, slug)
        made, secret = tokens.create(session, newsletter, name, scope=Scope.ARTICLES, now=clock.now())
        token_id = made.id
    address = f"{settings.load().public_url}/api/v1/newsletters/{slug}/articles"
    text = f"{secret}\nIt is shown this once. Send JSON Feed items to {address}; docs/operating.md tells how."
    output.emit({"id": token_id, "token": secret, "url": address}, text=text)


@app.command()
def revoke(token_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Let a program in no longer, from this moment."""
    with transaction() as session:
        tokens.revoke(session, token_id)
    output.emit({"revoked": token_id}, text=f"Token {token_id} lets nobody in any more.")
