"""What happens before an issue leaves, from the command line: the policies, and what became of slots."""

from datetime import timedelta

import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import reviewing
from mailer.models.desk import ReviewAct
from tests.command import mailer
from tests.conftest import SmtpInbox
from tests.factories import a_newsletter
from tests.newsroom import DESK, a_scheduled_newsletter, the_issue, tick


def test_policies_are_set_and_shown(installation: SmtpInbox) -> None:
    with transaction() as session:
        a_newsletter(session, "hebdo")
    wanted = {
        "desk_addresses": ["redaction@courrier.example", "camille@courrier.example"],
        "review_hours": 3,
        "on_silence": "hold",
        "when_late": "send",
        "late_after_minutes": 90,
        "stale_percent": 50,
        "stale_hours": 12,
        "when_stale": "send",
    }
    typed = {**wanted, "desk_addresses": "redaction@courrier.example, camille@courrier.example"}
    given = [part for name, value in typed.items() for part in ("--set", f"{name}={value}")]
    assert mailer("newsletter", "edit", "hebdo", *given).code == 0
    shown = mailer("--json", "newsletter", "show", "hebdo").value
    assert {name: shown[name] for name in wanted} == wanted
    assert mailer("newsletter", "edit", "hebdo", "--set", "late_after_minutes=", "--set", "stale_percent=").code == 0
    shown = mailer("--json", "newsletter", "show", "hebdo").value
    assert (shown["late_after_minutes"], shown["stale_percent"]) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        "review_hours=169",
        "review_hours=-1",
        "review_hours=",
        "on_silence=shout",
        "when_late=never",
        "stale_percent=100",
        "late_after_minutes=0",
        "desk_addresses=no address",
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_name(installation: SmtpInbox, wrong: str) -> None:
    with transaction() as session:
        a_newsletter(session, "hebdo")
    ran = mailer("newsletter", "edit", "hebdo", "--set", wrong)
    assert ran.code == 2
    assert wrong.partition("=")[0] in ran.err


def test_what_became_of_a_slot_and_who_decided_is_shown(installation: SmtpInbox) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3)
    tick()
    issue_id = the_issue().id
    with transaction() as session:
        reviewing.answer(session, issue_id, ReviewAct.HOLD, by=DESK, now=clock.now())
    (slot,) = mailer("--json", "newsletter", "show", "hebdo").value["last_slots"]
    assert (slot["result"], slot["issue"], slot["note"]) == ("held", issue_id, f"held by {DESK}")
    assert f"held {issue_id} held by {DESK}" in mailer("newsletter", "show", "hebdo").out
    (decision,) = mailer("--json", "issue", "show", str(issue_id)).value["decisions"]
    assert (decision["act"], decision["by"]) == ("hold", DESK)
    assert f"decided by {DESK}" in mailer("issue", "show", str(issue_id)).out
