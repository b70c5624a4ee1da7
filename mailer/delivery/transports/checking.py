"""Trying an SMTP server without a mail: connect, TLS, log in. What it says is for the person who entered it."""

import contextlib
import ssl
import time
from dataclasses import dataclass
from typing import Final

from mailer.delivery.transports.route import RouteMisconfigured, RouteUnavailable, open_connection, route_from_transport
from mailer.mail_settings import Transport

# How long each step may take: somebody waits for the page.
STEP_SECONDS: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class Checked:
    """How it went. `code`: "ok", or what the pages explain; `words`: the server's, or what kept us from hearing it.

    `tls` is the version that was spoken, "" for none; `size_bytes` the largest message that the server takes, 0 if unknown.
    """

    code: str
    words: str
    server: str
    seconds: float
    tls: str = ""
    size_bytes: int = 0

    @property
    def is_good(self) -> bool:
        """Tell whether the server let us in."""
        return self.code == "ok"


def check(transport: Transport, *, helo_name: str, step_seconds: float = STEP_SECONDS) -> Checked:
    """Connect and log in as a worker does, then say QUIT. Talks to the server, at most a minute. Never raises."""
    route = route_from_transport(transport, helo_name=helo_name, timeout_seconds=step_seconds)
    began = time.monotonic()
    try:
        opened = open_connection(route)
    except RouteUnavailable as error:
        return _failed("server_unreachable", error, route.host, began)
    except RouteMisconfigured as error:
        return _failed(error.code, error, route.host, began)
    tls = opened.sock.version() or "" if isinstance(opened.sock, ssl.SSLSocket) else ""
    with contextlib.suppress(OSError):
        opened.sock.sendall(b"QUIT\r\n")
    opened.sock.close()
    return Checked(
        code="ok",
        words="",
        server=route.host,
        seconds=time.monotonic() - began,
        tls=tls.replace("TLSv", "TLS "),
        size_bytes=opened.capabilities.size or 0,
    )


def _failed(code: str, error: Exception, host: str, began: float) -> Checked:
    return Checked(code=code, words=str(error), server=host, seconds=time.monotonic() - began)
