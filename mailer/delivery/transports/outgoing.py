"""A message to hand over, what a server can do, and the two commands that name sender and recipient.

Whatever an address holds, a command is one line with one address: what can't be written so is never written.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import idna

# RFC 3461 4.2.
MAX_ORCPT_CHARACTERS: Final = 500

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_DOMAIN: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[A-Za-z0-9:.]+\])"
_PLAIN: Final = re.compile(f"{_ATOM}@{_DOMAIN}").fullmatch
_ATOM_UTF8: Final = re.compile(_ATOM.replace("[", "[\x80-\U0010ffff", 1)).fullmatch
_NOT_XTEXT: Final = re.compile(rb"[^!-*,-<>-~]")
_NOT_UNITEXT: Final = re.compile(r"[^!-*,-<>-\[\]-~\x80-\U0010ffff]")


class AddressUnsendable(ValueError):
    """The address can't be written in an SMTP command."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message to hand over. `content` makes its bytes when the server is ready: CRLF, no leading dots, 7 bit.

    `size` is how many octets it has at most, 0 when nobody knows. An empty sender is the null path of a report.
    """

    key: int
    sender: str
    recipient: str
    content: Callable[[], bytes]
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a server offered in EHLO. `size`: octets of a message at most, 0 without a limit, None when not offered."""

    pipelining: bool = False
    smtputf8: bool = False
    eight_bit: bool = False
    dsn: bool = False
    size: int | None = None
    auth: frozenset[str] = frozenset()
    starttls: bool = False


def mail_command(message: Outgoing, capabilities: Capabilities) -> bytes:
    """Return the MAIL command, with what the server offered: SIZE (RFC 1870), SMTPUTF8 (6531), DSN (3461).

    Raises AddressUnsendable, which `undeliverable` foresees.
    """
    sender = _wire(message.sender) if message.sender else b""
    command = b"MAIL FROM:<" + sender + b">"
    # Never BODY=8BITMIME: content is 7 bit, so that it survives relays that don't know it.
    if capabilities.size is not None and message.size:
        command += b" SIZE=%d" % message.size
    if not (sender.isascii() and (message.recipient.isascii() or _wire(message.recipient).isascii())):
        command += b" SMTPUTF8"
    if capabilities.dsn:
        command += b" RET=HDRS ENVID=%d" % message.key  # digits are xtext as they are
    return command + b"\r\n"


def rcpt_command(message: Outgoing, capabilities: Capabilities) -> bytes:
    """Return the RCPT command, asking for reports of failure and delay where the server offers DSN (RFC 3461).

    Raises AddressUnsendable, which `undeliverable` foresees.
    """
    recipient = _wire(message.recipient)
    command = b"RCPT TO:<" + recipient + b">"
    if capabilities.dsn:
        command += b" NOTIFY=FAILURE,DELAY" + _original_recipient(recipient)
    return command + b"\r\n"


def undeliverable(message: Outgoing, capabilities: Capabilities) -> str | None:
    """Return why this server can't be given the message, None when it can."""
    if capabilities.size and message.size > capabilities.size:
        return f"the message has up to {message.size} octets and the server takes {capabilities.size}"
    if _PLAIN(message.recipient) and (_PLAIN(message.sender) or not message.sender):
        return None
    try:
        needs_smtputf8 = not (_wire(message.recipient) + (_wire(message.sender) if message.sender else b"")).isascii()
    except AddressUnsendable as error:
        return str(error)
    if needs_smtputf8 and not capabilities.smtputf8:
        return "the server does not offer SMTPUTF8, which this address needs"
    return None


def _wire(address: str) -> bytes:
    """Return the address as a command carries it: its domain in A-labels, its local part as it is."""
    if _PLAIN(address):
        return address.encode()
    local, at, domain = address.rpartition("@")
    if not at or not _ATOM_UTF8(local) or not local.isprintable():
        raise AddressUnsendable("the address has characters that no mail command can carry")
    wire = f"{local}@{_a_labels(domain)}"
    if not _PLAIN(f"local@{wire.rpartition('@')[2]}"):
        raise AddressUnsendable("the address has a domain that no mail command can carry")
    return wire.encode()


@functools.lru_cache(maxsize=1024)
def _a_labels(domain: str) -> str:
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # idna's own errors among them
        raise AddressUnsendable("the address has a domain that has no ASCII form (IDNA)") from None


def _original_recipient(wire: bytes) -> bytes:
    """Return ORCPT: rfc822 and xtext (RFC 3461 4), or utf-8 and unitext for a non-ASCII local part (RFC 6533 3)."""
    if wire.isascii():
        value = b" ORCPT=rfc822;" + _NOT_XTEXT.sub(lambda found: b"+%02X" % found[0][0], wire)
    else:
        escaped = _NOT_UNITEXT.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", wire.decode())
        value = b" ORCPT=utf-8;" + escaped.encode()
    return value if len(value) <= MAX_ORCPT_CHARACTERS else b""
