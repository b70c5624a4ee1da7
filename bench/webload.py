"""The client of `bin/bench web`, a process of its own: so many connections, each asking again as soon as it is answered.

Reads what to do as JSON from its standard input and writes what it saw as JSON to its standard output.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, cast

# Asked before counting begins, so that every connection and cache is there.
WARM_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Work:
    """What to do: requests as they go over the wire, in turn, of which each is to get an answer with this status."""

    port: int
    connections: int
    seconds: float
    status: int
    requests: list[str]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of it. `asked` counts all that were sent, those before and after the measured time too."""

    asked: int
    right: int
    errors: int
    seconds: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Do what standard input says."""
    work = Work(**json.load(sys.stdin))
    print(json.dumps(asdict(asyncio.run(_ask(work)))))


async def _ask(work: Work) -> Seen:
    tally = _Tally(work)
    loop = asyncio.get_running_loop()
    for _ in range(work.connections):
        await loop.create_connection(lambda: _Connection(tally), "127.0.0.1", work.port)
    await tally.done.wait()
    times = sorted(tally.times)
    at = [round(1000 * times[int(len(times) * part)], 2) if times else 0.0 for part in (0.5, 0.99)]
    return Seen(
        asked=tally.asked,
        right=len(times),
        errors=tally.errors,
        seconds=work.seconds,
        p50_ms=at[0],
        p99_ms=at[1],
    )


class _Tally:
    """What all connections share."""

    def __init__(self, work: Work) -> None:
        self.requests: Iterator[bytes] = itertools.cycle([one.encode("latin-1") for one in work.requests])
        self.right = f"HTTP/1.1 {work.status} ".encode()
        self.counts_from = time.perf_counter() + WARM_SECONDS
        self.ends_at = self.counts_from + work.seconds
        self.times: list[float] = []
        self.asked = self.errors = 0
        self.open = work.connections
        self.done = asyncio.Event()

    def close(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.done.set()


class _Connection(asyncio.Protocol):
    """One request at a time; a connection that breaks is an error and ends."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._answer = b""
        self._began = 0.0
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take an answer, which may come in pieces, and ask again."""
        self._answer += data
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        now = time.perf_counter()
        if not head.startswith(self._tally.right):
            self._tally.errors += 1
        elif self._tally.counts_from <= now < self._tally.ends_at:
            self._tally.times.append(now - self._began)
        self._answer = b""
        self._next()

    def connection_lost(self, _: Exception | None) -> None:
        """Note a connection that the server gave up."""
        if not self._is_over:
            self._tally.errors += 1
            self._tally.close()

    def _next(self) -> None:
        self._began = time.perf_counter()
        if self._began >= self._tally.ends_at:
            self._is_over = True
            self._transport.close()
            self._tally.close()
            return
        self._tally.asked += 1
        self._transport.write(next(self._tally.requests))


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


if __name__ == "__main__":
    main()
