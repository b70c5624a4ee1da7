"""The command line, run as a user types it: in this process, which saves the second that it takes to start, or in its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from unittest import mock

from mailer import cli
from mailer.cli import output


@dataclass(frozen=True)
class Ran:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def value(self):
        return json.loads(self.out)


def mailer(*arguments: str, stdin: str | None = None) -> Ran:
    """Run `mailer …` here, with its own streams and with settings that were not read before."""
    # Here, since conftest imports nothing of the tests.
    from tests.conftest import forget

    forget()
    before = vars(output.CHOICES).copy()
    out, err, code = _Stream(), _Stream(), 0
    try:
        with (
            mock.patch.object(sys, "argv", ["mailer", *arguments]),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO((stdin or "").encode()), encoding="utf-8")),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0) if not isinstance(ended.code, str) else 1
    finally:
        vars(output.CHOICES).update(before)
        forget()
    return Ran(code, out.text, err.text)


def in_its_own_process(*arguments: str, stdin: str | None = None) -> Ran:
    """Run `python -m mailer …`, for what a process does as it starts and ends."""
    done = subprocess.run(
        [sys.executable, "-m", "mailer", *arguments],
        input=stdin or "",
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=60,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


class _Stream(io.TextIOWrapper):
    """A stream that is no terminal, and keeps what was written to it and to its buffer."""

    def __init__(self) -> None:
        self._kept = io.BytesIO()
        super().__init__(self._kept, encoding="utf-8", write_through=True)

    @property
    def text(self) -> str:
        self.flush()
        return self._kept.getvalue().decode()
