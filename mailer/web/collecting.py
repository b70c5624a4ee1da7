"""Sign-ups that come at the same time are stored together: one INSERT, one commit, one bell for all of them.

Whoever comes while nobody writes, writes at once, and all that arrived meanwhile follow as the next group. Nobody is
answered before the commit.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Final

import structlog
from starlette.requests import Request

from mailer import queue
from mailer.articles import topics
from mailer.audience import signups
from mailer.db import transaction
from mailer.models.content import Newsletter
from mailer.web import public

# How long a newsletter's own settings may be behind for who signs up.
FRESH_SECONDS: Final = 1.0
# A group takes a few milliseconds; the database itself gives up after 30 s.
PATIENCE_SECONDS: Final = 60.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Known:
    """A newsletter and the slugs of its topics, read at most a second ago."""

    newsletter: Newsletter
    topics: frozenset[str]


@dataclass(kw_only=True)
class _Waiting:
    entry: signups.Entry
    is_called: threading.Event = field(default_factory=threading.Event)
    request_id: int | None = None
    error: BaseException | None = None


class Collector:
    """One for each web process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._is_writing = False
        self._known: dict[str, tuple[float, Known]] = {}

    def find(self, slug: str) -> Known:
        """Find a newsletter by what stands in an address. Raises NewsletterNotFound. Reads the database once a second."""
        read_at, known = self._known.get(slug, (0.0, None))
        if known is None or time.monotonic() - read_at > FRESH_SECONDS:
            with transaction() as session:
                newsletter = public.find(session, slug)
                slugs = frozenset(one.slug for one in topics.of(session, newsletter.id))
            known = Known(newsletter=newsletter, topics=slugs)
            self._known[slug] = (time.monotonic(), known)
        return known

    def store(self, entry: signups.Entry) -> int:
        """Store a sign-up, have a worker answer it, and return its id. Raises what the database raised."""
        mine = _Waiting(entry=entry)
        with self._lock:
            self._waiting.append(mine)
            is_first, self._is_writing = not self._is_writing, True
        if not is_first and not mine.is_called.wait(PATIENCE_SECONDS):
            raise TimeoutError("A sign-up waited too long for those before it.")
        if mine.request_id is None and mine.error is None:
            self._write_group()
        if mine.error is not None:
            raise mine.error
        assert mine.request_id is not None  # noqa: S101 - either is set
        return mine.request_id

    def _write_group(self) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        try:
            with transaction() as session:
                stored = signups.request_all(session, [one.entry for one in group])
            for one, request_id in zip(group, stored, strict=True):
                one.request_id = request_id
            ring_for_signups(stored)
        except BaseException as error:
            for one in group:
                one.error = error
            raise
        finally:
            with self._lock:
                # Who came first meanwhile writes next.
                self._is_writing = bool(self._waiting)
                successor = self._waiting[:1]
            for one in (*group, *successor):
                one.is_called.set()


def of(request: Request) -> Collector:
    """Return the process's collector."""
    found: Collector = request.app.state.collector
    return found


def ring_for_signups(request_ids: list[int]) -> None:
    """Have a worker answer sign-ups at once. If Redis is away, the tick finds them within seconds."""
    try:
        queue.enqueue(queue.HANDLE_SIGNUP, *request_ids)
    except queue.QueueUnavailable as error:
        log.warning("queue unavailable", requests=len(request_ids), error=str(error))
