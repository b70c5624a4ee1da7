"""Read a mailbox by IMAP or POP3: each mail is given to somebody, and deleted once it was taken.

A mail that was taken but not deleted, because the process was killed in between, comes again; takers must not mind.
"""

import contextlib
import imaplib
import poplib
import re
import ssl
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

TIMEOUT_SECONDS: Final = 30
# Of one mail; what is longer is somebody's attachment.
MOST_BYTES: Final = 2_000_000
Take = Callable[[bytes], None]


class MailboxUnreadable(Exception):
    """The mailbox can't be read; the message says why, in the server's words where it gave some."""


def read(url: str, take: Take, *, limit: int) -> int:
    """Give up to `limit` mails to `take`, oldest first, and delete each that was taken. Returns how many.

    `url`: see MAILER_BOUNCE_MAILBOX_URL. Talks to the network; raises MailboxUnreadable, and what `take` raises, with the
    mails before it deleted.
    """
    parts = urlsplit(url)
    reading = _read_pop if parts.scheme.startswith("pop3") else _read_imap
    try:
        return reading(parts, take, limit)
    except (imaplib.IMAP4.error, poplib.error_proto) as error:
        raise MailboxUnreadable(f"{parts.hostname} says: {_words(error)}") from error
    except (OSError, EOFError) as error:
        raise MailboxUnreadable(f"{parts.hostname} can’t be reached: {error}") from error


def _read_imap(parts: SplitResult, take: Take, limit: int) -> int:
    folder = unquote(parts.path.strip("/")) or "INBOX"
    with _imap(parts) as client:
        client.login(unquote(parts.username or ""), unquote(parts.password or ""))
        _ok(client.select(f'"{folder}"' if re.fullmatch(r'[^"\\\r\n]+', folder) else "INBOX"))
        found = (_ok(client.uid("SEARCH", "UNDELETED"))[0] or b"").split()
        taken = 0
        try:
            for uid in found[:limit]:
                raw = _fetched(client.uid("FETCH", uid.decode(), f"(BODY.PEEK[]<0.{MOST_BYTES}>)"))
                if raw is not None:
                    take(raw)
                _ok(client.uid("STORE", uid.decode(), "+FLAGS.SILENT", r"(\Deleted)"))
                taken += 1
        finally:
            with contextlib.suppress(imaplib.IMAP4.error, OSError):
                client.expunge()
        return taken


def _read_pop(parts: SplitResult, take: Take, limit: int) -> int:
    with _pop(parts) as client:
        client.user(unquote(parts.username or ""))
        client.pass_(unquote(parts.password or ""))
        count, _ = client.stat()
        taken = 0
        try:
            for number in range(1, min(count, limit) + 1):
                _, lines, _ = client.retr(number)
                take(b"\r\n".join(lines)[:MOST_BYTES])
                client.dele(number)
                taken += 1
        finally:
            # Without QUIT nothing is deleted (RFC 1939 section 6).
            with contextlib.suppress(poplib.error_proto, OSError):
                client.quit()
        return taken


@contextlib.contextmanager
def _imap(parts: SplitResult) -> Iterator[imaplib.IMAP4]:
    host = parts.hostname or ""
    client: imaplib.IMAP4
    if parts.scheme == "imaps":
        context = ssl.create_default_context()
        client = imaplib.IMAP4_SSL(host, parts.port or 993, ssl_context=context, timeout=TIMEOUT_SECONDS)
    else:
        client = imaplib.IMAP4(host, parts.port or 143, timeout=TIMEOUT_SECONDS)
    try:
        yield client
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            client.logout()


@contextlib.contextmanager
def _pop(parts: SplitResult) -> Iterator[poplib.POP3]:
    host = parts.hostname or ""
    client: poplib.POP3
    if parts.scheme == "pop3s":
        context = ssl.create_default_context()
        client = poplib.POP3_SSL(host, parts.port or 995, context=context, timeout=TIMEOUT_SECONDS)
    else:
        client = poplib.POP3(host, parts.port or 110, timeout=TIMEOUT_SECONDS)
    try:
        yield client
    finally:
        with contextlib.suppress(OSError):
            client.close()


def _ok(answer: tuple[str, list[bytes | None]]) -> list[bytes | None]:
    status, data = answer
    if status != "OK":
        raise imaplib.IMAP4.error((data[0] or b"it refuses").decode("utf-8", "replace") if data else "it refuses")
    return data


def _fetched(answer: tuple[str, list[bytes | tuple[bytes, bytes] | None]]) -> bytes | None:
    """Return a fetched mail; None when it is gone meanwhile."""
    status, data = answer
    if status != "OK":
        return None
    return next((part[1] for part in data if isinstance(part, tuple)), None)


def _words(error: Exception) -> str:
    """Return what a server said without what we had said to it: never a password."""
    first = error.args[0] if error.args else ""
    text = first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
    return " ".join(text.split())[:200] or type(error).__name__
