"""From a request that changed something to its entry in the audit log, for the desk and the API."""

import re
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.requests import Request

from mailer import clock
from mailer.audience import subscriptions
from mailer.db import transaction
from mailer.models.audit import Actor
from mailer.newsroom import audit, rights
from mailer.web import dependencies

# Which of several buttons of a form was pressed.
_WORD: Final = re.compile(r"[a-z][a-z_-]{0,30}\Z")

log = structlog.get_logger()


def action(endpoint: Any) -> str:
    """Name what a route does: the last part of its module, and its function."""
    return f"{endpoint.__module__.rpartition('.')[2]}.{endpoint.__name__}"


def record(request: Request, act: str, *, actor: Actor, actor_id: int, actor_name: str) -> None:
    """Add an entry about a request that succeeded: who, what (see `action`), and the ids in its path.

    Opens a transaction. The change itself is saved already, so a failure here is logged and does not undo it.
    """
    try:
        with transaction() as session:
            note(session, request, act, actor=actor, actor_id=actor_id, actor_name=actor_name)
    except SQLAlchemyError as error:
        log.error("audit entry lost", action=act, actor=actor.value, actor_id=actor_id, error=type(error).__qualname__)


def note(session: Session, request: Request, act: str, *, actor: Actor, actor_id: int, actor_name: str) -> None:
    """Add an entry in the transaction of the change itself."""
    named = {name: str(value) for name, value in request.path_params.items()}
    about = rights.newsletters_named(session, named) or frozenset()
    entry = audit.Act(
        actor=actor,
        actor_id=actor_id,
        actor_name=actor_name,
        action=act,
        newsletter_id=next(iter(about)) if len(about) == 1 else None,
        objects=named,
        network=subscriptions.truncate(dependencies.client_host(request)),
    )
    audit.record(session, entry, now=clock.now())


def with_button(act: str, pressed: str) -> str:
    """Add which of a form's buttons was pressed, if it is one word."""
    return f"{act}.{pressed}" if _WORD.match(pressed) else act
