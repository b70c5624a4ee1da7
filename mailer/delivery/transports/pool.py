"""The connections to one SMTP server: opened as they are needed, kept while they serve, fewer when the server says 421."""

import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mailer.delivery.transports.allowance import Allowance
from mailer.delivery.transports.connection import Connection
from mailer.delivery.transports.outgoing import Outgoing
from mailer.delivery.transports.replies import Reply
from mailer.delivery.transports.route import Opened, Route, RouteMisconfigured, RouteUnavailable, open_connection
from mailer.delivery.transports.verdicts import Result, Verdict
from mailer.mail_settings import Transport

if TYPE_CHECKING:
    from mailer.delivery.transports.dispatcher import Dispatcher

OPENING_AT_ONCE: Final = 32
FIRST_BACKOFF: Final = 2.0
LONGEST_BACKOFF: Final = 120.0
MISCONFIGURED_SECONDS: Final = 60.0
# A wait for allowance longer than this sends messages elsewhere, or back.
SHORT_WAIT: Final = 5.0
# Connections come back one by one, each after this many accepted messages.
GROW_AFTER: Final = 50
LOSSES_THAT_CLOSE: Final = 5


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a route does not serve now: a word for pages to explain, and the server's. `is_ours`: an operator must act."""

    code: str
    words: str
    is_ours: bool = False


@dataclass(kw_only=True, eq=False)
class Pool:
    """One route of this process."""

    transport: Transport
    route: Route
    allowance: Allowance
    dispatcher: "Dispatcher"
    window: float = 0.0
    seats: int = 1_000_000
    opening: int = 0
    connections: set[Connection] = field(default_factory=set)
    resting: set[Connection] = field(default_factory=set)
    trouble: Trouble | None = None
    closed_until: float = 0.0
    answered_at: float = field(default_factory=time.monotonic)
    opening_since: float = 0.0
    # Everything under way waits, and has waited for long.
    is_silent: bool = False
    _losses: int = 0
    _backoff: float = FIRST_BACKOFF
    _accepted: int = 0

    def __post_init__(self) -> None:
        self.window = float(self.route.connections)

    @property
    def share(self) -> int:
        """Its part of the messages among equals."""
        return self.transport.share

    def serves(self, domain: str) -> bool:
        """Tell whether mail to a domain may ever take this route; "" stands for all that no route names."""
        named = self.transport.domains
        return not named or any(matches(pattern, domain) for pattern in named)

    def tier(self) -> tuple[bool, int]:
        """Tell how early the route comes among those that serve a domain: those that name it first, then by order."""
        return not self.transport.domains, self.transport.order

    def is_able(self) -> bool:
        """Tell whether messages may be meant for this route now."""
        return time.monotonic() >= self.closed_until and self.allowance.wait_seconds() <= SHORT_WAIT

    def can_send(self) -> bool:
        """Tell whether it could take a message at this moment, limits considered."""
        return time.monotonic() >= self.closed_until and self.allowance.wait_seconds() <= 0

    def open_more(self, wanted: int) -> None:
        """Start opening connections until there are `wanted`, as far as limits allow."""
        if time.monotonic() < self.closed_until:
            return
        most = 1 if self.trouble is not None else min(int(self.window), self.seats)
        missing = min(wanted, most) - len(self.connections) - self.opening
        for _ in range(min(missing, OPENING_AT_ONCE - self.opening)):
            if not self.opening:
                self.opening_since = time.monotonic()
            self.opening += 1
            threading.Thread(target=_open, args=(self, self.dispatcher.opened), daemon=True).start()

    def adopt(self, found: "Opened | RouteUnavailable | RouteMisconfigured") -> None:
        """Put a new connection to work, or note why there is none."""
        self.opening -= 1
        if isinstance(found, RouteMisconfigured):
            self.set_aside(Trouble(code=found.code, words=str(found), is_ours=True), MISCONFIGURED_SECONDS)
        elif isinstance(found, RouteUnavailable):
            if self.connections:
                # Those that are open still serve: the server takes no more than that.
                self.window = max(1.0, float(len(self.connections)))
            else:
                self.back_off(Trouble(code="server_unreachable", words=str(found)))
        else:
            self.trouble, self._backoff = None, FIRST_BACKOFF
            self.answered_at = time.monotonic()
            patience = self.route.timeout_seconds
            connection = Connection(found.sock, found.capabilities, self, patience_seconds=patience)
            self.connections.add(connection)
            self.dispatcher.watch(connection)
            connection.begin()

    def set_aside(self, trouble: Trouble, seconds: float) -> None:
        """Use other routes, or none, for a while."""
        self.trouble = trouble
        self.closed_until = time.monotonic() + seconds
        self.dispatcher.note(trouble)

    def back_off(self, trouble: Trouble) -> None:
        """Leave the server alone, for longer each time."""
        self.set_aside(trouble, self._backoff)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)

    def wake(self) -> None:
        """Let connections that rest look for messages."""
        for connection in list(self.resting):
            self.resting.discard(connection)
            connection.begin()
            if connection in self.resting:
                return  # nothing for this one, so nothing for the others

    def close(self) -> None:
        """Say QUIT on every connection that rests, and break off the others."""
        for connection in list(self.connections):
            if connection.is_idle:
                connection.quit()
            else:
                connection.close("broken off by us")

    # What connections ask and tell: see connection.Owner.

    def take(self, connection: Connection) -> Outgoing | None:  # noqa: ARG002
        """Give a message, unless there are more connections than the server bears."""
        return None if len(self.connections) > self.window else self.dispatcher.take(self)

    def handed(self, message: Outgoing) -> None:
        """Pass it on."""
        self.dispatcher.listener.handed(message.key)

    def answered(self, connection: Connection, message: Outgoing, result: Result) -> None:  # noqa: ARG002
        """Grow back what a 421 took, and pass it on."""
        if result.verdict is not Verdict.UNCERTAIN:
            self.answered_at, self._losses, self.is_silent = time.monotonic(), 0, False
        if result.verdict is Verdict.ACCEPTED and self.window < self.route.connections:
            self._accepted += 1
            if self._accepted >= GROW_AFTER:
                self._accepted, self.window = 0, self.window + 1
        self.dispatcher.answered(message, result)

    def idle(self, connection: Connection) -> None:
        """Let it rest, or end it if there are more than the server bears."""
        self.resting.add(connection)
        if len(self.connections) > self.window:
            connection.quit()

    def busy(self, connection: Connection, reply: Reply) -> None:  # noqa: ARG002
        """Halve rate and connections: the server asks for it."""
        self.allowance.slow_down()
        self.window = max(1.0, self.window / 2)
        self._accepted = 0
        self.dispatcher.note(Trouble(code="server_slow", words=f"{self.route}: {reply}"))

    def lost(self, connection: Connection, reason: str, unsent: Outgoing | None) -> None:
        """Forget it. Where one after the other breaks off and nothing gets through, leave the server alone for a while."""
        self.connections.discard(connection)
        self.resting.discard(connection)
        self.dispatcher.unwatch(connection)
        if unsent is None:
            return
        self._losses += 1
        self.dispatcher.again(self, unsent, reason)
        if self._losses > max(LOSSES_THAT_CLOSE, len(self.connections)):
            self._losses = 0
            self.back_off(Trouble(code="server_unreachable", words=f"{self.route} breaks off: {reason}"))

    def wants(self, connection: Connection, *, write: bool) -> None:
        """Pass it on."""
        self.dispatcher.watch(connection, write=write)


def matches(pattern: str, domain: str) -> bool:
    """Tell whether a configured domain, perhaps *.example.org, means this one."""
    return domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern


class Opening:
    """Where threads leave the connections that they opened; its socket wakes the loop."""

    def __init__(self) -> None:
        self.wakes, self._waker = socket.socketpair()
        for end in (self.wakes, self._waker):
            end.setblocking(False)
        self._found: queue.SimpleQueue[tuple[Pool, Opened | RouteUnavailable | RouteMisconfigured]] = (
            queue.SimpleQueue()
        )

    def put(self, pool: Pool, found: Opened | RouteUnavailable | RouteMisconfigured) -> None:
        """Leave a result; from any thread."""
        self._found.put((pool, found))
        try:
            self._waker.send(b"\0")
        except OSError:
            return  # full: the loop is awake; closed: nobody waits any more

    def adopt_all(self) -> None:
        """Give each result to its pool."""
        try:
            while self.wakes.recv(4096):
                pass
        except BlockingIOError:
            pass
        while not self._found.empty():
            pool, found = self._found.get()
            pool.adopt(found)

    def close(self) -> None:
        """Forget what is still being opened, and close what was opened meanwhile."""
        self.wakes.close()
        self._waker.close()
        while not self._found.empty():
            _, found = self._found.get()
            if isinstance(found, Opened):
                found.sock.close()


def _open(pool: Pool, opened: Opening) -> None:
    try:
        found: Opened | RouteUnavailable | RouteMisconfigured = open_connection(pool.route)
    except (RouteUnavailable, RouteMisconfigured) as error:
        found = error
    except Exception as error:  # noqa: BLE001 - a thread's error would be lost, and the pool would wait for it
        found = RouteUnavailable(f"{pool.route} cannot be opened: {type(error).__name__}: {error}")
    opened.put(pool, found)
