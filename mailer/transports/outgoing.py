"""What a transport is given and what it answers: a message to hand over, and the verdict on it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Verdict(enum.Enum):
    """What one attempt came to. UNCERTAIN: the connection broke after the final dot, before its answer (RFC 1047)."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message to hand over. `content` makes its bytes when the server is ready: CRLF, no leading dots."""

    key: int
    sender: str
    recipient: str
    content: Callable[[], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The verdict on one message, and the server's words or ours."""

    verdict: Verdict
    reply: str


def mail_command(message: Outgoing) -> bytes:
    """Return the MAIL command, with SMTPUTF8 where an address needs it (RFC 6531 3.4)."""
    utf8 = b"" if (message.recipient + message.sender).isascii() else b" SMTPUTF8"
    return b"MAIL FROM:<" + message.sender.encode() + b">" + utf8 + b"\r\n"


def rcpt_command(message: Outgoing) -> bytes:
    """Return the RCPT command."""
    return b"RCPT TO:<" + message.recipient.encode() + b">\r\n"


def verdict(code: int) -> Verdict:
    """Sort a reply's code: 2yz, 4yz or 5yz (RFC 5321 4.2.1)."""
    if code // 100 == 2:
        return Verdict.ACCEPTED
    return Verdict.REFUSED if code // 100 == 5 else Verdict.DEFERRED
