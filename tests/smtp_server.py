"""An SMTP server that plays a script: which reply at which stage, and where the connection breaks."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

DROP = "drop"
SILENCE = "silence"
Script = Callable[[str, str], str | None]


def always_fine(_stage: str, _argument: str) -> str | None:
    """Accept everything."""
    return None


@dataclass
class ScriptedServer:
    """Asks `script(stage, argument)` at CONNECT, EHLO, MAIL, RCPT, DATA and CONTENT what to do.

    It answers with a reply, DROP (close), SILENCE (say nothing), or None for the usual reply.
    """

    port: int
    script: Script = always_fine
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    delay_seconds: float = 0.0
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    writes: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Where to send."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def recipients(self) -> list[str]:
        """Who got something, in order of acceptance."""
        return [recipient for recipient, _ in self.accepted]


@contextlib.contextmanager
def scripted_server(script: Script = always_fine, **options: object) -> Iterator[ScriptedServer]:
    """Run a scripted server for the length of a with block."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        server = ScriptedServer(port=listening.getsockname()[1], script=script, **options)  # type: ignore[arg-type]
        open_sockets: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                open_sockets.append(connection)
                thread = threading.Thread(target=_serve, args=(server, connection))
                threads.append(thread)
                thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for connection in open_sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def _serve(server: ScriptedServer, connection: socket.socket) -> None:
    with contextlib.suppress(OSError, _Dropped), connection:
        _converse(server, connection)


class _Dropped(Exception):
    pass


def _converse(server: ScriptedServer, connection: socket.socket) -> None:
    with server.lock:
        server.connections += 1
    _answer(server, connection, "CONNECT", "", "220 scripted ESMTP")
    lines = _Lines(server, connection)
    recipient = ""
    while True:
        line = lines.until(b"\r\n").decode()
        server.commands.append(line)
        verb = line.split(" ", 1)[0].split(":")[0].upper()
        if verb == "RCPT":
            asked = line[line.index("<") + 1 : line.index(">")]
            recipient = asked if _answer(server, connection, "RCPT", asked, "250 2.1.5 fine").startswith("2") else ""
        elif verb == "DATA":
            if _answer(server, connection, "DATA", recipient, "354 go ahead").startswith("354"):
                _take_content(server, connection, lines, recipient)
        elif verb == "QUIT":
            connection.sendall(b"221 bye\r\n")
            return
        else:
            usual = _capabilities(server) if verb == "EHLO" else "250 2.0.0 fine"
            _answer(server, connection, verb, line, usual)


class _Lines:
    """What the client sends, cut where the protocol says."""

    def __init__(self, server: ScriptedServer, connection: socket.socket) -> None:
        self._server, self._connection = server, connection
        self.received = b""

    def until(self, end: bytes) -> bytes:
        while end not in self.received:
            chunk = self._connection.recv(65536)
            if not chunk:
                raise _Dropped
            self._server.writes.append(chunk)
            self.received += chunk
        found, _, self.received = self.received.partition(end)
        return found


def _take_content(server: ScriptedServer, connection: socket.socket, lines: _Lines, recipient: str) -> None:
    # An empty message is a dot alone: let it be found like any other.
    lines.received = b"\r\n" + lines.received
    content = lines.until(b"\r\n.\r\n")[2:]
    reply = _answer(server, connection, "CONTENT", recipient, "250 2.0.0 queued")
    if reply.startswith("2") and recipient:
        with server.lock:
            server.accepted.append((recipient, content + b"\r\n"))


def _capabilities(server: ScriptedServer) -> str:
    lines = ["scripted", *server.extensions]
    return "\r\n".join(f"250{'-' if n < len(lines) - 1 else ' '}{text}" for n, text in enumerate(lines))


def _answer(server: ScriptedServer, connection: socket.socket, stage: str, argument: str, usual: str) -> str:
    if server.delay_seconds:
        time.sleep(server.delay_seconds)
    reply = server.script(stage, argument)
    if reply == DROP:
        raise _Dropped
    if reply == SILENCE:
        return reply
    reply = reply or usual
    connection.sendall(reply.encode() + b"\r\n")
    if reply.startswith("421"):
        raise _Dropped
    return reply
