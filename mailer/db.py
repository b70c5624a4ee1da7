"""The connection to PostgreSQL and the one way to open a transaction."""

import contextlib
import functools
from collections.abc import Iterator

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from mailer import settings


@contextlib.contextmanager
def transaction() -> Iterator[Session]:
    """Open a session in one transaction: commit at the end, roll back on any exception. For entry points only."""
    with Session(engine(), expire_on_commit=False) as session, session.begin():
        yield session


@functools.cache
def engine() -> Engine:
    """Return the process's pool of connections; opened lazily, so each forked worker gets its own.

    The server cuts a wait of 30 s for a lock and a transaction idle for 60 s: nothing here should take that long. A server
    that vanished without a word is given up after 30 s, where it would be waited for for hours.
    """
    return create_engine(
        settings.load().database_url,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=30,
        # An error's text goes to the log; what readers typed must not.
        hide_parameters=True,
        connect_args={
            "connect_timeout": 5,
            "application_name": "mailer",
            # Two silences: while we wait for an answer (keepalives), and while what we said is not acknowledged.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 4,
            "tcp_user_timeout": 30_000,  # milliseconds
            "options": "-c timezone=UTC -c lock_timeout=30s -c idle_in_transaction_session_timeout=60s",
        },
    )


def forget_connections() -> None:
    """Drop the inherited pool in a forked child without closing the parent's sockets."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)
