"""What a worker had handed over when it was killed: a file of its own on local disk, written by memory mapping.

An intent (`handed`) and a result cost about a microsecond each and survive kill -9, since the page cache outlives the
process. They don't survive the machine: a journal of an earlier boot, or of another machine, proves nothing, and then
everything claimed and not recorded is uncertain.
"""

import fcntl
import mmap
import os
import secrets
import struct
from pathlib import Path

_HEADER = struct.Struct(">36sQQI")  # boot id, batch, fence, entries that fit
_ENTRY = struct.Struct(">QB")
_HANDED = 1
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


class OwnerAlive(Exception):
    """The journal's writer still runs, so its batch must not be taken over yet."""


class Journal:
    """The calling process's own journal, locked for as long as it lives."""

    def __init__(self, directory: Path, *, capacity: int) -> None:
        """Create the file. `capacity` is the largest number of deliveries in a batch."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.owner = f"{host_id(directory)}.{os.getpid()}.{secrets.token_hex(4)}"
        self._capacity = 2 * capacity
        self._path = directory / self.owner
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, _HEADER.size + self._capacity * _ENTRY.size)
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, 0)
        self._offset = _HEADER.size

    def begin(self, *, batch: int, fence: int) -> None:
        """Start a batch: what the journal said before is forgotten, so record that first."""
        self._map[_HEADER.size : self._offset] = bytes(self._offset - _HEADER.size)
        self._offset = _HEADER.size
        _HEADER.pack_into(self._map, 0, _boot_id(), batch, fence, self._capacity)

    def handed(self, delivery: int) -> None:
        """Note that the content of `delivery` is about to leave."""
        self._write(delivery, _HANDED)

    def settled(self, delivery: int, code: int) -> None:
        """Note its result as a number from 2 to 255, to be read back by `recover`."""
        self._write(delivery, code)

    def close(self) -> None:
        """Remove the file. Only when everything in it is recorded."""
        self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Let go of the file and leave it to whoever takes the batch over."""
        self._map.close()
        os.close(self._descriptor)

    def _write(self, delivery: int, code: int) -> None:
        _ENTRY.pack_into(self._map, self._offset, delivery, code)
        self._offset += _ENTRY.size


def recover(directory: Path, owner: str, *, batch: int, fence: int) -> dict[int, int] | None:
    """Read what a dead worker did with a batch: delivery → last code (1: handed, never answered).

    None means that nothing is known (other machine, other boot, file lost). Raises OwnerAlive while the writer runs.
    """
    try:
        descriptor = os.open(directory / owner, os.O_RDONLY)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OwnerAlive(f"worker {owner} still runs") from error
        content = (directory / owner).read_bytes()
    finally:
        os.close(descriptor)
    if len(content) < _HEADER.size:
        return {}  # killed before its first batch began
    boot, its_batch, its_fence, _capacity = _HEADER.unpack_from(content)
    if boot == bytes(36):
        return {}
    if boot != _boot_id() or boot == _UNKNOWN_BOOT:
        return None
    if (its_batch, its_fence) != (batch, fence):
        return {}  # claimed, but killed before anything of this batch was handed over
    return {delivery: code for delivery, code in _ENTRY.iter_unpack(content[_HEADER.size :]) if code}


def forget(directory: Path, owner: str) -> None:
    """Remove a dead worker's journal after what it said was recorded."""
    (directory / owner).unlink(missing_ok=True)


def ownerless(directory: Path) -> list[str]:
    """List the owners whose process has ended: their journals are of use only to whoever takes their batches over."""
    found = []
    for path in directory.glob("*.*.*") if directory.is_dir() else ():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(path.name)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
    return found


def host_id(directory: Path) -> str:
    """Return the name of this journal folder, made up once: it tells one machine's disk from another's."""
    path = directory / "host-id"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _written_host_id(path)
    os.write(descriptor, secrets.token_hex(8).encode("ascii"))
    os.close(descriptor)
    return path.read_text("ascii")


def _written_host_id(path: Path) -> str:
    # Another process may be between creating and writing the 16 characters.
    for _ in range(10_000):
        name = path.read_text("ascii")
        if len(name) == 16:
            return name
    raise OSError(f"{path} is damaged; remove it (claimed batches of this machine will be listed as uncertain)")


_UNKNOWN_BOOT = b"unknown".ljust(36)


def _boot_id() -> bytes:
    try:
        return _BOOT_FILE.read_bytes().strip().ljust(36)[:36]
    except OSError:
        return _UNKNOWN_BOOT
