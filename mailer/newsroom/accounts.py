"""Who may open the admin pages: accounts, passwords, sessions, and the one-time link of the first sign-in."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from pwdlib import PasswordHash
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, joinedload

from mailer import addresses, i18n
from mailer.models.accounts import Account, AccountSession, Role

SESSION_LIFETIME: Final = timedelta(days=14)
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD: Final = 1000
LONGEST_NAME: Final = 100
_SEEN_EVERY: Final = timedelta(minutes=1)
_HASHER: Final = PasswordHash.recommended()
# Checked when no account has the address, so that the answer takes as long.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$K6wYNjX7yy1Tb3MzYTmqfzFDW5Wn6bN0Wq3sM2mY1nE"


class AccountInvalid(ValueError):
    """The address, name, language or password can't be used for an account."""


class AccountNotFound(LookupError):
    """No account has that address or number."""


def create(session: Session, email: str, *, name: str, password: str, language: str, now: datetime) -> Account:
    """Create an account that may do everything. Raises AccountInvalid for a taken address or a short password."""
    check_password(password)
    account = add(session, email, name=name, language=language, role=Role.OWNER, now=now)
    account.password_hash = _HASHER.hash(password)
    return account


def add(session: Session, email: str, *, name: str, language: str, role: Role | None, now: datetime) -> Account:
    """Create an account without a password, for somebody who is invited. Raises AccountInvalid."""
    try:
        address = addresses.key(addresses.normalise(email))
    except addresses.AddressInvalid as error:
        raise AccountInvalid(str(error)) from error
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise AccountInvalid(f"The name must have 1 to {LONGEST_NAME} characters.")
    if language not in i18n.DESK_LANGUAGES:
        raise AccountInvalid(f"The language must be one of {', '.join(i18n.DESK_LANGUAGES)}.")
    if session.execute(select(Account.id).where(Account.email == address)).scalar_one_or_none() is not None:
        raise AccountInvalid("There is already an account with this address.")
    account = Account(email=address, name=name, language=language, role=role, created_at=now)
    session.add(account)
    session.flush()
    return account


def check_password(password: str) -> None:
    """Raise AccountInvalid for a password that can't be used."""
    if len(password) < SHORTEST_PASSWORD:
        raise AccountInvalid(f"The password must have at least {SHORTEST_PASSWORD} characters.")
    if len(password) > LONGEST_PASSWORD:
        raise AccountInvalid(f"The password must have at most {LONGEST_PASSWORD} characters.")


def find(session: Session, email: str, *, is_disabled: bool = False) -> Account:
    """Find an account that is not disabled, or one that is. Raises AccountNotFound."""
    chosen = select(Account).where(Account.email == addresses.key(email.strip()))
    account = session.execute(chosen).scalar_one_or_none()
    if account is None or (account.disabled_at is not None) != is_disabled:
        raise AccountNotFound("There is no account with this address.")
    return account


def get(session: Session, account_id: int) -> Account:
    """Find an account by its number, also a disabled one. Raises AccountNotFound."""
    account = session.get(Account, account_id)
    if account is None:
        raise AccountNotFound(f"There is no account {account_id}.")
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
    is_right = _HASHER.verify(password, account.password_hash or _NOBODY)
    return account if is_right and account.password_hash is not None else None


def set_password(session: Session, account: Account, password: str, *, keep: str = "") -> None:
    """Give an account a new password and end all its sessions but that of the cookie `keep`. Raises AccountInvalid."""
    check_password(password)
    account.password_hash = _HASHER.hash(password)
    close_sessions(session, account.id, keep=keep)


def of_link(session: Session, account_id: int, *, made_at: datetime) -> Account | None:
    """Return whose sign-in link this is; None once the account has signed in since, so that a link works once."""
    account = session.get(Account, account_id, with_for_update=True)
    if account is None or account.disabled_at is not None:
        return None
    return account if account.signed_in_at is None or made_at > account.signed_in_at else None


def open_session(
    session: Session, account_id: int, *, now: datetime, browser: str = "", network: str | None = None
) -> str:
    """Sign an account in. Returns the secret for the browser's cookie; only its hash is kept.

    `browser` and the truncated `network` are shown to the account in its list of sessions.
    """
    token = secrets.token_urlsafe(32)
    session.add(
        AccountSession(
            token_hash=_hash(token),
            account_id=account_id,
            created_at=now,
            expires_at=now + SESSION_LIFETIME,
            seen_at=now,
            browser=browser,
            network=network,
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
    if found is None or found.account.disabled_at is not None:
        return None
    if found.seen_at is None or now - found.seen_at >= _SEEN_EVERY:
        # Not through the row: it may have been ended by another request at this very moment.
        session.execute(update(AccountSession).where(AccountSession.token_hash == found.token_hash).values(seen_at=now))
    return found.account


def sessions(session: Session, account_id: int, *, now: datetime) -> list[AccountSession]:
    """List where an account is signed in, the last used first."""
    statement = select(AccountSession).where(AccountSession.account_id == account_id, AccountSession.expires_at > now)
    return list(session.execute(statement.order_by(AccountSession.seen_at.desc().nulls_last())).scalars())


def session_name(token_hash: bytes) -> str:
    """Name a session on a page, in a way that opens nothing."""
    return hashlib.sha256(b"name" + token_hash).hexdigest()[:20]


def is_session(found: AccountSession, token: str) -> bool:
    """Tell whether a session is the one that a cookie opens."""
    return found.token_hash == _hash(token)


def close_session(session: Session, token: str) -> None:
    """Sign out."""
    session.execute(delete(AccountSession).where(AccountSession.token_hash == _hash(token)))


def close_named(session: Session, account_id: int, name: str) -> bool:
    """End the session of an account that `session_name` names so; returns whether there was one."""
    hashes = session.execute(select(AccountSession.token_hash).where(AccountSession.account_id == account_id)).scalars()
    named = [one for one in hashes if session_name(one) == name]
    session.execute(delete(AccountSession).where(AccountSession.token_hash.in_(named)))
    return bool(named)


def close_sessions(session: Session, account_id: int, *, keep: str = "") -> None:
    """Sign an account out everywhere but where its cookie is `keep`."""
    ended = delete(AccountSession).where(AccountSession.account_id == account_id)
    session.execute(ended.where(AccountSession.token_hash != _hash(keep)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
