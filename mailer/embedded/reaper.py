"""The process that starts every child of a Supervisor and stops them all once its owner stops or is gone.

Run as `python -I -S reaper.py SOCKET_FD OWNER_PID`: standard library only, single-threaded, in a session of its own, so
that neither Ctrl-C nor a kill of the owner's group reaches it. Requests and answers are lines of JSON on the socket.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import ctypes

    _LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
except (ImportError, OSError):  # a Python built without libffi, or a C library that cannot be loaded: do without
    _LIBC = None

NOBODY = 65534
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OWNER_POLL_SECONDS = 1.0
_STRAY_SECONDS = 3.0


@dataclass(kw_only=True)
class _Running:
    name: str
    process: subprocess.Popen[bytes]
    stage: int
    stop_signal: int
    grace_seconds: float


class Reaper:
    """Hold the children, the private directories and the locks of one owner, and give them all back at the end."""

    def __init__(self, connection: socket.socket, owner_pid: int) -> None:
        self._connection = connection
        self._owner_pid = owner_pid
        self._buffer = b""
        self._running: dict[int, _Running] = {}
        self._directories: list[Path] = []
        self._locks: list[int] = []
        self._stop_asked = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._orders: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "start": self._start,
            "signal": self._signal,
            "directory": self._directory,
            "lock": self._lock,
        }

    def run(self) -> None:
        """Serve the owner until it closes the socket or is gone, then stop every child and remove every directory."""
        self._listen_to_signals()
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            while not self._stop_asked and os.getppid() == self._owner_pid and self._serve():
                self._reap()
        finally:
            for stage in sorted({child.stage for child in self._running.values()}, reverse=True):
                self._stop([child for child in self._running.values() if child.stage == stage])
            self._kill_strays()
            for directory in self._directories:
                shutil.rmtree(directory, ignore_errors=True)

    def _listen_to_signals(self) -> None:
        # Handlers rather than SIG_IGN, which children would inherit through exec.
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stop_asked", True))
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def _serve(self) -> bool:
        """Answer what has come in; False once the owner has closed its end."""
        sources = [self._connection.fileno(), self._wake_reader]
        readable, _, _ = select.select(sources, [], [], _OWNER_POLL_SECONDS)
        if self._wake_reader in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 4096)
        if sources[0] not in readable:
            return True
        try:
            received = self._connection.recv(65536)
        except ConnectionError:
            return False
        *lines, self._buffer = (self._buffer + received).split(b"\n")
        for line in lines:
            order = json.loads(line)
            try:
                answer = self._orders[order["do"]](order)
            except (OSError, subprocess.SubprocessError) as error:
                answer = {"error": str(error)}
            self._say({"answer": order["id"], **answer})
        return bool(received)

    def _say(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # an owner that is gone hears nothing; the next turn notices
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def _start(self, order: dict[str, Any]) -> dict[str, Any]:
        is_nobody = order["identity"] == "nobody"
        with Path(order["log"]).open("ab") as log:
            process = subprocess.Popen(
                order["argv"],
                env=order["env"],
                cwd=order["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_before_exec(order),  # noqa: PLW1509 - this process has one thread
                user=NOBODY if is_nobody else None,
                group=NOBODY if is_nobody else None,
                extra_groups=[] if is_nobody else None,
            )
        self._running[process.pid] = _Running(
            name=order["name"],
            process=process,
            stage=order["stage"],
            stop_signal=order["stop_signal"],
            grace_seconds=order["grace_seconds"],
        )
        return {"pid": process.pid}

    def _signal(self, order: dict[str, Any]) -> dict[str, Any]:
        for pid, child in self._running.items():
            if child.name == order["name"]:
                os.kill(pid, order["number"] or child.stop_signal)
        return {}

    def _directory(self, order: dict[str, Any]) -> dict[str, Any]:
        path = tempfile.mkdtemp(prefix=order["prefix"], dir=order["parent"])
        self._directories.append(Path(path))
        return {"path": path}

    def _lock(self, order: dict[str, Any]) -> dict[str, Any]:
        """Take the lock for as long as this process lives; else tell which owner holds it."""
        lock = os.open(order["path"], os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 20)
            os.close(lock)
            return {"held_by": int(holder or 0)}
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(self._owner_pid).encode(), 0)
        self._locks.append(lock)
        return {"held_by": None}

    def _reap(self) -> None:
        """Collect whoever has ended, ours or adopted, and end what a dead child left in its process group."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self._running.pop(pid, None)
            if child is not None:
                child.process.returncode = os.waitstatus_to_exitcode(status)
                _kill_group(pid)
                self._say({"exited": child.name, "pid": pid, "code": child.process.returncode})

    def _stop(self, children: list[_Running]) -> None:
        """Ask each to end, all at once; kill the groups of those that outstay their grace."""
        start = time.monotonic()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.process.pid, child.stop_signal)
        while waiting := [child for child in children if child.process.pid in self._running]:
            for child in waiting:
                if time.monotonic() > start + child.grace_seconds:
                    _kill_group(child.process.pid)
            self._reap()
            time.sleep(0.01)

    def _kill_strays(self) -> None:
        """Kill what children left behind in sessions of their own: as a subreaper we have become its parent (Linux)."""
        deadline = time.monotonic() + _STRAY_SECONDS
        while _LIBC is not None and time.monotonic() < deadline and (strays := _children_of(os.getpid())):
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.01)


def _before_exec(order: dict[str, Any]) -> Callable[[], None]:
    reaper_pid = os.getpid()

    def prepare() -> None:
        if order["identity"] == "namespace":
            _enter_namespace(order["namespace_uid"])
        if _LIBC is not None:
            # After every change of credentials, since those clear it. Should this process be killed, children end too.
            _LIBC.prctl(_PR_SET_PDEATHSIG, order["stop_signal"], 0, 0, 0)
            if os.getppid() != reaper_pid:
                os._exit(1)

    return prepare


def _enter_namespace(uid: int) -> None:
    """Become `uid` in a new user namespace: files stay ours, and a program that refuses to run as root runs."""
    if _LIBC is None:
        raise OSError("no user namespaces on this system")
    own_uid, own_gid = os.geteuid(), os.getegid()
    if _LIBC.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {own_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {own_gid} 1")


def _kill_group(pgid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pgid, signal.SIGKILL)


def _children_of(parent: int) -> list[int]:
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    children.append(int(entry.name))
    return children


if __name__ == "__main__":
    Reaper(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])).run()
