"""`mailer suppression …`"""

import contextlib
import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from mailer import clock
from mailer.audience import suppressions
from mailer.cli import output
from mailer.db import transaction
from mailer.models.audience import SuppressedBecause

app = typer.Typer(
    no_args_is_help=True,
    help="Addresses that must not be mailed, kept as hashes: count, show, add, remove, import, export.",
    rich_markup_mode=None,
)

Address = Annotated[str, typer.Argument(metavar="ADDRESS")]
File = Annotated[str, typer.Argument(metavar="FILE", help="A CSV file; - for standard input or output.")]


@app.command("list")
def list_() -> None:
    """Count the suppressed addresses by reason; `export` lists their hashes."""
    with transaction() as session:
        rows = [{"reason": reason, "count": count} for reason, count in suppressions.counts(session).items()]
    output.emit_rows(rows, columns=("reason", "count"), empty="No address is suppressed.")


@app.command()
def show(address: Address) -> None:
    """Tell whether an address is suppressed, why and since when."""
    with transaction() as session:
        found = suppressions.find(session, address)
        value = {"reason": found.reason, "since": found.created_at}
    output.emit(value, text=f"Suppressed since {value['since']:%Y-%m-%d}: {found.reason}.")


@app.command()
def add(address: Address) -> None:
    """Never mail an address again, whoever imports it. Its subscriptions end by `mailer subscribers unsubscribe`."""
    with transaction() as session:
        is_new = suppressions.add(session, [address], SuppressedBecause.REMOVED, now=clock.now())
    output.emit({"added": is_new}, text="Suppressed." if is_new else "It was suppressed already.")


@app.command()
def remove(address: Address) -> None:
    """Let an address be mailed again that bounced or that the newsroom suppressed; nobody is subscribed by that."""
    with transaction() as session:
        suppressions.remove(session, address)
    output.emit({"removed": True}, text="It may be mailed again.")


@app.command("import")
def import_(file: File) -> None:
    """Suppress what a list names: addresses, or hashes as `export` writes them, with or without reason and date.

    Example:

      mailer suppression import unsubscribed-at-the-old-service.csv
    """
    with contextlib.ExitStack() as stack:
        try:
            opened = (
                sys.stdin if file == "-" else stack.enter_context(Path(file).open(encoding="utf-8-sig", newline=""))
            )
            with transaction() as session:
                new = suppressions.put(session, suppressions.read(opened, now=clock.now()))
        except OSError as error:
            output.fail(f"{file} can't be read: {error.strerror}.", output.NOT_FOUND)
        except UnicodeDecodeError:
            output.fail(f"{file} is no UTF-8 text.", output.USAGE)
    output.emit({"added": new}, text=f"{new} addresses are suppressed that were not before.")


@app.command()
def export(file: File = "-") -> None:
    """Write the whole list as CSV: SHA-256 of the address in small letters, reason, since when."""
    with contextlib.ExitStack() as stack:
        opened = sys.stdout if file == "-" else stack.enter_context(Path(file).open("w", encoding="utf-8", newline=""))
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(suppressions.COLUMNS)
        count = 0
        for line in suppressions.lines(stack.enter_context(transaction())):
            writer.writerow(line)
            count += 1
    output.say(f"{count} addresses.")
