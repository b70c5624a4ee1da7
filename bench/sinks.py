"""The SMTP servers and the reference client that sending is measured against."""

import enum
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mailer.embedded.processes import free_port, wait_for_port

NO_SMTP_SOURCE = "smtp-source is not installed; on Debian: apt-get install postfix"
NO_COMPILER = "python (no C compiler: the sink is the bottleneck)"
HERE = Path(__file__).parent


class Sink(enum.StrEnum):
    """A server that takes every mail and keeps none."""

    FAST = "fast"
    SMTP_SINK = "smtp-sink"


class Language(enum.StrEnum):
    """What the fast sink is written in: fastsink.c, or slowsink.py for machines without a C compiler."""

    C = "c"
    PYTHON = "python"


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
def fast_sink(
    folder: Path, *, delay_ms: int, log: Path | None = None, language: Language | None = None
) -> Iterator[int]:
    """Run the sink that is not the bottleneck, or that of `language`; yields its port.

    Without a C compiler that is Python's: see `name`. `log` gets a line for each accepted message: see `taken`.
    """
    port = free_port()
    command = [*_program(folder, language or languages()[0]), str(port), str(delay_ms)]
    command += [] if log is None else [str(log.absolute())]
    with subprocess.Popen(command, cwd=HERE.parent, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port("127.0.0.1", port, timeout_seconds=10, check=lambda: None)
            yield port
        finally:
            process.terminate()


def _program(folder: Path, language: Language) -> list[str]:
    if language is Language.PYTHON:
        return [sys.executable, "-m", "bench.slowsink"]
    program = str(folder.absolute() / "fastsink")
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, str(HERE / "fastsink.c")], check=True)
    return [program]


def languages() -> tuple[Language, ...]:
    """List what the fast sink can run in on this machine, the fastest first."""
    return (Language.C, Language.PYTHON) if _compiles() else (Language.PYTHON,)


def _compiles() -> bool:
    """Try the compiler, since there are some without headers, and systems without epoll."""
    if shutil.which("cc") is None:
        return False
    tried = subprocess.run(
        ["cc", "-x", "c", "-fsyntax-only", "-"], input=b"#include <sys/epoll.h>", capture_output=True, check=False
    )
    return tried.returncode == 0


def name(sink: Sink) -> str:
    """Name the server that `run` starts on this machine, as results do."""
    return NO_COMPILER if sink is Sink.FAST and Language.C not in languages() else sink.value


@contextmanager
def _smtp_sink() -> Iterator[int]:
    program = postfix("smtp-sink")
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


def postfix(program: str) -> str | None:
    """Find one of Postfix's programs; None where it is not installed."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def taken(log: Path) -> list[Taken]:
    """Read what a sink has accepted so far, in order."""
    found = []
    for line in log.read_text().splitlines():
        recipient, _, at = line.rpartition(" ")
        found.append(Taken(recipient=recipient, at=float(at)))
    return found


def smtp_source_seconds(
    port: int, *, messages: int, size_bytes: int, sessions: int, keeps: bool = False
) -> float | None:
    """Time Postfix's smtp-source sending as many messages of the same size; None where it is not installed.

    As it comes, it opens a connection for each message; with `keeps` (its option -d) it keeps them, as we do.
    """
    program = postfix("smtp-source")
    if program is None:
        return None
    command = [program, *(["-d"] if keeps else []), "-s", str(sessions), "-m", str(messages), "-l", str(size_bytes)]
    command += ["-f", "lettre@courrier.example", "-t", "reader@example.org", f"127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
