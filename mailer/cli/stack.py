"""The processes of a whole installation on one machine: web, worker, beat, and for a try an inbox."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from mailer.embedded.processes import Child


@dataclass(frozen=True, kw_only=True)
class Stack:
    """How the processes are started: their environment, their logs' folder, and the web server's address and TLS."""

    environment: dict[str, str]
    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    tls: tuple[Path, Path] | None = None
    worker_processes: int = 2
    extra: dict[str, str] = field(default_factory=dict)

    def child(self, name: str, *arguments: str, stage: int = 2) -> Child:
        """Describe a process that runs a Python module of ours or of a library."""
        return Child(
            name=name,
            argv=[sys.executable, "-m", *arguments],
            log=self.folder / f"{name}.log",
            env={**os.environ, **self.environment, **self.extra},
            cwd=self.folder,
            stage=stage,
        )

    def web(self) -> Child:
        """Describe the web server."""
        arguments = ["uvicorn", "--no-proxy-headers", "--no-server-header", "--log-level", "warning"]
        # Pages that watch an issue keep their connection open.
        arguments += ["--timeout-graceful-shutdown", "5"]
        arguments += ["--host", self.host, "--port", str(self.port)]
        if self.tls is not None:
            arguments += ["--ssl-certfile", str(self.tls[0]), "--ssl-keyfile", str(self.tls[1])]
        return self.child("web", *arguments, "mailer.web.app:app")

    def worker(self) -> Child:
        """Describe the Celery worker, which serves every queue."""
        options = [
            "--concurrency",
            str(self.worker_processes),
            "--loglevel",
            "WARNING",
            "--without-gossip",
            "--without-mingle",
        ]
        return self.child("worker", "celery", "-A", "workers.app", "worker", *options)

    def beat(self) -> Child:
        """Describe Celery beat, which only ticks."""
        schedule = str(self.folder / "beat-schedule")
        return self.child(
            "beat", "celery", "-A", "workers.app", "beat", "--loglevel", "WARNING", "--schedule", schedule
        )

    def inbox(self, *, smtp_port: int, http_port: int) -> Child:
        """Describe the local inbox, which catches every mail."""
        where = ["--smtp", f"127.0.0.1:{smtp_port}", "--http", f"127.0.0.1:{http_port}"]
        return self.child("inbox", "mailer.embedded.inbox", *where, "--dir", str(self.folder / "inbox"), stage=1)

    def site(self, *, port: int, subscribe_url: str, feed_file: Path | None) -> Child:
        """Describe the sample publication's site."""
        scheme = "https" if self.tls else "http"
        arguments = [
            "--port",
            str(port),
            "--base-url",
            f"{scheme}://localhost:{port}",
            "--subscribe-url",
            subscribe_url,
        ]
        arguments += ["--state-dir", str(self.folder / "site")]
        if feed_file is not None:
            arguments += ["--feed", str(feed_file)]
        if self.tls is not None:
            arguments += ["--ssl-cert", str(self.tls[0]), "--ssl-key", str(self.tls[1])]
        return self.child("site", "mailer.embedded.site", *arguments, stage=1)
