"""The desk: when a newsletter's issues are made, and when one issue leaves."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from mailer import clock
from mailer.db import transaction
from mailer.models.content import IssueState, Newsletter
from mailer.newsroom import newsletters
from tests.conftest import SmtpInbox
from tests.desk import drafted, field, issue, press, running_desk, sign_in

PATH = "/admin/newsletters/courrier"


@pytest.fixture
def desk(installation: SmtpInbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A browser that is signed in."""
    with running_desk(monkeypatch) as site:
        sign_in(site.client)
        yield site.client


def the_newsletter() -> Newsletter:
    with transaction() as session:
        return newsletters.get(session, "courrier")


def test_a_rhythm_is_chosen_in_words(desk: httpx.Client) -> None:
    chosen = {"kind": "weekly", "day_1": "yes", "day_5": "yes", "time": "06:30", "timezone": "Europe/Paris"}
    press(desk, PATH, f"{PATH}/schedule", **chosen)
    assert the_newsletter().cron == "30 6 * * 1,5"
    page = desk.get(PATH).text
    assert "Every Monday, Friday at" in page
    assert page.count("what is new by then") == 4
    press(desk, PATH, f"{PATH}/schedule", kind="monthly", order="1", weekday="1", time="07:00", timezone="Europe/Paris")
    assert the_newsletter().cron == "0 7 * * 1#1"


def test_a_rhythm_without_days_is_refused_at_its_field(desk: httpx.Client) -> None:
    refused = press(desk, PATH, f"{PATH}/schedule", kind="weekly", time="07:00", timezone="Europe/Paris")
    assert refused.status_code == 422
    assert "Choose at least one day" in refused.text


def test_holidays_and_a_pause_are_kept_and_wrong_ones_refused(desk: httpx.Client) -> None:
    soon = f"{clock.now() + timedelta(days=30):%Y-%m-%d}"
    press(desk, PATH, f"{PATH}/rest", paused_until=soon, skip_dates="2099-12-25\n2099-05-01")
    kept = the_newsletter()
    assert kept.skip_dates == ["2099-05-01", "2099-12-25"]
    refused = press(desk, PATH, f"{PATH}/rest", paused_until="", skip_dates="Noël")
    assert refused.status_code == 422
    assert "Noël" in refused.text
    assert the_newsletter().skip_dates == kept.skip_dates


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("2099-03-29T02:30", "That hour does not exist on that day"),
        ("2099-10-25T02:30", "That hour comes twice on that day"),
        ("2099-07-01T07:00+02:00", "Leave out the offset"),
    ],
)
def test_a_moment_that_is_none_is_explained(desk: httpx.Client, typed: str, sentence: str) -> None:
    path = f"/admin/issues/{drafted()}/schedule"
    refused = press(desk, path, path, at=typed)
    assert (refused.status_code, sentence in refused.text) == (422, True)
    assert field(refused, "at") == typed


def test_of_an_hour_that_comes_twice_the_second_can_be_chosen(desk: httpx.Client) -> None:
    issue_id = drafted()
    path = f"/admin/issues/{issue_id}/schedule"
    press(desk, path, path, at="2099-10-25T02:30", fold="second")
    found = issue(issue_id)
    assert found.state == IssueState.SCHEDULED
    assert f"{found.scheduled_at:%Y-%m-%d %H:%M}" == "2099-10-25 01:30"
