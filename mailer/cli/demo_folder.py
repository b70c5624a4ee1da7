"""The folder that the demo keeps its state in: taken only if it is new, empty or the demo's own, and emptied on request."""

import secrets
import shutil
from pathlib import Path
from typing import Final

from mailer.embedded import services
from mailer.embedded.processes import Supervisor

# Names of files. The secret is written first, so that it marks a folder as the demo’s own.
_SECRET: Final = "secret"  # noqa: S105 - a file name
_LOCK: Final = "lock"


class FolderNotOurs(Exception):
    """The folder holds something that the demo did not put there; it was left as it is."""


def prepare(folder: Path, *, fresh: bool) -> Path:
    """Make the folder ready for a demo and return its absolute path; `fresh` removes what earlier demos left in it.

    Raises FolderNotOurs, and DataDirectoryInUse when `fresh` is asked for while a demo runs there.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise FolderNotOurs(f"{folder} is not a folder; choose another one with --data.")
    # The demo writes a mailer.toml there and --fresh empties it: neither may meet somebody's own files.
    if folder.exists() and any(folder.iterdir()) and not (folder / _SECRET).is_file():
        raise FolderNotOurs(f"{folder} holds something other than a demo; choose a new or empty folder with --data.")
    folder.mkdir(parents=True, exist_ok=True)
    if fresh:
        _forget(folder)
    secret(folder)
    return folder


def secret(folder: Path) -> str:
    """Return the demo's secret key, made at the first call."""
    path = folder / _SECRET
    if not path.exists() or not path.stat().st_size:
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32), encoding="ascii")
    return path.read_text(encoding="ascii")


def _forget(folder: Path) -> None:
    with Supervisor() as supervisor:
        services.lock(supervisor, folder)
        # The lock stays, else a second demo could start on the files of the first. The secret goes last: it is the mark.
        for entry in sorted(folder.iterdir(), key=lambda one: one.name == _SECRET):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _LOCK:
                entry.unlink()
