"""Links by which somebody of the newsroom chooses a password: invitations, and when the old one is lost.

A link works once. It is signed and kept nowhere: neither in the tables nor in what is queued, but in the mail alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from mailer import addresses, i18n, links, settings
from mailer.delivery import deliveries
from mailer.links import Purpose
from mailer.mail import mails
from mailer.models.accounts import Account, AccountRequest, AccountRight, AccountSecret, SecretKind
from mailer.models.content import MailKind, Newsletter
from mailer.newsroom import accounts

LIFETIMES: Final[Mapping[SecretKind, timedelta]] = {
    SecretKind.INVITATION: timedelta(days=7),
    SecretKind.RESET: timedelta(minutes=30),
}


class LinkDead(Exception):
    """The link was used, replaced by a newer one, has expired, or was never made."""


@dataclass(frozen=True, kw_only=True)
class _Words:
    """What a mail says: the English sentences, which the catalogues translate."""

    title: str
    means: str
    label: str
    until: str
    why: str


_WORDS: Final[Mapping[SecretKind, _Words]] = {
    SecretKind.INVITATION: _Words(
        title="Invitation",
        means="You are invited to the desk of {host}, where the newsroom’s newsletters are made.",
        label="Choose a password",
        until="The link works once, within seven days.",
        why="You get this mail because somebody of the newsroom invited {address}.",
    ),
    SecretKind.RESET: _Words(
        title="A new password",
        means="Somebody, most likely you, has lost the password to the desk of {host}. "
        "If it was not you, nothing needs to be done: the old one goes on working.",
        label="Choose a new password",
        until="The link works once, within half an hour.",
        why="You get this mail because a new password was asked for {address}.",
    ),
}


def request(session: Session, email: str, kind: SecretKind, *, now: datetime) -> None:
    """Have a link mailed to an address, without looking whether it is anybody's; a task answers within seconds."""
    session.add(AccountRequest(kind=kind, email=addresses.key(email.strip()), created_at=now))


def waiting(session: Session, *, limit: int) -> list[int]:
    """List the ids of requests that no task has answered, oldest first."""
    return list(session.execute(select(AccountRequest.id).order_by(AccountRequest.id).limit(limit)).scalars())


def answer(session: Session, request_id: int, *, now: datetime) -> int | None:
    """Queue the mail that was asked for, if the address is somebody's. Returns the delivery's id, or None.

    Doing it twice does nothing the second time. Without a newsletter there is no sender, and nobody gets mail.
    Raises InliningFailed.
    """
    taken = delete(AccountRequest).where(AccountRequest.id == request_id).returning(AccountRequest)
    asked = session.execute(taken).scalar_one_or_none()
    if asked is None:
        return None
    try:
        account = accounts.find(session, asked.email)
    except accounts.AccountNotFound:
        return None
    newsletter = _sender(session, account)
    if newsletter is None or now - asked.created_at > LIFETIMES[asked.kind]:
        return None
    context = _context(account, asked.kind)
    variant_id = mails.desk_variant(session, newsletter, MailKind.DESK_ACCOUNT, account.language, context, now=now)
    delivery_id = deliveries.queue_one(session, address=account.email, variant_id=variant_id, now=now)
    _replace(session, account, asked.kind, delivery_id=delivery_id, now=now)
    return delivery_id


def show(session: Session, account: Account, kind: SecretKind, *, now: datetime) -> str:
    """Make a link to be shown once to who asked for it, where no mail can be sent. Returns its address."""
    made = _replace(session, account, kind, delivery_id=None, now=now)
    return links.url(f"/admin/link/{links.sign(Purpose.ACCOUNT_SHOWN, made.id)}")


def read(session: Session, token: str, *, now: datetime) -> AccountSecret:
    """Return what a link opens, and leave it open. Raises LinkDead."""
    secret = session.execute(_chosen(token).with_for_update()).scalar_one_or_none()
    if secret is None or secret.expires_at <= now:
        raise LinkDead("This link was used, replaced or has expired.")
    account = session.get_one(Account, secret.account_id)
    if account.disabled_at is not None:
        raise LinkDead("This account is disabled.")
    return secret


def use(session: Session, secret: AccountSecret, password: str) -> Account:
    """Give the account its password, end all its sessions and every link. Raises AccountInvalid."""
    account = session.get_one(Account, secret.account_id)
    accounts.set_password(session, account, password)
    session.execute(delete(AccountSecret).where(AccountSecret.account_id == account.id))
    return account


def clean_up(session: Session, *, now: datetime) -> None:
    """Forget links that have expired and requests that nobody can answer any more."""
    session.execute(delete(AccountSecret).where(AccountSecret.expires_at < now))
    session.execute(delete(AccountRequest).where(AccountRequest.created_at < now - timedelta(days=1)))


def _chosen(token: str) -> Select[AccountSecret]:
    for purpose, column in (
        (Purpose.ACCOUNT_MAILED, AccountSecret.delivery_id),
        (Purpose.ACCOUNT_SHOWN, AccountSecret.id),
    ):
        try:
            return select(AccountSecret).where(column == links.read(purpose, token).id)
        except links.TokenInvalid:
            continue
    raise LinkDead("This link is not genuine.")


def _replace(
    session: Session, account: Account, kind: SecretKind, *, delivery_id: int | None, now: datetime
) -> AccountSecret:
    """Make a secret; of its kind, the newest link is the only one that works."""
    older = delete(AccountSecret).where(AccountSecret.account_id == account.id, AccountSecret.kind == kind)
    session.execute(older)
    made = AccountSecret(
        kind=kind, account_id=account.id, delivery_id=delivery_id, created_at=now, expires_at=now + LIFETIMES[kind]
    )
    session.add(made)
    session.flush()
    return made


def _sender(session: Session, account: Account) -> Newsletter | None:
    """Return the newsletter in whose name the newsroom's own mail goes out: one of the account's, else the first."""
    theirs = select(AccountRight.newsletter_id).where(AccountRight.account_id == account.id)
    statement = select(Newsletter).order_by(Newsletter.id.in_(theirs).desc(), Newsletter.id).limit(1)
    return session.execute(statement).scalar_one_or_none()


def _context(account: Account, kind: SecretKind) -> dict[str, object]:
    words, language = _WORDS[kind], account.language
    named = {"host": settings.load().public_host, "address": account.email}
    return {
        "title": i18n.gettext(language, words.title),
        "lines": [i18n.gettext(language, words.means, **named)],
        "label": i18n.gettext(language, words.label),
        "until": i18n.gettext(language, words.until),
        "why": i18n.gettext(language, words.why, **named),
        "host": named["host"],
    }
