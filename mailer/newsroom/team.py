"""Who belongs to the newsroom: invitations, roles, rights at single newsletters, and who is locked out.

Nobody gives or takes more than they have, and there is always somebody left who owns the installation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session, selectinload

from mailer.models.accounts import Account, AccountPolicy, AccountRight, AccountSecret, Role, SecretKind
from mailer.models.content import Newsletter
from mailer.newsroom import accounts, second_factors
from mailer.newsroom.rights import Rights

# Whoever runs the server may everything.
OPERATOR: Final = Rights(everywhere=Role.OWNER, at={})
_LOCK: Final = 7_031_906


class TeamForbids(Exception):
    """Somebody wants to give or take more than they have, or to leave the installation without an owner."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What somebody may do: a role at all newsletters (None: at none in particular), and others at single ones, by slug."""

    everywhere: Role | None = None
    at: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody to invite."""

    email: str
    name: str
    language: str
    grant: Grant


def people(session: Session) -> Sequence[Account]:
    """List everybody in order of name, with their rights and those rights' newsletters."""
    statement = select(Account).order_by(func.lower(Account.name), Account.id)
    loaded = statement.options(selectinload(Account.rights).joinedload(AccountRight.newsletter))
    return session.execute(loaded).scalars().all()


def invited_ids(session: Session, *, now: datetime) -> frozenset[int]:
    """Return whose invitation is open."""
    is_open = (AccountSecret.kind == SecretKind.INVITATION, AccountSecret.expires_at > now)
    return frozenset(session.execute(select(AccountSecret.account_id).where(*is_open)).scalars())


def invite(session: Session, person: Person, *, by: Rights, now: datetime) -> Account:
    """Create an account that can't be opened before its invitation is accepted. Raises AccountInvalid or TeamForbids."""
    _require_at_most(person.grant, by)
    account = accounts.add(
        session, person.email, name=person.name, language=person.language, role=person.grant.everywhere, now=now
    )
    _put_rights(session, account, person.grant)
    return account


def change(session: Session, account: Account, grant: Grant, *, by: Rights) -> None:
    """Change what somebody may do, and end their sessions. Raises TeamForbids."""
    _lock(session)
    _require_below(account, by)
    _require_at_most(grant, by)
    if grant.everywhere != Role.OWNER:
        _require_other_owner(session, account)
    account.role = grant.everywhere
    _put_rights(session, account, grant)
    accounts.close_sessions(session, account.id)
    session.flush()


def disable(session: Session, account: Account, *, by: Rights, now: datetime) -> None:
    """Lock somebody out at once. Raises TeamForbids."""
    _lock(session)
    _require_below(account, by)
    _require_other_owner(session, account)
    account.disabled_at = account.disabled_at or now
    accounts.close_sessions(session, account.id)
    session.execute(delete(AccountSecret).where(AccountSecret.account_id == account.id))
    session.flush()


def enable(session: Session, account: Account, *, by: Rights) -> None:
    """Let somebody in again. Raises TeamForbids."""
    _require_below(account, by)
    account.disabled_at = None
    session.flush()


def remove(session: Session, account: Account, *, by: Rights) -> None:
    """Delete an account; what it did stays in the audit log. Raises TeamForbids."""
    _lock(session)
    _require_below(account, by)
    _require_other_owner(session, account)
    session.execute(delete(Account).where(Account.id == account.id))
    session.expunge(account)


def reset_second_factor(session: Session, account: Account, *, by: Rights) -> None:
    """Take away the second factor of somebody who has lost it, and end their sessions. Raises TeamForbids."""
    _require_below(account, by)
    second_factors.remove(session, account)
    accounts.close_sessions(session, account.id)


def may_manage(account: Account, by: Rights) -> bool:
    """Tell whether somebody may change an account: owners everybody, admins everybody but owners."""
    return by.may(Role.ADMIN) and (account.role != Role.OWNER or by.may(Role.OWNER))


def requires_second_factor(session: Session) -> bool:
    """Tell whether everybody must have a second factor."""
    return bool(session.execute(select(AccountPolicy.requires_second_factor)).scalar_one_or_none())


def require_second_factor(session: Session, *, is_required: bool) -> None:
    """Choose whether everybody must have a second factor; who has none is asked to set one up before anything else."""
    session.merge(AccountPolicy(id=1, requires_second_factor=is_required))
    session.flush()


def _put_rights(session: Session, account: Account, grant: Grant) -> None:
    session.execute(delete(AccountRight).where(AccountRight.account_id == account.id))
    if not grant.at:
        return
    found = session.execute(select(Newsletter.slug, Newsletter.id).where(Newsletter.slug.in_(grant.at)))
    session.add_all(AccountRight(account_id=account.id, newsletter_id=row.id, role=grant.at[row.slug]) for row in found)
    session.flush()


def _require_below(account: Account, by: Rights) -> None:
    if not may_manage(account, by):
        raise TeamForbids("Only an owner can change an owner.")


def _require_at_most(grant: Grant, by: Rights) -> None:
    if Role.OWNER in grant.at.values():
        raise TeamForbids("An owner owns all newsletters.")
    if not all(by.may(role) for role in (grant.everywhere or Role.VIEWER, *grant.at.values())):
        raise TeamForbids("Nobody can give a role above their own.")
    if grant.everywhere is None and not grant.at:
        raise TeamForbids("Choose a role, at all newsletters or at some.")


def _require_other_owner(session: Session, account: Account) -> None:
    """Refuse to lose the last owner who can sign in."""
    if account.role != Role.OWNER:
        return
    is_owner = (Account.role == Role.OWNER, Account.disabled_at.is_(None), Account.password_hash.is_not(None))
    others = select(func.count()).where(*is_owner, Account.id != account.id)
    if not session.execute(others).scalar_one():
        raise TeamForbids("This is the last owner. Make somebody else an owner first.")


def _lock(session: Session) -> None:
    """Let no two owners remove each other at the same moment."""
    session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
