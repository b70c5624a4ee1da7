"""`mailer bounces …`"""

import asyncio
import contextlib
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import func, select

from mailer import clock, scheduling, settings
from mailer.cli import output
from mailer.db import transaction
from mailer.delivery import consequences, incoming, listening, mailbox
from mailer.delivery.bounces import parts
from mailer.delivery.bounces.explain import Failure
from mailer.delivery.bounces.explain import explain as explain_mail
from mailer.models.returns import Return

app = typer.Typer(no_args_is_help=True, help="Mails that came back.", rich_markup_mode=None)

File = Annotated[str, typer.Argument(metavar="FILE", help="A raw mail; - for standard input.")]


@app.command()
def explain(file: File) -> None:
    """Explain a mail that came back: whom it is about, what it means for that address, and why.

    The class is hard (the address will never work), soft (it may work again), ours (our sending was refused, not the
    reader's address) or not a bounce. Needs no database and changes nothing.

    Example:

      mailer bounces explain returned.eml --json
    """
    explained = explain_mail(_read(file))
    value = {
        **_row(explained.first),
        "message_id": explained.message_id,
        "failures": [_row(one) for one in explained.failures],
    }
    output.emit(value, text="\n".join(_line(one) for one in explained.failures))


@app.command()
def take(
    file: File = "-",
    recipient: Annotated[str | None, typer.Option(help="The envelope's recipient, if the mail does not tell.")] = None,
) -> None:
    """Take in a mail that came back, as a mail server hands it to a program.

    Example, in Postfix's master.cf:

      bounces unix - n n - - pipe user=mailer argv=mailer bounces take - --recipient ${recipient}
    """
    (taken,) = scheduling.take_mails([incoming.Mail(raw=_read(file), recipient=recipient, via="pipe")])
    output.emit({"taken": taken}, text=f"Taken: {taken}.")


@app.command()
def fetch(limit: Annotated[int, typer.Option(min=1, max=1_000_000)] = 100_000) -> None:
    """Read the mailbox of MAILER_BOUNCE_MAILBOX_URL now; workers do it every minute."""
    url = settings.load().bounce_mailbox_url
    if url is None:
        output.fail("MAILER_BOUNCE_MAILBOX_URL is not set: there is no mailbox to read.", output.USAGE)
    counts: dict[str, int] = {}

    def take_one(raw: bytes) -> None:
        (taken,) = scheduling.take_mails([incoming.Mail(raw=raw, recipient=None, via="mailbox")])
        counts[taken] = counts.get(taken, 0) + 1

    total = mailbox.read(url, take_one, limit=limit)
    value = {"read": total, **counts}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    output.emit(value, text=f"{total} mails read{': ' if said else ''}{said}.")


@app.command()
def listen(
    lmtp: Annotated[str | None, typer.Option(metavar="ADDRESS", help="HOST:PORT or a socket's path.")] = None,
    smtp: Annotated[str | None, typer.Option(metavar="ADDRESS", help="HOST:PORT, for mail from everywhere.")] = None,
) -> None:
    """Receive what comes back, by LMTP behind the host's own mail server or by SMTP; runs until it is stopped.

    Examples:

      mailer bounces listen --lmtp 127.0.0.1:8024

      mailer bounces listen --lmtp /run/mailer/bounces.sock
    """
    wanted = [(address, protocol) for address, protocol in ((lmtp, "lmtp"), (smtp, "smtp")) if address]
    if not wanted:
        output.fail("Say where to listen: --lmtp 127.0.0.1:8024, or --smtp.", output.USAGE)
    with contextlib.ExitStack() as stack:
        sockets = []
        for address, protocol in wanted:
            try:
                sockets.append((stack.enter_context(listening.listen(address)), protocol))
            except ValueError as error:
                output.fail(str(error), output.USAGE)
        output.say(f"Listening on {', '.join(f'{address} ({protocol})' for address, protocol in wanted)}.")
        asyncio.run(_serve(sockets))


@app.command("list")
def list_(
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 7,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
) -> None:
    """List the newest reports of mails that came back, without addresses."""
    since = clock.now() - timedelta(days=days)
    chosen = select(Return).where(Return.received_at >= since).order_by(Return.id.desc()).limit(limit)
    with transaction() as session:
        rows = [
            {
                "id": one.id,
                "at": one.at,
                "kind": one.kind,
                "reason": one.reason,
                "status": one.status,
                "via": one.via,
                "delivery": one.delivery_id,
                "words": one.words,
            }
            for one in session.execute(chosen).scalars()
        ]
    columns = ("at", "kind", "reason", "status", "via", "delivery", "words")
    output.emit_rows(rows, columns=columns, empty=f"Nothing came back within {days} days.")


@app.command()
def stats(days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 30) -> None:
    """Count what came back by kind, reason and way."""
    since = clock.now() - timedelta(days=days)
    statement = (
        select(Return.kind, Return.reason, Return.via, func.count())
        .where(Return.received_at >= since)
        .group_by(Return.kind, Return.reason, Return.via)
        .order_by(func.count().desc())
    )
    with transaction() as session:
        rows = [
            {"kind": kind, "reason": reason, "via": via, "count": count}
            for kind, reason, via, count in session.execute(statement)
        ]
        waiting = consequences.is_any_waiting(session)
    output.emit_rows(rows, columns=("kind", "reason", "via", "count"), empty=f"Nothing came back within {days} days.")
    if waiting:
        output.say("Some did not take effect yet; workers see to it within seconds.")


async def _serve(sockets: list[tuple[socket.socket, str]]) -> None:
    until = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, until.set)
    await asyncio.gather(
        *(listening.serve(one, scheduling.take_mails, protocol=protocol, until=until) for one, protocol in sockets)
    )


def _row(failure: Failure) -> dict[str, object]:
    return {
        "recipient": failure.recipient,
        "class": failure.kind.value,
        "status": failure.status,
        "reason": failure.reason.value,
        "words": failure.words,
    }


def _line(failure: Failure) -> str:
    said = " ".join(filter(None, (failure.status, failure.words)))
    return f"{failure.recipient or 'nobody named'}: {failure.kind}, {failure.reason.replace('_', ' ')}\n  {said}"


def _read(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(parts.MOST_BYTES)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(parts.MOST_BYTES)
    except OSError as error:
        output.fail(f"{file} can't be read: {error.strerror}.", output.NOT_FOUND)
