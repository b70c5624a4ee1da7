"""The way out to addresses that strangers choose: public hosts only, connected to exactly where they were checked.

Everything that reads a feed, a picture or a link from outside goes through `open_client`. Reads no proxy from the
environment; TLS trusts what OpenSSL trusts (SSL_CERT_FILE is honoured).
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

# Outside 2000::/3 no IPv6 address is handed out for the public internet; the well-known NAT64 prefix is how a host
# without IPv4 reaches it.
_IPV6_PUBLIC = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.IPv6Network("::/96")
# 6to4's anycast relay and IETF protocol assignments: older Pythons call them global.
_IPV4_SPECIAL = (ipaddress.IPv4Network("192.88.99.0/24"), ipaddress.IPv4Network("192.0.0.0/24"))
_MOST_ADDRESSES_TRIED = 4


class AddressRefused(Exception):
    """The host is at an address that is not public and not in the allowed private networks."""

    def __init__(self, address: Address) -> None:
        super().__init__(str(address))
        self.address = address


class NameUnknown(Exception):
    """The DNS knows no address for the host."""


class OutOfTime(Exception):
    """The deadline of the whole exchange passed, whatever it was doing."""


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """The moment, on the monotonic clock, by which a whole exchange must have ended."""

    ends_at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Start the clock now."""
        return cls(ends_at=time.monotonic() + seconds)

    def left(self, at_most: float | None = None) -> float:
        """Return the seconds that remain, more than 0, or `at_most`. Raises OutOfTime."""
        seconds = self.ends_at - time.monotonic()
        if seconds <= 0:
            raise OutOfTime
        return seconds if at_most is None else min(seconds, at_most)


def system_addresses(host: str, port: int) -> list[str]:
    """Ask the system's resolver for a host's addresses, in the order in which to try them. Raises NameUnknown."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NameUnknown(host) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def open_client(
    *,
    deadline: Deadline,
    connect_seconds: float,
    private_networks: Iterable[Network] = (),
    resolve: Resolver = system_addresses,
) -> httpx.Client:
    """Return a client for one exchange, redirects not followed; close it afterwards.

    Its requests raise AddressRefused, NameUnknown, OutOfTime, or httpcore's exceptions for everything else.
    """
    backend = _GuardedNetwork(deadline=deadline, private_networks=tuple(private_networks), resolve=resolve)
    pool = httpcore.ConnectionPool(ssl_context=ssl.create_default_context(), network_backend=backend)
    timeout = httpx.Timeout(None, connect=connect_seconds)
    return httpx.Client(transport=_Transport(pool), trust_env=False, follow_redirects=False, timeout=timeout)


def is_allowed(address: Address, private_networks: Iterable[Network] = ()) -> bool:
    """Tell whether to connect there: a public address, or one inside a private network that the operator allows.

    An IPv6 address that wraps an IPv4 one (mapped, 6to4, NAT64, Teredo …) is judged by both.
    """
    faces = _faces(address)
    if all(_is_public(face) for face in faces):
        return True
    return any(face in network for face in faces for network in private_networks if face.version == network.version)


def _faces(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    faces: list[Address] = [address]
    if address.sixtofour:
        faces.append(address.sixtofour)
    if address.teredo:
        faces.extend(address.teredo)
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        faces.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return faces


def _is_public(address: Address) -> bool:
    if address.is_multicast or address.is_unspecified or address.is_reserved or address.is_loopback:
        # Python calls NAT64's prefix reserved; what it wraps is judged as a face of its own.
        return address in _NAT64
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _IPV4_SPECIAL)
    return address in _NAT64 or (address in _IPV6_PUBLIC and address.is_global)


class _GuardedNetwork(httpcore.NetworkBackend):
    """Opens connections for httpcore: resolves once, checks, and connects to what it checked, so no rebinding helps."""

    def __init__(self, *, deadline: Deadline, private_networks: tuple[Network, ...], resolve: Resolver) -> None:
        self._deadline = deadline
        self._private_networks = private_networks
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first allowed address that answers. Raises AddressRefused when none is allowed."""
        addresses = self._allowed_addresses(host, port)
        connect = Deadline.after(self._deadline.left(timeout))
        failure: Exception = httpcore.ConnectTimeout()
        for index, address in enumerate(addresses):
            try:
                # A share each, so that a host's dead IPv6 address leaves time for its IPv4 one.
                share = connect.left() / (len(addresses) - index)
                inner = self._sockets.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            except OutOfTime:
                break
            else:
                return _TimedStream(inner, self._deadline)
        raise failure

    def _allowed_addresses(self, host: str, port: int) -> list[Address]:
        found = [ipaddress.ip_address(text) for text in _within(self._deadline.left(), self._resolve, host, port)]
        allowed = [address for address in found if is_allowed(address, self._private_networks)]
        if found and not allowed:
            raise AddressRefused(found[0])
        if not allowed:
            raise NameUnknown(host)
        return allowed[:_MOST_ADDRESSES_TRIED]


class _TimedStream(httpcore.NetworkStream):
    """A connection whose every read and write ends by the deadline of the whole exchange, not one timeout each."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return self._inner.read(max_bytes, self._deadline.left(timeout))
        except httpcore.ReadTimeout as error:
            raise OutOfTime from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            self._inner.write(buffer, self._deadline.left(timeout))
        except httpcore.WriteTimeout as error:
            raise OutOfTime from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _TimedStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """Hands httpx's requests to a pool with a network of our own, which httpx's transport has no argument for."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.read() or None,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _within(seconds: float, resolve: Resolver, host: str, port: int) -> Sequence[str]:
    """Resolve in a thread of its own: getaddrinfo knows no timeout and may hold on for a minute."""
    answers: queue.SimpleQueue[Sequence[str] | NameUnknown] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolve(host, port))
        except NameUnknown as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise OutOfTime from None
    if isinstance(answer, NameUnknown):
        raise answer
    return answer
