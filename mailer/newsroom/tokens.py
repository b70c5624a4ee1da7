"""Tokens that let other programs in: made once, shown once, kept as a hash."""

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session, joinedload

from mailer.models.content import Newsletter
from mailer.models.tokens import AccessToken, Scope

# So that secret scanners and people know one when they see it.
PREFIX: Final = "mailer_"
# As many of its characters are kept as tell one from another; 37 of 43 remain secret.
SHOWN: Final = len(PREFIX) + 6
LONGEST_NAME: Final = 100
_NOTE_EVERY: Final = timedelta(minutes=1)


class TokenInvalid(ValueError):
    """A token can't be made so."""


class TokenNotFound(LookupError):
    """There is no such token."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a token is to be: for which program, for what, for one newsletter or (None) all, until when (None: for good)."""

    name: str
    scopes: Collection[Scope]
    newsletter: Newsletter | None = None
    expires_at: datetime | None = None


def create(session: Session, wanted: Wanted, *, by: str, now: datetime) -> tuple[AccessToken, str]:
    """Make a token; return its row and the secret, which can't be shown again. Raises TokenInvalid."""
    name = " ".join(wanted.name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise TokenInvalid(f"A token needs a name of 1 to {LONGEST_NAME} characters: the program that it is for.")
    if not wanted.scopes:
        raise TokenInvalid(f"A token needs at least one scope: {', '.join(Scope)}.")
    if wanted.expires_at is not None and wanted.expires_at <= now:
        raise TokenInvalid("The token’s last day has passed; choose a later one.")
    secret = PREFIX + secrets.token_urlsafe(32)
    made = AccessToken(
        name=name,
        token_hash=_hash(secret),
        prefix=secret[:SHOWN],
        scopes=[one.value for one in Scope if one in wanted.scopes],
        newsletter_id=wanted.newsletter.id if wanted.newsletter else None,
        newsletter=wanted.newsletter,
        created_by=by,
        created_at=now,
        expires_at=wanted.expires_at,
    )
    session.add(made)
    session.flush()
    return made, secret


def all_tokens(session: Session, *, newsletter_id: int | None = None) -> list[AccessToken]:
    """List the tokens with their newsletters, oldest first: all, or those of one newsletter."""
    statement = select(AccessToken).options(joinedload(AccessToken.newsletter)).order_by(AccessToken.id)
    if newsletter_id is not None:
        statement = statement.where(AccessToken.newsletter_id == newsletter_id)
    return list(session.execute(statement).scalars())


def revoke(session: Session, token_id: int) -> None:
    """Let a program in no longer, from the commit on. Raises TokenNotFound."""
    chosen = delete(AccessToken).where(AccessToken.id == token_id).returning(AccessToken.id)
    if session.execute(chosen).scalar_one_or_none() is None:
        raise TokenNotFound(f"There is no token {token_id}.")


def of_secret(session: Session, secret: str, *, now: datetime) -> AccessToken | None:
    """Return the token of a secret, with its newsletter; None if there is none, or its time is over."""
    found = session.execute(
        select(AccessToken)
        .where(AccessToken.token_hash == _hash(secret))
        .where(or_(AccessToken.expires_at.is_(None), AccessToken.expires_at > now))
        .options(joinedload(AccessToken.newsletter))
    ).scalar_one_or_none()
    if found is not None and (found.used_at is None or now - found.used_at >= _NOTE_EVERY):
        found.used_at = now
    return found


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
