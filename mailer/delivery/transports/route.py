"""Where mail is handed over, and how a connection to it is opened: TCP, TLS, EHLO, AUTH. Blocks; every wait has an end.

Each wait is for a whole reply: a server that sends a byte a second gains nothing by it.
"""

import contextlib
import functools
import ipaddress
import re
import socket
import ssl
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import idna

from mailer.delivery.transports import login
from mailer.delivery.transports.outgoing import Capabilities
from mailer.delivery.transports.replies import MAX_REPLY_BYTES, MAX_REPLY_LINES, Reply, ReplyInvalid
from mailer.mail_settings import LOOPBACK_HOSTS, Transport

DEFAULT_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
CONNECT_SECONDS: Final = 30.0
# One of several addresses of a host: a dead one must not use up the time of the others.
ADDRESS_SECONDS: Final = 10.0
# Greeting, EHLO, STARTTLS, TLS and every step of AUTH (RFC 5321 4.5.3.2); the route's own limit cuts it.
REPLY_SECONDS: Final = 300.0
MAX_TOKEN_BYTES: Final = 12 * 1024

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}[A-Za-z0-9])?")
_EHLO_LINE: Final = re.compile(r"[\x20-\x7e\t]*")


class RouteUnavailable(Exception):
    """The server can't be reached or is busy: everything unsent is worth another try later."""


class RouteMisconfigured(Exception):
    """The server refuses us whoever the recipient is (login, TLS, sender): trying again won't help, an operator must.

    `code` is a word that pages explain: blocked, login_refused or tls_refused.
    """

    def __init__(self, words: str, *, code: str = "blocked") -> None:
        super().__init__(words)
        self.code = code


class ConnectionDropped(Exception):
    """The server closed the connection or said nothing in time."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """An SMTP server and what we say to it. `security` is smtp (clear), smtp+starttls or smtps.

    `auth` names the only way to log in that is tried. `token_file` holds an access token in place of a password; it is
    read at every login, because another program renews it. `domains` are the recipients' that it is for, () for all.
    """

    host: str
    port: int
    security: str
    username: str | None
    password: str | None = field(repr=False)
    helo_name: str
    connections: int
    timeout_seconds: float
    name: str = ""
    auth: str | None = None
    token_file: Path | None = None
    domains: tuple[str, ...] = ()

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name} ({host}:{self.port})" if self.name else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A connection that is ready for MAIL, and what the server offers on it."""

    sock: socket.socket
    capabilities: Capabilities


def route_from_url(url: str, *, helo_name: str, connections: int, timeout_seconds: float) -> Route:
    """Read smtp[+starttls|s]://user:password@host:port?auth=xoauth2, already checked by the settings."""
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
        auth=parse_qs(parts.query).get("auth", [None])[0],
    )


def route_from_transport(transport: Transport, *, helo_name: str, timeout_seconds: float) -> Route:
    """Read one of the settings' transports."""
    route = route_from_url(
        transport.url, helo_name=helo_name, connections=transport.connections, timeout_seconds=timeout_seconds
    )
    return replace(route, name=transport.name, token_file=transport.token_file, domains=transport.domains)


def open_connection(route: Route) -> Opened:
    """Connect, greet, start TLS and log in. Blocks on the network, at most timeout_seconds a reply.

    Raises RouteUnavailable or RouteMisconfigured with the server's words.
    """
    plain = _connect(route)
    talk = _Talk(route, plain)
    try:
        capabilities = _greet(route, talk)
    except (OSError, ConnectionDropped, ReplyInvalid) as error:
        talk.sock.close()
        raise RouteUnavailable(f"{route} broke off while being greeted: {error}") from error
    except BaseException:
        talk.sock.close()
        raise
    return Opened(sock=talk.sock, capabilities=capabilities)


def _connect(route: Route) -> socket.socket:
    """Try every address that the name has, IPv6 and IPv4, in the system's order."""
    deadline = time.monotonic() + min(CONNECT_SECONDS, route.timeout_seconds)
    errors: dict[str, None] = {}
    try:
        addresses = socket.getaddrinfo(route.host, route.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS can hold
        raise RouteUnavailable(f"{route} cannot be found: {error}") from error
    for number, (family, kind, protocol, _, address) in enumerate(addresses, start=1):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        limit = remaining if number == len(addresses) else min(ADDRESS_SECONDS, remaining)
        try:
            return _connect_to(family, kind, protocol, address, limit)
        except OSError as error:
            errors[str(error)] = None
    raise RouteUnavailable(f"{route} cannot be reached: {'; '.join(errors) or 'no answer in time'}")


def _connect_to(family: int, kind: int, protocol: int, address: tuple[object, ...], seconds: float) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(seconds)
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


class _Talk:
    """The conversation before the first message: one line out, one whole reply in, within a deadline."""

    def __init__(self, route: Route, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self._route = route
        self._seconds = min(REPLY_SECONDS, route.timeout_seconds)

    def ask(self, line: str) -> Reply:
        """Send a line and wait for its reply."""
        if self.received:
            raise ConnectionDropped("the server spoke out of turn")
        self.sock.settimeout(self._seconds)
        self.sock.sendall(line.encode("ascii") + b"\r\n")
        return self.listen()

    def listen(self) -> Reply:
        """Wait for a reply. What comes after it stays in `received`."""
        deadline = time.monotonic() + self._seconds
        lines: list[bytes] = []
        size = 0
        while True:
            *complete, self.received = self.received.split(b"\r\n")
            for number, line in enumerate(complete, start=1):
                lines.append(line)
                size += len(line)
                if line[3:4] != b"-" or not line[:3].isdigit():
                    self.received = b"\r\n".join([*complete[number:], self.received])
                    return Reply.from_lines(lines)
            if size + len(self.received) > MAX_REPLY_BYTES or len(lines) > MAX_REPLY_LINES:
                raise ConnectionDropped("its reply has no end")
            self.received += self._receive(deadline)

    def wrap(self) -> None:
        """Go on in TLS, or raise RouteMisconfigured when it can't be had as safe as it must be."""
        route = self._route
        context = _tls_context(ssl.get_default_verify_paths())
        self.sock.settimeout(self._seconds)
        try:
            self.sock = context.wrap_socket(self.sock, server_hostname=route.host)
        except ssl.SSLCertVerificationError as error:
            words = f"{route} shows a certificate that is not valid: {error.verify_message}"
            raise RouteMisconfigured(words, code="tls_refused") from error
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            raise RouteUnavailable(f"{route} broke off the TLS handshake: {error}") from error
        except ssl.SSLError as error:
            words = f"{route} does not speak TLS 1.2 or newer on this port ({error.reason or error})"
            words += "; if it begins in clear, use smtp+starttls://" if route.security == "smtps" else ""
            raise RouteMisconfigured(words, code="tls_refused") from error

    def _receive(self, deadline: float) -> bytes:
        remaining = deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self.sock.settimeout(remaining)
            chunk = self.sock.recv(4096)
        except TimeoutError:
            raise ConnectionDropped(f"no complete reply in {self._seconds:g} s") from None
        if not chunk:
            raise ConnectionDropped("the server closed the connection")
        return chunk


@functools.lru_cache(maxsize=4)
def _tls_context(_trusted: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """Make a context that trusts what OpenSSL trusts here; reading the authorities takes tens of milliseconds."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _greet(route: Route, talk: _Talk) -> Capabilities:
    if route.security == "smtps":
        talk.wrap()
    _expect(route, _greeting(route, talk), 220, "greeting")
    capabilities = _ehlo(route, talk)
    if route.security == "smtp+starttls":
        _start_tls(route, talk, capabilities)
        # What the server said in clear may have been said by somebody else (RFC 3207 4.2).
        capabilities = _ehlo(route, talk)
    _log_in(route, talk, capabilities)
    if talk.received:
        raise ConnectionDropped("the server spoke out of turn")
    return capabilities


def _greeting(route: Route, talk: _Talk) -> Reply:
    try:
        return talk.listen()
    except ConnectionDropped as error:
        if talk.received or route.security == "smtps":
            raise
        raise ConnectionDropped(f"{error}; if this port begins with TLS, use smtps://") from error


def _ehlo(route: Route, talk: _Talk) -> Capabilities:
    name = _helo_name(route)
    reply = talk.ask(f"EHLO {name}")
    if reply.code // 100 == 5:
        _expect(route, talk.ask(f"HELO {name}"), 250, "HELO")
        return Capabilities()
    _expect(route, reply, 250, "EHLO")
    return _capabilities(reply.lines[1:])


def _helo_name(route: Route) -> str:
    """Return the name for EHLO: a host name, in A-labels, or an address in brackets (RFC 5321 4.1.3)."""
    name = route.helo_name
    try:
        address = ipaddress.ip_address(name.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        pass
    else:
        return f"[{'IPv6:' if address.version == 6 else ''}{address}]"
    with contextlib.suppress(idna.IDNAError):
        name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    if not _HOST_NAME.fullmatch(name):
        raise RouteMisconfigured(f"MAILER_HELO_NAME must be a host name or an IP address, not {name!r}")
    return name


def _capabilities(lines: tuple[str, ...]) -> Capabilities:
    found: dict[str, list[str]] = {}
    for line in lines:
        if not _EHLO_LINE.fullmatch(line):
            raise ReplyInvalid("its EHLO reply holds bytes that no extension has")
        words = line.upper().replace("AUTH=", "AUTH ").split()  # AUTH=: as servers wrote it before there was an RFC
        if words:
            found.setdefault(words[0], []).extend(words[1:])
    size = found.get("SIZE")
    return Capabilities(
        pipelining="PIPELINING" in found,
        smtputf8="SMTPUTF8" in found,
        eight_bit="8BITMIME" in found,
        dsn="DSN" in found,
        size=None if size is None else int(size[0]) if size and size[0].isdigit() and len(size[0]) <= 20 else 0,
        auth=frozenset(found.get("AUTH", [])),
        starttls="STARTTLS" in found,
    )


def _start_tls(route: Route, talk: _Talk, capabilities: Capabilities) -> None:
    if not capabilities.starttls:
        words = f"{route} does not offer STARTTLS; nothing was sent in clear"
        raise RouteMisconfigured(words, code="tls_refused")
    _expect(route, talk.ask("STARTTLS"), 220, "STARTTLS", why="tls_refused")
    if talk.received:
        words = f"{route} sent plain text after STARTTLS; somebody may be in between"
        raise RouteMisconfigured(words, code="tls_refused")
    talk.wrap()


def _log_in(route: Route, talk: _Talk, capabilities: Capabilities) -> None:
    if route.username is None:
        if route.token_file is not None:
            raise RouteMisconfigured(f"{route} has a token_file, but its URL names no user", code="login_refused")
        return
    try:
        login.log_in(
            talk.ask,
            capabilities.auth,
            login.Credentials(username=route.username, secret=_secret(route)),
            forced=route.auth or ("xoauth2" if route.token_file else None),
            protected=route.security != "smtp" or route.host in LOOPBACK_HOSTS,
        )
    except login.LoginRefused as error:
        raise RouteMisconfigured(f"{route} {error}", code="login_refused") from error
    except login.LoginDeferred as error:
        raise RouteUnavailable(f"{route} {error}") from error


def _secret(route: Route) -> str:
    """Return the password, or the token that is in the file now."""
    if route.token_file is None:
        return route.password or ""
    try:
        with route.token_file.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        words = f"{route} needs the token in {route.token_file}, which can't be read: {error.strerror}"
        raise RouteMisconfigured(words, code="login_refused") from error
    if not re.fullmatch(rb"[!-~]{1,%d}" % MAX_TOKEN_BYTES, token):
        words = f"{route} needs a token in {route.token_file}, which holds no single word of at most {MAX_TOKEN_BYTES} bytes"
        raise RouteMisconfigured(words, code="login_refused")
    return token.decode("ascii")


def _expect(route: Route, reply: Reply, code: int, what: str, *, why: str = "blocked") -> None:
    if reply.code == code:
        return
    if reply.code // 100 == 4:
        raise RouteUnavailable(f"{route} answered the {what} with {reply}")
    raise RouteMisconfigured(f"{route} answered the {what} with {reply}", code=why)
