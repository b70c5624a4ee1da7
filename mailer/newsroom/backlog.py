"""What waits in the database, and since when: the figures by which an operator sees whether the installation keeps up."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from mailer import settings
from mailer.models.audience import SignupRequest
from mailer.models.content import Feed
from mailer.models.deliveries import Batch, BatchState
from mailer.models.desk import DeskMail
from mailer.models.pictures import Picture, PictureState


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """How much of one kind of work waits, and since when the oldest; `is_late`: for longer than it should."""

    kind: str
    count: int
    since: datetime | None
    is_late: bool


@dataclass(frozen=True, kw_only=True)
class Database:
    """The server's version, the size of our database in bytes, and how many connections to it are open, of how many."""

    version: str
    size_bytes: int
    connections: int
    most_connections: int


def listed(session: Session, *, now: datetime) -> list[Waiting]:
    """List what is due and waits: mails, sign-ups, feeds, pictures, mails to the newsroom."""
    patience = timedelta(seconds=max(60.0, 10 * settings.load().tick_seconds))
    found = {
        "mails": select(func.coalesce(func.sum(Batch.size), 0), func.min(Batch.due_at)).where(
            Batch.state != BatchState.DONE, Batch.due_at <= now
        ),
        "signups": select(func.count(), func.min(SignupRequest.created_at)).where(SignupRequest.handled_at.is_(None)),
        "feeds": select(func.count(), func.min(Feed.next_read_at)).where(
            Feed.next_read_at <= now, Feed.is_pushed.is_(False)
        ),
        "pictures": select(func.count(), func.min(Picture.due_at)).where(
            Picture.state == PictureState.WAITING, Picture.due_at <= now
        ),
        "desk_mails": select(func.count(), func.min(DeskMail.created_at)).where(DeskMail.delivery_id.is_(None)),
    }
    waiting = []
    for kind, statement in found.items():
        count, since = session.execute(statement).one()
        is_late = since is not None and now - since > patience
        waiting.append(Waiting(kind=kind, count=int(count), since=since, is_late=is_late))
    return waiting


def database(session: Session) -> Database:
    """Ask the database about itself."""
    row = session.execute(
        text(
            "SELECT current_setting('server_version'), pg_database_size(current_database()),"
            " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),"
            " current_setting('max_connections')::int"
        )
    ).one()
    return Database(version=row[0], size_bytes=row[1], connections=row[2], most_connections=row[3])
