"""An SMTP server that plays a script: which reply at which stage, and where the connection breaks; with TLS and logins."""

import base64
import contextlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailer.delivery.transports.outgoing import Capabilities
from mailer.delivery.transports.route import Route, open_connection, route_from_url

DROP = "drop"
SILENCE = "silence"
Script = Callable[[str, str], str | None]


def always_fine(_stage: str, _argument: str) -> str | None:
    """Accept everything."""
    return None


@dataclass
class ScriptedServer:
    """Asks `script(stage, argument)` at CONNECT, EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA and CONTENT what to do.

    It answers with a reply, DROP (close), SILENCE (say nothing), or None for the usual reply. With a `tls` context it
    offers STARTTLS, or begins with TLS if `tls_at_once`; `extensions_in_tls` are other ones for then. `passwords` are
    those of its users; `challenge` is what CRAM-MD5 sends. `drip` is the seconds between two bytes of a reply.
    """

    port: int
    script: Script = always_fine
    extensions: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    delay_seconds: float = 0.0
    drip: float = 0.0
    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False
    extensions_in_tls: tuple[str, ...] | None = None
    after_starttls: bytes = b""
    passwords: dict[str, str] = field(default_factory=dict)
    challenge: str = "<1896.697170952@scripted>"
    takes_token_with_command: bool = True
    logins: list[tuple[str, str]] = field(default_factory=list)
    in_clear: list[str] = field(default_factory=list)
    accepted: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    writes: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    open_sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where to send."""
        scheme = "smtp" if self.tls is None else "smtps" if self.tls_at_once else "smtp+starttls"
        return f"{scheme}://127.0.0.1:{self.port}"

    @property
    def recipients(self) -> list[str]:
        """Who got something, in order of acceptance."""
        return [recipient for recipient, _ in self.accepted]

    def hang_up(self) -> None:
        """Close every connection, without a word; new ones are welcome."""
        for connection in list(self.open_sockets):
            with contextlib.suppress(OSError):  # gone already, or its TLS has taken it over
                connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def scripted_server(script: Script = always_fine, **options: object) -> Iterator[ScriptedServer]:
    """Run a scripted server for the length of a with block."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        server = ScriptedServer(port=listening.getsockname()[1], script=script, **options)  # type: ignore[arg-type]
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                # Small replies leave at once: waiting for the client's ACK would cost 40 ms each.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.open_sockets.append(connection)
                thread = threading.Thread(target=_serve, args=(server, connection))
                threads.append(thread)
                thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            server.hang_up()
            accepting.join()
            for thread in threads:
                thread.join()


def says(stage: str, reply: str) -> Script:
    """Write a script that gives one reply at one stage and accepts the rest."""
    return lambda at, _: reply if at == stage else None


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Make the server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return context


def the_route(server: ScriptedServer, *, login: str = "", options: str = "", timeout_seconds: float = 5) -> Route:
    """Make the route to a server; `login` is user:password."""
    url = server.url.replace("://", f"://{login}@") if login else server.url
    return route_from_url(url + options, helo_name="lettre.example", connections=1, timeout_seconds=timeout_seconds)


def opened(route: Route) -> Capabilities:
    """Open a connection, close it, and return what the server offered."""
    connection = open_connection(route)
    connection.sock.close()
    return connection.capabilities


def addresses_found(*ports: int) -> list[tuple[object, ...]]:
    """Return what DNS would, for servers on this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)) for port in ports]


def _serve(server: ScriptedServer, connection: socket.socket) -> None:
    with contextlib.suppress(OSError, _Dropped), connection:
        client = _Client(server, connection)
        try:
            _converse(server, client)
        finally:
            client.socket.close()


class _Dropped(Exception):
    pass


class _Client:
    """One connection: what the client sends, cut where the protocol says, and what it is told."""

    def __init__(self, server: ScriptedServer, connection: socket.socket) -> None:
        self.server, self.socket = server, connection
        self.is_safe = False
        self.received = b""

    def until(self, end: bytes) -> bytes:
        while end not in self.received:
            chunk = self.socket.recv(65536)
            if not chunk:
                raise _Dropped
            self.server.writes.append(chunk)
            self.received += chunk
        found, _, self.received = self.received.partition(end)
        return found

    def line(self) -> str:
        line = self.until(b"\r\n").decode()
        self.server.commands.append(line)
        if not self.is_safe:
            self.server.in_clear.append(line)
        return line

    def say(self, data: bytes) -> None:
        if not self.server.drip:
            self.socket.sendall(data)
            return
        for place in range(len(data)):
            time.sleep(self.server.drip)
            self.socket.sendall(data[place : place + 1])

    def begin_tls(self) -> None:
        assert self.server.tls is not None
        self.socket = self.server.tls.wrap_socket(self.socket, server_side=True)
        self.server.open_sockets.append(self.socket)
        self.is_safe = True

    def answer(self, stage: str, argument: str, usual: str) -> str:
        if self.server.delay_seconds:
            time.sleep(self.server.delay_seconds)
        reply = self.server.script(stage, argument)
        if reply == DROP:
            raise _Dropped
        if reply == SILENCE:
            return reply
        reply = reply or usual
        extra = self.server.after_starttls if stage == "STARTTLS" else b""
        # surrogateescape: a script can say any byte.
        self.say(reply.encode(errors="surrogateescape") + b"\r\n" + extra)
        if reply.startswith("421"):
            raise _Dropped
        return reply


def _converse(server: ScriptedServer, client: _Client) -> None:
    with server.lock:
        server.connections += 1
    if server.tls is not None and server.tls_at_once:
        client.begin_tls()
    client.answer("CONNECT", "", "220 scripted ESMTP")
    recipient = ""
    while True:
        line = client.line()
        verb = line.split(" ", 1)[0].split(":")[0].upper()
        if verb == "RCPT":
            asked = line[line.index("<") + 1 : line.index(">")]
            recipient = asked if client.answer("RCPT", asked, "250 2.1.5 fine").startswith("2") else ""
        elif verb == "DATA":
            if client.answer("DATA", recipient, "354 go ahead").startswith("354"):
                _take_content(server, client, recipient)
        elif verb == "QUIT":
            client.say(b"221 bye\r\n")
            return
        elif verb == "STARTTLS":
            if client.answer("STARTTLS", line, "220 2.0.0 go ahead").startswith("220"):
                client.begin_tls()
        elif verb == "AUTH":
            _log_in(client, line)
        else:
            usual = _capabilities(client) if verb == "EHLO" else "250 2.0.0 fine"
            client.answer(verb, line, usual)


def _take_content(server: ScriptedServer, client: _Client, recipient: str) -> None:
    # An empty message is a dot alone: let it be found like any other.
    client.received = b"\r\n" + client.received
    content = client.until(b"\r\n.\r\n")[2:]
    reply = client.answer("CONTENT", recipient, "250 2.0.0 queued")
    if reply.startswith("2") and recipient:
        with server.lock:
            server.accepted.append((recipient, content + b"\r\n"))


def _capabilities(client: _Client) -> str:
    server = client.server
    extensions = server.extensions
    if client.is_safe and server.extensions_in_tls is not None:
        extensions = server.extensions_in_tls
    elif server.tls is not None and not client.is_safe:
        extensions = (*extensions, "STARTTLS")
    lines = ["scripted", *extensions]
    return "\r\n".join(f"250{'-' if n < len(lines) - 1 else ' '}{text}" for n, text in enumerate(lines))


def _log_in(client: _Client, line: str) -> None:
    if client.server.script("AUTH", line) is not None:
        client.answer("AUTH", line, "")
        return
    _, method, *rest = line.split(" ")
    who = _LOGINS[method](client, rest[0] if rest and client.server.takes_token_with_command else None)
    if who is not None:
        client.server.logins.append((method, who))
    client.say(b"535 5.7.8 no such user or password\r\n" if who is None else b"235 2.7.0 come in\r\n")


def _asked(client: _Client, challenge: str = "") -> str:
    client.say(f"334 {challenge}\r\n".encode())
    return base64.b64decode(client.line(), validate=True).decode()


def _plain(client: _Client, first: str | None) -> str | None:
    said = base64.b64decode(first, validate=True).decode() if first else _asked(client)
    _, user, password = said.split("\0")
    return user if client.server.passwords.get(user) == password else None


def _login(client: _Client, _first: str | None) -> str | None:
    user, password = _asked(client, "VXNlcm5hbWU6"), _asked(client, "UGFzc3dvcmQ6")
    return user if client.server.passwords.get(user) == password else None


def _cram_md5(client: _Client, _first: str | None) -> str | None:
    challenge = client.server.challenge
    user, _, digest = _asked(client, base64.b64encode(challenge.encode()).decode()).rpartition(" ")
    password = client.server.passwords.get(user, "")
    return (
        user
        if hmac.compare_digest(digest, hmac.new(password.encode(), challenge.encode(), "md5").hexdigest())
        else None
    )


def _xoauth2(client: _Client, first: str | None) -> str | None:
    said = base64.b64decode(first or "", validate=True).decode().split("\1")
    user = said[0].removeprefix("user=")
    if said == [f"user={user}", f"auth=Bearer {client.server.passwords.get(user)}", "", ""]:
        return user
    problem = json.dumps({"status": "401", "schemes": "bearer", "scope": "https://mail.example/"})
    assert _asked(client, base64.b64encode(problem.encode()).decode()) == ""
    return None


_LOGINS = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5, "XOAUTH2": _xoauth2}
