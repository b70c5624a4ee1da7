"""A pool of SMTP connections driven by one loop, pipelined where the server allows it (RFC 2920).

With pipelining, a message's content, its final dot and the next MAIL, RCPT and DATA leave in one write. Every reply is
matched with the command that it answers; a message is handed over only after the server said 354.
"""

import collections
import concurrent.futures
import contextlib
import selectors
import ssl
import time
from collections.abc import Callable, Iterator

from mailer.transports.outgoing import Outgoing, Result, Verdict, mail_command, rcpt_command, verdict
from mailer.transports.route import (
    Opened,
    Reply,
    Route,
    RouteMisconfigured,
    RouteUnavailable,
    close_connection,
    open_connection,
)

IDLE_SECONDS = 30
MAX_REPLY_BYTES = 64 * 1024
# A message that broke a connection this often before its dot is left for a later batch.
MAX_TRIES = 3


OnHanded = Callable[[int], None]
OnResult = Callable[[int, Result], None]


class SmtpPool:
    """Connections to one route, kept open between calls. For one thread; not shared over a fork."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._idle: list[_Connection] = []

    def send(self, messages: Iterator[Outgoing], *, count: int, on_handed: OnHanded, on_result: OnResult) -> None:
        """Hand over messages until `messages` ends, reporting each before the next is asked for.

        `on_handed(key)` is called before a message's content leaves; `on_result(key, result)` exactly once for every
        message that was taken from the iterator, except those that never left because the route failed. `count` is
        about how many there are: no more connections are opened than it needs. Blocks on the network.
        Raises RouteUnavailable or RouteMisconfigured when no connection can go on, after reporting those already handed.
        """
        connections = self._ready(max(1, min(self._route.connections, (count + 3) // 4)))
        exchange = _Exchange(self._route, messages, on_handed, on_result)
        try:
            exchange.run(connections)
        finally:
            self._idle += exchange.finished

    def close(self) -> None:
        """Say QUIT on every connection."""
        while self._idle:
            close_connection(self._idle.pop().sock)

    def _ready(self, wanted: int) -> list["_Connection"]:
        usable: list[_Connection] = []
        while self._idle and len(usable) < wanted:
            connection = self._idle.pop()
            if connection.is_fresh():
                usable.append(connection)
            else:
                close_connection(connection.sock)
        return usable + _open(self._route, wanted - len(usable), required=not usable)


class _Connection:
    """One connection and where it stands in the conversation."""

    def __init__(self, opened: Opened) -> None:
        self.sock = opened.sock
        self.sock.setblocking(False)
        self.pipelining = "PIPELINING" in opened.extensions
        self.smtputf8 = "SMTPUTF8" in opened.extensions
        self.used_at = time.monotonic()
        self.deadline = 0.0
        self.unsent = memoryview(b"")
        self.received = b""
        self.reply_text: list[str] = []
        self.envelope: Outgoing | None = None  # its MAIL, RCPT, DATA are under way
        self.handed: Outgoing | None = None  # its content left, the answer is due
        self.awaiting: collections.deque[str] = collections.deque()
        self.refusal: Result | None = None
        self.failure: BaseException | None = None

    def is_fresh(self) -> bool:
        """Tell whether an idle connection still serves: not too old, and nothing (421, the end) came meanwhile."""
        if time.monotonic() - self.used_at > IDLE_SECONDS:
            return False
        try:
            self.sock.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False


class _Exchange:
    """One call of send: the loop over all connections."""

    def __init__(self, route: Route, messages: Iterator[Outgoing], on_handed: OnHanded, on_result: OnResult) -> None:
        self.route, self.messages, self.on_handed, self.on_result = route, messages, on_handed, on_result
        self.again: collections.deque[Outgoing] = collections.deque()
        self.tries: collections.Counter[int] = collections.Counter()
        self.selector = selectors.DefaultSelector()
        self.live: set[_Connection] = set()
        self.finished: list[_Connection] = []
        self.last_error = ""

    def run(self, connections: list[_Connection]) -> None:
        try:
            self._start(connections)
            while True:
                while self.live:
                    self._turn()
                if not self.again:
                    return
                # Connections broke with messages still to go: one more connection, or the route's own error.
                self._start(_open(self.route, 1, required=True))
        except BaseException:
            self._abandon()
            raise
        finally:
            self.selector.close()

    def _start(self, connections: list[_Connection]) -> None:
        for connection in connections:
            self.live.add(connection)
            self.selector.register(connection.sock, selectors.EVENT_READ, connection)
        for connection in connections:
            if connection in self.live:
                self._next_envelope(connection, b"")

    def _turn(self) -> None:
        for key, events in self.selector.select(timeout=1):
            connection: _Connection = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    self._flush(connection)
                if events & selectors.EVENT_READ:
                    self._receive(connection)
            except OSError as error:
                self._lost(connection, str(error))
        now = time.monotonic()
        for connection in [one for one in self.live if one.deadline < now]:
            self._lost(connection, "no reply in time")

    def _next_envelope(self, connection: _Connection, before: bytes) -> None:
        """Write `before` (content of the last message, or RSET) and begin the next message, if there is one."""
        message = self._take(connection)
        if message is None:
            connection.envelope = None
            if before or connection.awaiting:
                self._write(connection, before)
            else:
                self._retire(connection)
            return
        connection.envelope, connection.refusal = message, None
        if connection.pipelining:
            connection.awaiting.extend(("MAIL", "RCPT", "DATA"))
            self._write(connection, before + mail_command(message) + rcpt_command(message) + b"DATA\r\n")
        elif connection.awaiting:
            self._write(connection, before)  # the answer to `before` comes first
        else:
            connection.awaiting.append("MAIL")
            self._write(connection, before + mail_command(message))

    def _take(self, connection: _Connection) -> Outgoing | None:
        while True:
            message = self.again.popleft() if self.again else next(self.messages, None)
            if message is None or connection.smtputf8 or (message.recipient + message.sender).isascii():
                return message
            reason = f"{self.route} does not offer SMTPUTF8, which this address needs"
            self.on_result(message.key, Result(verdict=Verdict.REFUSED, reply=reason))

    def _write(self, connection: _Connection, data: bytes) -> None:
        patience = 2 if connection.handed else 1  # a short wait after the dot makes duplicates (RFC 5321 4.5.3.2.6)
        connection.deadline = time.monotonic() + patience * self.route.timeout_seconds
        connection.unsent = memoryview(bytes(connection.unsent) + data) if len(connection.unsent) else memoryview(data)
        try:
            self._flush(connection)
        except OSError as error:
            self._lost(connection, str(error))

    def _flush(self, connection: _Connection) -> None:
        had_to_wait = bool(self.selector.get_key(connection.sock).events & selectors.EVENT_WRITE)
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            while len(connection.unsent):
                connection.unsent = connection.unsent[connection.sock.send(connection.unsent) :]
        must_wait = len(connection.unsent) > 0
        if must_wait != had_to_wait:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if must_wait else 0)
            self.selector.modify(connection.sock, events, connection)

    def _receive(self, connection: _Connection) -> None:
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while connection in self.live:
                chunk = connection.sock.recv(16384)
                if not chunk:
                    self._lost(connection, "the server closed the connection")
                    return
                connection.received += chunk
                if len(connection.received) > MAX_REPLY_BYTES:
                    self._lost(connection, "the server's reply has no end")
                    return
                self._replies(connection)

    def _replies(self, connection: _Connection) -> None:
        """Act on every complete reply received so far; only the last line of one has no dash after its code."""
        *lines, connection.received = connection.received.split(b"\r\n")
        for line in lines:
            connection.reply_text.append(line[4:].decode("utf-8", "replace"))
            if line[3:4] == b"-":
                continue
            if not line[:3].isdigit():
                self._lost(connection, "the server does not speak SMTP")
                return
            reply = Reply(code=int(line[:3]), text=" ".join(connection.reply_text))
            connection.reply_text = []
            self._reply(connection, reply)
            if connection not in self.live:
                return

    def _reply(self, connection: _Connection, reply: Reply) -> None:
        if reply.code == 421 and (not connection.awaiting or connection.awaiting[0] != "CONTENT"):
            self._lost(connection, str(reply))
            return
        if not connection.awaiting:
            self._lost(connection, f"a reply to nothing: {reply}")
            return
        stage = connection.awaiting.popleft()
        if stage == "CONTENT":
            self._content_answered(connection, reply)
        elif stage in ("MAIL", "RCPT"):
            self._envelope_answered(connection, stage, reply)
        elif stage == "DATA":
            self._data_answered(connection, reply)
        elif not connection.awaiting:  # RSET, or the content of a message that was refused already
            self._next_envelope(connection, b"")

    def _content_answered(self, connection: _Connection, reply: Reply) -> None:
        message, connection.handed = connection.handed, None
        if message is not None:
            self.on_result(message.key, Result(verdict=verdict(reply.code), reply=str(reply)))
        if reply.code == 421:
            self._lost(connection, str(reply))
        elif not connection.awaiting:
            if connection.envelope is None:
                self._retire(connection)
            else:
                connection.awaiting.append("MAIL")
                self._write(connection, mail_command(connection.envelope))

    def _envelope_answered(self, connection: _Connection, stage: str, reply: Reply) -> None:
        message = connection.envelope
        if message is None:
            return
        if reply.code // 100 != 2 and connection.refusal is None:
            if stage == "MAIL" and reply.code // 100 == 5:
                connection.failure = RouteMisconfigured(f"{self.route} refuses our sender address: {reply}")
            connection.refusal = Result(verdict=verdict(reply.code), reply=str(reply))
        if connection.pipelining:
            return
        if connection.refusal is not None:
            self._envelope_refused(connection)
        elif stage == "MAIL":
            connection.awaiting.append("RCPT")
            self._write(connection, rcpt_command(message))
        else:
            connection.awaiting.append("DATA")
            self._write(connection, b"DATA\r\n")

    def _data_answered(self, connection: _Connection, reply: Reply) -> None:
        message = connection.envelope
        if message is None:
            return
        if connection.refusal is not None and reply.code == 354:
            # The server takes content for nobody: end it at once (RFC 2920 3.1).
            connection.awaiting.append("NOTHING")
            self._settle_refusal(connection)
            self._write(connection, b".\r\n")
        elif connection.refusal is not None:
            self._envelope_refused(connection)
        elif reply.code == 354:
            content = message.content()
            self.on_handed(message.key)
            connection.handed, connection.envelope = message, None
            connection.awaiting.append("CONTENT")
            self._next_envelope(connection, content + b".\r\n")
        else:
            connection.refusal = Result(verdict=verdict(reply.code), reply=str(reply))
            self._envelope_refused(connection)

    def _envelope_refused(self, connection: _Connection) -> None:
        self._settle_refusal(connection)
        connection.awaiting.append("RSET")
        self._write(connection, b"RSET\r\n")

    def _settle_refusal(self, connection: _Connection) -> None:
        if connection.failure is not None:
            raise connection.failure
        message, result = connection.envelope, connection.refusal
        connection.envelope = connection.refusal = None
        if message is not None and result is not None:
            self.on_result(message.key, result)

    def _retire(self, connection: _Connection) -> None:
        self._drop(connection)
        connection.used_at = time.monotonic()
        self.finished.append(connection)

    def _lost(self, connection: _Connection, reason: str) -> None:
        if connection not in self.live:
            return
        self.last_error = reason
        self._drop(connection)
        connection.sock.close()
        if connection.handed is not None:
            words = f"no answer after the final dot ({reason})"
            self.on_result(connection.handed.key, Result(verdict=Verdict.UNCERTAIN, reply=words))
        message = connection.envelope
        if message is not None:
            self.tries[message.key] += 1
            if self.tries[message.key] >= MAX_TRIES:
                raise RouteUnavailable(f"{self.route} broke off {MAX_TRIES} times in a row ({reason})")
            self.again.append(message)

    def _drop(self, connection: _Connection) -> None:
        self.live.discard(connection)
        self.selector.unregister(connection.sock)

    def _abandon(self) -> None:
        """Close what is open. Whatever was handed and not answered is uncertain."""
        for connection in list(self.live):
            self._drop(connection)
            connection.sock.close()
            if connection.handed is not None:
                self.on_result(
                    connection.handed.key,
                    Result(verdict=Verdict.UNCERTAIN, reply="broken off by us after the final dot"),
                )


def _open(route: Route, count: int, *, required: bool) -> list[_Connection]:
    """Open up to `count` connections at once; fewer is fine, none is an error when one is required."""
    if count <= 0:
        return []
    first = [_Connection(open_connection(route))] if required else []
    missing = count - len(first)
    if not missing:
        return first
    with concurrent.futures.ThreadPoolExecutor(min(missing, 32)) as threads:
        futures = [threads.submit(open_connection, route) for _ in range(missing)]
    return first + [_Connection(one.result()) for one in futures if one.exception() is None]
