"""What a bench kills, cuts off or stops in a running service, and how many messages each may leave uncertain."""

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from bench import networks, processes
from bench.hosts import Absence, Host, Service, has_claims
from mailer.embedded.processes import ChildDied

# A cut ends no sooner, so that the host has met it before anybody could take its batches over.
SHORTEST_CUT_SECONDS: Final = 3.0
_EXIT_LIMIT_SECONDS: Final = 60.0


class StillRunning(Exception):
    """A process did not end when it was told to; the message says which."""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """How many messages a worker process may leave uncertain: killed beside its journal, and lost with it."""

    connections: int
    claimed: int


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What was struck, how many messages that may leave uncertain, and how long the slowest took to end."""

    victim: str
    uncertain: int
    exit_seconds: float = 0.0


def strike(service: Service, victim: str, *, chance: random.Random, allowed: Allowed) -> Blow:
    """Kill a victim without warning, or cut a host off, and start again what died.

    The last host that has its network keeps it: its worker is killed instead.
    """
    connected = [host for host in service.hosts if all(one.host is not host for one in service.absences)]
    if victim in OF_NETWORKS and len(connected) < 2:
        victim = "worker"
    return _VICTIMS[victim](
        service, chance.choice(connected if victim in OF_NETWORKS else service.hosts), chance, allowed
    )


def terminate(service: Service, victim: str, *, chance: random.Random) -> Blow:
    """Ask a victim to end (SIGTERM), wait until it has, and start it again.

    A "worker" is told by its main process alone, as containers are stopped; a "group" has every process told, as systemd does.
    """
    host = chance.choice(service.hosts)
    names = {
        "worker": [host.worker],
        "group": [host.worker],
        "beat": [host.beat],
        "service": [name for one in service.hosts for name in (one.worker, one.beat)],
    }[victim]
    pids = [service.supervisor.running()[name] for name in names]
    if victim == "group":
        pids = processes.family(pids[0])
    seconds = _end(service, names, pids, signal.SIGTERM)
    if victim == "service":
        began = time.monotonic()
        service.stop()
        seconds = max(seconds, time.monotonic() - began)
        service.start()
    elif host.worker in names:
        service.start_worker(host)
    else:
        service.start_beat(host)
    return Blow(victim=victim, uncertain=0, exit_seconds=seconds)


def _child(service: Service, host: Host, chance: random.Random, allowed: Allowed) -> Blow:
    """Kill one of a worker's processes, as the system does that runs out of memory. The worker starts another."""
    children = processes.family(service.supervisor.running()[host.worker])[1:]
    if children:
        _signal([chance.choice(children)], signal.SIGKILL)
    return Blow(victim="child", uncertain=allowed.connections if children else 0)


def _worker(service: Service, host: Host, _chance: random.Random, allowed: Allowed) -> Blow:
    _kill(service, [host.worker])
    service.start_worker(host)
    return Blow(victim="worker", uncertain=allowed.connections * service.plan.workers)


def _beat(service: Service, host: Host, _chance: random.Random, _allowed: Allowed) -> Blow:
    _kill(service, [host.beat])
    service.start_beat(host)
    return Blow(victim="beat", uncertain=0)


def _service(service: Service, _host: Host, _chance: random.Random, allowed: Allowed) -> Blow:
    """Kill every process at once, PostgreSQL and Valkey too."""
    _signal(processes.family(service.supervisor.reaper_pid)[1:], signal.SIGKILL)
    service.stop()
    service.start()
    return Blow(victim="service", uncertain=allowed.connections * service.plan.workers * service.plan.hosts)


def _stall(service: Service, host: Host, chance: random.Random, _allowed: Allowed) -> Blow:
    """Stop one of a worker's processes for longer than a lease, as an overloaded machine does; then it goes on."""
    children = processes.family(service.supervisor.running()[host.worker])[1:]
    if children:
        pid = chance.choice(children)
        _signal([pid], signal.SIGSTOP)
        end = functools.partial(_signal, [pid], signal.SIGCONT)
        service.absences.append(Absence(host=host, is_over=_passed(chance.uniform(3, 8)), end=end))
    return Blow(victim="stall", uncertain=0)


def _host(service: Service, host: Host, _chance: random.Random, allowed: Allowed) -> Blow:
    """Lose a machine with its disk; an empty one takes its place."""
    names = service.names_of(host)
    running = service.supervisor.running()
    _signal([pid for name in names for pid in processes.family(running[name])], signal.SIGKILL)
    for name in names:
        service.supervisor.end(name, signal.SIGKILL)
    service.remove_host(host)
    service.add_host()
    return Blow(victim="host", uncertain=allowed.claimed * service.plan.workers)


def _blip(service: Service, host: Host, chance: random.Random, allowed: Allowed) -> Blow:
    """Lose a host's packets for seconds, longer than a lease."""
    _cut_off(service, host, is_over=_passed(chance.uniform(2, 6)))
    return Blow(victim="blip", uncertain=allowed.connections * service.plan.workers)


def _cut(service: Service, host: Host, _chance: random.Random, allowed: Allowed) -> Blow:
    """Lose a host's packets until others have taken its batches over; then it is back and knows nothing of that."""
    is_met = _passed(SHORTEST_CUT_SECONDS)
    _cut_off(service, host, is_over=lambda: is_met() and not has_claims(host))
    return Blow(victim="cut", uncertain=allowed.claimed * service.plan.workers)


_VICTIMS: Final[dict[str, Callable[[Service, Host, random.Random, Allowed], Blow]]] = {
    "child": _child,
    "worker": _worker,
    "beat": _beat,
    "service": _service,
    "stall": _stall,
    "host": _host,
    "blip": _blip,
    "cut": _cut,
}
OF_NETWORKS: Final = ("blip", "cut")
KILLED: Final = ("child", "worker", "beat", "service", "stall")
KILLED_OF_SEVERAL_HOSTS: Final = tuple(_VICTIMS)
TERMINATED: Final = ("worker", "group", "beat", "service")


def _cut_off(service: Service, host: Host, *, is_over: Callable[[], bool]) -> None:
    if host.network is None:
        raise ValueError("A single host has no network to lose.")
    networks.cut(host.network)
    service.absences.append(Absence(host=host, is_over=is_over, end=functools.partial(networks.heal, host.network)))


def _passed(seconds: float) -> Callable[[], bool]:
    """Return what tells whether so many seconds have passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _kill(service: Service, names: list[str]) -> None:
    """Kill processes with all their descendants."""
    running = service.supervisor.running()
    _end(service, names, [pid for name in names for pid in processes.family(running[name])], signal.SIGKILL)


def _end(service: Service, names: list[str], pids: list[int], number: int) -> float:
    """Send a signal and wait until the supervisor's children of these names have ended; returns after how long."""
    began = time.monotonic()
    _signal(pids, number)
    while left := [name for name in names if name in service.supervisor.running()]:
        with suppress(ChildDied):
            service.supervisor.check()
        if time.monotonic() - began > _EXIT_LIMIT_SECONDS:
            raise StillRunning(f"{', '.join(left)} still running {_EXIT_LIMIT_SECONDS:g} s after signal {number}.")
        time.sleep(0.01)
    return time.monotonic() - began


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
