"""`bin/bench bounces`: how fast mails that came back are taken in by LMTP and take effect, while an issue is being sent."""

import smtplib
import socket
import sys
import threading
import time
from typing import Annotated, Final

import typer
from sqlalchemy import func, select

from bench import installation, processes, report, sinks
from bench.send import Machinery, Plan, running, wait_for
from mailer import links
from mailer.db import transaction
from mailer.embedded.processes import Child
from mailer.models.audience import Subscription, SubscriptionState
from mailer.models.content import IssueState
from mailer.models.deliveries import Delivery
from mailer.models.returns import Return

# As Postfix has them for one destination.
CLIENTS: Final = 20
PATIENCE_SECONDS: Final = 600.0
MAILBOX: Final = "retours@lettre.courrier.example"
# Of ten mails, as they come in life: most addresses are dead, some full, and somebody is on holiday.
HARD: Final = "550 5.1.1 <{address}>: Recipient address rejected: User unknown in virtual mailbox table"
SOFT: Final = "552 5.2.2 <{address}>: Mailbox full, quota exceeded"
MIX: Final = (HARD,) * 6 + (SOFT,) * 3 + (None,)


def bounces(
    mails: Annotated[int, typer.Option(min=100, help="Mails that come back.")] = 100_000,
    delay_ms: Annotated[int, typer.Option(help="How long the server of the issue that is sent meanwhile waits.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure from the first mail that comes back until the last has taken effect, beside a send."""
    report.print_result(measure(mails, delay_ms), as_json=as_json)


def measure(mails: int, delay_ms: int) -> dict[str, object]:
    """Send one issue, bring its mails back while the next is sent, and wait until all reports took effect."""
    plan = Plan(messages=mails, workers=2, connections=10, sessions=10, delay_ms=delay_ms, sink=sinks.Sink.FAST, runs=1)
    with running(plan) as machinery:
        first = installation.draft()
        installation.start(first)
        wait_for(machinery, first, IssueState.SENT)
        port = _listen(machinery)
        with transaction() as session:
            found = list(session.execute(select(Delivery.id).where(Delivery.issue_id == first)).scalars())
        second = installation.draft()
        installation.start(second)
        wait_for(machinery, second, IssueState.SENDING)
        began = time.perf_counter()
        _bring_back(found, port)
        taken = time.perf_counter() - began
        was_sending = installation.state_of(second) == IssueState.SENDING
        expected = sum(MIX[number % len(MIX)] is not None for number in range(len(found)))
        _wait(machinery, expected)
        seconds = time.perf_counter() - began
        peak = processes.peak_rss_mb(processes.family(machinery.supervisor.running()["bounces"]))
        with transaction() as session:
            ended = select(func.count()).where(Subscription.state == SubscriptionState.ENDED)
            gone = int(session.execute(ended).scalar_one())
    return {
        "mails": mails,
        "seconds": round(seconds, 1),
        "taken_seconds": round(taken, 1),
        "per_second": round(mails / seconds),
        "subscriptions_ended": gone,
        "issue_was_still_sending": was_sending,
        "peak_rss_mb": round(peak),
        "machine": report.machine(),
    }


def _listen(machinery: Machinery) -> int:
    """Start the listener beside the workers and wait until it answers. Returns its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    argv = [sys.executable, "-m", "mailer", "bounces", "listen", "--lmtp", f"127.0.0.1:{port}"]
    folder = machinery.supervisor.private_directory("mailer-bench-")
    machinery.supervisor.start(Child(name="bounces", argv=argv, log=folder / "bounces.log", env=None, cwd=folder))
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return port


def _bring_back(deliveries: list[int], port: int) -> None:
    shares = [deliveries[start::CLIENTS] for start in range(CLIENTS)]
    numbered = {one: number for number, one in enumerate(deliveries)}
    threads = [threading.Thread(target=_deliver, args=(share, numbered, port)) for share in shares]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _deliver(deliveries: list[int], numbered: dict[int, int], port: int) -> None:
    with smtplib.LMTP("127.0.0.1", port) as client:
        client.ehlo_or_helo_if_needed()
        for one in deliveries:
            path = links.return_path(MAILBOX, one)
            client.sendmail("", [path], _mail(path, numbered[one]))


def _mail(path: str, number: int) -> bytes:
    address, said = f"reader{number}@example.org", MIX[number % len(MIX)]
    if said is None:
        return f"From: {address}\r\nTo: {path}\r\nAuto-Submitted: auto-replied\r\nSubject: Absence\r\n\r\nAbsent.\r\n".encode()
    words = said.format(address=address)
    parts = [
        (
            "text/plain",
            f"This is the mail system at host mx.example.org.\r\n\r\n<{address}>: host mx said: {words}\r\n",
        ),
        (
            "message/delivery-status",
            f"Reporting-MTA: dns; mx.example.org\r\n\r\nFinal-Recipient: rfc822; {address}\r\nAction: failed\r\n"
            f"Status: {words.split()[1]}\r\nDiagnostic-Code: smtp; {words}\r\n",
        ),
        ("text/rfc822-headers", f"From: lettre@courrier.example\r\nTo: {address}\r\n" + "X-Line: padding\r\n" * 40),
    ]
    head = f"From: MAILER-DAEMON@mx.example.org\r\nTo: {path}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
    head += 'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    body = "".join(f"--b\r\nContent-Type: {kind}\r\n\r\n{text}\r\n" for kind, text in parts)
    return f"{head}{body}--b--\r\n".encode()


def _wait(machinery: Machinery, expected: int) -> None:
    """Wait until as many reports have taken effect; an error if a process of the service ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    handled = select(func.count()).select_from(Return).where(Return.handled_at.is_not(None))
    while True:
        machinery.supervisor.check()
        with transaction() as session:
            count = int(session.execute(handled).scalar_one())
        if count >= expected:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{expected - count} reports did not take effect within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.2)
