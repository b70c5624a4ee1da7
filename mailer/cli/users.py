"""`mailer user …`"""

import secrets
from typing import Annotated

import typer

from mailer import clock, links
from mailer.cli import output
from mailer.db import transaction
from mailer.newsroom import accounts

app = typer.Typer(no_args_is_help=True, help="Who may open the admin pages.", rich_markup_mode=None)

Email = Annotated[str, typer.Argument(metavar="ADDRESS")]


@app.command("list")
def list_() -> None:
    """List the accounts."""
    with transaction() as session:
        rows = [
            {"id": one.id, "email": one.email, "name": one.name, "language": one.language, "created_at": one.created_at}
            for one in accounts.all_accounts(session)
        ]
    columns = ("id", "email", "name", "language", "created_at")
    output.emit_rows(rows, columns=columns, empty="There is no account yet: mailer user add ADDRESS --name NAME")


@app.command()
def add(
    email: Email,
    name: Annotated[str, typer.Option(help="As colleagues see it.")],
    language: Annotated[str, typer.Option(help="fr or en, of the admin pages.")] = "fr",
) -> None:
    """Create an account and print its password, once, and a sign-in link for the next hour.

    Example:

      mailer user add camille@courrier.example --name "Camille Ferrand"
    """
    password = secrets.token_urlsafe(15)
    now = clock.now()
    with transaction() as session:
        account = accounts.create(session, email, name=name, password=password, language=language, now=now)
        link = _link(account.id)
    output.emit(
        {"email": email, "password": password, "sign_in_link": link},
        text=f"Password: {password}\nSign in within the hour: {link}",
    )


@app.command("sign-in-link")
def sign_in_link(email: Email) -> None:
    """Print a link that signs an account in, valid for one hour."""
    with transaction() as session:
        link = _link(accounts.find(session, email).id)
    output.emit({"sign_in_link": link}, text=link)


def _link(account_id: int) -> str:
    return links.url(f"/admin/sign-in/{links.sign_now(links.Purpose.SIGN_IN, account_id, clock.now())}")
