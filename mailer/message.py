"""From a rendered mail to bytes on the wire: compiled once per variant, filled for each reader by joining segments.

Nothing per reader parses, renders or encodes more than the few values that differ (address, tokens). The output is
RFC 5322 with CRLF, quoted-printable bodies (RFC 2045), encoded-words in whole characters (RFC 2047), and no line that
starts with a dot, so no dot-stuffing is needed (RFC 5321 4.5.2).
"""

import base64
import functools
import html as html_escape
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

# What may differ between two readers of one variant.
SLOTS: Final = ("address", "since", "confirm", "unsubscribe", "oneclick", "preferences", "date", "messageid")
HEADER_ORDER: Final = (
    "From",
    "Reply-To",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "MIME-Version",
    "Content-Type",
)
LINE_LIMIT: Final = 76
_WORD_LIMIT: Final = 75
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")
_NEEDS_NO_ENCODING = re.compile(r"(?!\.)[ -<>-~]{0,69}[!-<>-~]\Z")
_QUOTED = tuple(
    bytes((octet,)) if (33 <= octet <= 126 and octet != 61) or octet in (9, 32) else b"=%02X" % octet
    for octet in range(256)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """The values of one copy. Tokens are URL-safe text; `since` is a date in words."""

    address: str
    since: str = ""
    confirm: str = ""
    unsubscribe: str = ""
    oneclick: str = ""
    preferences: str = ""
    message_id: str


class CompiledMessage:
    """One variant as byte segments with slots between them."""

    def __init__(self, segments: list[bytes | tuple[str, str]]) -> None:
        self._parts = [segment if isinstance(segment, bytes) else b"" for segment in segments]
        self._slots = [(index, *segment) for index, segment in enumerate(segments) if isinstance(segment, tuple)]

    def fill(self, reader: Reader, *, now: datetime) -> bytes:
        """Return the whole message for one reader, CRLF line ends, without the final dot."""
        parts = self._parts.copy()
        for index, name, place in self._slots:
            parts[index] = _slot_value(reader, name, place, now)
        return b"".join(parts)


def new_nonce() -> str:
    """Make the part of this rendering's placeholders that no article can guess."""
    return secrets.token_hex(6)


def placeholder(nonce: str, slot: str) -> str:
    """Return the word that stands in a rendered mail where `slot` will be filled in."""
    if slot not in SLOTS:
        raise KeyError(slot)
    return f"q{nonce}{slot}q"


def compile_message(*, nonce: str, headers: Mapping[str, str], subject: str, text: str, html: str) -> CompiledMessage:
    """Encode a rendered mail for the wire.

    `headers` holds ready-made values (see `mailbox` and `encode_text`), which may contain placeholders as the rest does;
    To, Subject, Date, Message-ID and the MIME headers are added here.
    """
    boundary = f"=_{nonce}"
    complete = {
        **headers,
        "To": f"<{placeholder(nonce, 'address')}>",
        "Subject": encode_text(subject, first_line_used=len("Subject: ")),
        "Date": placeholder(nonce, "date"),
        "Message-ID": f"<{placeholder(nonce, 'messageid')}>",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="{boundary}"',
    }
    head = "".join(f"{name}: {complete[name]}\r\n" for name in HEADER_ORDER if name in complete)
    unknown = set(complete) - set(HEADER_ORDER)
    if unknown:
        raise KeyError(f"no place in the order of headers for {sorted(unknown)}")
    find = re.compile(f"q{nonce}({'|'.join(SLOTS)})q")
    segments: list[bytes | tuple[str, str]] = _split(find, head, "header")
    for subtype, body in (("plain", text), ("html", html)):
        segments.append(
            f'\r\n--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n".encode("ascii")
        )
        segments += _split(find, body, subtype)
    segments.append(f"\r\n--{boundary}--\r\n".encode("ascii"))
    return CompiledMessage(_merge(segments))


def encode_text(value: str, *, first_line_used: int) -> str:
    """Encode a header's free text: as it is when plain and short, else in encoded-words of whole characters (RFC 2047 2, 5)."""
    value = _CONTROL.sub(" ", value).strip()
    if value.isascii() and len(value) + first_line_used <= LINE_LIMIT and "=?" not in value:
        return value
    words: list[str] = []
    chunk = b""
    limit = _payload_limit(LINE_LIMIT - first_line_used)
    for character in value:
        octets = character.encode("utf-8", "replace")
        if len(chunk) + len(octets) > limit:
            words.append(_encoded_word(chunk))
            chunk, limit = b"", _payload_limit(_WORD_LIMIT)
        chunk += octets
    words.append(_encoded_word(chunk))
    return "\r\n ".join(words)


def mailbox(name: str, address: str, *, header: str) -> str:
    """Write a display name and address for `header` (From, Reply-To). No text of `name` can end the header (RFC 5322 3.4)."""
    name = _CONTROL.sub(" ", name).strip()
    if not name:
        return f"<{address}>"
    if name.isascii() and len(name) + len(header) <= 60 and "=?" not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}" <{address}>'
    return f"{encode_text(name, first_line_used=len(header) + 2)}\r\n <{address}>"


def quoted_printable(value: str) -> bytes:
    """Encode text as quoted-printable that starts and ends in the middle of nothing: lines ≤ 76, CRLF, no leading dot."""
    lines = value.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return b"\r\n".join(
        _quoted_line(line.encode("utf-8", "replace"), is_last=n == len(lines) - 1) for n, line in enumerate(lines)
    )


def _quoted_line(raw: bytes, *, is_last: bool) -> bytes:
    out: list[bytes] = []
    width = 0
    end = len(raw) - 1
    for index, octet in enumerate(raw):
        piece = _QUOTED[octet]
        # White space before a hard line end is dropped on the way by some servers (RFC 2045 6.7 (3)).
        if index == end and not is_last and octet in (9, 32):
            piece = b"=%02X" % octet
        if width == 0 and octet == 46:
            piece = b"=2E"
        if width + len(piece) > _WORD_LIMIT:
            out.append(b"=\r\n")
            width = 0
            if octet == 46:
                piece = b"=2E"
        out.append(piece)
        width += len(piece)
    return b"".join(out)


def _split(find: re.Pattern[str], value: str, place: str) -> list[bytes | tuple[str, str]]:
    pieces = find.split(value)
    segments: list[bytes | tuple[str, str]] = []
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        if index % 2:
            segments.append((piece, place))
        elif place == "header":
            segments.append(piece.encode("ascii"))
        else:
            # A soft line break on either side lets a value of any length stand on lines of its own.
            before = b"=\r\n" if index else b""
            after = b"=\r\n" if index < last else b""
            segments.append(before + quoted_printable(piece) + after)
    return segments


def _merge(segments: list[bytes | tuple[str, str]]) -> list[bytes | tuple[str, str]]:
    merged: list[bytes | tuple[str, str]] = []
    for segment in segments:
        if isinstance(segment, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += segment
        else:
            merged.append(segment)
    return merged


def _slot_value(reader: Reader, name: str, place: str, now: datetime) -> bytes:
    if name == "date":
        return _date(int(now.timestamp()))
    if name == "messageid":
        return reader.message_id.encode("ascii")
    value: str = getattr(reader, name)
    if name in ("address", "since") and place != "header":
        return _words(value, place)
    return value.encode()


@functools.lru_cache(maxsize=4096)
def _words(value: str, place: str) -> bytes:
    text = html_escape.escape(value) if place == "html" else value
    # Nearly every address stands for itself.
    return text.encode("ascii") if _NEEDS_NO_ENCODING.match(text) else quoted_printable(text)


@functools.lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(second, UTC)).encode("ascii")


def _payload_limit(width: int) -> int:
    # "=?utf-8?b?" and "?=" take 12; base64 turns 3 octets into 4 characters.
    return max(3, (min(width, _WORD_LIMIT) - 12) // 4 * 3)


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(octets).decode('ascii')}?="
