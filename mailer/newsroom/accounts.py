"""Who may open the admin pages: accounts, passwords, sessions, and the one-time link of the first sign-in."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from pwdlib import PasswordHash
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, joinedload

from mailer import addresses
from mailer.models.accounts import Account, AccountSession

SESSION_LIFETIME: Final = timedelta(days=14)
SHORTEST_PASSWORD: Final = 12
_HASHER: Final = PasswordHash.recommended()
# Checked when no account has the address, so that the answer takes as long.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$K6wYNjX7yy1Tb3MzYTmqfzFDW5Wn6bN0Wq3sM2mY1nE"


class AccountInvalid(ValueError):
    """The address or password can't be used for an account."""


class AccountNotFound(LookupError):
    """No account has that address."""


def create(session: Session, email: str, *, name: str, password: str, language: str, now: datetime) -> Account:
    """Create an account. Raises AccountInvalid for a taken address or a short password."""
    if len(password) < SHORTEST_PASSWORD:
        raise AccountInvalid(f"The password must have at least {SHORTEST_PASSWORD} characters.")
    try:
        address = addresses.key(addresses.normalise(email))
    except addresses.AddressInvalid as error:
        raise AccountInvalid(str(error)) from error
    if session.execute(select(Account.id).where(Account.email == address)).scalar_one_or_none() is not None:
        raise AccountInvalid("There is already an account with this address.")
    account = Account(email=address, name=name, password_hash=_HASHER.hash(password), language=language, created_at=now)
    session.add(account)
    session.flush()
    return account


def find(session: Session, email: str) -> Account:
    """Find an account that is not disabled. Raises AccountNotFound."""
    chosen = (Account.email == addresses.key(email.strip()), Account.disabled_at.is_(None))
    account = session.execute(select(Account).where(*chosen)).scalar_one_or_none()
    if account is None:
        raise AccountNotFound("There is no account with this address.")
    return account


def all_accounts(session: Session) -> list[Account]:
    """List the accounts in order of address."""
    return list(session.execute(select(Account).order_by(Account.email)).scalars())


def authenticate(session: Session, email: str, password: str) -> Account | None:
    """Return the account if the password is right, None otherwise; either takes the same time."""
    try:
        account = find(session, email)
    except AccountNotFound:
        _HASHER.verify(password, _NOBODY)
        return None
    return account if _HASHER.verify(password, account.password_hash) else None


def of_link(session: Session, account_id: int, *, made_at: datetime) -> Account | None:
    """Return whose sign-in link this is; None once the account has signed in since, so that a link works once."""
    account = session.get(Account, account_id, with_for_update=True)
    if account is None or account.disabled_at is not None:
        return None
    return account if account.signed_in_at is None or made_at > account.signed_in_at else None


def open_session(session: Session, account_id: int, *, now: datetime) -> str:
    """Sign an account in. Returns the secret for the browser's cookie; only its hash is kept."""
    token = secrets.token_urlsafe(32)
    session.add(
        AccountSession(
            token_hash=_hash(token), account_id=account_id, created_at=now, expires_at=now + SESSION_LIFETIME
        )
    )
    session.execute(update(Account).where(Account.id == account_id).values(signed_in_at=now))
    session.execute(delete(AccountSession).where(AccountSession.expires_at < now))
    return token


def of_session(session: Session, token: str, *, now: datetime) -> Account | None:
    """Return whose session a cookie opens; None when it is unknown, expired, or the account disabled."""
    found = session.execute(
        select(AccountSession)
        .where(AccountSession.token_hash == _hash(token), AccountSession.expires_at > now)
        .options(joinedload(AccountSession.account))
    ).scalar_one_or_none()
    return found.account if found is not None and found.account.disabled_at is None else None


def close_session(session: Session, token: str) -> None:
    """Sign out."""
    session.execute(delete(AccountSession).where(AccountSession.token_hash == _hash(token)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
