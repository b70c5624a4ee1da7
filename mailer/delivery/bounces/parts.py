"""A mail that came back, taken apart: what was said by hand or machine, the report in it, and the mail that it is about.

Nothing in it is trusted to follow a standard: character sets lie, boundaries are missing, the original is pasted as text.
"""

import contextlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email import message_from_bytes, message_from_string, policy
from email.header import decode_header, make_header
from email.message import Message
from typing import Final

# What is read of one mail, in bytes and in parts; bounces are small, and the rest is somebody's attachment.
MOST_BYTES: Final = 2_000_000
MOST_PARTS: Final = 50

# Where a mail's receiver stands, when the mailbox's server does not tell it otherwise; the outermost first.
RECEIVERS: Final = (
    "x-original-to",
    "delivered-to",
    "envelope-to",
    "x-envelope-to",
    "x-forwarded-to",
    "to",
    "cc",
)

_REPORT: Final = "message/delivery-status"
_ORIGINALS: Final = (
    "message/rfc822",
    "message/global",
    "message/rfc822-headers",
    "text/rfc822-headers",
    "message/global-headers",
)
# Lines after which servers paste the mail that they could not deliver.
_COPY_FOLLOWS: Final = re.compile(
    r"^[\W_]*(?:.{0,40}\bcopy of (?:the|your|this) (?:original )?message|.{0,60}line is a copy of|"
    r"original (?:message|mail)\b|(?:begin(?:ning)? of )?(?:the )?(?:returned|unsent|undelivered|rejected|"
    r"bounced) (?:message|mail)\b|(?:message|original) headers? (?:follow|of)|headers? (?:of|"
    r"from) the (?:original|message)|message (?:text|headers?) follows?|the (?:original message|"
    r"text of your message|message (?:that|you) )|your (?:original )?message (?:follows|reads)|"
    r"included (?:below )?is|first \d+ (?:lines|bytes) of|transcript of message|message d.origine|"
    r"urspr.ngliche nachricht|(?:mensaje|messaggio) original\w*)",
    re.IGNORECASE,
)
_HEADER: Final = re.compile(r"^[>|\s]{0,4}([A-Za-z][A-Za-z0-9-]{1,40}):[ \t]?\S?")
_OF_A_MAIL: Final = re.compile(
    r"^[>|\s]{0,4}(received|return-path|mime-version|dkim-signature|x-mailer|delivered-to):", re.IGNORECASE
)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A mail taken apart.

    `headers` by lower-case name, the first of each; `prose` is what a person would read of it without the returned original;
    `report` are the groups of fields of a delivery report, the first group being about the whole mail; `feedback` those of
    a complaint; `original` are headers of the mail that came back, as far as it is there.
    """

    content_type: str
    report_type: str
    headers: Mapping[str, str]
    prose: str
    report: list[dict[str, str]] = field(default_factory=list)
    feedback: dict[str, str] = field(default_factory=dict)
    original: dict[str, str] = field(default_factory=dict)
    original_body: str = ""


def take_apart(raw: bytes) -> Opened:
    """Take a raw mail apart. Never raises; what can't be read is left out."""
    # The parser knows the one and takes the other for a mail.
    raw = re.sub(rb"(?i)\bmessage/global-delivery-status", b"message/delivery-status", raw[:MOST_BYTES])
    message = message_from_bytes(raw, policy=policy.compat32)
    plain: list[str] = []
    marked_up: list[str] = []
    report: list[dict[str, str]] = []
    feedback: dict[str, str] = {}
    original: dict[str, str] = {}
    body = ""
    for part in _leaves(message):
        kind = part.get_content_type()
        if kind == _REPORT:
            report += groups(_text(part))
        elif kind == "message/feedback-report":
            feedback |= next(iter(groups(_text(part))), {})
        elif kind in _ORIGINALS and not original:
            original, body = _headers_of(part)
        elif kind == "text/html":
            marked_up.append(_readable(_text(part)))
        elif part is not message and "received" in part and not original:
            # A part without a name of its own: the mail itself.
            original, body = _fields(part), _text(part)
        elif part.get_content_maintype() in ("text", "multipart"):
            plain.append(_text(part))
    said = "\n".join(plain) if any(one.strip() for one in plain) else "\n".join(marked_up)
    report = report or _notified(said) or [group for group in groups(said) if "final-recipient" in group]
    prose, pasted = split_original(said)
    return Opened(
        content_type=message.get_content_type(),
        report_type=str(message.get_param("report-type") or "").lower(),
        headers=_fields(message),
        prose=prose,
        report=report,
        feedback=feedback,
        original=original or next(iter(groups(pasted)), {}),
        original_body=body or pasted,
    )


def groups(text: str) -> list[dict[str, str]]:
    """Read groups of "Name: value" lines with blank lines between (RFC 3464 section 2.1), names in small letters."""
    found = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").strip("\n")):
        lines = [line for line in block.split("\n") if line.strip()]
        # Words before the first field are no reason to lose it.
        while lines and not _HEADER.match(lines[0]):
            lines.pop(0)
        quoted = [re.sub(r"^>\s?", "", line) for line in lines]
        fields = _fields(message_from_string("\n".join(quoted), policy=policy.compat32))
        if fields:
            found.append(fields)
    return found


def split_original(text: str) -> tuple[str, str]:
    """Cut a text where the returned mail begins: what the server says, and the pasted original ("" if there is none)."""
    lines = text.replace("\r\n", "\n").split("\n")
    for index, line in enumerate(lines):
        ahead = [one for one in lines[index + 1 : index + 8] if one.strip()]
        follows = bool(ahead) and bool(_HEADER.match(ahead[0]))
        if (_COPY_FOLLOWS.match(line) and (follows or not ahead)) or _begins_a_mail(lines, index):
            start = index if _HEADER.match(line) and not _COPY_FOLLOWS.match(line) else index + 1
            return "\n".join(lines[:index]), "\n".join(lines[start:]).lstrip("\n")
    return "\n".join(lines), ""


def _begins_a_mail(lines: list[str], index: int) -> bool:
    """Tell whether headers of a mail start here: several in a row, one of which only real mails have."""
    if not _HEADER.match(lines[index]) or (index and _HEADER.match(lines[index - 1])):
        return False
    named = 0
    is_mail = False
    for line in lines[index : index + 40]:
        if not line.strip():
            break
        if not _HEADER.match(line):
            if line[:1] not in (" ", "\t", ">"):
                return False
            continue
        named += 1
        is_mail = is_mail or bool(_OF_A_MAIL.match(line))
    return is_mail and named >= 3


def _notified(said: str) -> list[dict[str, str]]:
    """Read what Amazon SES tells by SNS as a mail: JSON, with the recipients in fields like those of a report."""
    if not said.lstrip().startswith("{"):
        return []
    try:
        told = json.JSONDecoder().raw_decode(said.lstrip())[0].get("bounce", {})
        return [
            {
                "final-recipient": f"rfc822; {one['emailAddress']}",
                "action": str(one.get("action", "failed")),
                "status": str(one.get("status", "")),
                "diagnostic-code": str(one.get("diagnosticCode", "")),
            }
            for one in told.get("bouncedRecipients", [])
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _leaves(message: Message) -> Iterator[Message]:
    """Walk over the parts, but not into the mail that came back."""
    waiting, seen = [message], 0
    while waiting and seen < MOST_PARTS:
        part = waiting.pop(0)
        seen += 1
        inner = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(inner, list):
            waiting = [one for one in inner if isinstance(one, Message)] + waiting
        else:
            yield part


def _text(part: Message) -> str:
    """Return a part as text, whatever its character set claims to be."""
    inner = part.get_payload()
    if isinstance(inner, list):
        # The parser has split a delivery report into its groups.
        return "\n\n".join(_written_out(one) for one in inner if isinstance(one, Message))
    decoded = part.get_payload(decode=True)
    content = decoded if isinstance(decoded, bytes) else str(inner).encode("utf-8", "replace")
    named = str(part.get_content_charset() or "latin-1")
    # Escape sequences are good UTF-8 and say nothing in it.
    for charset in (named, "utf-8") if named.startswith("iso-2022") else ("utf-8", named):
        try:
            return content.decode(charset)
        except (UnicodeDecodeError, LookupError):
            continue
    return content.decode("latin-1")


def _written_out(group: Message) -> str:
    """Write a group of fields as it was, with letters of other scripts as they are (RFC 6533)."""
    lines = [f"{name}: {value}" for name, value in group.raw_items()]
    inner = group.get_payload()
    text = "\n".join([*lines, inner if isinstance(inner, str) else ""]).strip("\n")
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _headers_of(part: Message) -> tuple[dict[str, str], str]:
    inner = part.get_payload()
    if isinstance(inner, list) and inner and isinstance(inner[0], Message):
        return _fields(inner[0]), inner[0].as_string()[:MOST_BYTES]
    text = _text(part)
    return next(iter(groups(text)), {}), text


def _fields(message: Message) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in message.items():
        found.setdefault(name.lower(), _decoded(str(value)))
    return found


def _decoded(value: str) -> str:
    if "=?" in value:
        with contextlib.suppress(ValueError, LookupError, UnicodeError):
            value = str(make_header(decode_header(value)))
    return " ".join(value.split())


def _readable(markup: str) -> str:
    """Turn HTML into lines, roughly."""
    text = re.sub(r"(?is)<(style|script|head)\b.*?</\1\s*>", " ", markup)
    text = re.sub(r"(?i)<(?:br|/p|/div|/tr|/td|/li|/h\d)\b[^>]*>", "\n", text)
    return html.unescape(re.sub(r"(?s)<[^@>]*>", " ", text))
