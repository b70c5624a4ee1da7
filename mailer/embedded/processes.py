"""Named child processes that live and die together, and ports to reach them.

A small reaper process (reaper.py) is the parent of them all, so that even a kill -9 of this one leaves nothing behind.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self

from mailer.embedded import reaper

# "namespace": another uid in a user namespace (Linux); "nobody": uid 65534, for root only.
Identity = Literal["same", "namespace", "nobody"]

_TAIL_LINES = 15
_LISTEN_SECONDS = 0.5


class ChildDied(Exception):
    """A child ended that should not have; the message has its exit code and the last lines of its log."""


class ChildNotStarted(Exception):
    """A child could not be started, or a request to the reaper failed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """What to start, and how to stop it."""

    name: str
    argv: Sequence[str]
    log: Path  # appended to: standard output and error
    env: Mapping[str, str] | None = None  # None: this process's environment
    cwd: Path | None = None
    stage: int = 1  # higher stages are stopped first, children of one stage together
    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 8.0  # between stop_signal and SIGKILL
    identity: Identity = "same"
    namespace_uid: int = reaper.NOBODY  # who it is in its user namespace


@dataclass(kw_only=True)
class _Started:
    child: Child
    pid: int
    log_offset: int
    is_expected_to_end: bool = False


class Supervisor:
    """Start children, watch them, and stop them all at the end of the `with` block, in order and within their graces.

    SIGTERM becomes SystemExit(143) inside the block when it runs in the main thread, so that it stops everything as
    Ctrl-C does. After a kill -9 the reaper does the same stopping by itself.
    """

    def __init__(self) -> None:
        self._started: dict[str, _Started] = {}
        self._codes: dict[int, int] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._buffer = b""
        self._last_order = 0
        self._lock = threading.RLock()
        self._owns_sigterm = False

    def __enter__(self) -> Self:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", "-S", reaper.__file__, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _exit_on_sigterm)
            self._owns_sigterm = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, child: Child) -> int:
        """Start `child` and return its pid. Raises ChildNotStarted."""
        with self._lock:
            self._drain()
            if child.name in self.running():
                raise ChildNotStarted(f"{child.name} is running already.")
            offset = child.log.stat().st_size if child.log.exists() else 0
            pid = self._ask(
                "start",
                name=child.name,
                argv=[os.fspath(argument) for argument in child.argv],
                env=dict(os.environ if child.env is None else child.env),
                cwd=None if child.cwd is None else str(child.cwd),
                log=str(child.log),
                stage=child.stage,
                stop_signal=int(child.stop_signal),
                grace_seconds=child.grace_seconds,
                identity=child.identity,
                namespace_uid=child.namespace_uid,
            )["pid"]
            self._started[child.name] = _Started(child=child, pid=pid, log_offset=offset)
            return int(pid)

    def start_again(self, name: str) -> int:
        """Start a child that has ended just as it was, and return its pid. Raises ChildNotStarted."""
        return self.start(self._started[name].child)

    def run(self, child: Child) -> int:
        """Start `child`, wait for its end and return its exit code (negative: the signal). Raises ChildNotStarted."""
        self.start(child)
        self._started[child.name].is_expected_to_end = True
        return self._code_of(self._started[child.name])

    def end(self, name: str, signal_number: int | None = None) -> int:
        """Send one child a signal (None: its own stop signal), wait for its end and return its exit code."""
        started = self._started[name]
        started.is_expected_to_end = True
        self._ask("signal", name=name, number=signal_number)
        return self._code_of(started)

    def check(self) -> None:
        """Raise ChildDied when a child has ended that nobody asked to."""
        self._drain()
        for started in self._started.values():
            if started.pid in self._codes and not started.is_expected_to_end:
                raise ChildDied(_obituary(started, self._codes[started.pid]))

    def wait(self, seconds: float | None = None) -> None:
        """Watch the children for so long (None: for ever). Raises ChildDied as soon as one has ended."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while deadline is None or time.monotonic() < deadline:
            self.check()
            self._listen(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.check()

    def running(self) -> dict[str, int]:
        """Return the pid of each child that has not ended, by name."""
        return {name: started.pid for name, started in self._started.items() if started.pid not in self._codes}

    def log_of(self, name: str) -> str:
        """Return the last lines that the child has logged since it was started."""
        started = self._started[name]
        return last_lines(started.child.log, started.log_offset)

    def private_directory(self, prefix: str, parent: Path | None = None) -> Path:
        """Make a directory (mode 0700) that is removed once every child has ended, whatever happens to this process."""
        return Path(self._ask("directory", prefix=prefix, parent=None if parent is None else str(parent))["path"])

    def lock(self, path: Path) -> int | None:
        """Lock a file until every child has ended. Return None, or the pid of the owner that has it (0: unknown)."""
        held_by = self._ask("lock", path=str(path))["held_by"]
        return None if held_by is None else int(held_by)

    @property
    def reaper_pid(self) -> int:
        """Return the pid of the process that holds the children."""
        return self._reaper.pid

    def stop(self) -> None:
        """Stop every child, highest stage first, and remove the private directories. Ctrl-C does not cut it short."""
        if self._connection.fileno() < 0:
            return
        with _deaf_to_signals():
            with contextlib.suppress(OSError):  # said aloud, since a forked process may hold a copy of the descriptor
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._reaper.wait()
        if self._owns_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _ask(self, order: str, **details: object) -> dict[str, Any]:
        with self._lock:
            self._last_order += 1
            number = self._last_order
            try:
                self._connection.sendall(json.dumps({"do": order, "id": number, **details}).encode() + b"\n")
            except OSError as error:
                raise ChildDied("The reaper process was killed; its children end with it.") from error
            while number not in self._answers:
                self._listen(None)
                self._drain()
            answer = self._answers.pop(number)
        if "error" in answer:
            raise ChildNotStarted(f"{details.get('name', order)} could not be started: {answer['error']}")
        return answer

    def _code_of(self, started: _Started) -> int:
        while started.pid not in self._codes:
            self._listen(None)
            self._drain()
        return self._codes[started.pid]

    def _listen(self, seconds: float | None) -> None:
        # Not for ever: another thread may have taken in what this one waits for.
        select.select([self._connection], [], [], min(_LISTEN_SECONDS, _LISTEN_SECONDS if seconds is None else seconds))

    def _drain(self) -> None:
        """Take in what the reaper has said so far."""
        with self._lock:
            while select.select([self._connection], [], [], 0)[0]:
                received = self._connection.recv(65536)
                if not received:
                    raise ChildDied("The reaper process was killed; its children end with it.")
                *lines, self._buffer = (self._buffer + received).split(b"\n")
                for message in map(json.loads, lines):
                    if "exited" in message:
                        self._codes[message["pid"]] = message["code"]
                    else:
                        self._answers[message["answer"]] = message


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on at this moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_for_port(
    host: str, port: int, timeout_seconds: float = 20.0, check: Callable[[], None] = lambda: None
) -> None:
    """Return once something accepts connections there; call `check` (Supervisor.check) meanwhile. Or TimeoutError."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
            return
        except OSError as error:
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"Nothing listens on {host}:{port} after {timeout_seconds:g} s.") from error
        time.sleep(0.03)


def last_lines(log: Path, offset: int = 0, count: int = _TAIL_LINES) -> str:
    """Return the end of a log, at most `count` lines of what was written after `offset` bytes."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(min(offset, size), size - 16384))
            return "\n".join(file.read().decode(errors="replace").rstrip().splitlines()[-count:])
    except OSError as error:
        return f"(the log cannot be read: {error})"


def _obituary(started: _Started, code: int) -> str:
    name = started.child.name
    cause = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    lines = last_lines(started.child.log, started.log_offset)
    if not lines:
        return f"{name} {cause} and logged nothing ({started.child.log})."
    return f"{name} {cause}. The last lines of {started.child.log}:\n{lines}"


def _exit_on_sigterm(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _deaf_to_signals() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
