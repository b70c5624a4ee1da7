"""The SMTP servers and the reference client that sending is measured against."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mailer.embedded.processes import free_port, wait_for_port

HERE = Path(__file__).parent


class Missing(Exception):
    """A program that the bench needs is not installed; the message says which and how to get it."""


@contextmanager
def fast_sink(folder: Path, *, delay_ms: int) -> Iterator[int]:
    """Run the sink that is not the bottleneck; yields its port."""
    if shutil.which("cc") is None:
        raise Missing("A C compiler (cc) is needed to build bench/fastsink.c; on Debian: apt-get install gcc libc6-dev")
    program = folder / "fastsink"
    build = ["cc", "-O2", "-w", "-o", str(program), str(HERE / "fastsink.c")]
    subprocess.run(build, check=True)
    port = free_port()
    with subprocess.Popen([str(program), str(port), str(delay_ms)], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port("127.0.0.1", port, timeout_seconds=10, check=lambda: None)
            yield port
        finally:
            process.terminate()


def smtp_source_seconds(port: int, *, messages: int, size_bytes: int, sessions: int) -> float | None:
    """Time Postfix's smtp-source sending as many messages of the same size; None where it is not installed."""
    program = shutil.which("smtp-source") or shutil.which("smtp-source", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    command = [program, "-s", str(sessions), "-m", str(messages), "-l", str(size_bytes)]
    command += ["-f", "lettre@courrier.example", "-t", "reader@example.org", f"127.0.0.1:{port}"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
