"""`bin/bench web`: pixel, counted link, one-click unsubscribing and the sign-up form, as uvicorn serves them.

The first three are asked of one process on one core, the form of two on two cores, PostgreSQL and Valkey beside it and the
client on the same machine. What was answered must then be in the database, all of it.
"""

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import typer
from sqlalchemy import text

from bench import installation, processes, report, webload
from mailer import clock, links, settings
from mailer.cli.stack import Stack
from mailer.counting import tracked
from mailer.db import transaction
from mailer.embedded.processes import Supervisor, free_port, wait_for_port
from mailer.embedded.services import Services
from mailer.links import Purpose
from mailer.migrations import run as migrations
from mailer.web import forms

READERS: Final = 20_000
DRAIN_SECONDS: Final = 60.0
# Until every process of the web server is there.
_START_SECONDS: Final = 1.5
_AGENT: Final = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15"
_VARIANT: Final = text("""
INSERT INTO variants (newsletter_id, kind, language, digest, nonce, headers, subject, html, text, created_at)
VALUES (1, 'confirm', 'fr', 'x', 'x', '{}', 'x', 'x', 'x', now()) RETURNING id
""")
_COUNT: Final = {
    "pixel": text("SELECT count(*) FROM events WHERE link = 0"),
    "click": text("SELECT count(*) FROM events WHERE link > 0"),
    "one_click": text("SELECT count(*) FROM subscriptions WHERE state = 'ended'"),
    "subscribe": text("SELECT count(*) FROM signup_requests"),
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A web server that is ready, and its first process."""

    port: int
    process: int


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One address under load: how it is asked, and what of it must be in the database afterwards."""

    name: str
    status: int
    processes: int
    requests: Callable[[], list[str]]


def web(
    seconds: Annotated[float, typer.Option(min=0.2, help="How long each run lasts.")] = 5.0,
    connections: Annotated[int, typer.Option(min=1, help="Connections that ask at the same time.")] = 24,
    runs: Annotated[int, typer.Option(min=1, help="How often; the median and the range are shown.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure the addresses that are asked most, in requests a second; median with the range."""
    report.print_result(measure(seconds, connections, runs), as_json=as_json)


def measure(seconds: float = 5.0, connections: int = 24, runs: int = 3) -> dict[str, object]:
    """Ask each address for so long, so often, on a fresh installation."""
    found: dict[str, object] = {}
    with _installed() as variant_id:
        for kind in _kinds(variant_id):
            with _serving(kind.processes) as server:
                seen = [_load(kind, server, seconds, connections) for _ in range(runs)]
            found[kind.name] = _told(kind, seen)
    cores = len(os.sched_getaffinity(0))
    return {**found, "connections": connections, "seconds": seconds, "cores": cores, "machine": report.machine()}


@contextmanager
def _installed() -> Iterator[int]:
    """Start services and make readers, with everything counted."""
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = supervisor.private_directory("mailer-bench-")
        servers = stack.enter_context(Services(folder, supervisor=supervisor))
        os.environ |= installation.environment(
            database_url=servers.database_url, redis_url=servers.redis_url, smtp_port=1, journal_dir=folder / "journal"
        )
        # The client plays as many visitors, whose limits are not what is measured.
        os.environ |= dict.fromkeys(_LIMITS, "100000000") | {"MAILER_TRUSTED_PROXIES": "127.0.0.1/32"}
        installation.forget()
        migrations.upgrade(settings.load().database_url)
        installation.fill(READERS)
        with transaction() as session:
            session.execute(text("UPDATE newsletters SET tracks_clicks = true, tracks_opens = true"))
            variant_id = session.execute(_VARIANT).scalar_one()
        yield variant_id


@contextmanager
def _serving(count: int) -> Iterator[Server]:
    """Serve as the product does, in as many processes on as many cores."""
    port, cores = free_port(), sorted(os.sched_getaffinity(0))
    with Supervisor() as supervisor:
        folder = supervisor.private_directory("mailer-web-")
        child = Stack(environment={"WEB_CONCURRENCY": str(count)}, folder=folder, port=port).web()
        # A child has its parent's cores.
        os.sched_setaffinity(0, cores[:count])
        try:
            supervisor.start(child)
        finally:
            os.sched_setaffinity(0, cores)
        wait_for_port("127.0.0.1", port)
        time.sleep(_START_SECONDS)
        yield Server(port=port, process=supervisor.running()["web"])


def _load(kind: Kind, server: Server, seconds: float, connections: int) -> dict[str, Any]:
    """Ask once, and wait until what was answered is in the database."""
    before = _count(kind)
    work = webload.Work(
        port=server.port, connections=connections, seconds=seconds, status=kind.status, requests=kind.requests()
    )
    began = processes.cpu_seconds(processes.family(server.process))
    done = subprocess.run(
        [sys.executable, "-m", "bench.webload"],
        input=json.dumps(asdict(work)),
        capture_output=True,
        text=True,
        check=True,
    )
    seen: dict[str, Any] = json.loads(done.stdout)
    seen["cpu"] = processes.cpu_seconds(processes.family(server.process)) - began
    expected = min(seen["asked"], READERS) if kind.name == "one_click" else seen["asked"] - seen["errors"]
    deadline = time.monotonic() + DRAIN_SECONDS
    while _count(kind) - before < expected and time.monotonic() < deadline:
        time.sleep(0.2)
    seen["lost"] = expected - (_count(kind) - before)
    if kind.name == "one_click":
        _bring_back()
    return seen


def _told(kind: Kind, seen: list[dict[str, Any]]) -> dict[str, object]:
    rates = [one["right"] / one["seconds"] for one in seen]
    return {
        "per_second": round(statistics.median(rates)),
        "range": [round(min(rates)), round(max(rates))],
        "p50_ms": statistics.median(one["p50_ms"] for one in seen),
        "p99_ms": statistics.median(one["p99_ms"] for one in seen),
        "cpu_us": round(1e6 * statistics.median(one["cpu"] / one["asked"] for one in seen)),
        "errors": sum(one["errors"] for one in seen),
        "lost": sum(one["lost"] for one in seen),
        "processes": kind.processes,
    }


def _kinds(variant_id: int) -> list[Kind]:
    return [
        Kind(name="pixel", status=200, processes=1, requests=functools.partial(_pixels, variant_id)),
        Kind(name="click", status=302, processes=1, requests=functools.partial(_clicks, variant_id)),
        Kind(name="one_click", status=200, processes=1, requests=_one_clicks),
        Kind(name="subscribe", status=303, processes=2, requests=_forms),
    ]


def _pixels(variant_id: int) -> list[str]:
    name = links.sign(Purpose.OPEN, variant_id)
    return [_get(f"{tracked.OPEN_PATH}{name}.gif", visitor) for visitor in range(1000)]


def _clicks(variant_id: int) -> list[str]:
    urls = [tracked.click_url(variant_id, n, f"https://courrier.example/{n}?a=1&b=%C3%A9") for n in range(1, 37)]
    return [_get(urls[visitor % 36].removeprefix(links.url("")), visitor) for visitor in range(3600)]


def _one_clicks() -> list[str]:
    body = "List-Unsubscribe=One-Click"
    tokens = [links.sign(Purpose.ONE_CLICK, reader, 1) for reader in range(1, READERS + 1)]
    return [_post(f"/u/{token}/one-click", body, number) for number, token in enumerate(tokens)]


def _forms() -> list[str]:
    shown = forms.stamp("courrier", now=clock.now() - timedelta(seconds=20))
    began = time.time_ns()
    bodies = (urlencode({"email": f"n{began}.{n}@example{n % 997}.org", "t": shown}) for n in range(READERS))
    return [_post("/s/courrier", body, number) for number, body in enumerate(bodies)]


def _get(path: str, visitor: int) -> str:
    return f"GET {path} HTTP/1.1\r\n{_head(visitor)}\r\n"


def _post(path: str, body: str, visitor: int) -> str:
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    return f"POST {path} HTTP/1.1\r\n{_head(visitor)}{kind}Content-Length: {len(body)}\r\n\r\n{body}"


def _head(visitor: int) -> str:
    address = f"10.{visitor // 250 % 250}.{visitor % 250}.7"
    return f"Host: localhost\r\nUser-Agent: {_AGENT}\r\nX-Forwarded-For: {address}\r\n"


def _count(kind: Kind) -> int:
    with transaction() as session:
        return int(session.execute(_COUNT[kind.name]).scalar_one())


def _bring_back() -> None:
    with transaction() as session:
        session.execute(text("UPDATE subscriptions SET state = 'confirmed', ended_at = NULL, ended_reason = NULL"))
        session.execute(text("ANALYZE subscriptions"))


_LIMITS: Final = (
    "MAILER_SIGNUPS_PER_NETWORK",
    "MAILER_SIGNUPS_PER_ADDRESS",
    "MAILER_SIGNUPS_PER_DOMAIN",
    "MAILER_SIGNUPS_PER_HOUR",
)
