"""What a person may do at which newsletter, and which newsletter a path is about.

Somebody without any right at a newsletter does not learn that it exists.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mailer.models.accounts import Account, AccountRight, Role
from mailer.models.audience import Subscription
from mailer.models.content import Issue, Newsletter

_LARGEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Rights:
    """The rights of an account: its role at all newsletters, if it has one, and those at single ones."""

    everywhere: Role | None
    at: Mapping[int, Role]

    @property
    def newsletter_ids(self) -> frozenset[int] | None:
        """Return the newsletters that the account sees; None means all."""
        return None if self.everywhere is not None else frozenset(self.at)

    def sees(self, newsletter_id: int) -> bool:
        """Tell whether the account may know that a newsletter exists."""
        return self.everywhere is not None or newsletter_id in self.at

    def role_at(self, newsletter_id: int | None = None) -> Role | None:
        """Return the role at a newsletter, or at none in particular; None if the account has none there."""
        found = [self.everywhere, self.at.get(newsletter_id) if newsletter_id is not None else None]
        return max((role for role in found if role is not None), key=lambda role: role.rank, default=None)

    def may(self, role: Role, newsletter_id: int | None = None) -> bool:
        """Tell whether the account may what `role` may, at a newsletter or at none in particular."""
        held = self.role_at(newsletter_id)
        return held is not None and held.rank >= role.rank


def of(session: Session, account: Account) -> Rights:
    """Return what an account may do."""
    rows = session.execute(
        select(AccountRight.newsletter_id, AccountRight.role).where(AccountRight.account_id == account.id)
    )
    return Rights(everywhere=account.role, at={row.newsletter_id: row.role for row in rows})


def newsletters_named(session: Session, names: Mapping[str, str]) -> frozenset[int] | None:
    """Return the newsletters that the parameters of a path are about; None if the path is about none in particular.

    An empty set means that there is no such thing.
    """
    found = [_newsletters(session, FINDERS[name], value) for name, value in names.items() if name in FINDERS]
    if not found:
        return None
    return frozenset() if not all(found) else frozenset().union(*found)


def _newsletters(session: Session, statement: Callable[[str], Select[Any] | None], value: str) -> frozenset[int]:
    chosen = statement(value)
    return frozenset() if chosen is None else frozenset(session.execute(chosen).scalars())


def _by_slug(value: str) -> Select[Any] | None:
    return select(Newsletter.id).where(Newsletter.slug == value) if "\0" not in value else None


def _by_id(column: Any, key: Any) -> Callable[[str], Select[Any] | None]:
    def statement(value: str) -> Select[Any] | None:
        is_id = value.isascii() and value.isdigit() and int(value) <= _LARGEST_ID
        return select(column).where(key == int(value)).distinct() if is_id else None

    return statement


# Each parameter of a path by which a thing of a newsletter is found. A path parameter that stands behind one of these
# (such as an article of a newsletter) is looked for among that newsletter's things only.
FINDERS: Final[Mapping[str, Callable[[str], Select[Any] | None]]] = {
    "slug": _by_slug,
    "issue_id": _by_id(Issue.newsletter_id, Issue.id),
    "subscriber_id": _by_id(Subscription.newsletter_id, Subscription.subscriber_id),
    "subscription_id": _by_id(Subscription.newsletter_id, Subscription.id),
}
