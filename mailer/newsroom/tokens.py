"""Tokens that let other programs in: made once, shown once, kept as a hash."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, joinedload

from mailer.models.content import Newsletter
from mailer.models.tokens import AccessToken, Scope

# So that secret scanners and people know one when they see it.
PREFIX: Final = "mailer_"
LONGEST_NAME: Final = 100
_NOTE_EVERY: Final = timedelta(minutes=1)


class TokenInvalid(ValueError):
    """A token can't be made so."""


class TokenNotFound(LookupError):
    """There is no such token."""


def create(
    session: Session, newsletter: Newsletter, name: str, *, scope: Scope, now: datetime
) -> tuple[AccessToken, str]:
    """Make a token for a newsletter; return its row and the secret, which can't be shown again. Raises TokenInvalid."""
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise TokenInvalid(f"A token needs a name of 1 to {LONGEST_NAME} characters: the program that it is for.")
    secret = PREFIX + secrets.token_urlsafe(32)
    made = AccessToken(
        name=name,
        token_hash=_hash(secret),
        scope=scope,
        newsletter_id=newsletter.id,
        created_at=now,
        newsletter=newsletter,
    )
    session.add(made)
    session.flush()
    return made, secret


def all_tokens(session: Session) -> list[AccessToken]:
    """List the tokens with their newsletters, oldest first."""
    statement = select(AccessToken).options(joinedload(AccessToken.newsletter)).order_by(AccessToken.id)
    return list(session.execute(statement).scalars())


def revoke(session: Session, token_id: int) -> None:
    """Let a program in no longer. Raises TokenNotFound."""
    chosen = delete(AccessToken).where(AccessToken.id == token_id).returning(AccessToken.id)
    if session.execute(chosen).scalar_one_or_none() is None:
        raise TokenNotFound(f"There is no token {token_id}.")


def of_secret(session: Session, secret: str, *, scope: Scope, now: datetime) -> AccessToken | None:
    """Return the token of a secret, with its newsletter; None if there is none that allows this."""
    found = session.execute(
        select(AccessToken)
        .where(AccessToken.token_hash == _hash(secret), AccessToken.scope == scope)
        .options(joinedload(AccessToken.newsletter))
    ).scalar_one_or_none()
    if found is not None and (found.used_at is None or now - found.used_at >= _NOTE_EVERY):
        found.used_at = now
    return found


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
