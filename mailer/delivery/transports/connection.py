"""One SMTP connection and where it stands in the conversation. Non-blocking; its route says what comes next.

With pipelining (RFC 2920), a message's content, its final dot and the next MAIL, RCPT and DATA leave in one write, so a
message costs one round trip. Every reply is matched with the command that it answers; content leaves only after 354.
"""

import collections
import contextlib
import functools
import socket
import ssl
import time
from typing import Final, Protocol

from mailer.delivery.transports.outgoing import Capabilities, Outgoing, mail_command, rcpt_command, undeliverable
from mailer.delivery.transports.replies import Reply, ReplyInvalid
from mailer.delivery.transports.verdicts import CONTENT, DATA, MAIL, RCPT, SIZE, Result, Verdict, judge

MAX_REPLY_BYTES: Final = 64 * 1024
# RFC 5321 4.5.3.2. A short wait after the final dot makes doubles, so it alone is never cut below twice the setting.
PATIENCE: Final = {MAIL: 300.0, RCPT: 300.0, DATA: 120.0, CONTENT: 600.0, "RSET": 300.0, "END": 600.0}
BLOCK_SECONDS: Final = 180.0

_WAIT = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner(Protocol):
    """Whoever keeps the connection: gives it messages and hears what became of them."""

    def take(self, connection: "Connection") -> Outgoing | None:
        """Give the next message for this connection, if there is one now."""

    def handed(self, message: Outgoing) -> None:
        """Hear that the content of a message is about to leave."""

    def answered(self, connection: "Connection", message: Outgoing, result: Result) -> None:
        """Hear the verdict on a message that was taken: exactly once, unless `lost` gives it back."""

    def idle(self, connection: "Connection") -> None:
        """Hear that nothing is under way and that there was no message to take."""

    def busy(self, connection: "Connection", reply: Reply) -> None:
        """Hear that the server said 421: too much, or it goes away."""

    def lost(self, connection: "Connection", reason: str, unsent: Outgoing | None) -> None:
        """Hear that the connection is closed; `unsent` was taken and has not left: it can go over another one."""

    def wants(self, connection: "Connection", *, write: bool) -> None:
        """Watch the socket for room to write, or no longer."""


class Connection:
    """A connection that is ready for MAIL."""

    def __init__(
        self, sock: socket.socket, capabilities: Capabilities, owner: Owner, *, patience_seconds: float
    ) -> None:
        self.sock, self.capabilities, self._owner = sock, capabilities, owner
        self.sock.setblocking(False)
        self.is_open = True
        self.envelope: Outgoing | None = None  # its MAIL, RCPT, DATA are under way
        self.handed: Outgoing | None = None  # its content left, the answer is due
        self.since = self.deadline = time.monotonic()
        self._patience = {
            stage: min(seconds, (2 if stage == CONTENT else 1) * patience_seconds)
            for stage, seconds in PATIENCE.items()
        }
        self._unsent = memoryview(b"")
        self._waits_for_room = False
        self._received = b""
        self._lines: list[bytes] = []
        self._received_lines = 0
        self._awaiting: collections.deque[str] = collections.deque()
        self._refusal: Result | None = None

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing is under way."""
        return not self._awaiting

    def begin(self) -> None:
        """Take a message and start on it, if there is one. Only when idle."""
        self._next(b"")

    def readable(self) -> None:
        """Read what came and act on it."""
        try:
            while self.is_open:
                chunk = self.sock.recv(16384)
                if not chunk:
                    self.close("the server closed the connection")
                    return
                self._received += chunk
                if len(self._received) > MAX_REPLY_BYTES:
                    self.close("the server's reply has no end")
                    return
                self._read_replies()
        except _WAIT:
            return
        except OSError as error:
            self.close(str(error))

    def writable(self) -> None:
        """Go on writing."""
        try:
            self._flush()
        except OSError as error:
            self.close(str(error))

    def close(self, reason: str) -> None:
        """Close without a farewell. What was handed over and not answered is uncertain."""
        if not self.is_open:
            return
        self.is_open = False
        handed, unsent = self.handed, self.envelope
        self.handed = self.envelope = None
        self._awaiting.clear()
        # While it is registered: a selector can't forget a closed socket.
        self._owner.lost(self, reason, unsent)
        self.sock.close()
        if handed is not None:
            words = f"no answer after the final dot ({reason})"
            self._owner.answered(self, handed, Result(verdict=Verdict.UNCERTAIN, reply=words, stage=CONTENT))

    def quit(self) -> None:
        """Say QUIT without waiting for the answer, and close. Only when idle."""
        with contextlib.suppress(OSError):
            self.sock.send(b"QUIT\r\n")
        self.close("we said QUIT")

    def _next(self, before: bytes) -> None:
        """Write `before` (the content of the last message, or RSET) and begin the next message, if there is one."""
        message = self._take()
        if message is None:
            if before:
                self._write(before)
            elif not self._awaiting:
                self._owner.idle(self)
            return
        self.envelope, self._refusal = message, None
        if self.capabilities.pipelining:
            self._awaiting.extend((MAIL, RCPT, DATA))
            commands = mail_command(message, self.capabilities) + rcpt_command(message, self.capabilities)
            self._write(before + commands + b"DATA\r\n")
        elif self._awaiting:
            self._write(before)  # the answer to `before` comes first
        else:
            self._say_mail(message)

    def _say_mail(self, message: Outgoing) -> None:
        self._awaiting.append(MAIL)
        self._write(mail_command(message, self.capabilities))

    def _take(self) -> Outgoing | None:
        while True:
            message = self._owner.take(self)
            if message is None:
                return None
            reason = undeliverable(message, self.capabilities)
            if reason is None:
                return message
            is_ours = bool(self.capabilities.size) and message.size > (self.capabilities.size or 0)
            verdict = Verdict.BLOCKED if is_ours else Verdict.REFUSED
            self._owner.answered(self, message, Result(verdict=verdict, reply=reason, stage=SIZE if is_ours else ""))

    def _write(self, data: bytes) -> None:
        now = time.monotonic()
        if len(self._unsent):
            data = bytes(self._unsent) + data
        self._unsent = memoryview(data)
        self.since = now
        self.deadline = now + self._patience[self._awaiting[0]]
        try:
            self._flush()
        except OSError as error:
            self.close(str(error))

    def _flush(self) -> None:
        with contextlib.suppress(*_WAIT):
            while len(self._unsent):
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
                if len(self._unsent):
                    self.deadline = time.monotonic() + min(BLOCK_SECONDS, self._patience[CONTENT])
        must_wait = len(self._unsent) > 0
        if must_wait != self._waits_for_room:
            if not must_wait and self._awaiting:
                self.deadline = time.monotonic() + self._patience[self._awaiting[0]]
            self._waits_for_room = must_wait
            self._owner.wants(self, write=must_wait)

    def _read_replies(self) -> None:
        """Act on every complete reply received so far; only the last line of one has no dash after its code."""
        *lines, self._received = self._received.split(b"\r\n")
        for line in lines:
            try:
                if line[3:4] == b"-" and line[:3].isdigit():
                    self._lines.append(line)
                    self._received_lines += len(line)
                    if self._received_lines > MAX_REPLY_BYTES:
                        raise ReplyInvalid("the server's reply has no end")
                    continue
                reply = Reply.from_lines([*self._lines, line]) if self._lines else _one_line(line)
            except ReplyInvalid as error:
                self.close(str(error))
                return
            self._lines, self._received_lines = [], 0
            self._act_on(reply)
            if not self.is_open:
                return

    def _act_on(self, reply: Reply) -> None:
        if not self._awaiting:
            if reply.code == 421:
                self._owner.busy(self, reply)
            self.close(str(reply))
            return
        stage = self._awaiting.popleft()
        if reply.code == 421 and stage != CONTENT:
            self._owner.busy(self, reply)
            self.close(str(reply))
            return
        if reply.code // 100 == 3 and stage != DATA:
            # A reply is missing somewhere: what follows would be taken for the answer to something else.
            self.close(f"an answer out of order: {reply}")
            return
        if self._awaiting:
            self.since = now = time.monotonic()
            self.deadline = now + self._patience[self._awaiting[0]]
        if stage == CONTENT:
            self._content_answered(reply)
        elif stage in (MAIL, RCPT):
            self._envelope_answered(stage, reply)
        elif stage == DATA:
            self._data_answered(reply)
        elif not self._awaiting:  # RSET, or the end of content for nobody
            self._go_on()

    def _content_answered(self, reply: Reply) -> None:
        message, self.handed = self.handed, None
        if message is not None:
            result = Result(verdict=judge(reply, CONTENT), reply=str(reply), stage=CONTENT)
            self._owner.answered(self, message, result)
        if reply.code == 421:
            self._owner.busy(self, reply)
            self.close(str(reply))
        elif not self._awaiting:
            self._go_on()

    def _go_on(self) -> None:
        if self.envelope is not None:
            self._say_mail(self.envelope)
        else:
            self._next(b"")

    def _envelope_answered(self, stage: str, reply: Reply) -> None:
        message = self.envelope
        if message is None:
            return
        if reply.code // 100 != 2 and self._refusal is None:
            self._refusal = Result(verdict=judge(reply, stage), reply=str(reply), stage=stage)
        if self.capabilities.pipelining:
            return
        if self._refusal is not None:
            self._refuse()
        elif stage == MAIL:
            self._awaiting.append(RCPT)
            self._write(rcpt_command(message, self.capabilities))
        else:
            self._awaiting.append(DATA)
            self._write(b"DATA\r\n")

    def _data_answered(self, reply: Reply) -> None:
        message = self.envelope
        if message is None:
            return
        if self._refusal is not None and reply.code == 354:
            # The server takes content for nobody: end it at once (RFC 2920 3.1).
            self._settle_refusal()
            self._awaiting.append("END")
            self._next(b".\r\n")
        elif self._refusal is not None:
            self._refuse()
        elif reply.code == 354:
            self._hand_over(message)
        else:
            self._refusal = Result(verdict=judge(reply, DATA), reply=str(reply), stage=DATA)
            self._refuse()

    def _hand_over(self, message: Outgoing) -> None:
        self.envelope = None
        try:
            content = message.content()
        except Exception as error:  # noqa: BLE001 - one copy that can't be made must not stop the others
            # The server waits for content: only closing takes the message back.
            words = f"this copy could not be made: {type(error).__name__}: {error}"
            self._owner.answered(self, message, Result(verdict=Verdict.REFUSED, reply=words))
            self.close(words)
            return
        self._owner.handed(message)
        self.handed = message
        self._awaiting.append(CONTENT)
        self._next(content + b".\r\n")

    def _refuse(self) -> None:
        self._settle_refusal()
        self._awaiting.append("RSET")
        self._next(b"RSET\r\n")

    def _settle_refusal(self) -> None:
        message, result = self.envelope, self._refusal
        self.envelope = self._refusal = None
        if message is not None and result is not None:
            self._owner.answered(self, message, result)


@functools.lru_cache(maxsize=256)
def _one_line(line: bytes) -> Reply:
    """Read a reply of one line. Servers say the same few all day."""
    return Reply.from_lines([line])
