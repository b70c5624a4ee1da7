"""Issues on their way as everybody who watches sees them: looked up once a tick for the whole process, however many watch."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from mailer import clock, settings
from mailer.db import transaction
from mailer.delivery import progress, servers, tallies
from mailer.delivery.rates import Rates
from mailer.issues import issues

TICK_SECONDS: Final = 2.0
# Of one process; who comes after that is told to ask again every few seconds instead.
MOST_WATCHERS: Final = 200
# An issue that nobody watched for so long is forgotten.
FORGET_SECONDS: Final = 120.0


class Full(Exception):
    """Too many watch already."""


@dataclass(kw_only=True)
class _Entry:
    """One issue: what was seen last, when (on the monotonic clock), and the pages that were made of it, by language."""

    reading: tallies.Reading
    seen: progress.Progress | None = None
    at: float = 0.0
    texts: dict[str, str] = field(default_factory=dict)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Live:
    """What a process knows of the issues that are watched through it."""

    def __init__(self, *, tick_seconds: float = TICK_SECONDS, most_watchers: int = MOST_WATCHERS) -> None:
        self.tick_seconds = tick_seconds
        self._most = most_watchers
        self._watchers = 0
        self._entries: dict[int, _Entry] = {}
        self._guard = threading.Lock()
        self._rates: Rates | None = None

    def look(self, issue_id: int) -> progress.Progress:
        """Return how an issue is getting on at this moment. Reads the database. Raises IssueNotFound."""
        entry = self._entry(issue_id)
        with entry.one_at_a_time:
            return self._renew(entry)

    async def text(self, issue_id: int, language: str, make: Callable[[progress.Progress], str]) -> str:
        """Return what `make` makes of it in a language: once a tick, while the others wait without a thread each."""
        entry = self._entry(issue_id)
        async with entry.turn:
            _, seen = await run_in_threadpool(self._looked, issue_id) if self._is_old(entry) else (entry, entry.seen)
            if language not in entry.texts and seen is not None:
                entry.texts[language] = make(seen)
            return entry.texts[language]

    @contextlib.contextmanager
    def seat(self) -> Iterator[None]:
        """Count somebody who stays. Raises Full."""
        if self._watchers >= self._most:
            raise Full(f"{self._most} watch already.")
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    def close(self) -> None:
        """End the connection to Redis."""
        if self._rates is not None:
            self._rates.close()
            self._rates = None

    def _looked(self, issue_id: int) -> tuple[_Entry, progress.Progress]:
        entry = self._entry(issue_id)
        with entry.one_at_a_time:
            if entry.seen is not None and not self._is_old(entry):
                return entry, entry.seen
            return entry, self._renew(entry)

    def _renew(self, entry: _Entry) -> progress.Progress:
        with transaction() as session:
            issue = issues.get(session, entry.reading.issue_id)
            seen = progress.look(session, issue, entry.reading, self._servers(session), now=clock.now())
        entry.seen, entry.texts, entry.at = seen, {}, time.monotonic()
        return seen

    def _is_old(self, entry: _Entry) -> bool:
        return entry.seen is None or time.monotonic() - entry.at >= self.tick_seconds

    def _entry(self, issue_id: int) -> _Entry:
        now = time.monotonic()
        with self._guard:
            for old in [one for one, it in self._entries.items() if it.at and now - it.at > FORGET_SECONDS]:
                del self._entries[old]
            if issue_id not in self._entries:
                self._entries[issue_id] = _Entry(reading=tallies.Reading(issue_id=issue_id))
            return self._entries[issue_id]

    def _servers(self, session: Session) -> progress.Servers:
        chosen = settings.load()
        with self._guard:
            if self._rates is None:
                self._rates = Rates(chosen.redis_url)
        return progress.Servers(routes=servers.routes(session), domains=chosen.domains, counted=self._rates)
