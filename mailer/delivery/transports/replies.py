"""What an SMTP server answers, read strictly: a line that is not a reply is an error and never a guess."""

import re
from dataclasses import dataclass
from typing import Final

MAX_REPLY_BYTES: Final = 64 * 1024
MAX_REPLY_LINES: Final = 1000
SHOWN_CHARACTERS: Final = 200

_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?= |$)")


class ReplyInvalid(ValueError):
    """What the server said is not an SMTP reply (RFC 5321 4.2)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A complete reply: its code, its text on one printable line, and its lines as they came, without their codes."""

    code: int
    text: str
    lines: tuple[str, ...] = ()

    @classmethod
    def from_lines(cls, received: list[bytes]) -> "Reply":
        """Read the lines of one reply, without their CR LF; every one carries the code. Raises ReplyInvalid."""
        code = received[0][:3]
        if not code.isdigit() or not b"200" <= code <= b"599" or len(code) != 3:
            raise ReplyInvalid("the server does not speak SMTP")
        if len(received) == 1:
            lines: tuple[str, ...] = (_line(received[0], code, b" "),)
            text = lines[0]
        else:
            lines = _lines(received, code)
            text = _joined(lines)
        # A relay may echo anything, and no database column holds a NUL.
        return cls(code=int(code), text=text if text.isprintable() else _printable(text), lines=lines)

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 3463), "5.7.1", or "" where the text begins with none."""
        found = _ENHANCED.match(self.text)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.code} {self.text}"[:SHOWN_CHARACTERS].rstrip()


def _lines(received: list[bytes], code: bytes) -> tuple[str, ...]:
    if len(received) > MAX_REPLY_LINES or sum(map(len, received)) > MAX_REPLY_BYTES:
        raise ReplyInvalid("the server's reply has no end")
    return (*(_line(line, code, b"-") for line in received[:-1]), _line(received[-1], code, b" "))


def _line(received: bytes, code: bytes, separator: bytes) -> str:
    if len(received) > MAX_REPLY_BYTES:
        raise ReplyInvalid("the server's reply has no end")
    if received[:3] != code or received[3:4] not in (separator, b""):
        raise ReplyInvalid("the server mixes two replies or does not speak SMTP")
    return received[4:].decode("utf-8", "replace")


def _joined(lines: tuple[str, ...]) -> str:
    """Join the lines by spaces; an enhanced code that every line repeats (RFC 2034 4) is kept once."""
    found = _ENHANCED.match(lines[0])
    repeated = f"{found[1]} " if found else ""
    return " ".join([lines[0], *(line.removeprefix(repeated) for line in lines[1:])])


def _printable(text: str) -> str:
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())
