"""Mail that leaves with DKIM keys set, as the server takes it."""

from pathlib import Path

import dkim as dkimpy

from mailer import clock
from mailer.audience import signups
from mailer.db import transaction
from mailer.delivery import sending
from mailer.issues import issues
from mailer.models.content import IssueState
from mailer.newsroom import newsletters
from tests import wire
from tests.conftest import DkimKeys, SmtpInbox
from tests.factories import a_signup
from tests.started import started_issue


def test_issues_and_confirmations_carry_both_signatures_and_they_verify(
    installation: SmtpInbox, dkim_keys: DkimKeys
) -> None:
    started_issue(3)
    with transaction() as session:
        request_id = a_signup(session, newsletters.get(session, "courrier"), now=clock.now())
        signups.handle(session, request_id, now=clock.now())
    sending.send_due(budget_seconds=10)
    assert len(installation.messages) == 4
    for one in installation.messages:
        for index in (0, 1):
            verifier = dkimpy.DKIM(one.content)
            assert verifier.verify(idx=index, dnsfunc=lambda name, **_: wire.record(dkim_keys, name))
        assert one.content.count(b"DKIM-Signature:") == 2


def test_a_key_that_vanished_pauses_the_issue_and_nothing_leaves_unsigned(
    installation: SmtpInbox, dkim_keys: DkimKeys, tmp_path: Path
) -> None:
    issue_id = started_issue(3)
    (tmp_path / "r1.pem").unlink()
    sending.send_due(budget_seconds=5)
    with transaction() as session:
        stopped = issues.get(session, issue_id)
        assert (stopped.state, stopped.state_code) == (IssueState.PAUSED, "signing_failed")
        assert "r1.pem" in (stopped.state_reason or "")
    assert installation.messages == []
