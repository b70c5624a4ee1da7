"""What reports tell: counted by upkeep from what is in the ledger and the consent log, and read without counting again."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from mailer import upkeep
from mailer.audience import subscriptions
from mailer.audience.subscriptions import Origin
from mailer.models.audience import EndedReason, Subscription
from mailer.models.content import Newsletter
from mailer.models.progress import IssueReport, ReaderDay
from mailer.newsroom import reports
from tests.factories import a_newsletter
from tests.watched import PROVIDERS, leave, readers_at, sent_at

START = datetime(2026, 11, 2, 6, tzinfo=UTC)  # a Monday
WEEK = timedelta(days=7)


@pytest.fixture
def newsletter(session: Session) -> Newsletter:
    made = a_newsletter(session, tracks_clicks=True)
    readers_at(session, made, 20)
    return made


def joined(session: Session, newsletter: Newsletter, number: int, at: datetime) -> Subscription:
    return subscriptions.add(session, newsletter, f"j{number}@example.org", language="fr", proof="test", now=at)


def clicked(session: Session, issue_id: int, at: datetime, *, count: int = 1, machine: str | None = None) -> None:
    session.execute(
        text(
            "INSERT INTO events (variant_id, link, at, is_head, machine) SELECT min(v.id), 1, :at, false, :machine "
            "FROM variants v, generate_series(1, :count) WHERE v.issue_id = :issue_id GROUP BY generate_series"
        ),
        {"issue_id": issue_id, "at": at, "count": count, "machine": machine},
    )


def test_days_are_counted_from_the_consent_log_and_readers_follow_from_today_back(session: Session) -> None:
    newsletter = a_newsletter(session)
    for day in range(5):
        joined(session, newsletter, day, START + timedelta(days=day))
    first = session.execute(select(Subscription)).scalars().first()
    assert first is not None
    subscriptions.end(session, first.id, EndedReason.UNSUBSCRIBED, origin=Origin(), now=START + timedelta(days=3))
    reports.count(session, now=START + timedelta(days=5))
    over = reports.readers_over(session, newsletter.id, days=None, now=START + timedelta(days=5))
    assert [count for _, count in over] == [1, 2, 3, 3, 4, 4]
    assert over[0][0] == date(2026, 11, 2)
    assert reports.readers_over(session, newsletter.id, days=2, now=START + timedelta(days=5)) == over[-3:]


def test_counting_again_changes_nothing_and_counts_what_came(session: Session) -> None:
    newsletter = a_newsletter(session)
    joined(session, newsletter, 1, START)
    for _ in range(2):
        reports.count(session, now=START)
    joined(session, newsletter, 2, START + timedelta(hours=1))
    reports.count(session, now=START + timedelta(days=1))
    rows = session.execute(select(ReaderDay.day, ReaderDay.joined, ReaderDay.left, ReaderDay.readers)).all()
    assert sorted(tuple(row) for row in rows) == [(date(2026, 11, 2), 2, 0, 2), (date(2026, 11, 3), 0, 0, 2)]


def test_weeks_begin_on_monday_and_none_is_missing(session: Session) -> None:
    newsletter = a_newsletter(session)
    for number, day in enumerate((0, 6, 7)):
        joined(session, newsletter, number, START + timedelta(days=day))
    now = START + 2 * WEEK
    reports.count(session, now=now)
    assert [
        (one.monday.day, one.joined, one.left) for one in reports.weeks(session, newsletter.id, count=4, now=now)
    ] == [
        (26, 0, 0),
        (2, 2, 0),
        (9, 1, 0),
        (16, 0, 0),
    ]


def test_what_an_issue_led_to_is_counted(session: Session, newsletter: Newsletter) -> None:
    issue = sent_at(session, newsletter, START, refused=2)
    clicked(session, issue.id, START + timedelta(minutes=30), count=3)
    clicked(session, issue.id, START + timedelta(minutes=90))
    clicked(session, issue.id, START + timedelta(hours=50))
    clicked(session, issue.id, START + timedelta(minutes=1), machine="scanner", count=9)
    leave(session, issue, 2, at=START + timedelta(hours=3))
    leave(session, issue, 1, at=START + timedelta(hours=4), complained=True)
    found = reports.numbers(session, issue, now=START + timedelta(days=3))
    assert (found.accepted, found.refused, found.clicks, found.left, found.complained) == (18, 2, 5, 2, 1)
    assert (found.hourly[:2], found.by(48), len(found.hourly)) == ((3, 1), 4, 48)


def test_who_leaves_after_the_next_issue_left_because_of_that(session: Session, newsletter: Newsletter) -> None:
    first = sent_at(session, newsletter, START)
    second = sent_at(session, newsletter, START + timedelta(days=2))
    leave(session, first, 1, at=START + timedelta(days=1))
    leave(session, second, 2, at=START + timedelta(days=3))
    now = START + WEEK
    assert [reports.numbers(session, one, now=now).left for one in (first, second)] == [1, 2]


def test_clicks_are_kept_when_the_single_events_have_become_sums(session: Session, newsletter: Newsletter) -> None:
    issue = sent_at(session, newsletter, START)
    clicked(session, issue.id, START + timedelta(minutes=30), count=3)
    upkeep.clean_up(session, now=START + timedelta(days=400))
    report = session.get_one(IssueReport, issue.id)
    assert (report.clicks, report.hourly[0]) == (3, 3)
    assert reports.numbers(session, issue, now=START + timedelta(days=400)).clicks == 3


def test_nothing_is_usual_before_three_issues_then_it_is_their_median(session: Session, newsletter: Newsletter) -> None:
    issues = [sent_at(session, newsletter, START + week * WEEK) for week in range(5)]
    for issue, clicks in zip(issues, (2, 4, 20, 6, 9), strict=True):
        clicked(session, issue.id, (issue.started_at or START) + timedelta(minutes=10), count=clicks)
        reports.count_issue(session, issue, now=START + 6 * WEEK)
    assert [reports.usual(session, one) is None for one in issues] == [True, True, True, False, False]
    usual = reports.usual(session, issues[4])
    assert usual is not None
    assert (usual.issues, usual.accepted) == (4, 20)
    assert usual.clicks == usual.clicks_by_hour[0] == pytest.approx(100 * 5 / 20)


def test_an_issue_of_long_ago_is_not_counted_again(session: Session, newsletter: Newsletter) -> None:
    issue = sent_at(session, newsletter, START)
    for days in (1, 30, 60):
        reports.count(session, now=START + timedelta(days=days))
    session.expire_all()
    assert session.get_one(IssueReport, issue.id).counted_at == START + timedelta(days=30)


def test_providers_are_summed_over_the_last_ten_issues(session: Session, newsletter: Newsletter) -> None:
    for week in range(12):
        sent_at(session, newsletter, START + week * WEEK, refused=1)
    found = reports.providers(session, newsletter.id)
    assert sum(one.refused for one in found) == 10
    assert found[0].refused == 10
    assert {one.provider for one in found} <= set(PROVIDERS)


def test_the_mix_is_what_confirmed_readers_chose(session: Session, newsletter: Newsletter) -> None:
    session.execute(text("UPDATE subscriptions SET rhythm = 'weekly', language = 'en' WHERE id % 4 = 0"))
    reports.count(session, now=START)
    mix = reports.mix(session, newsletter.id)
    rhythms = dict(reports.summed(mix, lambda one: one.rhythm))
    assert sum(rhythms.values()) == 20
    assert set(rhythms) == {"each", "weekly"}
    assert reports.summed(mix, lambda one: one.language)[0][0] == "fr"


def test_issues_come_a_page_at_a_time_the_last_first(session: Session, newsletter: Newsletter) -> None:
    sent = [sent_at(session, newsletter, START + week * WEEK) for week in range(3)]
    page = reports.issues(session, newsletter.id, limit=2)
    assert [issue.id for issue, _ in page] == [sent[2].id, sent[1].id]
    rest = reports.issues(session, newsletter.id, limit=2, before=page[-1][0].id)
    assert [issue.id for issue, report in rest if report] == [sent[0].id]
