"""The commands that run the installation: init, up, migrate, web, inbox, version, config."""

import os
import re
import secrets
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mailer import __version__, queue, settings
from mailer.cli import first_run, output
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.delivery import servers
from mailer.delivery.transports import checking
from mailer.embedded import inbox as local_inbox
from mailer.embedded.processes import Supervisor, free_port, wait_for_port
from mailer.embedded.services import Services
from mailer.mail import dkim
from mailer.mail_settings import Transport
from mailer.migrations import run as migrations

config = typer.Typer(no_args_is_help=True, help="The settings.", rich_markup_mode=None)

# What `mailer init` writes, or offers, where nothing was chosen.
EXAMPLES = {
    "public_url": "https://lettre.example",
    "database_url": "postgresql://mailer@localhost/mailer",
    "redis_url": "redis://localhost:6379/0",
}

# The inbox of the sandbox is so far above the web server.
INBOX_OFFSET = 25

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")]


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where mailer.toml is written.")] = Path(),
    public_url: Annotated[str | None, typer.Option(help="Where readers reach the service.")] = None,
    smtp_url: Annotated[
        str | None, typer.Option(help="Where mail is handed over; not given: as entered in the browser.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="PostgreSQL.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis or Valkey.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; what is not given becomes an example.")
    ] = False,
) -> None:
    """Write mailer.toml with a fresh secret. Never overwrites one. Asks on a terminal for what is not given.

    Example:

      mailer init --public-url https://lettre.courrier.example --smtp-url smtps://me:secret@mail.example:465
    """
    path = folder / "mailer.toml"
    if path.exists():
        output.fail(f"{path} exists already and was left as it is.", output.STATE_FORBIDS)
    given = {"public_url": public_url, "database_url": database_url, "redis_url": redis_url}
    asks = sys.stdin.isatty() and not yes
    values = {name: _chosen(name, value, asks=asks) for name, value in given.items()}
    if smtp_url is not None:
        values["smtp_url"] = smtp_url
    values["secret_key"] = secrets.token_urlsafe(48)
    settings.check(values)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("# Settings of the newsletter service; docs/settings.md explains them. Keep the secret.\n")
        file.writelines(f"{name} = {_toml(value)}\n" for name, value in values.items())
    output.emit({"path": str(path)}, text=f"Wrote {path}. Next: mailer migrate, then mailer up")


def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 2,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Start own PostgreSQL and Valkey, kept in .mailer/data.")
    ] = False,
) -> None:
    """Run web server, worker and beat together until Ctrl-C; brings the database up to date first."""
    folder = Path(".mailer").absolute()
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        environment = {"MAILER_CONFIG": str(settings.config_file().absolute())}
        if embedded:
            output.say("… PostgreSQL and Valkey")
            servers = stack.enter_context(Services(folder / "data", supervisor=supervisor))
            environment |= {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
        os.environ.update(environment)
        chosen = settings.load()
        environment["MAILER_JOURNAL_DIR"] = str(chosen.journal_dir.absolute())
        migrations.upgrade(chosen.database_url)
        inbox_port = None if chosen.routes or chosen.inbox_smtp_url else _port_near(port + INBOX_OFFSET)
        processes = Stack(environment=environment, folder=folder, host=host, port=port, worker_processes=workers)
        if inbox_port is not None:
            smtp_port = free_port()
            environment["MAILER_INBOX_SMTP_URL"] = f"smtp://127.0.0.1:{smtp_port}"
            environment["MAILER_INBOX_URL"] = f"http://localhost:{inbox_port}"
            supervisor.start(processes.inbox(smtp_port=smtp_port, http_port=inbox_port))
        for child in (processes.web(), processes.worker(), processes.beat()):
            supervisor.start(child)
        wait_for_port(host, port, timeout_seconds=60, check=supervisor.check)
        _greet(f"http://{host}:{port}", folder)
        supervisor.wait()


def _port_near(wanted: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            return wanted
    except OSError:
        return free_port()


def _greet(address: str, folder: Path) -> None:
    link = first_run.setup_link()
    if link is not None:
        output.say(f"Nobody has an account yet. Open this link within the hour to create yours:\n\n  {link}\n")
    output.say(f"Ready at {address} for {settings.load().public_url}. Ctrl-C stops everything; logs are in {folder}.")


def migrate() -> None:
    """Bring the database to the schema of this version. Safe to run twice."""
    chosen = settings.load()
    was_current = migrations.is_current(chosen.database_url)
    migrations.upgrade(chosen.database_url)
    output.emit({"migrated": not was_current}, text="Up to date already." if was_current else "Migrated.")


def web(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Run the web server alone."""
    settings.load()
    stack = Stack(environment={}, folder=Path(tempfile.gettempdir()), host=host, port=port)
    # The server takes this process's place, so that it gets the signals.
    os.execv(sys.executable, list(stack.web().argv))  # noqa: S606


def inbox(
    smtp: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where mail is caught.")] = "127.0.0.1:1025",
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where it is shown.")] = "127.0.0.1:8025",
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where it is kept.")] = Path(".mailer/inbox"),
) -> None:
    """Catch mail on this machine and show it in a browser. For development."""
    local_inbox.serve(
        smtp=local_inbox.parse_address(smtp), http=local_inbox.parse_address(http), directory=folder.absolute()
    )


def version() -> None:
    """Print the version."""
    output.emit({"version": __version__}, text=f"newsroom-mailer {__version__}")


@config.command("list")
def list_settings() -> None:
    """List every setting: its name, value (secrets masked), where it is set, and what it is for."""
    chosen = settings.load()
    rows = [
        {
            "name": field.alias,
            "value": _masked(str(getattr(chosen, name)), is_secret=not field.repr),
            "source": settings.source(name),
            "description": field.description,
        }
        for name, field in settings.Settings.model_fields.items()
    ]
    output.emit_rows(rows, columns=("name", "value", "source", "description"), empty="")


@config.command()
def check() -> None:
    """Check that settings are right, that PostgreSQL and Redis answer, and that each mail server lets us in."""
    chosen = settings.load()
    for key in chosen.dkim:
        dkim.load(key)
    is_current = migrations.is_current(chosen.database_url)
    queue.ping()
    if not is_current:
        output.fail("The database has another schema than this version; run: mailer migrate", output.CHECKS_FAILED)
    with transaction() as session:
        routes = servers.routes(session)
    problems = [problem for one in routes if (problem := _try_route(one, chosen))]
    if problems:
        output.fail("; ".join(problems), output.CHECKS_FAILED)
    names = ", ".join(one.name for one in routes)
    said = f"logged in to: {names}" if names else "no mail server is set up yet, so mail waits"
    words = f"Settings are right; PostgreSQL and Redis answer; the schema is current; {said}."
    output.emit({"ok": True, "transports": [one.name for one in routes]}, text=words)


def _try_route(transport: Transport, chosen: settings.Settings) -> str | None:
    """Connect and log in, as a worker does, within seconds; return what is wrong."""
    done = checking.check(transport, helo_name=chosen.helo_name or chosen.public_host)
    return None if done.is_good else done.words


def _chosen(name: str, given: str | None, *, asks: bool) -> str:
    if given is not None:
        return given
    question = str(settings.Settings.model_fields[name].description)
    return str(typer.prompt(question, default=EXAMPLES[name], err=True)) if asks else EXAMPLES[name]


def _masked(value: str, *, is_secret: bool) -> str:
    """Hide what nobody may read over a shoulder: a secret, or the password in an address."""
    if is_secret and "://" not in value:
        return "(secret)"
    # Up to the last @: a password that was not encoded may hold one.
    return re.sub(r"([?&]password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*:).*@", r"\1***@", value))


def _toml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
