"""The second step of signing in: codes of an app (RFC 6238), each taken once, and recovery codes."""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Final

import pyotp
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from mailer import vault
from mailer.models.accounts import Account, AccountPolicy, RecoveryCode

PURPOSE: Final = b"second-factor"
RECOVERY_CODES: Final = 10
_STEP_SECONDS: Final = 30
# A clock may be half a minute off, to either side.
_WINDOW: Final = (0, -1, 1)


class CodeWrong(Exception):
    """The code is not the one of now, or was used already."""


def is_missing(session: Session, account: Account) -> bool:
    """Tell whether a second factor is required of everybody, and this account has none."""
    if account.totp_confirmed_at is not None:
        return False
    return bool(session.execute(select(AccountPolicy.requires_second_factor)).scalar_one_or_none())


def begin(session: Session, account: Account) -> str:
    """Return the secret that is being set up, a new one if none is; it counts once a code has confirmed it."""
    if account.totp_secret is None:
        account.totp_secret = vault.seal(PURPOSE, pyotp.random_base32())
        session.flush()
    return vault.unseal(PURPOSE, account.totp_secret)


def address(account: Account, secret: str, *, issuer: str) -> str:
    """Return what the QR code holds, for the app."""
    return pyotp.TOTP(secret).provisioning_uri(name=account.email, issuer_name=issuer)


def confirm(session: Session, account: Account, code: str, *, now: datetime) -> list[str]:
    """Switch the second factor on with its first code; return the recovery codes, to be shown once. Raises CodeWrong."""
    _take_app_code(session, account, code, now=now)
    account.totp_confirmed_at = now
    return renew_codes(session, account)


def renew_codes(session: Session, account: Account) -> list[str]:
    """Make new recovery codes in place of the old ones; return them, to be shown once."""
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    made = [f"{secrets.token_hex(3)}-{secrets.token_hex(3)}" for _ in range(RECOVERY_CODES)]
    session.add_all(RecoveryCode(account_id=account.id, code_hash=_hash(account.id, one)) for one in made)
    session.flush()
    return made


def count_codes(session: Session, account_id: int) -> int:
    """Count the recovery codes that are left."""
    left = select(RecoveryCode.code_hash).where(RecoveryCode.account_id == account_id)
    return len(session.execute(left).all())


def take(session: Session, account: Account, code: str, *, now: datetime) -> None:
    """Take a code of the app, or a recovery code; either is good once. Raises CodeWrong."""
    typed = "".join(code.split()).lower()
    if typed.isascii() and typed.isdigit():
        _take_app_code(session, account, typed, now=now)
        return
    used = delete(RecoveryCode).where(
        RecoveryCode.account_id == account.id, RecoveryCode.code_hash == _hash(account.id, typed)
    )
    if not session.execute(used.returning(RecoveryCode.account_id)).all():
        raise CodeWrong("This code is wrong or was used already.")


def remove(session: Session, account: Account) -> None:
    """Switch the second factor off and forget its secret."""
    account.totp_secret = account.totp_confirmed_at = None
    session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
    session.flush()


def _take_app_code(session: Session, account: Account, code: str, *, now: datetime) -> None:
    if account.totp_secret is None:
        raise CodeWrong("No second factor is being set up.")
    typed, app = "".join(code.split()), pyotp.TOTP(vault.unseal(PURPOSE, account.totp_secret))
    newest = int(now.timestamp()) // _STEP_SECONDS if typed.isascii() else 0
    steps = [newest + off for off in _WINDOW if newest and hmac.compare_digest(app.generate_otp(newest + off), typed)]
    # Of two who send the same code at once, one wins.
    taken = update(Account).where(Account.id == account.id, Account.totp_step < (steps[0] if steps else 0))
    if not steps or not session.execute(taken.values(totp_step=steps[0]).returning(Account.id)).all():
        raise CodeWrong("This code is wrong or was used already.")


def _hash(account_id: int, code: str) -> bytes:
    return hashlib.sha256(f"{account_id}:{code}".encode()).digest()
