"""From a rendered mail to bytes on the wire: compiled once per variant, filled for each reader by joining segments.

Nothing per reader parses, renders or encodes more than the few values that differ (address, tokens). The output is
RFC 5322 with CRLF, quoted-printable bodies (RFC 2045), encoded-words in whole characters (RFC 2047), and no line that
starts with a dot, so no dot-stuffing is needed (RFC 5321 4.5.2).
"""

import base64
import binascii
import functools
import html as html_escape
import itertools
import operator
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from mailer import links
from mailer.mail import dkim, quoting

# What may differ between two readers of one variant.
SLOTS: Final = (
    "address",
    "since",
    "confirm",
    "unsubscribe",
    "oneclick",
    "mailbox",
    "preferences",
    "tracker",
    "network",
    "date",
    "messageid",
)
HEADER_ORDER: Final = (
    "From",
    "Reply-To",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Form-Sub",
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
# What the slot of a merge field begins with; no other does.
_FIELD: Final = "f"
_ANY_PLACEHOLDER: Final = re.compile(f"q[0-9a-f]{{12}}(?:{'|'.join(SLOTS)}|{_FIELD}(?:[0-9a-f]{{2}})+)q", re.IGNORECASE)
# What a slot holds (an attribute of Reader, or a field), and how its value is written where it stands; the date is no reader's.
_Slot = tuple[str, Callable[[str], bytes]]
_Segments = list[bytes | _Slot]
_DATE: Final[_Slot] = ("date", str.encode)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """The values of one copy. Tokens are URL-safe text; `since` is a date in words, `network` the end of the header Form-Sub.

    `fields` are the values of merge fields by name: each one line, of which nothing is read but its characters.
    """

    address: str
    since: str = ""
    confirm: str = ""
    unsubscribe: str = ""
    oneclick: str = ""
    preferences: str = ""
    tracker: str = ""
    network: str = ""
    message_id: str
    fields: Mapping[str, str] = field(default_factory=dict)


class CompiledMessage:
    """One variant as byte segments with slots between them; `compile_message` makes it."""

    def __init__(self, head: _Segments, body: _Segments) -> None:
        """Prepare copies that nobody signs."""
        slots = [one for one in head + body if not isinstance(one, bytes) and one != _DATE]
        # The names of the merge fields, one for each place where one stands.
        self.fields = tuple(_field(name)[0] for name, _ in slots if name.startswith(_FIELD))
        self._slots = list(dict.fromkeys(slots))
        self._values = [(_getter(name), encode) for name, encode in self._slots]
        self._relaxers = [dkim.relaxed_value, *[_relaxer(encode) for _, encode in self._slots]]
        self._wire = self._form([*head, b"\r\n", *body])
        self._seal: dkim.Seal | None = None
        self._relaxed_head, self._relaxed_body = self._form([]), self._form([])

    def seal(self, signers: Sequence[dkim.Signer], names: Sequence[str], head: _Segments, body: _Segments) -> None:
        """Let every copy be signed: the headers `names`, whose relaxed form is `head`, and the relaxed `body`."""
        self._relaxed_head, self._relaxed_body = self._form(head), self._form(body)
        # What all bodies begin with is hashed but once.
        self._seal = dkim.Seal(signers, names=names, body_start=self._relaxed_body.take_start())

    def fill(self, reader: Reader, *, now: datetime) -> bytes:
        """Return the whole message for one reader, CRLF line ends, without the final dot."""
        second = int(now.timestamp())
        values = [_date(second), *[encode(value_of(reader)) for value_of, encode in self._values]]
        copy = self._wire.fill(values)
        if self._seal is None:
            return copy
        # A slot has no white space beside it, so what it holds can be relaxed by itself.
        relaxed = [relax(value) for relax, value in zip(self._relaxers, values, strict=True)]
        head, rest = self._relaxed_head.fill(relaxed), self._relaxed_body.fill(relaxed)
        return self._seal.headers(head=head, body_rest=rest, second=second) + copy

    def _form(self, segments: _Segments) -> "_Form":
        return _Form(_merge(segments), [_DATE, *self._slots])


def new_nonce() -> str:
    """Make the part of this rendering's placeholders that no article can guess."""
    return secrets.token_hex(6)


def placeholder(nonce: str, slot: str) -> str:
    """Return the word that stands in a rendered mail where `slot` will be filled in."""
    if slot not in SLOTS:
        raise KeyError(slot)
    return f"q{nonce}{slot}q"


def field_placeholder(nonce: str, name: str, fallback: str) -> str:
    """Return the word that stands where a reader's value of a merge field will be filled in, or the fallback for none.

    It holds all that is known of the field, so that a rendered mail is complete in itself.
    """
    return f"q{nonce}{_FIELD}{f'{name}|{fallback}'.encode().hex()}q"


def has_placeholder(text: str) -> bool:
    """Tell whether a placeholder of any rendering stands in a text."""
    return _ANY_PLACEHOLDER.search(text) is not None


def compile_message(
    *,
    nonce: str,
    headers: Mapping[str, str],
    subject: str,
    text: str,
    html: str,
    signers: Sequence[dkim.Signer] = (),
) -> CompiledMessage:
    """Encode a rendered mail for the wire; each of `signers` will sign every copy.

    `headers` holds ready-made values (see `mailbox` and `encode_text`), which may contain placeholders as the rest does;
    To, Subject, Date, Message-ID and the MIME headers are added here. Raises ValueError for a placeholder that a template cut.
    """
    boundary = f"=_{nonce}"
    find = _placeholders(nonce)
    complete = _complete(headers, nonce=nonce, subject=_encode_subject(find, subject), boundary=boundary)
    head = "".join(f"{name}: {value}\r\n" for name, value in complete.items())
    parts = [*_body_part(find, boundary, "plain", text), *_body_part(find, boundary, "html", html)]
    body = _merge([*parts, f"--{boundary}--\r\n".encode("ascii")])
    compiled = CompiledMessage(_split(find, head, "header"), body)
    if signers:
        relaxed_head = _split(find, dkim.relaxed_headers(head), "header")
        relaxed_body = [dkim.relaxed_body(one) if isinstance(one, bytes) else one for one in body]
        compiled.seal(signers, list(complete), relaxed_head, relaxed_body)
    return compiled


def encode_text(value: str, *, first_line_used: int) -> str:
    """Encode a header's free text: as it is when plain and short, else in encoded-words of whole characters (RFC 2047 2, 5)."""
    value = _CONTROL.sub(" ", value).strip()
    if value.isascii() and len(value) + first_line_used <= LINE_LIMIT and "=?" not in value:
        return value
    return _encoded_words(value, first=LINE_LIMIT - first_line_used, others=_WORD_LIMIT)


def _encoded_words(value: str, *, first: int, others: int) -> str:
    words: list[str] = []
    chunk = b""
    limit = _payload_limit(first)
    for character in value:
        octets = character.encode("utf-8", "replace")
        if len(chunk) + len(octets) > limit:
            words.append(_encoded_word(chunk))
            chunk, limit = b"", _payload_limit(others)
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


def _complete(headers: Mapping[str, str], *, nonce: str, subject: str, boundary: str) -> dict[str, str]:
    """Add the headers that every mail has, and put all in order."""
    complete = {
        **headers,
        "To": f"<{placeholder(nonce, 'address')}>",
        "Subject": subject,
        "Date": placeholder(nonce, "date"),
        "Message-ID": f"<{placeholder(nonce, 'messageid')}>",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="{boundary}"',
    }
    unknown = set(complete) - set(HEADER_ORDER)
    if unknown:
        raise KeyError(f"no place in the order of headers for {sorted(unknown)}")
    return {name: complete[name] for name in HEADER_ORDER if name in complete}


def _placeholders(nonce: str) -> re.Pattern[str]:
    # A template may have written a text in capitals.
    return re.compile(f"q{nonce}({'|'.join(SLOTS)}|{_FIELD}(?:[0-9a-f]{{2}})+)q", re.IGNORECASE)


def _encode_subject(find: re.Pattern[str], subject: str) -> str:
    """Encode the subject around its placeholders.

    With a field all becomes encoded-words, each on its line: white space between them means nothing (RFC 2047 6.2), so
    that the spaces of the text stand inside, and a value is one more word.
    """
    text = _CONTROL.sub(" ", subject).strip()
    slots = [match[0] for match in find.finditer(text)]
    if not slots:
        return encode_text(text, first_line_used=len("Subject: "))
    words: list[str] = []
    for piece, slot in itertools.zip_longest(find.split(text)[::2], slots, fillvalue=""):
        if piece:
            words.append(_encoded_words(piece, first=LINE_LIMIT - len("Subject: "), others=_WORD_LIMIT))
        if slot:
            words.append(slot)
    return "\r\n ".join(words)


def _body_part(find: re.Pattern[str], boundary: str, subtype: str, content: str) -> _Segments:
    head = (
        f'--{boundary}\r\nContent-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    return [head.encode("ascii"), *_split(find, content, subtype), b"\r\n"]


def _split(find: re.Pattern[str], value: str, place: str) -> _Segments:
    pieces = find.split(value)
    segments: _Segments = []
    last = len(pieces) - 1
    beginning = find.pattern.partition("(")[0]
    if any(beginning in piece.lower() for piece in pieces[::2]):
        raise ValueError("a template cut a placeholder: an address or a merge field may not be shortened")
    for index, piece in enumerate(pieces):
        if index % 2:
            segments.append(_slot(piece.lower(), place))
        elif place == "header":
            segments.append(piece.encode("ascii"))
        else:
            # A soft line break on either side lets a value of any length stand on lines of its own.
            before = b"=\r\n" if index else b""
            after = b"=\r\n" if index < last else b""
            segments.append(before + quoting.encode(piece, ends_line=index == last) + after)
    return segments


def _merge(segments: _Segments) -> _Segments:
    merged: _Segments = []
    for segment in segments:
        if isinstance(segment, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += segment
        else:
            merged.append(segment)
    return merged


class _Form:
    """Bytes with gaps, joined to a whole with a value in each gap."""

    def __init__(self, segments: _Segments, order: Sequence[_Slot]) -> None:
        """`order` is that of the values given to `fill`."""
        self._parts = [one if isinstance(one, bytes) else b"" for one in segments]
        self._gaps = [(index, order.index(one)) for index, one in enumerate(segments) if not isinstance(one, bytes)]

    def take_start(self) -> bytes:
        """Remove what stands before the first gap, and return it."""
        start, self._parts[0] = self._parts[0], b""
        return start

    def fill(self, values: Sequence[bytes]) -> bytes:
        """Return the whole."""
        parts = self._parts.copy()
        for index, number in self._gaps:
            parts[index] = values[number]
        return b"".join(parts)


def _slot(name: str, place: str) -> _Slot:
    if name == "date":
        return _DATE
    if name == "messageid":
        return "message_id", str.encode
    if name == "mailbox":
        return "oneclick", _token_in_mailbox
    is_field = name.startswith(_FIELD)
    if place == "header":
        return name, _word_in_header if is_field else str.encode
    if name in ("address", "since") or is_field:
        return name, _words_in_html if place == "html" else _words
    return name, str.encode


def _field(slot: str) -> tuple[str, str]:
    name, _, fallback = bytes.fromhex(slot.removeprefix(_FIELD)).decode().partition("|")
    return name, fallback


def _getter(slot: str) -> Callable[[Reader], str]:
    if not slot.startswith(_FIELD):
        return operator.attrgetter(slot)
    name, fallback = _field(slot)
    return lambda reader: reader.fields.get(name) or fallback


def _relaxer(encode: Callable[[str], bytes]) -> Callable[[bytes], bytes]:
    # A header is unfolded before it is signed; in a body a line end is one.
    return _unfold if encode is _word_in_header else dkim.relaxed_value


def _unfold(value: bytes) -> bytes:
    return value.replace(b"\r\n ", b" ")


def _token_in_mailbox(token: str) -> bytes:
    return links.in_mailbox(token).encode("ascii")


def _word_in_header(value: str) -> bytes:
    # Never nothing, so that the space before the next word stays a single one. A word of 39 octets also fits "Subject: ".
    value = value or " "
    width = 39 if value.isascii() else 19 if max(value) < "\u0800" else 9
    pieces = [value[start : start + width].encode("utf-8", "replace") for start in range(0, len(value), width)]
    return b"\r\n ".join([b"=?utf-8?b?%b?=" % base64.b64encode(piece) for piece in pieces])


def _words(value: str) -> bytes:
    # Nearly every address stands for itself.
    return value.encode("ascii") if _NEEDS_NO_ENCODING.match(value) else _quoted_words(value)


@functools.lru_cache(maxsize=1024)
def _words_in_html(value: str) -> bytes:
    return _words(html_escape.escape(value))


@functools.lru_cache(maxsize=1024)
def _quoted_words(value: str) -> bytes:
    """Encode what comes again: dates with an accent, a reader's name in both parts. Odd addresses are few."""
    if "." in value:
        return quoting.encode(value)
    return binascii.b2a_qp(value.encode("utf-8", "replace"), istext=False).replace(b"=\n", b"=\r\n")


@functools.lru_cache(maxsize=4)
def _date(second: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(second, UTC)).encode("ascii")


def _payload_limit(width: int) -> int:
    # "=?utf-8?b?" and "?=" take 12; base64 turns 3 octets into 4 characters.
    return max(3, (min(width, _WORD_LIMIT) - 12) // 4 * 3)


def _encoded_word(octets: bytes) -> str:
    return f"=?utf-8?b?{base64.b64encode(octets).decode('ascii')}?="
