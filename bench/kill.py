"""`bin/bench kill`: what becomes of an issue while the service is killed under it, proved by what the SMTP server took.

Real worker, beat, PostgreSQL and Valkey; kill -9 or SIGTERM of victims and at moments that a seed chooses.
"""

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import installation, networks, proof, report, sinks, victims
from bench.hosts import Plan, Service
from mailer.embedded.processes import ChildDied, Supervisor
from mailer.embedded.services import ServicesFailed
from mailer.models.content import IssueState

BATCH_SIZE: Final = 50
LONGEST_EXIT_SECONDS: Final = 15.0
# What a message waits for at the sink: the answer to its envelope and the one to its final dot.
ANSWERS_A_MESSAGE: Final = 2
# How many of the blows follow another one within seconds.
FOLLOWS: Final = 0.3
_LOOK_SECONDS: Final = 0.05
# After a network is back, its host needs a moment to do what it must not.
_LATE_SECONDS: Final = 3.0
_SETTINGS: Final = {
    "MAILER_TICK_SECONDS": "0.5",
    "MAILER_LEASE_SECONDS": "2",
    "MAILER_TAKEOVER_SECONDS": "10",
    "MAILER_BATCH_SIZE": str(BATCH_SIZE),
}


class Signal(StrEnum):
    """How victims end."""

    KILL = "kill"
    TERM = "term"


class TookTooLong(Exception):
    """The issue was not sent in time; the message says how far it is."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all runs of a bench have in common."""

    recipients: int
    kills: int
    signal: Signal
    victims: tuple[str, ...]
    hosts: int
    workers: int
    connections: int
    seconds: float  # how long sending lasts undisturbed
    patience_seconds: float

    @property
    def delay_ms(self) -> int:
        """How long the sink thinks before each answer."""
        sent_at_once = self.hosts * self.workers * self.connections
        return ceil(1000 * self.seconds * sent_at_once / self.recipients / ANSWERS_A_MESSAGE)


@dataclass(kw_only=True)
class _Run:
    """One run under way."""

    service: Service
    issue_id: int
    log: Path
    deadline: float
    blows: list[victims.Blow]


def kill(
    recipients: Annotated[int, typer.Option(help="Readers of the issue.")] = 4000,
    kills: Annotated[int, typer.Option(help="How often something is killed.")] = 5,
    seed: Annotated[int, typer.Option(help="Chooses the moments and the victims.")] = 1,
    seeds: Annotated[int, typer.Option(help="Run so many seeds, from that one on, and add up.")] = 1,
    signal: Annotated[Signal, typer.Option(help="kill -9, or SIGTERM.")] = Signal.KILL,
    victim: Annotated[list[str] | None, typer.Option(help="Only these; see the list in bench/victims.py.")] = None,
    hosts: Annotated[int, typer.Option(help="Machines, each with a disk and a network of its own.")] = 1,
    workers: Annotated[int, typer.Option(help="Worker processes of each host.")] = 2,
    connections: Annotated[int, typer.Option(help="SMTP connections of each worker process.")] = 4,
    seconds: Annotated[
        float | None,
        typer.Option(help="How long sending should last undisturbed; by default 15, or for a term 12 each."),
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds until an issue that is not sent is a failure.")] = 300,
    folder: Annotated[Path | None, typer.Option(help="Keep databases, journals and logs here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Kill parts of the service, or all of it, while it sends: nobody may be lost, and nobody get two."""
    trial = Trial(
        recipients=recipients,
        kills=kills,
        signal=signal,
        victims=_victims(signal, hosts=hosts, chosen=victim or []),
        hosts=hosts,
        workers=workers,
        connections=connections,
        seconds=seconds or (12.0 * kills if signal is Signal.TERM else 15.0),
        patience_seconds=patience,
    )
    try:
        results = [_try(trial, seed + number, folder) for number in range(seeds)]
    except ServicesFailed as error:
        _say(str(error))
        raise typer.Exit(2) from error
    result = results[0] if seeds == 1 else _sum(results)
    report.print_result(result, as_json=as_json)
    raise typer.Exit(0 if result["passed"] else 1)


def _victims(signal: Signal, *, hosts: int, chosen: list[str]) -> tuple[str, ...]:
    killed = victims.KILLED if hosts == 1 else victims.KILLED_OF_SEVERAL_HOSTS
    possible = victims.TERMINATED if signal is Signal.TERM else killed
    for one in chosen:
        if one not in possible:
            raise typer.BadParameter(f"{one} is none of {', '.join(possible)}.", param_hint="--victim")
    return tuple(chosen) or possible


def _try(trial: Trial, seed: int, folder: Path | None) -> dict[str, object]:
    """Run one seed on a fresh installation."""
    with _sending(trial, seed, folder) as run:
        began, failure = time.monotonic(), None
        try:
            _disturb(run, trial, seed)
            _until(run, functools.partial(_is_sent, run))
            seconds = time.monotonic() - began
            _until(run, run.service.is_quiet)
            if any(blow.victim in victims.OF_NETWORKS for blow in run.blows):
                _pause(run, _LATE_SECONDS)
        except (TookTooLong, ChildDied, victims.StillRunning) as error:
            seconds, failure = time.monotonic() - began, str(error)
        return _result(run, trial, seed, seconds=seconds, failure=failure)


@contextmanager
def _sending(trial: Trial, seed: int, folder: Path | None) -> Iterator[_Run]:
    """Start the service and an issue; stop it at the end of the block."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        place = supervisor.private_directory("mailer-kill-") if folder is None else folder.absolute() / f"seed-{seed}"
        place.mkdir(parents=True, exist_ok=True)
        log = place / "taken"
        port = stack.enter_context(sinks.fast_sink(place, delay_ms=trial.delay_ms, log=log))
        chosen = _SETTINGS | {"MAILER_SMTP_CONNECTIONS": str(trial.connections)}
        service = Service(Plan(folder=place, smtp_port=port, hosts=trial.hosts, workers=trial.workers, chosen=chosen))
        stack.callback(service.stop)
        service.start()
        installation.fill(trial.recipients)
        issue_id = installation.draft()
        deadline = time.monotonic() + trial.patience_seconds
        installation.start(issue_id)
        yield _Run(service=service, issue_id=issue_id, log=log, deadline=deadline, blows=[])


def _disturb(run: _Run, trial: Trial, seed: int) -> None:
    """Strike at each moment, unless the issue is sent before."""
    chance = random.Random(seed)
    # Begun, and at hand: see Dispatcher.wants_more.
    claimed = 2 * trial.connections + 2 * BATCH_SIZE
    allowed = victims.Allowed(connections=trial.connections, claimed=claimed)
    for number in range(trial.kills):
        goal, seconds = _next_moment(run, trial, chance, left=trial.kills - number)
        _until(run, functools.partial(_has_come, run, goal))
        _pause(run, seconds)
        if _is_sent(run):
            _say("sent before the next blow")
            return
        victim = chance.choice(trial.victims)
        if trial.signal is Signal.TERM:
            blow = victims.terminate(run.service, victim, chance=chance)
        else:
            blow = victims.strike(run.service, victim, chance=chance, allowed=allowed)
        run.blows.append(blow)
        _say(f"seed {seed}: {trial.signal} {blow.victim} after {len(sinks.taken(run.log))} messages")


def _next_moment(run: _Run, trial: Trial, chance: random.Random, *, left: int) -> tuple[int, float]:
    """Choose after how many messages to strike next, and how long after that.

    Blows are spread over what is still to be sent; some follow the last one, while the service still gets up.
    """
    share, pause = chance.random(), chance.uniform(0, 0.2)
    if run.blows and chance.random() < FOLLOWS:
        return 0, chance.uniform(0, 3)
    taken = len(sinks.taken(run.log))
    return taken + int(share * (trial.recipients - taken) / left), pause


def _until(run: _Run, is_so: Callable[[], bool]) -> None:
    while not is_so():
        _pause(run, _LOOK_SECONDS)
        if time.monotonic() > run.deadline:
            taken, state = len(sinks.taken(run.log)), installation.state_of(run.issue_id)
            raise TookTooLong(f"The time is up: the issue is {state}, the server took {taken} messages.")


def _pause(run: _Run, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        run.service.look_after()
        time.sleep(min(left, _LOOK_SECONDS))


def _has_come(run: _Run, goal: int) -> bool:
    return len(sinks.taken(run.log)) >= goal or _is_sent(run)


def _is_sent(run: _Run) -> bool:
    return installation.state_of(run.issue_id) == IssueState.SENT


def _result(run: _Run, trial: Trial, seed: int, *, seconds: float, failure: str | None) -> dict[str, object]:
    found = proof.compare(run.issue_id, sinks.taken(run.log))
    fallen = run.service.ended_workers
    limit = sum(blow.uncertain for blow in run.blows) + fallen * trial.workers * trial.connections
    slowest = max((blow.exit_seconds for blow in run.blows), default=0.0)
    values = asdict(found)
    return {
        "seed": seed,
        "recipients": trial.recipients,
        "hosts": trial.hosts,
        "isolation": networks.isolation() if trial.hosts > 1 else None,
        "sink": sinks.name(sinks.Sink.FAST),
        "signal": trial.signal,
        "kills": len(run.blows),
        "victims": [blow.victim for blow in run.blows],
        "workers_that_ended_by_themselves": fallen,
        **{name: values[name] for name in ("lost", "doubled", "ghosts", "unrecorded", "uncertain")},
        "uncertain_limit": limit,
        "equation": found.equation,
        "state": found.state,
        "seconds": round(seconds, 1),
        "longest_pause_seconds": found.longest_pause_seconds,
        "slowest_exit_seconds": round(slowest, 1) if trial.signal is Signal.TERM else None,
        "failure": failure,
        "passed": failure is None
        and len(run.blows) >= min(trial.kills, 1)
        and found.is_flawless
        and found.uncertain <= limit
        and slowest <= LONGEST_EXIT_SECONDS,
    }


def _sum(results: list[dict[str, object]]) -> dict[str, object]:
    """Add up what several seeds gave."""
    added = ("recipients", "kills", "lost", "doubled", "ghosts", "unrecorded", "uncertain", "uncertain_limit")
    totals = {name: sum(int(str(one[name])) for one in results) for name in added}
    worst = max(float(str(one["longest_pause_seconds"])) for one in results)
    return {
        "seeds": [one["seed"] for one in results],
        **totals,
        "longest_pause_seconds": worst,
        "passed": all(one["passed"] for one in results),
        "failed_seeds": [one["seed"] for one in results if not one["passed"]],
        "runs": results,
    }


def _say(words: str) -> None:
    typer.echo(words, err=True)
