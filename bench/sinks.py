"""The SMTP servers and the reference client that sending is measured against."""

import enum
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer.embedded.processes import free_port, wait_for_port

NO_SMTP_SOURCE = "smtp-source is not installed; on Debian: apt-get install postfix"
HERE = Path(__file__).parent


class Sink(enum.StrEnum):
    """A server that takes every mail and keeps none."""

    FAST = "fast"
    SMTP_SINK = "smtp-sink"


class Missing(Exception):
    """A program that the bench needs is not installed; the message says which and how to get it."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A message that the sink accepted: to whom, and when in seconds since 1970."""

    recipient: str
    at: float


@contextmanager
def run(sink: Sink, folder: Path, *, delay_ms: int, log: Path | None = None) -> Iterator[int]:
    """Run a sink; yields its port. Only the fast one delays its answers and logs what it takes."""
    with fast_sink(folder, delay_ms=delay_ms, log=log) if sink is Sink.FAST else _smtp_sink() as port:
        yield port


@contextmanager
def _smtp_sink() -> Iterator[int]:
    program = _postfix("smtp-sink")
    if program is None:
        raise Missing("Postfix's smtp-sink is not installed; on Debian: apt-get install postfix")
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [program, *user, f"127.0.0.1:{port}", "1000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port("127.0.0.1", port, timeout_seconds=10, check=lambda: None)
            yield port
        finally:
            process.terminate()


def _postfix(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def fast_sink(folder: Path, *, delay_ms: int, log: Path | None = None) -> Iterator[int]:
    """Run the sink that is not the bottleneck; yields its port. `log` gets a line for each accepted message: see `taken`."""
    if shutil.which("cc") is None:
        raise Missing("A C compiler (cc) is needed to build bench/fastsink.c; on Debian: apt-get install gcc libc6-dev")
    program = folder / "fastsink"
    build = ["cc", "-O2", "-w", "-o", str(program), str(HERE / "fastsink.c")]
    subprocess.run(build, check=True)
    port = free_port()
    command = [str(program), str(port), str(delay_ms), *([] if log is None else [str(log)])]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port("127.0.0.1", port, timeout_seconds=10, check=lambda: None)
            yield port
        finally:
            process.terminate()


def taken(log: Path) -> list[Taken]:
    """Read what a sink has accepted so far, in order."""
    found = []
    for line in log.read_text().splitlines():
        recipient, _, at = line.rpartition(" ")
        found.append(Taken(recipient=recipient, at=float(at)))
    return found


def smtp_source_seconds(port: int, *, messages: int, size_bytes: int, sessions: int) -> float | None:
    """Time Postfix's smtp-source sending as many messages of the same size; None where it is not installed."""
    program = _postfix("smtp-source")
    if program is None:
        return None
    command = [program, "-s", str(sessions), "-m", str(messages), "-l", str(size_bytes)]
    command += ["-f", "lettre@courrier.example", "-t", "reader@example.org", f"127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
