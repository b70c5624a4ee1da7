"""The web application on a real port, as uvicorn serves it."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import structlog
import uvicorn
from starlette.types import ASGIApp


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket on a free port and the address that leads to it, for settings that must know it beforehand."""
    # With the protocol named, or asyncio leaves Nagle's algorithm on and each answer takes 40 ms.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield listener, f"http://localhost:{listener.getsockname()[1]}"


@contextlib.contextmanager
def serving(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve the application in a thread until the end of the block."""
    config = uvicorn.Config(app, log_config=None, proxy_headers=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    handlers, level = logging.root.handlers, logging.root.level
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start within 10 s"
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
        # The application sets up the process's logging, which is the tests' here.
        logging.root.handlers, logging.root.level = handlers, level
        structlog.reset_defaults()


def browser(url: str, **headers: str) -> httpx.Client:
    """A client with cookies of its own, which follows no redirect by itself. Header names with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Client(base_url=url, headers=named, timeout=15)
