"""Which SMTP servers mail is handed over to: those of the environment, else those entered at the desk, or the sandbox."""

import dataclasses
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import structlog
from pydantic import ValidationError
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from mailer import settings, vault
from mailer.mail_settings import LOOPBACK_HOSTS, Transport
from mailer.models.installation import Installation, MailServer, Security

SECRET: Final = b"mail-server"
INBOX: Final = "inbox"
PORTS: Final = {Security.STARTTLS: 587, Security.TLS: 465, Security.CLEAR: 25}
# name -> host, port, security: as each provider's own pages say.
PRESETS: Final[dict[str, tuple[str, int, Security]]] = {
    "Amazon SES (Paris)": ("email-smtp.eu-west-3.amazonaws.com", 587, Security.STARTTLS),
    "Brevo": ("smtp-relay.brevo.com", 587, Security.STARTTLS),
    "Gandi": ("mail.gandi.net", 587, Security.STARTTLS),
    "Gmail / Google Workspace": ("smtp.gmail.com", 587, Security.STARTTLS),
    "Infomaniak": ("mail.infomaniak.com", 587, Security.STARTTLS),
    "Mailgun (EU)": ("smtp.eu.mailgun.org", 587, Security.STARTTLS),
    "Mailjet": ("in-v3.mailjet.com", 587, Security.STARTTLS),
    "Microsoft 365": ("smtp.office365.com", 587, Security.STARTTLS),
    "OVHcloud": ("ssl0.ovh.net", 465, Security.TLS),
    "Postmark": ("smtp.postmarkapp.com", 587, Security.STARTTLS),
    "Scaleway": ("smtp.tem.scaleway.com", 587, Security.STARTTLS),
    "SendGrid": ("smtp.sendgrid.net", 587, Security.STARTTLS),
    "SparkPost (EU)": ("smtp.eu.sparkpostmail.com", 587, Security.STARTTLS),
}
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z|[0-9a-fA-F:]{2,45}\Z")
MOST_SERVERS: Final = 20
LONGEST: Final = 500

log = structlog.get_logger()


class ServerInvalid(ValueError):
    """A server can't be used as it was entered; `errors` has a sentence for each field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(errors.values()))
        self.errors = errors


class ServerNotFound(LookupError):
    """There is no such mail server."""


@dataclass(frozen=True, kw_only=True)
class Entered:
    """A server as somebody entered it, checked. `password` None: the one that is kept already, if any."""

    host: str
    port: int
    security: Security
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    position: int = 1
    connections: int = 10
    per_second: float | None = None
    per_hour: int | None = None
    per_day: int | None = None


def routes(session: Session) -> tuple[Transport, ...]:
    """Return the servers in use; () when there are none yet, and mail waits. One whose password can't be read is left out."""
    chosen = settings.load()
    if chosen.routes:
        return chosen.routes
    if is_sandbox(session):
        inbox = chosen.inbox_smtp_url
        return (Transport(name=INBOX, url=inbox),) if inbox else ()
    found = []
    for one in listed(session):
        try:
            found.append(transport(one))
        except (vault.SecretUnreadable, ValidationError) as error:
            log.warning("mail server left out", server=one.id, reason=type(error).__name__)
    return tuple(found)


def is_sandbox(session: Session) -> bool:
    """Tell whether mail is caught on this machine: by the settings, or as chosen at the desk."""
    chosen = settings.load()
    if chosen.routes:
        return chosen.sandbox
    found = session.execute(select(Installation.is_sandbox)).scalar_one_or_none()
    return bool(found)


def are_ours() -> bool:
    """Tell whether the desk decides; False when the environment names the servers, which wins."""
    return not settings.load().routes


def listed(session: Session) -> list[MailServer]:
    """List the servers entered at the desk, in the order in which they are used."""
    return list(session.execute(select(MailServer).order_by(MailServer.position, MailServer.id)).scalars())


def get(session: Session, server_id: int) -> MailServer:
    """Find a server. Raises ServerNotFound."""
    found = session.get(MailServer, server_id)
    if found is None:
        raise ServerNotFound("There is no such mail server.")
    return found


def add(session: Session, entered: Entered, *, now: datetime) -> MailServer:
    """Keep a server; its name is made different from those of others. Raises ServerInvalid."""
    others = listed(session)
    if len(others) >= MOST_SERVERS:
        raise ServerInvalid({"host": "There are as many servers as can be used; remove one first"})
    server = MailServer(name=_free_name(_name(entered.host), {one.name for one in others}), created_at=now)
    _fill(server, entered, now=now)
    session.add(server)
    session.flush()
    return server


def edit(session: Session, server_id: int, entered: Entered, *, now: datetime) -> MailServer:
    """Change a server; without a new password the old one stays, unless it would go to another host or user.

    Raises ServerNotFound or ServerInvalid.
    """
    server = get(session, server_id)
    is_elsewhere = (server.host, server.username) != (entered.host, entered.username)
    if entered.password is None and server.sealed_password is not None and is_elsewhere and entered.username:
        raise ServerInvalid({"password": "Enter the password again: it is for another server or user now"})
    _fill(server, entered, now=now)
    session.flush()
    return server


def remove(session: Session, server_id: int) -> None:
    """Forget a server and its password. Raises ServerNotFound."""
    if session.execute(delete(MailServer).where(MailServer.id == server_id)).rowcount == 0:  # type: ignore[attr-defined]
        raise ServerNotFound("There is no such mail server.")


def use_sandbox(session: Session, is_sandbox: bool, *, now: datetime) -> None:
    """Have mail caught on this machine from now on, or no longer. The installation's row is there already."""
    session.execute(update(Installation).values(is_sandbox=is_sandbox, updated_at=now))


def transport(server: MailServer) -> Transport:
    """Return a stored server as the transports know it. Raises vault.SecretUnreadable."""
    password = vault.unseal(SECRET, server.sealed_password) if server.sealed_password is not None else None
    return _transport(
        Entered(
            host=server.host,
            port=server.port,
            security=server.security,
            username=server.username,
            password=password,
            position=server.position,
            connections=server.connections,
            per_second=server.per_second,
            per_hour=server.per_hour,
            per_day=server.per_day,
        ),
        name=server.name,
    )


def as_transport(entered: Entered, kept: MailServer | None = None) -> Transport:
    """Return what was entered as the transports know it, with the kept password if there is no new one.

    Raises vault.SecretUnreadable.
    """
    if entered.password is None and kept is not None and kept.sealed_password is not None:
        entered = dataclasses.replace(entered, password=vault.unseal(SECRET, kept.sealed_password))
    return _transport(entered, name=_name(entered.host))


def read_url(text: str) -> dict[str, str]:
    """Take smtp://user:password@host:port apart into the form's fields; {} if it is no such address."""
    try:
        parts = urlsplit(text.strip())
        port, host = parts.port, parts.hostname
    except ValueError:
        return {}
    if parts.scheme not in tuple(Security) or not host:
        return {}
    # In clear with a password would be refused; nearly everywhere STARTTLS is meant.
    is_meant_safe = parts.scheme == Security.CLEAR and parts.username and host not in LOOPBACK_HOSTS
    security = Security.STARTTLS if is_meant_safe else Security(parts.scheme)
    return {
        "host": host,
        "port": str(port or PORTS[security]),
        "security": security.value,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }


def read_form(typed: dict[str, str]) -> Entered:
    """Check what was typed into the fields of Entered. Raises ServerInvalid with a sentence at each field that can't be used."""
    errors: dict[str, str] = {}
    if not _HOST.match(typed["host"]):
        errors["host"] = "Enter the name of a mail server, such as smtp.courrier.example"
    if typed["security"] not in tuple(Security):
        errors["security"] = "Choose one of the three"
    for name in ("username", "password"):
        if len(typed[name]) > LONGEST or not typed[name].isprintable():
            errors[name] = "Enter at most 500 characters on one line"
    if typed["password"] and not typed["username"]:
        errors["username"] = "A password needs a user name"
    port = _whole(typed, "port", 1, 65535, errors)
    is_clear = typed["security"] == Security.CLEAR and typed["username"] and typed["host"] not in LOOPBACK_HOSTS
    if is_clear:
        errors["security"] = "The password would go over the network in clear; choose STARTTLS or TLS"
    limits = {name: _whole(typed, name, 1, 1_000_000_000, errors) for name in ("per_hour", "per_day")}
    per_second = _rate(typed.get("per_second", ""), errors)
    position = _whole(typed, "position", 1, 100, errors)
    connections = _whole(typed, "connections", 1, 1000, errors)
    if port is None and "port" not in errors:
        errors["port"] = "Enter a number from 1 to 65535"
    if errors:
        raise ServerInvalid(errors)
    return Entered(
        host=typed["host"].lower(),
        port=port or 0,
        security=Security(typed["security"]),
        username=typed["username"] or None,
        password=typed["password"] or None,
        position=position or 1,
        connections=connections or 10,
        per_second=per_second,
        **limits,
    )


def _fill(server: MailServer, entered: Entered, *, now: datetime) -> None:
    server.host, server.port, server.security = entered.host, entered.port, entered.security
    server.username, server.updated_at = entered.username, now
    if entered.username is None:
        server.sealed_password = None
    elif entered.password is not None:
        server.sealed_password = vault.seal(SECRET, entered.password)
    server.position, server.connections = entered.position, entered.connections
    server.per_second, server.per_hour, server.per_day = entered.per_second, entered.per_hour, entered.per_day


def _transport(entered: Entered, *, name: str) -> Transport:
    host = f"[{entered.host}]" if ":" in entered.host else entered.host
    user = f"{quote(entered.username, safe='')}:{quote(entered.password or '', safe='')}@" if entered.username else ""
    return Transport(
        name=name,
        url=f"{entered.security}://{user}{host}:{entered.port}",
        order=entered.position,
        connections=entered.connections,
        per_second=entered.per_second,
        per_hour=entered.per_hour,
        per_day=entered.per_day,
    )


def _name(host: str) -> str:
    """Make a short name of a host's, for counts and logs."""
    labels = [one for one in re.sub("[^a-z0-9.]+", "-", host.lower()).split(".") if one.strip("-")]
    name = "-".join(labels[-2:]) if labels and not labels[-1].isdigit() else "-".join(labels)
    return (name.strip("-") or "smtp")[:28].strip("-")


def _free_name(wanted: str, taken: set[str]) -> str:
    numbered = (f"{wanted}-{number}" for number in range(2, MOST_SERVERS + 3))
    return next(name for name in (wanted, *numbered) if name not in taken)


def _whole(typed: dict[str, str], name: str, least: int, most: int, errors: dict[str, str]) -> int | None:
    text = typed.get(name, "")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
        errors[name] = {65535: "Enter a number from 1 to 65535", 100: "Enter a number from 1 to 100"}.get(
            most, "Enter a whole number that is not 0"
        )
        return None
    return int(text)


def _rate(text: str, errors: dict[str, str]) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}([.,][0-9]{1,3})?", text) or not float(text.replace(",", ".")) > 0:
        errors["per_second"] = "Enter a number such as 5 or 0.5"
        return None
    return float(text.replace(",", "."))
