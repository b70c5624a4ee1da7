"""What fastsink.c does, for machines without a C compiler: slower than the service, so no measure of its speed.

Run as `python -m bench.slowsink PORT [DELAY_MS] [LOG]`, with the same answers, log and end as fastsink.c describes.
"""

import asyncio
import collections
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from typing import Final, cast

CONTENT_END: Final = b"\r\n.\r\n"
LINE_BYTES: Final = 4096
BACKLOG: Final = 1024
PARENT_SECONDS: Final = 0.5
ANSWERS: Final = {
    b"EHLO": b"250-slowsink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 20000000\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
_ADDRESS: Final = re.compile(rb"<([^>]*)>")


@dataclass(kw_only=True)
class Sink:
    """What all connections share. `log` is a file descriptor opened for appending, None for no log."""

    delay_seconds: float
    log: int | None
    messages: int = 0
    size_bytes: int = 0
    connections: int = 0


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._received = bytearray()
        self._recipients: list[bytes] = []
        self._is_content = False
        self._is_leaving = False
        self._waiting: collections.deque[bytes] = collections.deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.Transport", transport)
        self._sink.connections += 1
        self._send(b"220 slowsink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Take what a client sends: any part of a command or of content, or many of them (PIPELINING)."""
        self._sink.size_bytes += len(data)
        self._received += data
        answers = []
        while not self._is_leaving and (answer := self._content() if self._is_content else self._command()):
            answers.append(answer)
        if answers:
            self._send(b"".join(answers))

    def _content(self) -> bytes | None:
        """Return the answer to a message, None while its end has not come."""
        end = self._received.find(CONTENT_END)
        if end < 0:
            del self._received[: 1 - len(CONTENT_END)]  # the rest may be the beginning of its end
            return None
        del self._received[: end + len(CONTENT_END)]
        self._is_content = False
        self._sink.messages += 1
        if self._sink.log is not None:
            now = time.time()
            for recipient in self._recipients:
                os.write(self._sink.log, b"%s %.3f\n" % (recipient, now))
        return b"250 2.0.0 Ok: queued\r\n"

    def _command(self) -> bytes | None:
        """Return the answer to a command, None while its end has not come."""
        line, newline, _ = self._received.partition(b"\n")
        if not newline:
            del self._received[LINE_BYTES:]  # nothing looks further
            return None
        del self._received[: len(line) + 1]
        name = bytes(line[:4]).upper()
        if name == b"RCPT":
            return self._add(line)
        if name == b"MAIL":
            self._recipients.clear()
        if name == b"DATA":
            self._is_content = True
            self._received[:0] = b"\r\n"  # the content may be nothing but its dot
        self._is_leaving = name == b"QUIT"
        return ANSWERS.get(name, b"250 2.0.0 Ok\r\n")

    def _add(self, line: bytes | bytearray) -> bytes:
        address = _ADDRESS.search(line)
        if address is None:
            return b"501 5.1.3 An address stands between < and >\r\n"
        self._recipients.append(bytes(address[1]))
        return b"250 2.1.5 Ok\r\n"

    def _send(self, answers: bytes) -> None:
        """Write answers after the delay; all wait equally long, so they stay in order."""
        self._waiting.append(answers)
        if self._sink.delay_seconds:
            asyncio.get_running_loop().call_later(self._sink.delay_seconds, self._write)
        else:
            self._write()

    def _write(self) -> None:
        self._transport.write(self._waiting.popleft())
        if self._is_leaving and not self._waiting:
            self._transport.close()


async def serve(port: int, sink: Sink) -> None:
    """Take mail on a port of 127.0.0.1 until SIGTERM, SIGINT or the end of the parent."""
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, is_over.set)
    parent = os.getppid()
    server = await loop.create_server(lambda: Session(sink), "127.0.0.1", port, backlog=BACKLOG)
    while not is_over.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(is_over.wait(), PARENT_SECONDS)
        except TimeoutError:
            continue
    server.close()


def main(port: str, delay_ms: str = "0", log: str | None = None) -> None:
    """Run the sink; print what it took as a line of JSON on standard error."""
    file = None if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sink = Sink(delay_seconds=int(delay_ms) / 1000, log=file)
    asyncio.run(serve(int(port), sink))
    print(
        json.dumps({"msgs": sink.messages, "bytes": sink.size_bytes, "conns": sink.connections}, separators=(",", ":")),
        file=sys.stderr,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
