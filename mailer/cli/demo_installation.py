"""A whole sandboxed installation as child processes, with the sample publication's site and a local inbox."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer import clock, settings
from mailer.cli import demo_folder
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.embedded import certificates
from mailer.embedded.processes import Supervisor, free_port, wait_for_port
from mailer.embedded.services import Servers, Services
from mailer.migrations import run as migrations
from mailer.newsroom import newsletters

SLUG = "courrier"
CRON, TIMEZONE = "0 7 * * FRI", "Europe/Paris"
NEWSLETTER: dict[str, object] = {
    "name": "Le Courrier d’Asie centrale",
    "description": "Pour rester informé des actualités de l’Asie centrale.",
    "language": "fr",
    "sender_name": "Le Courrier d’Asie centrale",
    "sender_address": "lettre@courrier.example",
    "publisher": "Association Le Courrier",
    "postal_address": "12 rue des Caravanes, 67000 Strasbourg",
    "introduction": "Bonjour,\n\nVoici les articles que la rédaction a choisis pour vous cette semaine, "
    "des rives du Syr-Daria aux quais de Samarcande.\n\nBonne lecture,",
    "signature": "Camille Ferrand, rédactrice en chef",
}
# The inbox and the site are so far above the web server.
INBOX_OFFSET, SITE_OFFSET = 25, 90

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A running installation: where its parts answer."""

    supervisor: Supervisor
    folder: Path
    web_url: str
    site_url: str
    inbox_url: str
    feed_url: str
    ca_file: Path | None


@contextmanager
def running(
    folder: Path | None, *, port: int | None, feed: str | None, environment: dict[str, str], progress: Progress
) -> Iterator[Installation]:
    """Start everything in `folder` and stop it at the end of the block; None for a folder that goes with the block.

    `feed` is the file or address of the operator's own feed; None for the sample's. The web server's `port` gives way to
    a free one when it is taken. None: every port is free, and the web server and the site show a certificate of a
    throw-away authority, as they must for mails whose every link is https.
    Also sets this process's own settings, so that it can call the domain. Raises ServicesFailed, ChildDied.
    """
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = folder or supervisor.private_directory("mailer-demo-")
        progress("PostgreSQL and Valkey")
        servers = stack.enter_context(Services(folder, supervisor=supervisor))
        ports = _Ports.free() if port is None else _Ports.wanted(port, folder / "site-port", progress)
        tls = certificates.create(folder / "tls") if port is None else None
        own = _environment(folder, servers, ports, tls) | environment
        _write_config(folder / "mailer.toml", own)
        os.environ.update(own)
        settings.load.cache_clear()
        progress("database tables")
        migrations.upgrade(settings.load().database_url)
        progress("web server, worker, schedule, inbox and the sample site")
        pair = (tls.cert_file, tls.key_file) if tls else None
        feed_file = Path(feed).absolute() if feed and "://" not in feed else None
        _start(supervisor, Stack(environment=own, folder=folder, port=ports.web, tls=pair), ports, feed_file)
        site_url = f"{'https' if tls else 'http'}://localhost:{ports.site}"
        yield Installation(
            supervisor=supervisor,
            folder=folder,
            web_url=own["MAILER_PUBLIC_URL"],
            site_url=site_url,
            inbox_url=own["MAILER_INBOX_URL"],
            feed_url=feed if feed and feed_file is None else f"{site_url}/{'feed' if feed_file else 'feed.xml'}",
            ca_file=tls.ca_file if tls else None,
        )


def set_up_newsletter(installation: Installation) -> None:
    """Create the sample newsletter with its feed, unless an earlier run did."""
    with transaction() as session:
        now = clock.now()
        try:
            newsletter = newsletters.get(session, SLUG)
        except newsletters.NewsletterNotFound:
            values = {**NEWSLETTER, "site_url": installation.site_url, "cron": CRON, "timezone": TIMEZONE}
            newsletter = newsletters.create(session, SLUG, values=values, now=now)
        # The ports may have changed since the last run.
        newsletters.edit(session, newsletter, values={"site_url": installation.site_url}, now=now)
        for feed in newsletters.feeds(session, newsletter):
            if feed.url != installation.feed_url:
                newsletters.remove_feed(session, newsletter, feed.id)
        feed = newsletters.add_feed(session, newsletter, installation.feed_url, now=now)
        newsletters.read_soon(session, [feed.id], now=now)


@dataclass(frozen=True, kw_only=True)
class _Ports:
    web: int
    inbox: int
    site: int
    smtp: int

    @classmethod
    def wanted(cls, web: int, site_file: Path, progress: Progress) -> "_Ports":
        """Take the web server's port and those above it; the site keeps the one of earlier runs, noted in `site_file`."""
        earlier = int(site_file.read_text("ascii")) if site_file.exists() else None
        site = _port(earlier or web + SITE_OFFSET, progress)
        if earlier not in (None, site):
            # The port is a part of every article's address, by which articles are told apart.
            progress("the site has another address than last time, so its articles count as new")
        site_file.write_text(str(site), "ascii")
        return cls(web=_port(web, progress), inbox=_port(web + INBOX_OFFSET, progress), site=site, smtp=free_port())

    @classmethod
    def free(cls) -> "_Ports":
        return cls(web=free_port(), inbox=free_port(), site=free_port(), smtp=free_port())


def _environment(
    folder: Path, servers: Servers, ports: _Ports, tls: certificates.Certificates | None
) -> dict[str, str]:
    return {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "MAILER_SECRET_KEY": demo_folder.secret(folder),
        "MAILER_PUBLIC_URL": f"{'https' if tls else 'http'}://localhost:{ports.web}",
        "MAILER_SMTP_URL": f"smtp://127.0.0.1:{ports.smtp}",
        "MAILER_JOURNAL_DIR": str(folder / "journal"),
        "MAILER_FEED_PRIVATE_NETWORKS": "127.0.0.0/8,::1/128",
        "MAILER_SANDBOX": "true",
        "MAILER_INBOX_URL": f"http://localhost:{ports.inbox}",
        "MAILER_CONFIG": str(folder / "mailer.toml"),
        # The readers of the scenario fill in the form faster than people can.
        **({"SSL_CERT_FILE": str(tls.bundle_file), "MAILER_FORM_SECONDS": "0"} if tls else {}),
    }


def _start(supervisor: Supervisor, processes: Stack, ports: _Ports, feed_file: Path | None) -> None:
    """Start the processes and wait until each answers."""
    subscribe_url = f"{processes.environment['MAILER_PUBLIC_URL']}/{SLUG}"
    supervisor.start(processes.inbox(smtp_port=ports.smtp, http_port=ports.inbox))
    supervisor.start(processes.site(port=ports.site, subscribe_url=subscribe_url, feed_file=feed_file))
    for child in (processes.web(), processes.worker(), processes.beat()):
        supervisor.start(child)
    for port in (ports.inbox, ports.smtp, ports.site, ports.web):
        wait_for_port("127.0.0.1", port, timeout_seconds=60, check=supervisor.check)


def _write_config(path: Path, environment: dict[str, str]) -> None:
    """Write the demo's settings down, so that `mailer` in another terminal works on it by MAILER_CONFIG."""
    names = {str(field.alias): name for name, field in settings.Settings.model_fields.items()}
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    lines = [f"{names[alias]} = {json.dumps(value)}\n" for alias, value in environment.items() if alias in names]
    path.write_text("".join(lines), encoding="utf-8")


def _port(wanted: int, progress: Progress) -> int:
    """Return the wanted port, or a free one if it can't be had."""
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            return wanted
    except OSError:
        free = free_port()
        progress(f"port {wanted} is taken, so {free} instead")
        return free
