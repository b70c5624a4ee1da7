"""Sending a test: an issue by the real path (renderer, signature, route, rate), outside of its ledger, with the server's answer.

Opens its own transactions, since none may be open while a server is talked to.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from mailer import addresses, settings
from mailer.db import transaction
from mailer.delivery import handover, servers
from mailer.delivery.transports.outgoing import Outgoing
from mailer.issues import issues, readings, states
from mailer.models.content import Issue, IssueState
from mailer.models.trials import Trial, TrialVerdict

MOST_ADDRESSES: Final = 5
# Somebody waits for the page; servers that think for longer are said to.
WAIT_SECONDS: Final = 20.0
KEPT_FOR: Final = timedelta(days=7)
REPLY_LENGTH: Final = 400
# Numbers of deliveries never come here, so a bounce of a test is nobody's.
_KEYS_FROM: Final = 2**62
_LOCK: Final = 7_031_905


class TrialInvalid(ValueError):
    """The addresses can't be used; the message names the first that can't, if it is that."""


class TrialLimitReached(Exception):
    """As many tests left within the hour as may."""


def send(issue_id: int, wanted: Sequence[str], *, as_reader: str | None = None, by: str, now: datetime) -> list[Trial]:
    """Send an issue to look at to at most five addresses, as the edition or as one reader gets it; wait for the answers.

    Returns what became of each; `verdict` and the server's words are in it. Raises TrialInvalid, TrialLimitReached,
    IssueNotFound, IssueStateForbids, SubscriptionNotFound, NothingForReader, TemplateInvalid, InliningFailed or
    dkim.KeyInvalid, and then nothing left. Talks to the SMTP servers for up to 20 seconds.
    """
    tested = _checked(wanted)
    with transaction() as session:
        issue = issues.get(session, issue_id)
        states.require(issue, (*states.EDITABLE, IssueState.SENDING), "tested")
        rows = _book(session, issue, tested, by=by, now=now)
        messages = _messages(session, issue, rows, as_reader=as_reader, now=now)
        routes = servers.routes(session)
    heard = handover.hand_over(messages, routes, seconds=WAIT_SECONDS)
    with transaction() as session:
        told = [session.get_one(Trial, row.id) for row in rows]
        for row in told:
            _note(row, heard[_KEYS_FROM + row.id])
    return told


def latest(session: Session, issue_id: int, *, limit: int = 10) -> list[Trial]:
    """List the tests of an issue, newest first."""
    statement = select(Trial).where(Trial.issue_id == issue_id).order_by(Trial.id.desc()).limit(limit)
    return list(session.execute(statement).scalars())


def _checked(wanted: Sequence[str]) -> list[str]:
    try:
        found = list(dict.fromkeys(addresses.normalise(one) for one in wanted if one.strip()))
    except addresses.AddressInvalid as error:
        raise TrialInvalid(str(error)) from error
    if not 1 <= len(found) <= MOST_ADDRESSES:
        raise TrialInvalid(f"A test goes to 1 to {MOST_ADDRESSES} addresses.")
    return found


def _book(session: Session, issue: Issue, tested: Sequence[str], *, by: str, now: datetime) -> list[Trial]:
    """Write the tests down before they leave, so that no two who ask at once exceed the limit."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    session.execute(delete(Trial).where(Trial.at < now - KEPT_FOR))
    recent = select(func.count()).select_from(Trial).where(Trial.at > now - timedelta(hours=1))
    most = settings.load().tests_per_hour
    if session.execute(recent).scalar_one() + len(tested) > most:
        raise TrialLimitReached(f"{most} tests an hour may leave (MAILER_TESTS_PER_HOUR). Try again later.")
    rows = [Trial(issue_id=issue.id, address=one, by=by, at=now) for one in tested]
    session.add_all(rows)
    session.flush()
    return rows


def _messages(
    session: Session, issue: Issue, rows: Sequence[Trial], *, as_reader: str | None, now: datetime
) -> list[Outgoing]:
    placed = issues.placed(session, issue.id)
    if as_reader:
        reading = readings.of_reader(session, issue, placed, as_reader, now=now)
    else:
        reading = readings.of_edition(session, issue, placed)
    made = ((_KEYS_FROM + row.id, row.address) for row in rows)
    return [readings.trial_message(session, issue, reading, key=key, address=address, now=now) for key, address in made]


def _note(row: Trial, heard: handover.Heard) -> None:
    result = heard.result
    row.verdict = TrialVerdict(result.verdict.value) if result is not None else TrialVerdict.WAITING
    words = result.reply if result is not None else heard.trouble.words if heard.trouble is not None else ""
    row.reply, row.server, row.seconds = words[:REPLY_LENGTH], heard.server, round(heard.seconds, 2)
