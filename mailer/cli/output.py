"""What a command prints and how it ends: data on stdout, everything else on stderr, one exit code for each kind of end."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Final, NoReturn

import typer
from kombu.exceptions import OperationalError as BrokerUnreachable
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import OperationalError as DatabaseUnreachable
from sqlalchemy.exc import ProgrammingError

from mailer import addresses, queue, settings
from mailer.articles import discovery, topics
from mailer.audience import attributes, readers, subscriptions, suppressions, wishes
from mailer.cli.demo_folder import FolderNotOurs
from mailer.delivery import mailbox, settling
from mailer.embedded.inbox import InboxFailed
from mailer.embedded.processes import ChildDied, ChildNotStarted
from mailer.embedded.services import DataDirectoryInUse, ServicesFailed
from mailer.feeds import fetch
from mailer.issues import amending, approvals, corrections, gate, issues, markdown, readings, schedules, trials
from mailer.mail import dkim, inlining, rendering
from mailer.migrations import run as migrations
from mailer.newsroom import accounts, newsletters, team, tokens, webhooks

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NOT_FOUND: Final = 3
STATE_FORBIDS: Final = 5
DONE_IN_PART: Final = 6
CHECKS_FAILED: Final = 7
TRY_AGAIN: Final = 75
INTERRUPTED: Final = 130

EXIT_CODES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (settings.SettingsInvalid, USAGE),
    (dkim.KeyInvalid, USAGE),
    (addresses.AddressInvalid, USAGE),
    (accounts.AccountInvalid, USAGE),
    (newsletters.NewsletterInvalid, USAGE),
    (corrections.CorrectionInvalid, USAGE),
    (attributes.AttributeInvalid, USAGE),
    (topics.TopicInvalid, USAGE),
    (wishes.WishInvalid, USAGE),
    (schedules.ScheduleInvalid, USAGE),
    (InboxFailed, USAGE),
    (FolderNotOurs, USAGE),
    (newsletters.NewsletterNotFound, NOT_FOUND),
    (newsletters.FeedNotFound, NOT_FOUND),
    (topics.TopicNotFound, NOT_FOUND),
    (tokens.TokenInvalid, USAGE),
    (tokens.TokenNotFound, NOT_FOUND),
    (webhooks.WebhookInvalid, USAGE),
    (webhooks.WebhookNotFound, NOT_FOUND),
    (discovery.NoFeedFound, NOT_FOUND),
    (fetch.FeedUnreachable, TRY_AGAIN),
    (mailbox.MailboxUnreadable, TRY_AGAIN),
    (suppressions.ListInvalid, USAGE),
    (suppressions.SuppressionNotFound, NOT_FOUND),
    (suppressions.SuppressionFinal, STATE_FORBIDS),
    (issues.IssueNotFound, NOT_FOUND),
    (amending.ArticleNotFound, NOT_FOUND),
    (subscriptions.SubscriptionNotFound, NOT_FOUND),
    (readers.ReaderNotFound, NOT_FOUND),
    (accounts.AccountNotFound, NOT_FOUND),
    (team.TeamForbids, STATE_FORBIDS),
    (approvals.ApprovalMissing, STATE_FORBIDS),
    (issues.IssueStateForbids, STATE_FORBIDS),
    (trials.TrialInvalid, USAGE),
    (trials.TrialLimitReached, TRY_AGAIN),
    (readings.NothingForReader, STATE_FORBIDS),
    (issues.IssueEmpty, STATE_FORBIDS),
    (gate.ChecksFailed, CHECKS_FAILED),
    (issues.IssueTextTooLong, USAGE),
    (markdown.BodyInvalid, USAGE),
    (settling.BatchInUse, TRY_AGAIN),
    (subscriptions.SubscriptionGone, STATE_FORBIDS),
    (rendering.TemplateInvalid, FAILED),
    (inlining.InliningFailed, FAILED),
    (DataDirectoryInUse, STATE_FORBIDS),
    (migrations.DatabaseNewer, STATE_FORBIDS),
    (ServicesFailed, FAILED),
    (ChildDied, FAILED),
    (ChildNotStarted, FAILED),
    (queue.QueueUnavailable, TRY_AGAIN),
    (BrokerUnreachable, TRY_AGAIN),
    (RedisError, TRY_AGAIN),
    (DatabaseUnreachable, TRY_AGAIN),
    # After the kinds above, some of which are OSErrors: a folder that can't be written, a port that never answered.
    (OSError, FAILED),
)


@dataclass
class Choices:
    """The options that every command has."""

    as_json: bool = False
    quiet: bool = False
    color: bool = True


CHOICES: Final = Choices()


def emit(value: object, *, text: str | None = None) -> None:
    """Print a command's result: the value as one JSON object with --json, else `text`, or nothing if there is none."""
    if CHOICES.as_json:
        sys.stdout.write(json.dumps(value, ensure_ascii=False, default=_plain) + "\n")
    elif text:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def emit_rows(rows: Sequence[Mapping[str, object]], *, columns: Sequence[str], empty: str) -> None:
    """Print a list: a JSON array with --json, else a table of `columns`; `empty` is said on stderr when there is nothing."""
    if CHOICES.as_json:
        emit(list(rows))
        return
    if not rows:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        # As text: what stands in square brackets in a title would be taken for a style.
        table.add_row(*(Text(_words(row[column])) for column in columns))
    console(stderr=False).print(table)


def say(text: str) -> None:
    """Tell the person something that is not the result: on stderr, and not with --quiet."""
    if not CHOICES.quiet:
        console().print(text, highlight=False, markup=False)


def console(*, stderr: bool = True) -> Console:
    """Return the terminal, in colour only where that is wanted (NO_COLOR, --no-color)."""
    no_color = not CHOICES.color or bool(os.environ.get("NO_COLOR"))
    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    # Where nobody looks at it, a line is a line: no table cell is folded for a width of 80.
    return Console(stderr=stderr, no_color=no_color, width=None if is_terminal else 400)


def need_terminal() -> None:
    """End the command unless there is a terminal where the person can be asked."""
    if not sys.stdin.isatty():
        fail("This needs --yes when no terminal can be asked.", USAGE)


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with one sentence on stderr."""
    sys.stderr.write(f"mailer: {message}\n")
    raise typer.Exit(code)


def exit_code(error: Exception) -> tuple[int, str] | None:
    """Return the exit code and the sentence of a known error; None for a bug."""
    if isinstance(error, ProgrammingError) and "does not exist" in str(error.orig):
        return TRY_AGAIN, "The database has not got its tables yet; run: mailer migrate"
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            return code, _sentence(error)
    return None


def _sentence(error: Exception) -> str:
    if isinstance(error, DatabaseUnreachable):
        return f"PostgreSQL can't be reached: {str(error.orig).splitlines()[0]}"
    if isinstance(error, RedisError | BrokerUnreachable):
        return f"Redis can't be reached: {error}"
    return str(error)


def _plain(value: object) -> object:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else str(value)


def _words(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M} UTC"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_words(one)}" for name, one in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(_words(one) for one in value) or "–"
    return str(value.value) if isinstance(value, Enum) else str(value)
