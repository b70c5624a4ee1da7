"""Tables to take away: CSV that spreadsheet programs open without harm, streamed so that a million rows need no memory."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Final

from starlette.responses import StreamingResponse

from mailer import i18n

Cell = str | int | float | date | datetime | None

# What spreadsheet programs take for the beginning of a formula; in what people typed they may stand behind spaces.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
# Without it, they take UTF-8 for something else.
_MARK: Final = "\ufeff"
_ROWS_A_CHUNK: Final = 500


def respond(
    name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]], *, language: str = "en"
) -> StreamingResponse:
    """Answer with `name`.csv. `rows` are asked for while the file is on its way, in a thread.

    A generator that reads them should open a transaction for some thousand rows at a time, so that a slow line holds none.
    """
    safe = "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in name)
    headers = {"Content-Disposition": f'attachment; filename="{safe}.csv"'}
    return StreamingResponse(
        lines(header, rows, language=language), media_type="text/csv; charset=utf-8", headers=headers
    )


def lines(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, language: str = "en") -> Iterator[str]:
    """Yield the file piece by piece: UTF-8 with a mark, and the separator that the language's spreadsheets expect."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator(language), lineterminator="\r\n")
    buffer.write(_MARK)
    writer.writerow([cell(one) for one in header])
    for number, row in enumerate(rows, 1):
        writer.writerow([cell(one) for one in row])
        if number % _ROWS_A_CHUNK == 0:
            yield _emptied(buffer)
    yield _emptied(buffer)


def separator(language: str) -> str:
    """Return what stands between cells: a semicolon where the comma divides numbers, as in French."""
    return ";" if i18n.choose(language) == "fr" else ","


def cell(value: Cell) -> str:
    """Write a value so that no spreadsheet calculates it. Moments are ISO 8601, None is empty, numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, int | float | date):
        return str(value)
    text = value.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _emptied(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
