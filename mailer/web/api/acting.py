"""Doing what a request asks for, once: what is done, its line in the audit log and the kept answer are one transaction."""

import contextlib
from collections.abc import Iterator

import structlog
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from mailer import queue
from mailer.db import transaction
from mailer.models.audit import Actor
from mailer.newsroom import answers, audit
from mailer.web.api.access import Call

log = structlog.get_logger()


class AnsweredBefore(Exception):
    """The same request was answered within the day; nothing is done again."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__("answered before")
        self.status, self.body = status, body


@contextlib.contextmanager
def change(call: Call) -> Iterator[Session]:
    """Open the transaction of a change; what `answer` builds inside is kept with it for requests with an Idempotency-Key.

    Raises AnsweredBefore instead of opening it, and KeyInUse or KeyReused.
    """
    with transaction() as session:
        _find(session, call)
        yield session
        note(session, call)
        asked = _asked(call)
        if asked is not None and call.kept is not None:
            answers.keep(session, asked, *call.kept, now=call.now)


def look_back(call: Call) -> None:
    """Raise AnsweredBefore if the request was answered already: for what talks to the network before its transaction."""
    if call.key is not None:
        with transaction() as session:
            _find(session, call)


def note(session: Session, call: Call) -> None:
    """Enter a change in the audit log."""
    act = audit.Act(
        actor=Actor.TOKEN,
        actor_id=call.token_id,
        actor_name=call.token_name,
        action=call.action,
        newsletter_id=call.about_id,
        objects=call.objects,
        network=call.network,
    )
    audit.record(session, act, now=call.now)


def answer(call: Call, value: BaseModel, *, status: int = 200) -> Response:
    """Build the answer to a change, inside its transaction."""
    body = value.model_dump_json().encode()
    call.kept = status, body
    return Response(body, status_code=status, media_type="application/json")


def ring(name: str, *ids: int) -> None:
    """Have a worker act at once. If Redis is away, the tick finds the work within seconds of its return."""
    try:
        queue.enqueue(name, *ids)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", task=name, error=str(error))


def _asked(call: Call) -> answers.Asked | None:
    if call.key is None:
        return None
    return answers.Asked(token_id=call.token_id, key=call.key, request_hash=call.request_hash)


def _find(session: Session, call: Call) -> None:
    asked = _asked(call)
    kept = answers.find(session, asked, now=call.now) if asked is not None else None
    if kept is not None:
        raise AnsweredBefore(*kept)
