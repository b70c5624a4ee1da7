"""Where mail is handed over, and how a connection to it is opened: TCP, TLS, EHLO, AUTH."""

import base64
import contextlib
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
CONNECT_SECONDS = 30
_REPLY_BYTES = 64 * 1024


class RouteUnavailable(Exception):
    """The server can't be reached or is busy: everything unsent is worth another try later."""


class RouteMisconfigured(Exception):
    """The server refuses us whoever the recipient is (login, TLS, sender): trying again won't help, an operator must."""


class ConnectionDropped(Exception):
    """The server closed the connection or said nothing in time."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """An SMTP server and what we say to it. `security` is smtp (clear), smtp+starttls or smtps."""

    host: str
    port: int
    security: str
    username: str | None
    password: str | None
    helo_name: str
    connections: int
    timeout_seconds: float

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A complete SMTP reply: its code, and its text with lines joined by spaces."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"[:200]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A connection that is ready for MAIL."""

    sock: socket.socket
    extensions: frozenset[str]


def route_from_url(url: str, *, helo_name: str, connections: int, timeout_seconds: float) -> Route:
    """Read smtp[+starttls|s]://user:password@host:port, already checked by the settings."""
    parts = urlsplit(url)
    return Route(
        host=parts.hostname or "",
        port=parts.port or DEFAULT_PORTS[parts.scheme],
        security=parts.scheme,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        helo_name=helo_name,
        connections=connections,
        timeout_seconds=timeout_seconds,
    )


def open_connection(route: Route) -> Opened:
    """Connect, greet, start TLS and log in. Blocks on the network, at most timeout_seconds a reply.

    Raises RouteUnavailable or RouteMisconfigured with the server's words.
    """
    timeout = min(CONNECT_SECONDS, route.timeout_seconds)
    try:
        sock = socket.create_connection((route.host, route.port), timeout=timeout)
    except OSError as error:
        raise RouteUnavailable(f"{route} cannot be reached: {error}") from error
    try:
        return _greet(route, sock)
    except BaseException:
        sock.close()
        raise


def _greet(route: Route, plain: socket.socket) -> Opened:
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.settimeout(route.timeout_seconds)
    sock = _wrap(route, plain) if route.security == "smtps" else plain
    try:
        _expect(route, _read_reply(sock, route.timeout_seconds), 220, "greeting")
        extensions = _ehlo(route, sock)
        if route.security == "smtp+starttls":
            sock = _starttls(route, sock, extensions)
            # What the server said in clear may have been said by somebody else (RFC 3207 4.2).
            extensions = _ehlo(route, sock)
        if route.username is not None:
            _log_in(route, sock, extensions)
    except (OSError, ConnectionDropped) as error:
        raise RouteUnavailable(f"{route} broke off while being greeted: {error}") from error
    return Opened(sock=sock, extensions=extensions)


def close_connection(sock: socket.socket) -> None:
    """Say QUIT without waiting for the answer, and close."""
    with contextlib.suppress(OSError):
        sock.settimeout(1)
        sock.sendall(b"QUIT\r\n")
    sock.close()


def _ehlo(route: Route, sock: socket.socket) -> frozenset[str]:
    reply = _command(sock, f"EHLO {route.helo_name}", route.timeout_seconds)
    if reply.code != 250:
        _expect(route, _command(sock, f"HELO {route.helo_name}", route.timeout_seconds), 250, "HELO")
        return frozenset()
    return frozenset(line.strip().upper() for line in reply.text.split("\n")[1:])


def _starttls(route: Route, sock: socket.socket, extensions: frozenset[str]) -> socket.socket:
    if "STARTTLS" not in extensions:
        raise RouteMisconfigured(f"{route} does not offer STARTTLS; nothing was sent in clear")
    sock.sendall(b"STARTTLS\r\n")
    reply, rest = _read_reply_and_rest(sock, route.timeout_seconds)
    _expect(route, reply, 220, "STARTTLS")
    if rest:
        raise RouteMisconfigured(f"{route} sent plain text after STARTTLS; somebody may be in between")
    return _wrap(route, sock)


def _wrap(route: Route, sock: socket.socket) -> socket.socket:
    try:
        return ssl.create_default_context().wrap_socket(sock, server_hostname=route.host)
    except ssl.SSLCertVerificationError as error:
        raise RouteMisconfigured(f"{route} shows a certificate that is not valid: {error.verify_message}") from error
    except OSError as error:
        raise RouteUnavailable(f"{route} broke off the TLS handshake: {error}") from error


def _log_in(route: Route, sock: socket.socket, extensions: frozenset[str]) -> None:
    methods = {word for line in extensions if line.startswith("AUTH") for word in line.replace("=", " ").split()[1:]}
    username, password = route.username or "", route.password or ""
    if "PLAIN" in methods or not methods:
        secret = base64.b64encode(f"\0{username}\0{password}".encode()).decode("ascii")
        reply = _command(sock, f"AUTH PLAIN {secret}", route.timeout_seconds)
    elif "LOGIN" in methods:
        _command(sock, "AUTH LOGIN", route.timeout_seconds)
        _command(sock, base64.b64encode(username.encode()).decode("ascii"), route.timeout_seconds)
        reply = _command(sock, base64.b64encode(password.encode()).decode("ascii"), route.timeout_seconds)
    else:
        raise RouteMisconfigured(f"{route} offers no login that we know (it offers {', '.join(sorted(methods))})")
    if reply.code // 100 == 4:
        raise RouteUnavailable(f"{route} can't check the login now: {reply}")
    _expect(route, reply, 235, "login")


def _expect(route: Route, reply: Reply, code: int, what: str) -> None:
    if reply.code == code:
        return
    if reply.code // 100 == 4:
        raise RouteUnavailable(f"{route} answered the {what} with {reply}")
    raise RouteMisconfigured(f"{route} answered the {what} with {reply}")


def _command(sock: socket.socket, line: str, timeout_seconds: float) -> Reply:
    sock.sendall(line.encode("ascii") + b"\r\n")
    return _read_reply(sock, timeout_seconds)


def _read_reply(sock: socket.socket, timeout_seconds: float) -> Reply:
    return _read_reply_and_rest(sock, timeout_seconds)[0]


def _read_reply_and_rest(sock: socket.socket, timeout_seconds: float) -> tuple[Reply, bytes]:
    """Read one reply, however slowly its bytes come, within one deadline."""
    deadline = time.monotonic() + timeout_seconds
    received = b""
    while True:
        lines = received.split(b"\r\n")
        for index, line in enumerate(lines[:-1]):
            if line[3:4] != b"-":
                return _parse(lines[: index + 1]), b"\r\n".join(lines[index + 1 :])
        remaining = deadline - time.monotonic()
        if remaining <= 0 or len(received) > _REPLY_BYTES:
            raise ConnectionDropped("no complete reply in time")
        sock.settimeout(remaining)
        chunk = sock.recv(4096)
        if not chunk:
            raise ConnectionDropped("the server closed the connection")
        received += chunk


def _parse(lines: list[bytes]) -> Reply:
    if not lines[-1][:3].isdigit():
        raise ConnectionDropped("the server does not speak SMTP")
    return Reply(code=int(lines[-1][:3]), text="\n".join(line[4:].decode("utf-8", "replace") for line in lines))
