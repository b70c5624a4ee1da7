"""Servers that belong to these tests alone, since they are killed: one PostgreSQL and one Valkey for each xdist worker."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy import Engine, NullPool, create_engine, make_url

from mailer.embedded.processes import Supervisor
from mailer.embedded.services import Servers, Services
from mailer.migrations import run as migrations
from tests.conftest import SmtpInbox
from tests.faults import service as whole


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The servers, and the supervisor by which they are killed and started again."""

    supervisor: Supervisor
    servers: Servers
    data_dir: Path

    def kill(self, name: str, signal_number: int) -> None:
        """End "postgres" or "valkey" and wait until it is gone."""
        self.supervisor.end(name, signal_number)

    def start_again(self, name: str) -> None:
        """Start it as it was, and return once it answers."""
        self.supervisor.start_again(name)
        whole.wait_for(self._postgres_answers if name == "postgres" else self._valkey_answers)

    def restart(self, name: str, signal_number: int, *, down_seconds: float) -> None:
        """Kill a server, leave it dead for a while, start it."""
        self.kill(name, signal_number)
        time.sleep(down_seconds)
        self.start_again(name)

    def _postgres_answers(self) -> bool:
        try:
            psycopg.connect(libpq(self.servers.database_url), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _valkey_answers(self) -> bool:
        with redis.Redis.from_url(self.servers.redis_url) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def libpq(url: str) -> str:
    """Return an SQLAlchemy address as psycopg reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """Servers on which a crash loses nothing that was committed."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        data_dir = supervisor.private_directory("mailer-faults-")
        yield Machine(supervisor=supervisor, servers=prepare(stack, supervisor, data_dir), data_dir=data_dir)


def prepare(stack: ExitStack, supervisor: Supervisor, data_dir: Path) -> Servers:
    """Start servers in a folder, with the schema in their database and a watch over it."""
    servers = stack.enter_context(Services(data_dir, durable=True, supervisor=supervisor))
    migrations.upgrade(servers.database_url)
    with psycopg.connect(libpq(servers.database_url)) as connection:
        connection.execute(whole.WATCH)
    return servers


@pytest.fixture(scope="session")
def services(machine: Machine) -> Servers:
    """The machine's servers, in place of those that all other tests share."""
    return machine.servers


@pytest.fixture(scope="session")
def database_url(services: Servers) -> str:
    """The machine's one database."""
    return services.database_url


@pytest.fixture(scope="session")
def migrated(database_url: str) -> Iterator[Engine]:
    """Connections to it."""
    engine = create_engine(database_url, poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def service(
    installation: SmtpInbox, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[whole.Service]:
    """A worker, beat, READERS readers and an article for them; `begin` sets an issue on its way."""
    with whole.running(tmp_path, monkeypatch) as running:
        yield running
