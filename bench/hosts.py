"""A whole service on one or several hosts, for a bench that breaks it: servers, and on each host a worker and a beat.

Hosts have a folder (a disk) and, where there are several, a network of their own; PostgreSQL and Valkey are shared.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, make_url, select

from bench import installation, networks
from bench.networks import Network
from mailer import db, queue, settings
from mailer.cli.stack import Stack
from mailer.db import transaction
from mailer.embedded.processes import Child, ChildDied, Supervisor
from mailer.embedded.services import Servers, Services
from mailer.migrations import run as migrations
from mailer.models.deliveries import Batch, BatchState


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and where its files and its SMTP server are."""

    folder: Path
    smtp_port: int
    hosts: int
    workers: int  # processes on each host
    chosen: dict[str, str]  # settings


@dataclass(frozen=True, kw_only=True)
class Host:
    """One machine. `network` is None when there is only one, beside the servers."""

    number: int
    folder: Path
    network: Network | None = None

    @property
    def worker(self) -> str:
        """The worker's name with the supervisor."""
        return f"worker {self.number}"

    @property
    def beat(self) -> str:
        """The beat's name with the supervisor."""
        return f"beat {self.number}"

    @property
    def journal(self) -> Path:
        """The folder of its sending journal."""
        return self.folder / "journal"


@dataclass(frozen=True, kw_only=True)
class Absence:
    """Something that is away for a while: a host's network, a process that does not get on."""

    host: Host
    is_over: Callable[[], bool]
    end: Callable[[], None]


class Service:
    """The running service. It may be killed as a whole and started again on the same disks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.hosts: list[Host] = []
        self.absences: list[Absence] = []
        self.ended_workers = 0
        self._last_number = 0
        self._stack = ExitStack()

    def start(self) -> None:
        """Start everything, on first use with empty disks. Also sets this process's own settings."""
        self.supervisor = self._stack.enter_context(Supervisor())
        servers_folder = self.plan.folder / "servers"
        self._servers = self._stack.enter_context(Services(servers_folder, supervisor=self.supervisor))
        _believe(self._environment())
        migrations.upgrade(settings.load().database_url)
        hosts, self.hosts, self.absences = self.hosts, [], []
        for host in hosts:
            self._start_host(host)
        while len(self.hosts) < self.plan.hosts:
            self.add_host()

    def stop(self) -> None:
        """Stop what still runs. The disks stay."""
        _forget()
        self._stack.close()

    def add_host(self) -> None:
        """Start a new host with an empty disk."""
        self._last_number += 1
        self._start_host(Host(number=self._last_number, folder=self.plan.folder / f"host-{self._last_number}"))

    def names_of(self, host: Host) -> list[str]:
        """List all that runs on a host, by its name with the supervisor."""
        own = [] if host.network is None else host.network.children
        return [name for name in (host.worker, host.beat, *own) if name in self.supervisor.running()]

    def remove_host(self, host: Host) -> None:
        """Forget a host whose processes have ended, and its disk."""
        self.hosts.remove(host)
        self.absences = [one for one in self.absences if one.host is not host]
        shutil.rmtree(host.folder)

    def start_worker(self, host: Host) -> None:
        """Start a host's worker, which is not running."""
        self._start_on(host, self._stack_of(host).worker, host.worker)

    def start_beat(self, host: Host) -> None:
        """Start a host's beat, which is not running."""
        self._start_on(host, self._stack_of(host).beat, host.beat)

    def look_after(self) -> None:
        """End absences whose time has come. Raises ChildDied when something ended that nobody killed.

        A worker is started again, as init systems do: Celery gives up when one of its first processes is killed.
        """
        try:
            self.supervisor.check()
        except ChildDied:
            ended = [host for host in self.hosts if host.worker not in self.supervisor.running()]
            if not ended:
                raise
            for host in ended:
                self.ended_workers += 1
                self.start_worker(host)
        for one in [one for one in self.absences if one.is_over()]:
            one.end()
            self.absences.remove(one)

    def is_quiet(self) -> bool:
        """Tell whether nothing is away and all that was sent over networks has arrived."""
        return not self.absences and all(host.network is None or networks.is_quiet(host.network) for host in self.hosts)

    def _environment(self) -> dict[str, str]:
        own = installation.environment(
            database_url=self._servers.database_url,
            redis_url=self._servers.redis_url,
            smtp_port=self.plan.smtp_port,
            journal_dir=self.plan.folder / "journal",
        )
        return own | self.plan.chosen

    def _start_host(self, host: Host) -> None:
        host.folder.mkdir(exist_ok=True)
        if self.plan.hosts > 1:
            targets = _sockets(self._servers) | {"sink": str(self.plan.smtp_port)}
            network = networks.connect(self.supervisor, host.number, folder=host.folder, targets=targets)
            host = replace(host, network=network)
        self.hosts.append(host)
        self.start_worker(host)
        self.start_beat(host)

    def _stack_of(self, host: Host) -> Stack:
        environment = {"MAILER_JOURNAL_DIR": str(host.journal)}
        if host.network is not None:
            where = {name: f"{host.network.address}:{port}" for name, port in host.network.ports.items()}
            environment["DATABASE_URL"] = f"postgresql://postgres@{where['postgres']}/mailer"
            environment["REDIS_URL"] = f"redis://{where['valkey']}/0"
            environment["MAILER_SMTP_URL"] = f"smtp://{where['sink']}"
        return Stack(environment=environment, folder=host.folder, worker_processes=self.plan.workers)

    def _start_on(self, host: Host, describe: Callable[[], Child], name: str) -> None:
        child = replace(describe(), name=name)
        self.supervisor.start(child if host.network is None else host.network.inside(child))


def _sockets(servers: Servers) -> dict[str, str]:
    """Name the servers' unix sockets."""
    folder = make_url(servers.database_url).query["host"]
    valkey = servers.redis_url.removeprefix("unix://").partition("?")[0]
    return {"postgres": f"{folder}/.s.PGSQL.5432", "valkey": valkey}


def has_claims(host: Host) -> bool:
    """Tell whether batches are still a host's, by the database."""
    try:
        machine = (host.journal / "host-id").read_text("ascii")
    except OSError:
        return False  # it has not sent anything yet
    owned = (Batch.state == BatchState.CLAIMED, Batch.owner.startswith(f"{machine}.", autoescape=True))
    with transaction() as session:
        return session.execute(select(func.count()).select_from(Batch).where(*owned)).scalar_one() > 0


def _believe(environment: dict[str, str]) -> None:
    _forget()
    os.environ.update(environment)


def _forget() -> None:
    """Drop what this process remembers of servers that are gone or have new sockets."""
    if db.engine.cache_info().currsize:
        db.engine().dispose()
    for remembered in (db.engine, settings.load, queue.client):
        remembered.cache_clear()
