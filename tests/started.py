"""Issues under way, and how far they are."""

from datetime import timedelta

import pytest

from mailer import clock, settings
from mailer.db import transaction
from mailer.delivery import ledger
from mailer.issues import issues
from mailer.models.content import IssueState
from tests.factories import a_newsletter, an_article, readers


def started_issue(count: int = 3, *, batch_size: int = 500) -> int:
    """Start an issue to `count` readers; return its id."""
    with transaction() as session:
        newsletter = a_newsletter(session)
        an_article(session, newsletter, "eau", seen=clock.now() - timedelta(minutes=1))
        readers(session, newsletter, count)
        issue = issues.draft(session, newsletter, now=clock.now())
        issues.start(session, issue, batch_size=batch_size, now=clock.now())
        return issue.id


def equation(issue_id: int) -> ledger.Equation:
    with transaction() as session:
        return ledger.count_ledger(session, issue_id)


def state(issue_id: int) -> IssueState:
    with transaction() as session:
        return issues.get(session, issue_id).state


def use_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILER_SMTP_URL", url)
    settings.load.cache_clear()
