"""What the desk shows of an issue in review."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from mailer import clock
from mailer.db import transaction
from mailer.issues import reviewing
from mailer.models.desk import ReviewAct
from tests.conftest import SmtpInbox
from tests.desk import running_desk, sign_in, speak
from tests.newsroom import DESK, a_scheduled_newsletter, the_issue, tick
from tests.web_site import Site


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with running_desk(monkeypatch) as running:
        sign_in(running.client)
        yield running


def test_the_desk_shows_what_became_of_a_slot_and_who_decided(desk: Site) -> None:
    a_scheduled_newsletter(slot_in=timedelta(hours=1), review_hours=3)
    tick()
    issue_id = the_issue().id
    assert "in review: drafted ahead" in desk.client.get(f"/admin/issues/{issue_id}").text
    for act in (ReviewAct.SEND, ReviewAct.HOLD):
        with transaction() as session:
            reviewing.answer(session, issue_id, act, by=DESK, now=clock.now())
    speak("fr")
    page = desk.client.get(f"/admin/issues/{issue_id}").text
    assert f"retenu par {DESK}</p>" in page
    assert f"approuvé par {DESK}, " in page
    assert f"retenu par {DESK}, " in page
    assert f"retenu par {DESK}" in desk.client.get("/admin?of=hebdo").text
