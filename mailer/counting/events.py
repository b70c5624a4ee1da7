"""A queue on the local disk between a web process and PostgreSQL: what was answered is never lost, and nothing waits for it.

Requests add lines to a segment file; a thread takes segments over into the database, in order, each once. While the
database is away segments gather; those of a process that was killed are taken over by any other of the same machine.
"""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog

Record = Mapping[str, Any]
_Kept = tuple[Record, asyncio.AbstractEventLoop, asyncio.Future[None]]
_Item = TypeVar("_Item")

# How often what need not be answered for is written and taken over.
EVERY_SECONDS: Final = 1.0
# A pause between two take-overs, so that many requests share one transaction; and between two tries.
PAUSE_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 0.25
# Beyond so many unwritten records further ones are dropped: a disk that hangs must not fill the memory.
MOST_UNWRITTEN: Final = 100_000
_LOCK: Final = "lock"

log = structlog.get_logger()


class Unavailable(Exception):
    """The database does not take anything now; the segment stays and is tried again."""


class QueueBroken(Exception):
    """The local disk does not take anything."""


class Applier(Protocol):
    """What takes a segment over: does nothing if it did so before. Raises Unavailable."""

    def __call__(self, spool: str, number: int, records: Sequence[Record]) -> None:
        """Take over the segment `number` of the queue `spool`."""


class Spool:
    """One process's folder of segment files, locked for as long as the process lives."""

    def __init__(self, parent: Path) -> None:
        """Make the folder under a name of its own. Raises OSError."""
        self.name = secrets.token_hex(8)
        self.folder = parent / self.name
        hidden = parent / f".{self.name}"
        hidden.mkdir(parents=True, mode=0o700)
        # Locked before it has its name: nobody takes it for one of a dead process.
        self._lock = _locked(hidden)
        hidden.rename(self.folder)
        _sync_folder(parent)
        self._number, self._file, self._is_named = 0, -1, False
        self._guard = threading.Lock()

    def append(self, records: Sequence[Record], *, durably: bool) -> None:
        """Write records; `durably`: they are on the disk when this returns. Raises OSError."""
        lines = "".join(f"{json.dumps(one, separators=(',', ':'))}\n" for one in records).encode()
        with self._guard:
            if self._file < 0:
                self._number += 1
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
                self._file = os.open(self.folder / f"{self._number:012d}", flags, 0o600)
            view = memoryview(lines)
            while view:
                view = view[os.write(self._file, view) :]
            if durably:
                os.fdatasync(self._file)
                if not self._is_named:
                    _sync_folder(self.folder)
                    self._is_named = True

    def rotate(self) -> int:
        """End the present segment; the next record begins another. Returns the number of the last that has ended."""
        with self._guard:
            if self._file >= 0:
                os.close(self._file)
                self._file, self._is_named = -1, False
            return self._number

    def close(self) -> None:
        """Give the folder up; what is left in it is taken over by others."""
        self.rotate()
        os.close(self._lock)


class Recorder:
    """Takes records from requests. Starts its two threads at the first one, or when told."""

    def __init__(self, parent: Path, apply: Applier) -> None:
        """`parent` is the folder of all queues of this machine; `apply` takes segments over."""
        self._parent, self._apply = parent, apply
        self._spool: Spool | None = None
        self._guard = threading.Lock()
        # Taken from by one thread while others add: a deque does both without a lock.
        self._noted: deque[Record] = deque()
        self._kept: deque[_Kept] = deque()
        self._dropped = 0
        self._unwritten, self._unapplied = threading.Event(), threading.Event()
        self._ends = {"write": threading.Event(), "take_over": threading.Event()}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin, if it has not begun; also take over what a killed process left. Raises QueueBroken."""
        with self._guard:
            if self._threads:
                return
            try:
                self._spool = Spool(self._parent)
            except OSError as error:
                raise QueueBroken(f"{self._parent} can't be written: {error}") from error
            self._threads = [
                threading.Thread(
                    target=work, name=f"events-{work.__name__.strip('_')}", args=(self._spool,), daemon=True
                )
                for work in (self._write, self._take_over)
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Write and take over what there is, as far as the database takes it, and end."""
        with self._guard:
            threads, self._threads = self._threads, []
        if not threads or self._spool is None:
            return
        # The second takes over what the first has written.
        for thread, end, waking in zip(threads, self._ends.values(), (self._unwritten, self._unapplied), strict=True):
            end.set()
            waking.set()
            thread.join()
            end.clear()
        _remove_if_done(self._spool)
        self._spool = None

    def note(self, record: Record) -> None:
        """Take a record that may be lost with the process: it is written within a second. Raises QueueBroken."""
        if not self._threads:
            self.start()
        if len(self._noted) >= MOST_UNWRITTEN:
            self._dropped += 1
            return
        self._noted.append(record)

    async def keep(self, record: Record) -> None:
        """Take a record that is never lost: it is on the disk when this returns. Raises QueueBroken."""
        if not self._threads:
            self.start()
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._kept.append((record, loop, future))
        self._unwritten.set()
        await future

    def _write(self, spool: Spool) -> None:
        is_last = False
        while not is_last:
            self._unwritten.wait(EVERY_SECONDS)
            is_last = self._ends["write"].is_set()
            self._unwritten.clear()
            kept, noted = _drain(self._kept), _drain(self._noted)
            if not kept and not noted:
                continue
            error: OSError | None = None
            try:
                spool.append([*(one[0] for one in kept), *noted], durably=bool(kept))
            except OSError as caught:
                error = caught
                log.error("local queue broken", folder=str(self._parent), error=str(caught))
            _answer(kept, error)
            if kept:
                self._unapplied.set()
            if self._dropped:
                log.warning("events dropped", count=self._dropped)
                self._dropped = 0

    def _take_over(self, spool: Spool) -> None:
        is_last = is_waiting = False
        while not is_last:
            self._unapplied.wait(EVERY_SECONDS)
            is_last = self._ends["take_over"].is_set()
            self._unapplied.clear()
            try:
                # The next segment may begin while these are taken over: it is not one of them.
                take_over_folder(spool.folder, self._apply, last=spool.rotate())
                take_over_left(self._parent, self._apply)
            except Unavailable as error:
                if not is_waiting:
                    log.warning("queue waits for the database", folder=str(self._parent), error=str(error))
                is_waiting = True
                self._rest(RETRY_SECONDS)
                self._unapplied.set()
            except OSError as error:
                log.error("local queue broken", folder=str(self._parent), error=str(error))
                self._rest(EVERY_SECONDS)
            else:
                if is_waiting:
                    log.info("queue goes on", folder=str(self._parent))
                is_waiting = False
                self._rest(PAUSE_SECONDS)

    def _rest(self, seconds: float) -> None:
        self._ends["take_over"].wait(seconds)


def take_over_left(parent: Path, apply: Applier) -> int:
    """Take over what processes left that have ended. Returns how many folders are done with. Raises Unavailable."""
    done = 0
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        descriptor = _lock_if_left(folder)
        if descriptor is None:
            continue
        try:
            take_over_folder(folder, apply)
            if not _segments(folder):
                shutil.rmtree(folder, ignore_errors=True)
                done += 1
        finally:
            os.close(descriptor)
    return done


def take_over_folder(folder: Path, apply: Applier, *, last: int | None = None) -> None:
    """Take over the segments of a folder in order, up to the `last` that has ended (None: all). Raises Unavailable."""
    for path in _segments(folder):
        if last is not None and int(path.name) > last:
            break
        records = _read(path)
        try:
            apply(folder.name, int(path.name), records)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one bad segment must not keep the others back for ever
            kept = path.rename(folder.parent / f"{folder.name}-{path.name}.bad")
            log.error("segment set aside", path=str(kept), records=len(records), error=type(error).__qualname__)
            continue
        path.unlink(missing_ok=True)


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.isdigit())


def _read(path: Path) -> list[Record]:
    """Read a segment's records. A line that was cut when the process died was never answered for."""
    records: list[Record] = []
    for line in path.read_bytes().splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            records.append(found)
    return records


def _drain(waiting: deque[_Item]) -> list[_Item]:
    return [waiting.popleft() for _ in range(len(waiting))]


def _answer(kept: Sequence[_Kept], error: OSError | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for _, loop, future in kept:
        by_loop.setdefault(loop, []).append(future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, error)


def _settle(futures: Sequence[asyncio.Future[None]], error: OSError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(QueueBroken(str(error)))


def _locked(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _lock_if_left(folder: Path) -> int | None:
    """Lock a folder whose process has ended; None if it lives, or it is no such folder."""
    if folder.name.startswith(".") or not (folder / _LOCK).exists():
        return None
    try:
        return _locked(folder)
    except (BlockingIOError, FileNotFoundError):
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_done(spool: Spool) -> None:
    spool.rotate()
    is_empty = {path.name for path in spool.folder.iterdir()} == {_LOCK}
    if is_empty:
        shutil.rmtree(spool.folder, ignore_errors=True)
    spool.close()
