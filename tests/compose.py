"""docker-compose.yml as Docker reads it, and its services started as plain processes on this machine."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mailer.embedded.processes import Child, Supervisor, free_port
from mailer.embedded.services import Servers

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
# What an operator writes into .env for the dev profile.
FILLED_IN = {
    "POSTGRES_PASSWORD": "letters0and1digits",
    "MAILER_SECRET_KEY": "a secret for tests that is long enough",
    "MAILER_PUBLIC_URL": "http://localhost:8000",
    "MAILER_SMTP_URL": "smtp://inbox:1025",
}
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::\?([^}]*))?\})")


def read(values: Mapping[str, str]) -> dict[str, Any]:
    """Parse the file with its variables replaced; a required one that is missing fails with the file's own sentence."""

    def value(match: re.Match[str]) -> str:
        name, sentence = match.groups()
        if name is None:
            return "$"
        if not values.get(name):
            raise ValueError(sentence or name)
        return values[name]

    return yaml.safe_load(_VARIABLE.sub(value, FILE.read_text("utf-8")))


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine that stands for the containers: the same commands, other ports, its own folders."""

    supervisor: Supervisor
    services: dict[str, Any]
    environment: dict[str, str]
    folder: Path
    ports: dict[str, int]

    def start(self, name: str) -> None:
        """Start a long-running service's very command."""
        service = self.services[name]
        argv = [self._here(word) for word in service["command"]]
        self.supervisor.start(
            Child(name=name, argv=argv, log=self.folder / f"{name}.log", env=self._environment(), cwd=self._cwd(name))
        )

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot service's very command."""
        return self._run([self._here(word) for word in self.services[name]["command"]], name)

    def check(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a service's very health check, once."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        argv = [self._here(word) for word in words]
        return self._run(["/bin/sh", "-c", argv[0]] if kind == "CMD-SHELL" else argv, name)

    def url(self, container_port: int) -> str:
        """Where a container's port is here."""
        return f"http://localhost:{self.ports[str(container_port)]}"

    def _run(self, argv: list[str], name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=self._environment(),
            cwd=self._cwd(name),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _cwd(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {"PATH": path, "HOME": str(self.folder), "HOSTNAME": socket.gethostname(), **self.environment}

    def _here(self, word: str) -> str:
        # The longest first, or 8025 in 18025.
        for container_port, port in self.ports.items():
            word = re.sub(rf"\b{container_port}\b", str(port), word)
        return word.replace("0.0.0.0", "127.0.0.1").replace("/tmp/", f"{self.folder}/")  # noqa: S104, S108


@contextmanager
def machine(servers: Servers, folder: Path) -> Iterator[Machine]:
    """Make the machine, with PostgreSQL and Redis elsewhere than in their containers; stop all at the end."""
    ports = {port: free_port() for port in ("8000", "8025", "1025")}
    services = read(FILLED_IN)["services"]
    environment = {
        **services["web"]["environment"],
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "MAILER_PUBLIC_URL": f"http://localhost:{ports['8000']}",
        "MAILER_SMTP_URL": f"smtp://127.0.0.1:{ports['1025']}",
        "MAILER_JOURNAL_DIR": str(folder / "journal"),
    }
    with Supervisor() as supervisor:
        yield Machine(supervisor=supervisor, services=services, environment=environment, folder=folder, ports=ports)
