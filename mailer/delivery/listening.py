"""A small mail server for what comes back: LMTP (RFC 2033) behind the host's own, or SMTP by itself.

It takes only mail for addresses that bear a token of ours, and for the bare return address; a mail counts as taken once
it is in the database.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy.exc import SQLAlchemyError

from mailer import settings
from mailer.delivery import incoming

IDLE_SECONDS: Final = 60
MOST_AT_ONCE: Final = 100
Take = Callable[[Sequence[incoming.Mail]], Sequence[incoming.Taken]]

log = structlog.get_logger()


async def serve(listening: socket.socket, take: Take, *, protocol: str, until: asyncio.Event) -> None:
    """Serve on a socket until `until` is set. `protocol` is lmtp or smtp; `take` gets the mails that came at the same time."""
    kind: type[SMTP] = LMTP if protocol == "lmtp" else SMTP
    receiver = _Receiver(take, protocol)
    server = await asyncio.get_running_loop().create_server(
        lambda: kind(
            receiver,
            data_size_limit=incoming.LARGEST_BYTES,
            enable_SMTPUTF8=True,
            hostname=settings.load().helo_name or settings.load().public_host,
            ident="mailer",
            timeout=IDLE_SECONDS,
        ),
        sock=listening,
    )
    async with server:
        await until.wait()


class _Receiver:
    """What aiosmtpd calls; the names are its.

    Mails that come at the same time are stored together: whoever comes while nobody writes, writes at once, and all that
    arrived meanwhile follow as the next group. Each is answered once it is stored.
    """

    def __init__(self, take: Take, protocol: str) -> None:
        self._take, self._protocol = take, protocol
        self._waiting: list[tuple[incoming.Mail, asyncio.Future[incoming.Taken]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        bare = settings.load().bounce_address or ""
        if not incoming.is_ours(address) and address.lower() != bare.lower():
            return "550 5.1.1 No mail of ours comes back to this address"
        if envelope.rcpt_tos:
            # Each answer is then about one recipient, in LMTP too.
            return "452 4.5.3 One recipient at a time, please"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.original_content or b""
        mail = incoming.Mail(raw=raw, recipient=envelope.rcpt_tos[0], via=self._protocol)
        answer: asyncio.Future[incoming.Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append((mail, answer))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        try:
            return f"250 2.0.0 Taken: {await answer}"
        except SQLAlchemyError as error:
            log.warning("returned mail not taken", error=type(error).__name__)
            return "451 4.3.0 Not stored; try again later"

    async def _write(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                found = await asyncio.to_thread(self._take, [mail for mail, _ in group])
            except SQLAlchemyError as error:
                for _, answer in group:
                    answer.set_exception(error)
            else:
                for (_, answer), taken in zip(group, found, strict=True):
                    answer.set_result(taken)


def listen(address: str) -> socket.socket:
    """Listen on HOST:PORT or on the path of a Unix socket. Raises OSError, and ValueError for what is neither."""
    if address.startswith("/"):
        with contextlib.suppress(FileNotFoundError):
            _remove_stale(address)
        return _on_path(address)
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:\s]+)):(\d{1,5})", address)
    if found is None or int(found.group(3)) > 65535:
        raise ValueError(f"{address} is no address such as 127.0.0.1:8024 or /run/mailer/bounces.sock.")
    host = found.group(1) or found.group(2)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(found.group(3))), family=family, backlog=128)


def _on_path(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    """Remove the socket of a process that is gone; one that somebody serves stays."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
