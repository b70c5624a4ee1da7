"""Secrets at rest: what the database keeps so that only whoever has our key can read it."""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken

from mailer import settings


class SecretUnreadable(Exception):
    """It was sealed with another MAILER_SECRET_KEY, or changed since; it must be entered anew."""


def seal(purpose: bytes, text: str) -> bytes:
    """Encrypt a text for one `purpose` (at most 16 bytes), which must be named to read it."""
    return _box(purpose).encrypt(text.encode())


def unseal(purpose: bytes, sealed: bytes) -> str:
    """Return the text that was sealed for `purpose`. Raises SecretUnreadable."""
    try:
        return _box(purpose).decrypt(sealed).decode()
    except InvalidToken as error:
        raise SecretUnreadable("A stored secret can’t be read with this MAILER_SECRET_KEY.") from error


def _box(purpose: bytes) -> Fernet:
    key = hashlib.blake2b(settings.load().secret_key.encode(), digest_size=32, person=purpose).digest()
    return Fernet(base64.urlsafe_b64encode(key))
