"""`mailer bounces …`"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mailer.cli import output
from mailer.delivery.bounces import parts
from mailer.delivery.bounces.explain import Failure
from mailer.delivery.bounces.explain import explain as explain_mail

app = typer.Typer(no_args_is_help=True, help="Mails that came back.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keep `explain` a verb of its own though it is the only one."""


@app.command()
def explain(file: Annotated[str, typer.Argument(metavar="FILE", help="A raw mail; - for standard input.")]) -> None:
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
