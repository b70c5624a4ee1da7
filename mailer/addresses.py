"""Mail addresses: what is accepted, how two are compared, how one is shown without giving it away."""

import hashlib
import re

from email_validator import EmailNotValidError, validate_email

MAX_LENGTH = 254  # RFC 5321 4.5.3.1.3: a path of 256 octets, less the angle brackets.
MAX_LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1.
# The plain addresses that nearly everybody has. Anything else goes the slow way through email-validator.
_PLAIN = re.compile(
    r"(?=.{3,254}\Z)[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}\Z"
)


class AddressInvalid(ValueError):
    """The text is not a mail address that can be written to."""


def normalise(text: str) -> str:
    """Return the address as it is stored and written to: domain in lower case and A-labels, local part untouched.

    Raises AddressInvalid. Reads no network.
    """
    text = text.strip()
    if len(text) > MAX_LENGTH or any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise AddressInvalid("The address is too long or has characters that no address can have.")
    local, _, domain = text.rpartition("@")
    if len(local.encode()) > MAX_LOCAL_OCTETS:
        raise AddressInvalid("The part before the @ is longer than 64 characters.")
    if _PLAIN.match(text):
        return f"{local}@{domain.lower()}"
    try:
        checked = validate_email(text, check_deliverability=False, allow_smtputf8=True, test_environment=True)
    except EmailNotValidError as error:
        raise AddressInvalid(str(error)) from None
    return f"{checked.local_part}@{checked.ascii_domain.lower()}"


def key(address: str) -> str:
    """Return what two spellings of one mailbox have in common: the normalised address in lower case."""
    return address.casefold()


def mailbox(address: str) -> str:
    """Return what addresses of one mailbox have in common, for counting: no +tag, and none of the dots that Gmail ignores.

    Not for writing to, nor for telling readers apart: elsewhere a + may well be part of the name.
    """
    local, _, domain = key(address).rpartition("@")
    name = local.partition("+")[0] or local
    if domain in ("gmail.com", "googlemail.com"):
        return f"{name.replace('.', '')}@gmail.com"
    return f"{name}@{domain}"


def fingerprint(address: str) -> bytes:
    """Return the 32-byte hash under which a suppressed address is remembered."""
    return hashlib.sha256(key(address).encode()).digest()


def mask(address: str) -> str:
    """Show an address to somebody who may have been forwarded a mail: l••@example.org."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}••@{domain}"


def ascii_only(address: str) -> bool:
    """Tell whether the address can be written to without SMTPUTF8 (RFC 6531)."""
    return address.isascii()
