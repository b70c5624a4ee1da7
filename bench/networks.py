"""A network for each host of a bench: a namespace with a cable to the servers where we may, else a port of 127.0.0.1.

The servers are reached through a gateway process (gateway.py) in either case.
"""

import functools
import ipaddress
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mailer.embedded.processes import Child, Supervisor, free_port, wait_for_port

_GATEWAY: Final = Path(__file__).with_name("gateway.py")
# RFC 2544 keeps these addresses for measuring: nobody's network uses them. Each run of a bench gets 64 of them.
_ADDRESSES: Final = ipaddress.ip_network("198.18.0.0/15")
_RUN_SIZE: Final = 64
_HOST_SIZE: Final = 4
_TCP_TABLE_FIELD: Final = 4
_CABLES: Final = itertools.count()


@dataclass(frozen=True, kw_only=True)
class _Namespace:
    """Where a host's processes live. Without a namespace: beside the servers."""

    address: str  # of the servers
    prefix: tuple[str, ...] = ()  # starts a process in it
    cable: str | None = None  # our end
    children: tuple[str, ...] = ()
    holder_pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Network:
    """One host's, with the ports at which it finds the servers."""

    space: _Namespace
    children: tuple[str, ...]  # what serves it, by name with the supervisor
    gateway_pid: int
    ports: dict[str, int]

    @property
    def address(self) -> str:
        """Where the ports are."""
        return self.space.address

    def inside(self, child: Child) -> Child:
        """Have a process live on this host."""
        return replace(child, argv=[*self.space.prefix, *child.argv])


@functools.cache
def isolation() -> str:
    """Tell whether hosts get a network of their own here: "network namespaces", which take root and Linux, or "ports"."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "ports"
    name = f"mbt{os.getpid()}"
    try:
        _run("unshare", "--net", "true")
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        _run("ip", "link", "del", name)
    except subprocess.CalledProcessError:
        return "ports"
    return "network namespaces"


def connect(supervisor: Supervisor, number: int, *, folder: Path, targets: dict[str, str]) -> Network:
    """Give a host its network, leading to `targets` (by name: a socket's path or a local port)."""
    space = _Namespace(address="127.0.0.1") if isolation() == "ports" else _namespace(supervisor, number, folder)
    ports = {name: free_port(space.address) for name in targets}
    routes = [f"{ports[name]}={target}" for name, target in targets.items()]
    name = f"gateway {number}"
    argv = [sys.executable, str(_GATEWAY), space.address, *routes]
    pid = supervisor.start(Child(name=name, argv=argv, log=folder / "gateway.log", stop_signal=signal.SIGKILL))
    for port in ports.values():
        wait_for_port(space.address, port, check=supervisor.check)
    return Network(space=space, children=(name, *space.children), gateway_pid=pid, ports=ports)


def cut(network: Network) -> None:
    """Lose every packet from now on: nothing is closed or refused."""
    if network.space.cable is None:
        os.kill(network.gateway_pid, signal.SIGSTOP)
    else:
        _run("ip", "link", "set", network.space.cable, "down")


def heal(network: Network) -> None:
    """Let packets through again. TCP takes up to two minutes to try again after a long cut: see `is_quiet`."""
    if network.space.cable is None:
        os.kill(network.gateway_pid, signal.SIGCONT)
    else:
        _run("ip", "link", "set", network.space.cable, "up")


def is_quiet(network: Network) -> bool:
    """Tell whether everything that the host's processes ever sent has arrived."""
    if network.space.cable is None:
        return True
    try:
        rows = Path(f"/proc/{network.space.holder_pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return True
    return all(row.split()[_TCP_TABLE_FIELD].startswith("00000000:") for row in rows)


def _namespace(supervisor: Supervisor, number: int, folder: Path) -> _Namespace:
    """Make a namespace, held by a process that only sleeps, and lay a cable into it."""
    argv = ["unshare", "--net", "sleep", "infinity"]
    # Started before and stopped after what lives in it.
    name = f"network {number}"
    holder = supervisor.start(Child(name=name, argv=argv, log=folder / "network.log", stage=0))
    _wait_until_apart(holder)
    # The kernel takes its time to remove the cable of a host that was killed: never the same name twice.
    serial = next(_CABLES)
    cable = f"mb{os.getpid() % 100_000}x{serial % 10_000}"
    ours, theirs = f"{cable}h", f"{cable}g"
    first = _ADDRESSES[os.getpid() * _RUN_SIZE % _ADDRESSES.num_addresses + serial % 16 * _HOST_SIZE]
    inside = ("nsenter", f"--net=/proc/{holder}/ns/net", "--")
    _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", str(holder))
    _run("ip", "address", "add", f"{first + 1}/30", "dev", ours)
    _run("ip", "link", "set", ours, "up")
    _run(*inside, "ip", "link", "set", "lo", "up")
    _run(*inside, "ip", "address", "add", f"{first + 2}/30", "dev", theirs)
    _run(*inside, "ip", "link", "set", theirs, "up")
    return _Namespace(address=str(first + 1), prefix=inside, cable=ours, children=(name,), holder_pid=holder)


def _wait_until_apart(pid: int) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        if time.monotonic() > deadline:
            raise TimeoutError("unshare --net made no namespace within 10 s.")
        time.sleep(0.01)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)
