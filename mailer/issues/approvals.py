"""Four eyes: an issue of a newsletter that asks for it leaves only once a second person of the newsroom has agreed to it.

Consent is to what the issue says: when a word or an article changes, it counts no longer.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload

from mailer.issues import issues, slots, states
from mailer.models.accounts import Account, Approval, Role
from mailer.models.content import Issue, PauseReason, SlotResult
from mailer.models.desk import SlotCode
from mailer.newsroom import alerts, rights


class ApprovalMissing(Exception):
    """Nobody but who sends it has agreed to the issue as it is now."""


class ApprovalForbidden(Exception):
    """Consent can't be given: who asked to send an issue is no second person, or may not send at all."""


@dataclass(frozen=True, kw_only=True)
class Consent:
    """Who agreed, when, and whether to the issue as it is now. `asked`: they also wanted it sent."""

    account_id: int
    name: str
    given_at: datetime
    is_current: bool
    asked: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether an issue needs a second person, and who agreed to it so far, the first first."""

    is_needed: bool
    consents: Sequence[Consent]

    @property
    def names(self) -> list[str]:
        """Return who agreed to the issue as it is now."""
        return [one.name for one in self.consents if one.is_current]

    def has_agreed(self, account_id: int) -> bool:
        """Tell whether somebody has agreed to the issue as it is now."""
        return any(one.account_id == account_id and one.is_current for one in self.consents)


def standing(session: Session, issue: Issue) -> Standing:
    """Return who agreed to an issue. Somebody who may not send any more has no say."""
    statement = select(Approval).where(Approval.issue_id == issue.id).options(joinedload(Approval.account))
    found = list(session.execute(statement.order_by(Approval.given_at, Approval.account_id)).scalars())
    now_hash = fingerprint(session, issue) if found else b""
    consents = [
        Consent(
            account_id=one.account_id,
            name=one.account.name,
            given_at=one.given_at,
            is_current=one.content_hash == now_hash and _may_send(session, one.account, issue.newsletter_id),
            asked=one.asked,
        )
        for one in found
    ]
    return Standing(is_needed=issue.newsletter.needs_approval, consents=consents)


def may_send(session: Session, issue: Issue, account_id: int | None) -> bool:
    """Tell whether an account may send or schedule an issue as it is now, or (None) a program or command."""
    if not issue.newsletter.needs_approval:
        return True
    return any(one.is_current and one.account_id != account_id for one in standing(session, issue).consents)


def require(session: Session, issue: Issue, account_id: int | None, *, now: datetime) -> None:
    """Let an account send or schedule an issue, and note that it asked for that. Raises ApprovalMissing."""
    if not issue.newsletter.needs_approval:
        return
    if not may_send(session, issue, account_id):
        raise ApprovalMissing(f"Issue {issue.id} needs the consent of a second person who may send.")
    if account_id is not None:
        _put(session, issue, account_id, asked=True, now=now)


def give(session: Session, issue: Issue, account_id: int, *, now: datetime) -> None:
    """Agree to an issue as it is now. Raises ApprovalForbidden, or IssueStateForbids once it is on its way."""
    states.require(issue, states.EDITABLE, "approved")
    if not _may_send(session, session.get_one(Account, account_id), issue.newsletter_id):
        raise ApprovalForbidden("Only somebody who may send can agree to an issue.")
    _put(session, issue, account_id, asked=False, now=now)


def withdraw(session: Session, issue: Issue, account_id: int) -> bool:
    """Take one's consent back; returns whether there was any. Raises IssueStateForbids once the issue is on its way."""
    states.require(issue, states.EDITABLE, "changed")
    gone = delete(Approval).where(Approval.issue_id == issue.id, Approval.account_id == account_id)
    return bool(session.execute(gone.returning(Approval.account_id)).all())


def hold_unapproved(session: Session, issue: Issue, *, now: datetime) -> bool:
    """Make an issue a draft again that nobody but who asked for it agrees to as it is now; returns whether that was so.

    The last look before an issue starts, however it was scheduled: by the desk, by its rhythm, by a link or a program.
    """
    if not issue.newsletter.needs_approval:
        return False
    consents = standing(session, issue).consents
    if any(one.is_current and not one.asked for one in consents):
        return False
    # Two who both pressed the button have agreed with each other.
    if len([one for one in consents if one.is_current]) > 1:
        return False
    issues.keep_back(session, issue, PauseReason.NOT_APPROVED, retry_at=None, now=now)
    slot = slots.of_issue(session, issue.id)
    if slot is not None:
        slots.tell(slot, SlotResult.HELD, SlotCode.NOT_APPROVED, {})
    alerts.note_hold(session, issue, SlotCode.NOT_APPROVED, {}, now=now)
    return True


def fingerprint(session: Session, issue: Issue) -> bytes:
    """Hash what readers of an issue will see, as far as the newsroom decides it."""
    placed = [[one.id, one.revision, layout.value] for one, layout in issues.placed(session, issue.id)]
    said = [issue.subject, issue.preview_text, issue.introduction, issue.body, placed]
    return hashlib.sha256(json.dumps(said).encode()).digest()


def _put(session: Session, issue: Issue, account_id: int, *, asked: bool, now: datetime) -> None:
    values = {"content_hash": fingerprint(session, issue), "given_at": now, "asked": asked}
    statement = insert(Approval).values(issue_id=issue.id, account_id=account_id, **values)
    # Who has asked for an issue to be sent does not become its second person by agreeing later.
    kept = {**values, "asked": Approval.asked | statement.excluded.asked}
    session.execute(statement.on_conflict_do_update(index_elements=["issue_id", "account_id"], set_=kept))


def _may_send(session: Session, account: Account, newsletter_id: int) -> bool:
    return account.disabled_at is None and rights.of(session, account).may(Role.EDITOR, newsletter_id)
