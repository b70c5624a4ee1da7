"""The messages of the local inbox, as files in a directory and as an index in memory."""

import contextlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message as EmailMessage
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final

KEPT_MESSAGES: Final = 5000
_ENCODED_WORD = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=")


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is known about a message without reading its body. Header texts are decoded, empty when missing."""

    id: str
    envelope_from: str
    recipients: tuple[str, ...]
    sender: str
    subject: str
    message_id: str
    received_at: datetime


class Store:
    """Messages in a directory: ID.eml has the bytes after DATA, dots unstuffed, and ID.json the envelope."""

    def __init__(self, directory: Path, kept_messages: int = KEPT_MESSAGES) -> None:
        self._directory = directory
        self._kept_messages = kept_messages
        directory.mkdir(parents=True, exist_ok=True)
        found = (_read(path) for path in sorted(directory.glob("*.json")))
        self._messages: dict[str, Message] = {message.id: message for message in found if message is not None}

    def add(self, content: bytes, *, envelope_from: str, recipients: Sequence[str]) -> Message:
        """Write a message to disk, whole or not at all, and drop the oldest beyond the limit."""
        headers = BytesHeaderParser().parsebytes(content)
        message = Message(
            id=self._next_id(),
            envelope_from=_printable(envelope_from),
            recipients=tuple(_printable(recipient) for recipient in recipients),
            sender=decode(raw_header(headers, "From")),
            subject=decode(raw_header(headers, "Subject")),
            message_id=decode(raw_header(headers, "Message-ID")),
            received_at=datetime.now(UTC),
        )
        self._write(f"{message.id}.eml", content)
        self._write(f"{message.id}.json", json.dumps(as_json(message)).encode())
        self._messages[message.id] = message
        while len(self._messages) > self._kept_messages:
            self._remove(next(iter(self._messages)))
        return message

    def newest_first(self) -> list[Message]:
        """Return every message that is kept."""
        return list(reversed(self._messages.values()))

    def find(self, message_id: str) -> Message | None:
        """Return a message by its id here, not its Message-ID."""
        return self._messages.get(message_id)

    def content(self, message: Message) -> bytes:
        """Return the bytes as they were received. Raises FileNotFoundError when somebody removed the file."""
        return (self._directory / f"{message.id}.eml").read_bytes()

    def _next_id(self) -> str:
        """Return an id that sorts after every other: nanoseconds, never the same twice."""
        last = int(next(reversed(self._messages), "0"))
        return f"{max(time.time_ns(), last + 1):020d}"

    def _write(self, name: str, content: bytes) -> None:
        unfinished = self._directory / f"{name}.unfinished"
        unfinished.write_bytes(content)
        unfinished.rename(self._directory / name)

    def _remove(self, message_id: str) -> None:
        del self._messages[message_id]
        for suffix in ("json", "eml"):
            (self._directory / f"{message_id}.{suffix}").unlink(missing_ok=True)


def as_json(message: Message) -> dict[str, object]:
    """Return a message as the JSON pages and the envelope files show it."""
    return asdict(message) | {"received_at": message.received_at.isoformat()}


def raw_header(message: EmailMessage, name: str) -> str:
    """Return a header as it stands in the message, bytes beyond ASCII as surrogates; empty when missing."""
    return next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")


def decode(header: str) -> str:
    """Return the text of a raw header on one line, whatever is wrong with its encoding."""
    text = " ".join(_printable(header).split())
    if not _ENCODED_WORD.search(text):
        return text
    try:
        parts = decode_header(text)
        decoded = "".join(
            part.decode(charset or "ascii", errors="replace") if isinstance(part, bytes) else part
            for part, charset in parts
        )
    except (LookupError, ValueError, HeaderParseError):  # an unknown charset, broken base64: show it as it came
        return text
    return " ".join(_printable(decoded).split()) or text


def _printable(text: str) -> str:
    """Read smuggled bytes as UTF-8 and replace what no page could show."""
    return text.encode(errors="surrogateescape" if _is_escaped(text) else "replace").decode(errors="replace")


def _is_escaped(text: str) -> bool:
    return not any("\ud800" <= character < "\udc80" or "\udcff" < character <= "\udfff" for character in text)


def _read(path: Path) -> Message | None:
    """Return the message that an envelope file describes; None when the file or its message is damaged."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(path.read_bytes())
        if path.with_suffix(".eml").exists() and path.stem.isdecimal():
            return Message(
                id=path.stem,
                envelope_from=found["envelope_from"],
                recipients=tuple(found["recipients"]),
                sender=found["sender"],
                subject=found["subject"],
                message_id=found["message_id"],
                received_at=datetime.fromisoformat(found["received_at"]),
            )
    return None
