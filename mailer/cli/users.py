"""`mailer user …`"""

import getpass
import secrets
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from mailer import clock, links
from mailer.cli import output
from mailer.db import transaction
from mailer.models.accounts import Account, Role, SecretKind
from mailer.models.audit import Actor
from mailer.newsroom import account_links, accounts, audit, team
from mailer.newsroom.team import Grant, Person

app = typer.Typer(
    no_args_is_help=True, help="Who may open the admin pages, and what they may do.", rich_markup_mode=None
)

Email = Annotated[str, typer.Argument(metavar="ADDRESS")]
Name = Annotated[str, typer.Option(help="As colleagues see it.")]
Language = Annotated[str, typer.Option(help="fr or en, of the admin pages.")]
At = Annotated[
    list[str] | None,
    typer.Option(metavar="NEWSLETTER=ROLE", help="A right at one newsletter; may be given repeatedly."),
]


@app.command("list")
def list_() -> None:
    """List the accounts, with their role at all newsletters and their rights at single ones."""
    with transaction() as session:
        rows = [
            {
                "id": one.id,
                "email": one.email,
                "name": one.name,
                "role": one.role,
                "at": ", ".join(f"{right.newsletter.slug}={right.role}" for right in one.rights),
                "language": one.language,
                "second_factor": one.totp_confirmed_at is not None,
                "disabled": one.disabled_at is not None,
                "created_at": one.created_at,
            }
            for one in team.people(session)
        ]
    columns = ("id", "email", "name", "role", "at", "second_factor", "disabled", "created_at")
    output.emit_rows(rows, columns=columns, empty="There is no account yet: mailer user add ADDRESS --name NAME")


@app.command()
def add(
    email: Email,
    name: Name,
    language: Language = "fr",
    role: Annotated[Role, typer.Option(help="What they may do at all newsletters.")] = Role.OWNER,
) -> None:
    """Create an account and print its password, once, and a sign-in link for the next hour.

    Example:

      mailer user add camille@courrier.example --name "Camille Ferrand"
    """
    password = secrets.token_urlsafe(15)
    now = clock.now()
    with transaction() as session:
        account = accounts.create(session, email, name=name, password=password, language=language, now=now)
        account.role = role
        _note(session, "add", account)
        link = _link(account.id)
    output.emit(
        {"email": email, "password": password, "sign_in_link": link},
        text=f"Password: {password}\nSign in within the hour: {link}",
    )


@app.command()
def invite(
    email: Email,
    name: Name,
    language: Language = "fr",
    role: Annotated[Role | None, typer.Option(help="What they may do at all newsletters.")] = None,
    at: At = None,
) -> None:
    """Create an account and print the link by which its owner chooses a password, within seven days.

    Example:

      mailer user invite paul@courrier.example --name "Paul Roche" --at courrier=editor
    """
    now = clock.now()
    with transaction() as session:
        person = Person(email=email, name=name, language=language, grant=Grant(everywhere=role, at=_rights(at)))
        account = team.invite(session, person, by=team.OPERATOR, now=now)
        _note(session, "invite", account)
        link = account_links.show(session, account, SecretKind.INVITATION, now=now)
    output.emit({"email": email, "invitation_link": link}, text=link)


@app.command()
def role(
    email: Email,
    chosen: Annotated[str, typer.Argument(metavar="ROLE", help="owner, admin, editor, writer, viewer, or none.")],
    at: At = None,
) -> None:
    """Change what somebody may do: at all newsletters, and (--at) at single ones. They sign in again.

    Example:

      mailer user role paul@courrier.example none --at courrier=editor
    """
    everywhere = None if chosen == "none" else _role(chosen)
    with transaction() as session:
        account = accounts.find(session, email)
        team.change(session, account, Grant(everywhere=everywhere, at=_rights(at)), by=team.OPERATOR)
        _note(session, "role", account)
    output.emit({"email": email, "role": everywhere}, text=f"{email}: {chosen}")


@app.command()
def reset(
    email: Email,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Also take away a second factor that is lost.")
    ] = False,
) -> None:
    """Print a link by which somebody chooses a new password within half an hour. It ends their sessions once it is used."""
    now = clock.now()
    with transaction() as session:
        account = accounts.find(session, email)
        if second_factor:
            team.reset_second_factor(session, account, by=team.OPERATOR)
        _note(session, "reset", account)
        link = account_links.show(session, account, SecretKind.RESET, now=now)
    output.emit({"email": email, "reset_link": link}, text=link)


@app.command()
def disable(email: Email) -> None:
    """Lock somebody out at once."""
    with transaction() as session:
        account = accounts.find(session, email)
        team.disable(session, account, by=team.OPERATOR, now=clock.now())
        _note(session, "disable", account)
    output.emit({"email": email, "disabled": True}, text=f"{email} is locked out.")


@app.command()
def enable(email: Email) -> None:
    """Let somebody in again who was locked out."""
    with transaction() as session:
        account = accounts.find(session, email, is_disabled=True)
        team.enable(session, account, by=team.OPERATOR)
        _note(session, "enable", account)
    output.emit({"email": email, "disabled": False}, text=f"{email} may sign in again.")


@app.command("sign-in-link")
def sign_in_link(email: Email) -> None:
    """Print a link that signs an account in, valid for one hour."""
    with transaction() as session:
        account = accounts.find(session, email)
        _note(session, "sign-in-link", account)
        link = _link(account.id)
    output.emit({"sign_in_link": link}, text=link)


def _rights(at: list[str] | None) -> dict[str, Role]:
    pairs = (one.partition("=") for one in at or ())
    return {slug: _role(chosen) for slug, _, chosen in pairs}


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError as error:
        raise typer.BadParameter(f"“{text}” is no role; there are {', '.join(Role)}.") from error


def _note(session: Session, verb: str, account: Account) -> None:
    """Enter a command into the audit log, under the name that its user has on this machine."""
    act = audit.Act(
        actor=Actor.COMMAND,
        actor_id=None,
        actor_name=_user(),
        action=f"command.user.{verb}",
        objects={"account_id": str(account.id)},
    )
    audit.record(session, act, now=clock.now())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container, the user may have no name.
        return "operator"


def _link(account_id: int) -> str:
    return links.url(f"/admin/sign-in/{links.sign_now(links.Purpose.SIGN_IN, account_id, clock.now())}")
