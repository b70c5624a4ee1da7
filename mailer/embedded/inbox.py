"""The local inbox: an SMTP server that keeps every message as it came over the wire, and a page that shows them.

For a try and for development: it relays nothing, asks for no password and belongs on a loopback address.
"""

import argparse
import asyncio
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session

from mailer.embedded import inbox_pages
from mailer.embedded.inbox_store import Store

SIZE_LIMIT_BYTES: Final = 30 * 1024 * 1024


class InboxFailed(Exception):
    """The inbox cannot start; the message says why."""


def serve(
    *, smtp: tuple[str, int], http: tuple[str, int], directory: Path, ssl: tuple[Path, Path] | None = None
) -> None:
    """Receive on `smtp` and show on `http` until SIGTERM or Ctrl-C. `ssl`: certificate and key file for the page.

    Raises InboxFailed when an address is taken.
    """
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd would log addresses
    store = Store(directory)
    with _listen(smtp) as smtp_socket, _listen(http) as http_socket:
        asyncio.run(_serve(store, smtp_socket, http_socket, ssl))


def create_smtp(store: Store) -> SMTP:
    """Return the protocol of one SMTP connection. It offers SIZE, 8BITMIME and SMTPUTF8; neither PIPELINING nor AUTH."""
    return SMTP(
        _Receiver(store),
        data_size_limit=SIZE_LIMIT_BYTES,
        enable_SMTPUTF8=True,
        hostname="localhost",
        ident="local inbox",
    )


def parse_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT, [::1]:PORT or a bare PORT on 127.0.0.1. Raises InboxFailed."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InboxFailed(f"{text} is not an address such as 127.0.0.1:1025.")
    return host.strip("[]") or "127.0.0.1", int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the inbox from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m mailer.embedded.inbox", description=serve.__doc__)
    parser.add_argument("--smtp", default="127.0.0.1:1025", metavar="HOST:PORT")
    parser.add_argument("--http", default="127.0.0.1:8025", metavar="HOST:PORT")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--ssl-cert", type=Path)
    parser.add_argument("--ssl-key", type=Path)
    options = parser.parse_args(arguments)
    if (options.ssl_cert is None) != (options.ssl_key is None):
        parser.error("--ssl-cert and --ssl-key go together")
    ssl = (options.ssl_cert, options.ssl_key) if options.ssl_cert else None
    try:
        serve(smtp=parse_address(options.smtp), http=parse_address(options.http), directory=options.dir, ssl=ssl)
    except InboxFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Receiver:
    """What aiosmtpd calls once a message is complete."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle_DATA(  # noqa: N802 - aiosmtpd looks for this name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        sender = (envelope.mail_from or "").removeprefix("<").removesuffix(">")  # aiosmtpd keeps them for <>
        content = envelope.original_content or b""
        try:
            self._store.add(content, envelope_from=sender, recipients=envelope.rcpt_tos)
        except OSError as error:
            return f"452 4.3.1 The inbox cannot write the message: {error.strerror}"
        return "250 2.0.0 OK, kept in the local inbox"


async def _serve(
    store: Store, smtp_socket: socket.socket, http_socket: socket.socket, ssl: tuple[Path, Path] | None
) -> None:
    smtp_server = await asyncio.get_running_loop().create_server(lambda: create_smtp(store), sock=smtp_socket)
    config = uvicorn.Config(
        inbox_pages.create_app(store),
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        ssl_certfile=str(ssl[0]) if ssl else None,
        ssl_keyfile=str(ssl[1]) if ssl else None,
    )
    try:
        await uvicorn.Server(config).serve(sockets=[http_socket])
    finally:
        smtp_server.close()


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=512)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise InboxFailed(f"Cannot listen on {address[0]}:{address[1]}: {reason}.") from error


if __name__ == "__main__":
    sys.exit(main())
