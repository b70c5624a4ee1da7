"""`mailer token …`"""

from datetime import datetime, time
from typing import Annotated

import typer

from mailer import clock, settings
from mailer.cli import output
from mailer.db import transaction
from mailer.issues import schedules
from mailer.models.tokens import Scope
from mailer.newsroom import newsletters, tokens
from mailer.newsroom.tokens import Wanted

app = typer.Typer(
    no_args_is_help=True, help="Tokens that let other programs in: create, list, revoke.", rich_markup_mode=None
)

ALL = "all"


@app.command("list")
def list_() -> None:
    """List the tokens; what they are is not kept."""
    with transaction() as session:
        rows = [
            {
                "id": one.id,
                "name": one.name,
                "prefix": one.prefix,
                "scopes": one.scopes if output.CHOICES.as_json else ",".join(one.scopes),
                "newsletter": one.newsletter.slug if one.newsletter else ALL,
                "created_at": one.created_at,
                "expires_at": one.expires_at,
                "used_at": one.used_at,
            }
            for one in tokens.all_tokens(session)
        ]
    columns = ("id", "name", "prefix", "scopes", "newsletter", "created_at", "expires_at", "used_at")
    output.emit_rows(rows, columns=columns, empty="There is no token yet: mailer token create NEWSLETTER NAME")


@app.command()
def create(
    newsletter: Annotated[str, typer.Argument(metavar="NEWSLETTER", help="Its short name; “all” for all newsletters.")],
    name: Annotated[str, typer.Argument(help="The program that it is for.")],
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it allows; may be repeated. Left out: to push articles.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="DAY", help="The last day, such as 2027-06-30.")] = None,
) -> None:
    """Make a token for another program and print it, once. docs/api.md tells what each scope allows.

    Examples:

      mailer token create hebdo "publishing system"

      mailer token create all "our app" --scope read --scope subscribers --expires 2027-06-30

      curl -H "Authorization: Bearer $TOKEN" --json @article.json https://lettre.example/api/v1/newsletters/hebdo/articles
    """
    with transaction() as session:
        found = newsletters.get(session, newsletter) if newsletter != ALL else None
        until = _end_of(expires, found.timezone if found else "UTC") if expires is not None else None
        wanted = Wanted(name=name, scopes=scope or [Scope.ARTICLES], newsletter=found, expires_at=until)
        made, secret = tokens.create(session, wanted, by="cli", now=clock.now())
        token_id, scopes = made.id, list(made.scopes)
    base = f"{settings.load().public_url}/api/v1"
    address = f"{base}/newsletters/{newsletter}/articles" if scopes == [Scope.ARTICLES] and found else base
    text = (
        f"{secret}\nIt is shown this once. It allows: {', '.join(scopes)}. Use it at {address}; docs/api.md tells how."
    )
    output.emit({"id": token_id, "token": secret, "scopes": scopes, "url": address}, text=text)


@app.command()
def revoke(token_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Let a program in no longer, from this moment."""
    with transaction() as session:
        tokens.revoke(session, token_id)
    output.emit({"revoked": token_id}, text=f"Token {token_id} lets nobody in any more.")


def _end_of(day: str, timezone: str) -> datetime:
    try:
        return datetime.combine(datetime.fromisoformat(day).date(), time.max, schedules.zone(timezone))
    except (ValueError, OverflowError):
        raise typer.BadParameter("The last day must be like 2027-06-30.") from None
