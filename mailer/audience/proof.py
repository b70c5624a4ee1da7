"""Proof of work, by the protocol of ALTCHA: a browser finds the number whose hash we ask for, which robots by the thousand
find dear. Stateless but for the hashes that were answered; see docs/decisions/0030.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from datetime import datetime, timedelta
from typing import Final

from mailer import settings
from mailer.audience import abuse

LIFETIME: Final = timedelta(hours=1)
# About a second of a telephone's time, at SHA-256 by crypto.subtle.
MOST: Final = 50_000
# A payload is some 300 characters.
MOST_CHARACTERS: Final = 1000
# The & keeps digits from being moved between the time and the number.
_SALT: Final = re.compile(r"[0-9a-f]{24}\?expires=([0-9]{1,12})&")


def challenge(*, now: datetime) -> dict[str, object]:
    """Make what a browser has to solve within an hour, with the names that ALTCHA's widgets read."""
    salt = f"{secrets.token_hex(12)}?expires={int((now + LIFETIME).timestamp())}&"
    asked = hashlib.sha256(f"{salt}{secrets.randbelow(MOST + 1)}".encode()).hexdigest()
    return {"algorithm": "SHA-256", "challenge": asked, "salt": salt, "maxnumber": MOST, "signature": _sign(asked)}


def is_valid(payload: str, *, now: datetime) -> bool:
    """Tell whether a form brings a solution of ours that is fresh and was not used before. Asks Redis; never raises."""
    try:
        said = json.loads(base64.b64decode(payload[:MOST_CHARACTERS], validate=True))
        asked, salt, signature, number = said["challenge"], said["salt"], said["signature"], said["number"]
    except (binascii.Error, ValueError, TypeError, KeyError, RecursionError):
        return False
    if not (all(isinstance(one, str) for one in (asked, salt, signature)) and type(number) is int):
        return False
    fields = _SALT.fullmatch(salt)
    if fields is None or not 0 <= number <= MOST or not f"{asked}{signature}".isascii():
        return False
    is_ours = hmac.compare_digest(_sign(asked).encode(), signature.encode())
    is_solved = hmac.compare_digest(hashlib.sha256(f"{salt}{number}".encode()).hexdigest(), asked)
    is_fresh = now.timestamp() <= int(fields[1])
    return is_ours and is_solved and is_fresh and abuse.is_first(f"proof:{asked}", lifetime=LIFETIME, now=now)


def _sign(asked: str) -> str:
    key = hashlib.blake2b(settings.load().secret_key.encode(), person=b"mailer-proof").digest()
    return hmac.new(key, asked.encode(), hashlib.sha256).hexdigest()
