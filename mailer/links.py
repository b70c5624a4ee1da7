"""Signed links: what is in a mail's addresses, and the Message-ID.

A token is 40 characters of URL-safe base64: 8 bytes of id, 4 bytes of extra, 18 bytes of keyed BLAKE2b over purpose and
both. It holds no address, can't be forged or moved to another purpose, and costs a microsecond to make.
"""

import base64
import binascii
import enum
import functools
import hashlib
import hmac
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mailer import settings

CONFIRM_LIFETIME = timedelta(days=7)
SIGN_IN_LIFETIME = timedelta(hours=1)
MANAGE_LIFETIME = timedelta(hours=1)
CHANGE_ADDRESS_LIFETIME = timedelta(days=1)
TOKEN_LENGTH = 40

RETURN_TOKEN_LENGTH = 36
_RETURN_ID_BYTES = 6
_RETURN_MAC_BYTES = 16
_RETURN_TOKEN = re.compile(rf"(?=([a-z2-7]{{{RETURN_TOKEN_LENGTH}}}))")
_MAILBOX_TOKEN = re.compile(r"\+([a-z2-7]{48})@")
# RFC 5321 4.5.3.1.3, and what a rewriting forwarder may put around it.
_LONGEST_PATH = 600
_MESSAGE_ID = re.compile(r"([1-9]\d{0,14})\.[0-9a-f]{20}@([^\s<>@]{1,255})", re.ASCII)

_PACK = struct.Struct(">QI")
_MAC_BYTES = 18
# A confirmation link outlives its subscription, and leads to the newsletter's form then: both share the token's id.
_NEWSLETTER_SHIFT = 40


class Purpose(enum.Enum):
    """What a token opens; its value enters the signature."""

    CONFIRM = b"confirm"
    UNSUBSCRIBE = b"unsubscribe"
    ONE_CLICK = b"one-click"
    PREFERENCES = b"preferences"
    # To all that is a reader's, for an hour.
    MANAGE = b"manage"
    CHANGE_ADDRESS = b"change-address"
    SIGN_IN = b"sign-in"
    # To create the owner of an installation that has no account.
    SETUP = b"setup"
    # Links in mails to the newsroom: the row is the mail, the extra its issue.
    REVIEW_SEND = b"review-send"
    REVIEW_HOLD = b"review-hold"
    REVIEW_DROP = b"review-drop"
    # Invitations and new passwords of the newsroom: the row is the mail's delivery, or the secret that was shown.
    ACCOUNT_MAILED = b"account-mailed"
    ACCOUNT_SHOWN = b"account-shown"
    SECOND_STEP = b"second-step"
    OIDC = b"oidc"
    KNOWN_BROWSER = b"known-browser"
    FORM = b"form"
    SIGNUP = b"signup"
    CLICK = b"click"
    OPEN = b"open"
    READER = b"reader"
    # Where a list of the API goes on.
    CURSOR = b"cursor"
    # In the address that a mail comes back to: the row is the delivery.
    RETURN = b"return"


class TokenInvalid(Exception):
    """The token was cut, changed, or made for something else."""


class TokenExpired(Exception):
    """The token is genuine but too old. `token` still tells whose it was."""

    def __init__(self, token: "Token") -> None:
        super().__init__("This link has expired.")
        self.token = token


@dataclass(frozen=True, kw_only=True)
class Token:
    """What a genuine token says: the row's id, and an issue's id or a Unix time, by purpose."""

    id: int
    extra: int

    @property
    def issued_at(self) -> datetime:
        """The moment it was made, for purposes whose extra is a time."""
        return datetime.fromtimestamp(self.extra, UTC)

    @property
    def subscription_id(self) -> int:
        """Whose confirmation it is."""
        return self.id & ((1 << _NEWSLETTER_SHIFT) - 1)

    @property
    def newsletter_id(self) -> int:
        """What the confirmation is for; 0 in a token of `sign_now`."""
        return self.id >> _NEWSLETTER_SHIFT


def sign(purpose: Purpose, id: int, extra: int = 0, *, about: bytes = b"") -> str:  # noqa: A002 - it is the row's id
    """Make the token that opens `purpose` for row `id`. `about` is signed too, but not in the token."""
    payload = _PACK.pack(id, extra)
    return base64.urlsafe_b64encode(payload + _mac(purpose, payload + about)).decode("ascii")


def sign_now(purpose: Purpose, id: int, now: datetime) -> str:  # noqa: A002
    """Make a token that remembers when it was made."""
    return sign(purpose, id, int(now.timestamp()))


def sign_confirmation(subscription_id: int, newsletter_id: int, now: datetime) -> str:
    """Make the token that confirms a subscription, and names its newsletter when the subscription is gone."""
    return sign_now(Purpose.CONFIRM, newsletter_id << _NEWSLETTER_SHIFT | subscription_id, now)


def read(purpose: Purpose, token: str, *, about: bytes = b"") -> Token:
    """Check a token and return what it says; `about` as it was signed. Raises TokenInvalid."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenInvalid("This link is not complete.") from error
    if len(token) != TOKEN_LENGTH or not hmac.compare_digest(
        raw[_PACK.size :], _mac(purpose, raw[: _PACK.size] + about)
    ):
        raise TokenInvalid("This link is not genuine.")
    row_id, extra = _PACK.unpack(raw[: _PACK.size])
    return Token(id=row_id, extra=extra)


def read_fresh(purpose: Purpose, token: str, *, lifetime: timedelta, now: datetime) -> Token:
    """Check a token made by sign_now. Raises TokenInvalid, or TokenExpired after `lifetime`."""
    checked = read(purpose, token)
    if now - checked.issued_at > lifetime:
        raise TokenExpired(checked)
    return checked


def seal(purpose: Purpose, text: str) -> str:
    """Make of a text what comes back unchanged or not at all, for a cookie. Whoever has it can read the text."""
    raw = text.encode()
    # Browsers and servers quote a cookie that holds "=", each in its own way.
    return base64.urlsafe_b64encode(_mac(purpose, raw) + raw).decode("ascii").rstrip("=")


def unseal(purpose: Purpose, sealed: str) -> str:
    """Return the text that was sealed. Raises TokenInvalid."""
    try:
        raw = base64.b64decode(f"{sealed}{'=' * (-len(sealed) % 4)}".encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenInvalid("This text is not complete.") from error
    if not hmac.compare_digest(raw[:_MAC_BYTES], _mac(purpose, raw[_MAC_BYTES:])):
        raise TokenInvalid("This text is not genuine.")
    return raw[_MAC_BYTES:].decode()


def in_mailbox(token: str) -> str:
    """Write a token so that it survives in the part of an address before the @, where some servers make all letters small."""
    return base64.b32encode(base64.urlsafe_b64decode(token)).decode("ascii").lower()


def from_mailbox(text: str) -> str:
    """Return the token that `in_mailbox` wrote, in letters of any size. Raises TokenInvalid."""
    try:
        return base64.urlsafe_b64encode(base64.b32decode(text.encode("ascii"), casefold=True)).decode("ascii")
    except (UnicodeEncodeError, binascii.Error) as error:
        raise TokenInvalid("This address is not complete.") from error


def mailbox_tokens(address: str) -> list[str]:
    """Find what may be a token of `in_mailbox` in an address, or in a header that holds some."""
    return _MAILBOX_TOKEN.findall(address[:_LONGEST_PATH].lower())


def return_path(mailbox: str, delivery_id: int) -> str:
    """Make the address that one delivery comes back to (VERP): 36 letters and digits after a + in the mailbox's name.

    They hold the delivery's id and 128 bits that nobody else can make, and survive servers that make all letters small.
    """
    local, _, domain = mailbox.rpartition("@")
    raw = delivery_id.to_bytes(_RETURN_ID_BYTES, "big")
    token = base64.b32encode(raw + _mac(Purpose.RETURN, raw)[:_RETURN_MAC_BYTES]).decode("ascii").rstrip("=").lower()
    return f"{local}+{token}@{domain}"


def read_return_path(address: str) -> int | None:
    """Return the delivery that an address of `return_path` is of; None if it holds no genuine token.

    Forwarders that rewrite an address (SRS, BATV, another separator) keep what is in it.
    """
    for found in _RETURN_TOKEN.finditer(address[:_LONGEST_PATH].lower()):
        raw = base64.b32decode(f"{found.group(1)}{'=' * (-RETURN_TOKEN_LENGTH % 8)}", casefold=True)
        payload = raw[:_RETURN_ID_BYTES]
        if hmac.compare_digest(raw[_RETURN_ID_BYTES:], _mac(Purpose.RETURN, payload)[:_RETURN_MAC_BYTES]):
            return int.from_bytes(payload, "big")
    return None


def message_id(delivery_id: int, domain: str) -> str:
    """Derive a delivery's Message-ID, without angle brackets: the same on every attempt (RFC 5322 3.6.4)."""
    mac = hashlib.blake2b(delivery_id.to_bytes(8, "big"), key=_key(), digest_size=10, person=b"message-id").hexdigest()
    return f"{delivery_id}.{mac}@{domain}"


def read_message_id(text: str) -> int | None:
    """Return the delivery that a Message-ID of ours is of, with or without angle brackets; None if it is not genuine."""
    found = _MESSAGE_ID.fullmatch(text.strip().strip("<>").strip())
    if found is None:
        return None
    delivery_id = int(found.group(1))
    is_genuine = hmac.compare_digest(message_id(delivery_id, found.group(2)).encode(), found.group(0).encode())
    return delivery_id if is_genuine else None


def url(path: str) -> str:
    """Complete a path to an address that readers can open."""
    return f"{settings.load().public_url}{path}"


def _mac(purpose: Purpose, payload: bytes) -> bytes:
    return hashlib.blake2b(payload, key=_key(), digest_size=_MAC_BYTES, person=purpose.value).digest()


@functools.cache
def _key() -> bytes:
    return hashlib.blake2b(settings.load().secret_key.encode(), person=b"mailer-links").digest()
