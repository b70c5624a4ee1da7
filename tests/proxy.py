"""A TCP proxy that breaks connections as networks do: refused, silent (half-open), slow, reset, and well again."""

import contextlib
import enum
import queue
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

CHUNK_BYTES = 65536
# Closing a socket so lingers for 0 seconds: the other side gets a reset, not an end.
RESET = struct.pack("ii", 1, 0)

Connect = Callable[[], socket.socket]


class Mode(enum.Enum):
    """What becomes of bytes and of new connections."""

    FORWARD = enum.auto()
    SWALLOW = enum.auto()  # accepted and read, never passed on: the other machine is gone and nobody said so
    CUT = enum.auto()  # closed at once


class Proxy:
    """Listens on 127.0.0.1:port for as long as `proxied` runs it. Its methods may be called from any thread."""

    def __init__(self, listening: socket.socket, connect: Connect) -> None:
        self.port = int(listening.getsockname()[1])
        self.delay_seconds = 0.0  # before each piece is passed on, for all connections together
        self._mode = Mode.FORWARD
        self._listening, self._connect = listening, connect
        self._peers: dict[socket.socket, socket.socket] = {}
        self._forgotten: set[socket.socket] = set()
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._is_stopping = False
        self._bell, self._ringer = socket.socketpair()

    def swallow(self) -> None:
        """Let both sides believe that the connection stands, while nothing arrives any more."""
        self._do(lambda: self._enter(Mode.SWALLOW))

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self._do(lambda: self._enter(Mode.CUT))
        self._do(lambda: self._close_all(reset=False))

    def reset(self) -> None:
        """Break every connection with a TCP reset; new ones fare as before."""
        self._do(lambda: self._close_all(reset=True))

    def forget(self) -> None:
        """Drop what arrives on the connections that stand, while new ones work: the other machine was replaced."""
        self._do(lambda: self._forgotten.update(self._peers))

    def restore(self) -> None:
        """Work again. Connections that have lost bytes are reset first."""
        self._do(lambda: self._close_all(reset=True))
        self._do(lambda: self._enter(Mode.FORWARD))

    def stop(self) -> None:
        """End `run`."""
        self._is_stopping = True
        self._ringer.send(b"!")

    def run(self) -> None:
        """Serve until `stop`."""
        with selectors.DefaultSelector() as self._selector, self._bell, self._ringer:
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
            self._selector.register(self._bell, selectors.EVENT_READ, lambda: self._bell.recv(CHUNK_BYTES))
            while not self._is_stopping:
                self._obey()
                for key, _ in self._selector.select():
                    if key.fileobj in self._selector.get_map():  # an earlier one of this turn may have closed it
                        key.data()
            self._close_all(reset=True)

    def _do(self, act: Callable[[], None]) -> None:
        """Have the serving thread act, and wait for it."""
        done = threading.Event()
        self._orders.put((act, done))
        self._ringer.send(b"!")
        assert done.wait(10), "the proxy does not answer"

    def _obey(self) -> None:
        while not self._orders.empty():
            act, done = self._orders.get()
            act()
            done.set()

    def _enter(self, mode: Mode) -> None:
        self._mode = mode

    def _accept(self) -> None:
        client, _ = self._listening.accept()
        if self._mode is Mode.CUT:
            client.close()
            return
        try:
            server = self._connect()
        except OSError:
            client.close()
            return
        for one, other in ((client, server), (server, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ, lambda one=one: self._pass_on(one))

    def _pass_on(self, source: socket.socket) -> None:
        is_silent = self._mode is Mode.SWALLOW or source in self._forgotten
        try:
            received = source.recv(CHUNK_BYTES)
            if received and not is_silent:
                time.sleep(self.delay_seconds)
                self._peers[source].sendall(received)
        except OSError:
            received = b""
        # While packets are swallowed, the end of a connection does not arrive either.
        if not received and is_silent:
            self._selector.unregister(source)
        elif not received:
            self._close(source, reset=False)

    def _close_all(self, *, reset: bool) -> None:
        while self._peers:
            self._close(next(iter(self._peers)), reset=reset)

    def _close(self, one: socket.socket, *, reset: bool) -> None:
        for end in (one, self._peers[one]):
            del self._peers[end]
            self._forgotten.discard(end)
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            if reset and end.family != socket.AF_UNIX:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()


@contextlib.contextmanager
def proxied(connect: Connect) -> Iterator[Proxy]:
    """Run a proxy to whatever `connect` connects to, for the length of a with block."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        proxy = Proxy(listening, connect)
        thread = threading.Thread(target=proxy.run)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.stop()
            thread.join()


def to_unix_socket(path: str) -> Connect:
    """Return what connects to a server on a unix socket."""

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return connection

    return connect
